"""``boneage evaluate``: from predictions, or from labelled radiographs and a bundle, to tables and plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from boneage.commands.each_radiograph import (
    assess_each,
    chosen_radiographs,
    counted,
    exit_status,
    none_assessed,
    open_for_many,
    summary,
)
from boneage.commands.progress import quiet_option
from boneage.commands.stress import ALL_CHANGES, chosen_changes, drawn_radiographs, stress
from boneage.errors import BoneageError, TableError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from boneage.bundle.estimate import AgeEstimate
    from boneage.evaluate.predictions import Predictions
    from boneage.tables.radiographs import LabelledRadiograph


@click.command()
@click.argument("predictions", required=False, type=click.Path(path_type=Path))
@click.option("--radiographs", type=click.Path(path_type=Path), help="CSV of labelled radiographs to assess first.")
@click.option("--images", type=click.Path(path_type=Path), help="Folder of their images; by default beside the CSV.")
@click.option("--split", help="Part of the radiographs (column split), or all.")
@click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="Only radiographs whose column has this value.")
@click.option("--count", type=click.IntRange(min=1), help="Only so many of the radiographs, drawn at random.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of --count.")
@click.option(
    "--bundle", metavar="NAME_OR_DIR", help="Bundle that assesses the radiographs. [default: the shipped one]"
)
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the results.")
@click.option("--by", multiple=True, metavar="COLUMN", help="Also group by this column; may be given several times.")
@click.option(
    "--stress",
    "changes",
    is_flag=False,
    flag_value=ALL_CHANGES,
    metavar="[NAME,...]",
    help="Instead, hold estimates of changed radiographs against those of the same radiographs unchanged; all "
    "changes, or these.",
)
@click.option("--plots/--no-plots", default=True, show_default=True, help="Draw plots; needs boneage[plot].")
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
    """Hold estimates against labels: MAD, CCC, RMSE, bias and more, by sex, age and stage of development.

    Reads PREDICTIONS (a CSV with id,sex,boneage,age_months and, to see what intervals hold, low_95,high_95 or
    low_80,high_80), or assesses --radiographs with a bundle and writes predictions.csv and rejected.csv. Writes
    tables.md, tables.csv and plots/*.png, and prints the overall figures. Exits with 3 if a radiograph was rejected,
    and with 1 if one failed unforeseen; the figures are then those of the others.

    With --stress, writes stress.md, stress.csv and stress_radiographs.csv: for each change of the radiograph (rotated,
    mirrored, inverted, framed, marked, smaller, compressed, ...) how many are rejected, the MAD, and how far estimates
    move. A rejection is a figure there and no failure. NAME may be mild or strong.

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
    if changes is not None:
        if by:
            raise click.UsageError("--by does not go with --stress: choose radiographs with --where.")
        stressed = chosen_changes(changes)
    elif plots:
        require_matplotlib()
    errors: list[BoneageError] = []
    if radiographs is not None:
        chosen = drawn_radiographs(_where(chosen_radiographs(radiographs, images, split), where), count, seed)
        notes = [_said(radiographs, split, where, count, seed)]
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
    """The radiographs whose columns have the values asked for."""
    chosen = list(radiographs)
    for condition in conditions:
        column, equals, value = condition.partition("=")
        if not equals:
            raise click.UsageError(f"--where needs COLUMN=VALUE, not {condition!r}.")
        if column not in radiographs[0].groups:
            raise TableError("table_columns", f"The radiographs have no column {column!r}.")
        chosen = [radiograph for radiograph in chosen if radiograph.groups[column] == value]
    if not chosen:
        raise TableError("table_empty", f"There is no radiograph with {' and '.join(conditions)}.")
    return chosen


def _said(radiographs: Path, split: str | None, where: Sequence[str], count: int | None, seed: int) -> str:
    """Which radiographs were asked for, as a note."""
    parts = [f"Labels: {radiographs.name}", *([f"split {split}"] if split else []), *where]
    return ", ".join(parts + ([f"at most {count} drawn with seed {seed}"] if count else []))


def _assess(
    radiographs: Sequence[LabelledRadiograph], bundle_name: str, out: Path, by: Sequence[str], quiet: bool
) -> tuple[Predictions, list[str], list[BoneageError]]:
    """Assess radiographs and write predictions and rejections; also gives notes on what was done, and why radiographs
    failed.
    """
    import numpy as np

    from boneage.evaluate.predictions import Predictions, write_predictions
    from boneage.tables.csv_table import write_rows

    unknown = [column for column in by if column not in radiographs[0].groups]
    if unknown:  # said now and not after an hour
        raise TableError("table_columns", f"The radiographs have no column {', '.join(unknown)} to group by.")
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
        groups={
            column: tuple(radiograph.groups[column] for radiograph, _ in assessed) for column in radiographs[0].groups
        },
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
    """Bounds by percentage, (N, 2), rounded as the ages are; none where the bundle gives none."""
    import numpy as np

    by_percent = {
        80: [estimate.interval_80_months for estimate in estimates],
        95: [estimate.interval_months for estimate in estimates],
    }
    return {
        percent: np.round([bounds for bounds in found if bounds is not None], 3)
        for percent, found in by_percent.items()
        if None not in found
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
