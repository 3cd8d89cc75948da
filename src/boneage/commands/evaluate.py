"""Command ``boneage evaluate`` for predictions, or for labelled radiographs and a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from boneage.commands.columns import require_columns
from boneage.commands.each_radiograph import (
    assess_each,
    chosen_radiographs,
    counted,
    exit_status,
    none_assessed,
    open_for_many,
    summary,
)
from boneage.commands.outputs import keep_inputs
from boneage.commands.progress import quiet_option
from boneage.commands.stress import ALL_CHANGES, chosen_changes, drawn_radiographs, stress
from boneage.errors import BoneageError, TableError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from boneage.bundle.estimate import AgeEstimate
    from boneage.evaluate.predictions import Predictions
    from boneage.tables.radiographs import LabelledRadiograph

_TABLES = ("tables.md", "tables.csv")
_ALL_FILES = (*_TABLES, "predictions.csv", "rejected.csv")
_STRESS_FILES = ("stress.md", "stress.csv", "stress_radiographs.csv")


@click.command()
@click.argument("predictions", required=False, type=click.Path(path_type=Path))
@click.option(
    "--radiographs", type=click.Path(path_type=Path), help="CSV table of labelled radiographs to assess first."
)
@click.option("--images", type=click.Path(path_type=Path), help="Folder of their images; by default that of the table.")
@click.option("--split", help="Split of the radiographs (column split), or all.")
@click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="Select radiographs whose column has this value.")
@click.option("--count", type=click.IntRange(min=1), help="Number of radiographs to draw at random.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed for --count.")
@click.option(
    "--bundle", metavar="NAME_OR_DIR", help="Bundle that assesses the radiographs. [default: the shipped one]"
)
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the results.")
@click.option("--by", multiple=True, metavar="COLUMN", help="Column to group by; may be given several times.")
@click.option(
    "--stress",
    "changes",
    is_flag=False,
    flag_value=ALL_CHANGES,
    metavar="[NAME,...]",
    help="Compare estimates of changed radiographs with those of the"
    " unchanged ones instead: all mild and strong changes, or the named ones.",
)
@click.option("--plots/--no-plots", default=True, show_default=True, help="Draw plots (needs boneage[plot]).")
@quiet_option
def evaluate(
    *,
    predictions: Path | None,
    radiographs: Path | None,
    images: Path | None,
    split: str | None,
    where: tuple[str, ...],
    count: int | None,
    seed: int,
    bundle: str | None,
    out: Path,
    by: tuple[str, ...],
    changes: str | None,
    plots: bool,
    quiet: bool,
) -> None:
    """Compare estimates with labels: MAD, CCC, RMSE, bias and more, by sex, age and stage of development.

    The command reads PREDICTIONS, a CSV table with id,sex,boneage,age_months and, to measure the coverage of
    intervals, low_95,high_95 or low_80,high_80. Alternatively, it assesses --radiographs with a bundle and writes
    predictions.csv and rejected.csv. It writes tables.md, tables.csv and plots/*.png, and prints the overall
    figures. The exit code is 3 if a radiograph was rejected, and 1 if one failed unexpectedly. The figures then
    cover the other radiographs.

    The option --stress writes stress.md, stress.csv and stress_radiographs.csv. For each change of the radiograph
    (rotated, mirrored, inverted, framed, marked, smaller, compressed, ...) they have the number of rejections, the MAD,
    and the mean change of the estimates. Rejections are counted there and are no failures.
    NAME may also be a kind: mild, strong, or disturbing (drawn plaster, covers and metal, which are not among all).

    \b
    Examples:
      boneage evaluate predictions.csv --out results --by resolution
      boneage evaluate --radiographs radiographs.csv --split validation --out results
      boneage evaluate --radiographs radiographs.csv --split validation --count 200 --stress --out stress
    """  # click reads the control character
    from boneage.evaluate.plots import require_matplotlib
    from boneage.evaluate.predictions import read_predictions

    if (predictions is None) == (radiographs is None):
        raise click.UsageError("Give either a table of PREDICTIONS or --radiographs.")
    if radiographs is None and (images or split or where or count or bundle or changes is not None):
        raise click.UsageError("--images, --split, --where, --count, --bundle and --stress belong to --radiographs.")
    written = _STRESS_FILES if changes is not None else _TABLES if predictions is not None else _ALL_FILES
    keep_inputs([predictions, radiographs], [out / name for name in written])
    if changes is not None:
        if by:
            raise click.UsageError("--by does not go with --stress: choose radiographs with --where.")
        stressed = chosen_changes(changes)
    elif plots:
        require_matplotlib()
    errors: list[BoneageError] = []
    if radiographs is not None:
        chosen = drawn_radiographs(_where(chosen_radiographs(radiographs, images, split), where), count, seed)
        notes = [_selection_note(radiographs, split, where, count, seed)]
        if changes is not None:
            errors = stress(chosen, stressed, bundle or "default", out, notes, quiet=quiet)
            click.get_current_context().exit(exit_status(errors))
        table, done, errors = _assess(chosen, bundle or "default", out, by, quiet)
        notes += done
    else:
        assert predictions is not None  # noqa: S101 - one of the two was given; for the type checker
        table, notes = read_predictions(predictions), [f"Predictions: {predictions.name}"]
    _write(table, notes, out, by, plots)
    click.get_current_context().exit(exit_status(errors))


def _where(radiographs: Sequence[LabelledRadiograph], conditions: Sequence[str]) -> list[LabelledRadiograph]:
    """Return the radiographs whose columns have the requested values."""
    chosen = list(radiographs)
    for condition in conditions:
        column, equals, value = condition.partition("=")
        if not equals:
            raise click.UsageError(f"--where needs COLUMN=VALUE, not {condition!r}.")
        require_columns(radiographs, [column], "selected")
        chosen = [radiograph for radiograph in chosen if radiograph.groups[column] == value]
    if not chosen:
        raise TableError("table_empty", f"There is no radiograph with {' and '.join(conditions)}.")
    return chosen


def _selection_note(radiographs: Path, split: str | None, where: Sequence[str], count: int | None, seed: int) -> str:
    """Return a note on the selection of radiographs."""
    parts = [f"Labels: {radiographs.name}"]
    if split:
        parts.append(f"split {split}")
    parts += where
    if count:
        parts.append(f"at most {count} drawn with seed {seed}")
    return ", ".join(parts)


def _assess(
    radiographs: Sequence[LabelledRadiograph], bundle_name: str, out: Path, by: Sequence[str], quiet: bool
) -> tuple[Predictions, list[str], list[BoneageError]]:
    """Assess radiographs, and write predictions and rejections.

    Returns:
        Predictions, notes for the report, and the errors of radiographs that were not assessed.
    """
    import numpy as np

    from boneage.evaluate.predictions import OWN_COLUMNS, Predictions, further_columns, write_predictions
    from boneage.tables.csv_table import write_rows

    require_columns(radiographs, by, "grouped", OWN_COLUMNS)
    bundle = open_for_many(bundle_name)
    assessed: list[tuple[LabelledRadiograph, AgeEstimate]] = []
    rejected: list[tuple[LabelledRadiograph, BoneageError]] = []
    warnings: list[str] = []
    for radiograph, result in assess_each(radiographs, bundle, quiet=quiet):
        if isinstance(result, BoneageError):
            rejected.append((radiograph, result))
        else:
            assessed.append((radiograph, result.estimate))
            warnings += [warning.code.value for warning in result.warnings]
    write_rows(
        out / "rejected.csv",
        ("id", "sex", "boneage", "image", "error", "message"),
        [
            (radiograph.id, radiograph.sex, radiograph.boneage_months, radiograph.image.name, no.code, no.message)
            for radiograph, no in rejected
        ],
    )
    errors = [error for _, error in rejected]
    if not assessed:
        raise none_assessed(errors, f"; see {out / 'rejected.csv'}")
    predictions = Predictions(
        ids=tuple(radiograph.id for radiograph, _ in assessed),
        sexes=tuple(radiograph.sex for radiograph, _ in assessed),
        boneage_months=np.array([radiograph.boneage_months for radiograph, _ in assessed]),
        age_months=np.round([estimate.age_months for _, estimate in assessed], 3),
        groups=further_columns([radiograph for radiograph, _ in assessed]),
        intervals=_intervals([estimate for _, estimate in assessed]),
    )
    write_predictions(out / "predictions.csv", predictions)
    notes = [
        f"Bundle: {bundle.manifest.name} {bundle.manifest.version}",
        f"Radiographs: {len(radiographs)}, of which {summary(len(radiographs), errors)}",
        f"Warnings raised: {counted(warnings)}",
    ]
    return predictions, notes, errors


def _intervals(estimates: Sequence[AgeEstimate]) -> dict[int, NDArray[np.float64]]:
    """Return the bounds (N, 2) by percentage, rounded like the ages, for intervals that the bundle provides."""
    import numpy as np

    by_percent = {
        80: [estimate.interval_80_months for estimate in estimates],
        95: [estimate.interval_months for estimate in estimates],
    }
    return {
        percent: np.round([bounds for bounds in all_bounds if bounds is not None], 3)
        for percent, all_bounds in by_percent.items()
        if None not in all_bounds
    }


def _write(predictions: Predictions, notes: Sequence[str], out: Path, by: Sequence[str], plots: bool) -> None:
    from boneage.evaluate.plots import draw_plots
    from boneage.evaluate.tables import make_tables, overall_lines, to_markdown, write_tidy
    from boneage.files import write_text

    tables = make_tables(predictions, by)
    write_text(out / "tables.md", to_markdown(tables, "Evaluation", notes))
    write_tidy(out / "tables.csv", tables)
    if plots:
        draw_plots(out / "plots", predictions)
    click.echo("\n".join([*notes, "", *overall_lines(tables)]))
    click.echo(f"\nTables{' and plots' if plots else ''} of all groups: {out}")
