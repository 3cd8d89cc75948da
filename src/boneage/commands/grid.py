"""``boneage grid``: the 18 networks of Iglovikov et al., their ensembles, tables and plots."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from boneage.evaluate.grid import Cell, Cohort, GridRegion


@click.command()
@click.option(
    "--radiographs", type=click.Path(path_type=Path), help="CSV with id,boneage,male. Without it, only tables are made."
)
@click.option("--images", type=click.Path(path_type=Path), help="Folder of <id>.png; if the CSV has no image column.")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the grid.")
@click.option("--hands", metavar="NAME_OR_DIR", help="Bundle whose networks find the hands. [default: the recipe's]")
@click.option("--recipe", default="iglovikov", show_default=True, help="Recipe of all networks.")
@click.option(
    "--scale", metavar="X|A=X,B=X,C=X", help="Size of the views, as a share of the frame. [default: 1/16 each]"
)
@click.option(
    "--epochs", metavar="N|mixed=N,males=N,females=N", help="Epochs of training. [default of each: the recipe's]"
)
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change the recipe of all networks.")
@click.option("--only", metavar="NAME,...", help="Train only these networks; * matches any text, e.g. '*-males-a'.")
@jobs_option
@click.option(
    "--folds",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Folds of each network, for fitted ensemble weights.",
)
@cache_option()
@accelerator_option
@click.option("--plots/--no-plots", default=True, show_default=True, help="Draw plots; needs boneage[plot].")
@quiet_option
def grid(
    *,
    radiographs: Path | None,
    images: Path | None,
    out: Path,
    hands: str | None,
    recipe: str,
    scale: str | None,
    epochs: str | None,
    changes: tuple[str, ...],
    only: str | None,
    jobs: int,
    folds: int,
    cache: Path | None,
    accelerator: str,
    plots: bool,
    quiet: bool,
) -> None:
    """Train the networks of Iglovikov et al., and compare them and their ensembles with the paper.

    There are 18 networks with names such as regression-mixed-a: two types (regression, classification), three cohorts
    (mixed, males, females) and three regions of the registered hand (A whole, B carpals, C metacarpals and phalanges).
    Finished training runs are kept, unfinished ones are resumed, and a failed one does not stop the others.

    The command writes grid.md, grid.csv, stages.csv, orders.csv and plots/*.png, even if networks are missing, and
    prints the table. Needs boneage[train].

    \b
    Examples:
      boneage grid --radiographs radiographs.csv --hands hand --out runs/grid --jobs 2
      boneage grid --radiographs radiographs.csv --out runs/fine --scale A=1/8,B=1/4,C=1/4 --only 'regression-*'
      boneage grid --out runs/grid
    """  # click reads the control character
    if folds == 1:
        raise click.UsageError("--folds is 0, or at least 2.")
    if plots:
        from boneage.evaluate.plots import require_matplotlib

        require_matplotlib()
    failed: dict[str, int] = {}
    if radiographs is not None:
        from boneage.evaluate.grid_report import REPORT_FILES
        from boneage.train.grid import SCALE, GridPlan, train_grid

        keep_inputs([radiographs], [out / name for name in REPORT_FILES])
        regions, cohorts, cells = _keys()
        plan = GridPlan(
            radiographs=radiographs,
            out=out,
            images=images,
            hands=hands or "",
            scales=dict.fromkeys(regions, SCALE) | (keyed("--scale", scale, regions, _share) if scale else {}),
            epochs=keyed("--epochs", epochs, cohorts, positive_count) if epochs else {},
            changes=changes,
            cells=_chosen(only, cells),
            folds=folds,
            recipe=recipe,
            cache=cache,
            accelerator=accelerator,
            threads=max(1, (os.cpu_count() or 1) // jobs),
        )
        failed = run_series(train_grid, plan, jobs, quiet=quiet)
    elif any((images, hands, scale, epochs, changes, only, folds, cache)):
        raise click.UsageError("Without --radiographs nothing is trained, and only --out and --plots are allowed.")
    if failed and not any((out / "predictions").glob("*.csv")):
        click.echo("No network has been trained: there are no tables.", err=True)
    else:
        _report(out, plots)
    exit_by(failed)


def _share(text: str) -> float:
    value = float(Fraction(text.strip()))
    if not 0 < value <= 1:
        raise ValueError("not above 0 and up to 1")
    return value


def _keys() -> tuple[tuple[GridRegion, ...], tuple[Cohort, ...], tuple[Cell, ...]]:
    from boneage.evaluate.grid import CELLS, COHORTS, REGIONS

    return REGIONS, COHORTS, CELLS


def _chosen(only: str | None, cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """Return the cells whose names match one of the patterns."""
    names = matching(only, [cell.name for cell in cells])
    return tuple(cell for cell in cells if cell.name in names)


def _report(out: Path, plots: bool) -> None:
    from boneage.evaluate.grid import read_grid
    from boneage.evaluate.grid_report import field_lines, report_grid, write_report
    from boneage.evaluate.stage_plots import draw_grid_plots

    notes: list[str] = []
    if (out / "runs").is_dir():
        from boneage.train.grid import grid_notes

        notes = grid_notes(out)
    predictions = read_grid(out / "predictions")
    out_of_fold = read_grid(out / "out_of_fold") if any((out / "out_of_fold").glob("*.csv")) else None
    if out_of_fold is not None and set(out_of_fold.networks) != set(predictions.networks):
        notes.append("No weighted ensemble: not all networks have out-of-fold predictions")
        out_of_fold = None
    report = report_grid(predictions, out_of_fold)
    write_report(out, report, notes)
    if plots:
        draw_grid_plots(out / "plots", report)
    click.echo("\n".join([*notes, "", *field_lines(report)]))
    if predictions.missing:
        click.echo(f"\nMissing networks: {', '.join(cell.name for cell in predictions.missing)}")
    click.echo(f"\nTables{' and plots' if plots else ''}: {out}")
