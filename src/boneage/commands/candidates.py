"""``boneage candidates``: the candidate networks of Souza & Oliveira, their table and curves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import click

from boneage.commands.each_radiograph import sigterm_interrupts
from boneage.commands.grid import keyed, positive_count
from boneage.commands.progress import quiet_option, with_progress

if TYPE_CHECKING:
    from boneage.train.candidates import CandidatePlan


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
    "--epochs", metavar="N|shallow=N,deep=N", help="Epochs of A to D, and of the others. [default: the paper's]"
)
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change the recipes of all networks.")
@click.option("--only", metavar="NAME,...", help="Train only these networks; * matches any text, e.g. 'souza-[a-d]'.")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1), help="Number of parallel training runs.")
@click.option(
    "--cache", type=click.Path(path_type=Path), help="Folder of decoded radiographs. [default: cache beside --out]"
)
@click.option(
    "--accelerator",
    type=click.Choice(["auto", "cpu", "gpu"]),
    default="auto",
    show_default=True,
    help="Device for training.",
)
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
        from boneage.train.candidates import CANDIDATES, DEPTHS, CandidatePlan

        plan = CandidatePlan(
            radiographs=radiographs,
            out=out,
            images=images,
            names=_chosen(only, tuple(CANDIDATES)),
            side=side or 0,
            epochs=keyed("--epochs", epochs, DEPTHS, positive_count) if epochs else {},
            changes=changes,
            cache=cache,
            accelerator=accelerator,
            threads=max(1, (os.cpu_count() or 1) // jobs),
        )
        failed = _train(plan, jobs, quiet)
    elif any((images, side, epochs, changes, only, cache)):
        raise click.UsageError("Without --radiographs nothing is trained, and only --out is allowed.")
    _report(out)
    if failed:
        click.echo(f"{len(failed)} training(s) failed: {', '.join(failed)}", err=True)
    statuses = {max(status, 0) or 1 for status in failed.values()}  # below 0: killed by a signal
    click.get_current_context().exit(statuses.pop() if len(statuses) == 1 else min(len(statuses), 1))


def _chosen(only: str | None, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names that match one of the patterns."""
    patterns = ["*"] if only is None else [part.strip() for part in only.split(",")]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise click.UsageError(f"--only: no network is named {pattern!r}; there are {', '.join(names)}.")
    return tuple(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))


def _train(plan: CandidatePlan, jobs: int, quiet: bool) -> dict[str, int]:
    import sys
    import time
    from functools import partial

    from boneage.train.candidates import train_candidates

    def report(line: str) -> None:
        click.echo(f"{time.strftime('%H:%M:%S')} {line}")
        sys.stdout.flush()

    with sigterm_interrupts():
        return train_candidates(plan, jobs=jobs, report=report, progress=partial(with_progress, quiet=quiet))


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
