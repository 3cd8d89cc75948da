"""``boneage build``: train a bundle from a plan and a table of radiographs."""

from __future__ import annotations

import os
from pathlib import Path

import click

from boneage.commands.each_radiograph import sigterm_interrupts
from boneage.commands.export import tell_released
from boneage.commands.progress import quiet_option, with_progress
from boneage.commands.training import accelerator_option, cache_option, exit_by, jobs_option, report_line


@click.command()
@click.argument("plan")
@click.option(
    "--radiographs",
    required=True,
    type=click.Path(path_type=Path),
    help="CSV with id,boneage,male, or an archive of `boneage pack`.",
)
@click.option("--images", type=click.Path(path_type=Path), help="Folder of <id>.png; if the CSV has no image column.")
@click.option("--hand", metavar="NAME_OR_DIR", help="Bundle whose networks find the hands. [default: the plan's]")
@click.option("--keep", metavar="NAME_OR_DIR", help="Bundle whose networks are not trained again.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the bundle.")
@click.option(
    "--runs",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the runs; existing ones are continued. [default: OUT-runs beside --out]",
)
@cache_option("cache beside --runs")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change all recipes, e.g. train.epochs=1.")
@jobs_option
@accelerator_option
@click.option("--overwrite", is_flag=True, help="Replace an existing bundle.")
@quiet_option
def build(
    plan: str,
    radiographs: Path,
    images: Path | None,
    hand: str | None,
    keep: str | None,
    out: Path,
    runs: Path | None,
    cache: Path | None,
    changes: tuple[str, ...],
    jobs: int,
    accelerator: str,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Build the whole bundle of PLAN (a shipped name or a TOML file) from labelled radiographs.

    The command trains every network of the plan, or every fold of it, in its own process. It writes
    PLAN.out_of_fold.csv, with an estimate of each training radiograph by networks that were not trained on it. It then
    exports all networks as one bundle, and calibrates it by that table. Networks without folds, or for one sex, have no
    such table and no calibration. The bundle is measured on the split validation, or on a random part of a table
    without splits.

    With --keep, the networks that this bundle has by their names are taken over with its hand networks, and the others
    are trained and added to them.

    An archive of boneage pack is unpacked once, beside the decoded radiographs, and brings the hands along.

    Finished training runs are kept, unfinished ones are resumed, and a failed one does not stop the others. Shipped
    plans: standard, fast, and full (for full-size radiographs and several GPUs). docs/training.md has their format.
    Needs boneage[train].

    \b
    Examples:
      boneage build full --radiographs boneage-training-dataset.csv --hand standard --out my-bundle --jobs 4
      boneage build my-plan.toml --radiographs radiographs.csv --out trial --set train.epochs=1
      boneage build standard --radiographs training.zip --out my-standard
      boneage build my-plan.toml --radiographs radiographs.csv --keep standard --out my-bundle
      torchrun --nproc-per-node 4 -m boneage build full --radiographs radiographs.csv --out my-bundle
    """
    from dataclasses import replace
    from functools import partial

    from boneage.train.bundle.build import Build, build_bundle
    from boneage.train.bundle.plan import load_plan

    planned = load_plan(plan)
    request = Build(
        replace(planned, hands=hand) if hand else planned,
        radiographs,
        runs or out.with_name(f"{out.name}-runs"),
        images,
        changes,
        cache,
        accelerator,
        jobs,
        threads=max(1, (os.cpu_count() or 1) // jobs),
        kept=keep or "",
    )
    with sigterm_interrupts():
        built = build_bundle(
            request, out, report=report_line, overwrite=overwrite, progress=partial(with_progress, quiet=quiet)
        )
    if built.released is not None:
        tell_released(built.released)
    exit_by(built.failed, ", and no bundle was made")
