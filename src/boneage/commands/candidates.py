"""``boneage candidates``: the candidate networks of Souza & Oliveira, their table and curves."""

from __future__ import annotations

import os
from pathlib import Path

import click

from boneage.commands.outputs import keep_inputs
from boneage.commands.progress import quiet_option
from boneage.commands.training import (
    accelerator_option,
    cache_option,
    exit_by,
    jobs_option,
    keyed,
    matching,
    positive_count,
    run_series,
)


@click.command()
@click.option(
    "--radiographs", type=click.Path(path_type=Path), help="CSV with id,boneage,male. Without it, only tables are made."
)
@click.option("--images", type=click.Path(path_type=Path), help="Folder of <id>.png; if the CSV has no image column.")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the networks.")
@click.option(
    "--side", type=click.IntRange(32), help="Height and width of the views, pixels. [default: the paper's 256]"
)
@click.option(
    "--epochs",
    metavar="N|shallow=N,deep=N",
    help="Epochs of A to D, and of the others. [default of each: the paper's]",
)
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change the recipes of all networks.")
@click.option("--only", metavar="NAME,...", help="Train only these networks; * matches any text, e.g. 'souza-[a-d]'.")
@jobs_option
@cache_option()
@accelerator_option
@quiet_option
def candidates(
    *,
    radiographs: Path | None,
    images: Path | None,
    out: Path,
    side: int | None,
    epochs: str | None,
    changes: tuple[str, ...],
    only: str | None,
    jobs: int,
    cache: Path | None,
    accelerator: str,
    quiet: bool,
) -> None:
    """Train the candidate networks of Souza & Oliveira, and compare them with the paper's Table I.

    There are nine networks, named as their recipes: souza-a to souza-h, the columns of Table I, and inception-v3 with
    the sex, from random weights. Finished training runs are kept, unfinished ones are resumed, and a failed one does
    not stop the others.

    The command writes candidates.md, candidates.csv, stages.csv, steps.csv, plots/curves.png and plots/figure-6.png,
    even if networks are missing, and prints the table. Needs boneage[train].

    \b
    Examples:
      boneage candidates --radiographs radiographs.csv --out runs/table-1 --side 128 --epochs shallow=15,deep=6 --jobs 2
      boneage candidates --radiographs radiographs.csv --out runs/table-1 --accelerator gpu --set train.workers=8
      boneage candidates --out runs/table-1
    """  # click reads the control character
    failed: dict[str, int] = {}
    if radiographs is not None:
        from boneage.evaluate.candidates import REPORT_FILES
        from boneage.train.candidates import CANDIDATES, DEPTHS, CandidatePlan, train_candidates

        keep_inputs([radiographs], [out / name for name in REPORT_FILES])
        plan = CandidatePlan(
            radiographs=radiographs,
            out=out,
            images=images,
            names=tuple(matching(only, tuple(CANDIDATES))),
            side=side or 0,
            epochs=keyed("--epochs", epochs, DEPTHS, positive_count) if epochs else {},
            changes=changes,
            cache=cache,
            accelerator=accelerator,
            threads=max(1, (os.cpu_count() or 1) // jobs),
        )
        failed = run_series(train_candidates, plan, jobs, quiet=quiet)
    elif any((images, side, epochs, changes, only, cache)):
        raise click.UsageError("Without --radiographs nothing is trained, and only --out is allowed.")
    _report(out)
    exit_by(failed)


def _report(out: Path) -> None:
    from boneage.evaluate.candidates import candidate_lines, write_report
    from boneage.train.candidates import draw_curves, finished_candidates

    curves = draw_curves(out)
    finished = list(finished_candidates(out))
    if finished:
        write_report(out, finished)
        click.echo("\n".join(candidate_lines(finished)))
        click.echo(f"\nTables: {out}")
    else:
        click.echo("No network has finished its training: there are no tables.", err=True)
    for path in curves:
        click.echo(f"Plot: {path}")
