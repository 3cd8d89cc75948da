"""Figures of the grid beside those of the paper, as Markdown for people and CSV for programs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boneage.arrays import Months
from boneage.errors import TableError
from boneage.evaluate.ensemble_weights import fit_weights
from boneage.evaluate.grid import (
    CELLS,
    COHORT_OF,
    COLUMNS,
    PAPER_MONTHS,
    ROWS,
    TOGETHER,
    TYPES,
    Cell,
    FieldFigures,
    Grid,
    Place,
    Resamples,
    StageFigures,
    field_figures,
    sex_figures,
    stage_figures,
)
from boneage.evaluate.grid_orders import Claim, Order, Verdict, paper_orders
from boneage.evaluate.metrics import Figure
from boneage.evaluate.tables import (
    SEX_LABELS,
    SMALLEST_GROUP,
    markdown_table,
    radiographs_in_words,
    with_interval,
)
from boneage.files import write_text
from boneage.sex import Sex
from boneage.tables.csv_table import write_rows

_HEADS = {column: column.replace("-", " ") for column in COLUMNS} | {TOGETHER: "regression and classification"}


@dataclass(frozen=True, eq=False)
class WeightedEnsemble:
    """Ensemble with weights fitted on out-of-fold predictions, and the unweighted mean of the same networks.

    Attributes:
        weights: Weights by sex and cell, at least 0, with the sum 1 for each sex.
        fitted_on: Number of out-of-fold radiographs by sex.
        weighted, plain: MAD of the weighted and of the unweighted mean, months.
        gain: MAD of the unweighted mean minus that of the weighted one, months, paired.
    """

    weights: Mapping[Sex, Mapping[Cell, float]]
    fitted_on: Mapping[Sex, int]
    weighted: Figure
    plain: Figure
    gain: Figure


@dataclass(frozen=True, eq=False)
class GridReport:
    """All figures of a grid.

    Attributes:
        grid: Estimates of the networks.
        fields: MAD of each field of the table.
        by_sex: MAD of each field on the radiographs of one sex.
        stages: MAD by stage.
        orders: Comparisons of the paper.
        of_all: MAD of the mean of all networks that read the radiographs of a sex, mixed ones included, months.
        weighted: Ensemble with fitted weights; None without predictions out of fold.
    """

    grid: Grid
    fields: Mapping[Place, FieldFigures]
    by_sex: Mapping[tuple[Place, Sex], FieldFigures]
    stages: Sequence[StageFigures]
    orders: Sequence[Order]
    of_all: Figure
    weighted: WeightedEnsemble | None = None


def report_grid(grid: Grid, out_of_fold: Grid | None = None, *, seed: int = 0) -> GridReport:
    """Compute all figures of a grid.

    Args:
        grid: Predictions on validation radiographs.
        out_of_fold: Out-of-fold predictions of the same cells on training radiographs, which fit the weights.
        seed: Seed of the bootstrap.

    Raises:
        TableError: ``table_value`` if the out-of-fold predictions are those of other networks.
    """
    resamples = Resamples(grid, seed=seed)
    return GridReport(
        grid=grid,
        fields=field_figures(grid, resamples),
        by_sex=sex_figures(grid, resamples),
        stages=stage_figures(grid, resamples, smallest=SMALLEST_GROUP),
        orders=paper_orders(grid, resamples),
        of_all=resamples.mean(np.abs(_mean_of_all(grid) - grid.boneage_months)),
        weighted=None if out_of_fold is None else _weigh(grid, out_of_fold, resamples),
    )


def _weigh(grid: Grid, out_of_fold: Grid, resamples: Resamples) -> WeightedEnsemble:
    if set(grid.networks) != set(out_of_fold.networks):
        differing = sorted(cell.name for cell in set(grid.networks) ^ set(out_of_fold.networks))
        raise TableError("table_value", f"Out-of-fold predictions are of other networks: {', '.join(differing)}.")
    weighted = np.full(len(grid), np.nan)
    weights: dict[Sex, dict[Cell, float]] = {}
    for sex in Sex:
        members, radiographs = grid.members(sex), out_of_fold.of_sex(sex)
        if not (members and radiographs.any() and grid.of_sex(sex).any()):
            continue
        fitted = fit_weights(_stack(out_of_fold, members, radiographs), out_of_fold.boneage_months[radiographs])
        weights[sex] = dict(zip(members, fitted.tolist(), strict=True))
        weighted[grid.of_sex(sex)] = fitted @ _stack(grid, members, grid.of_sex(sex))
    plain = np.where(np.isfinite(weighted), _mean_of_all(grid), np.nan)
    errors, plain_errors = np.abs(weighted - grid.boneage_months), np.abs(plain - grid.boneage_months)
    return WeightedEnsemble(
        weights,
        {sex: int(out_of_fold.of_sex(sex).sum()) for sex in weights},
        resamples.mean(errors),
        resamples.mean(plain_errors),
        resamples.mean(plain_errors - errors),
    )


def _mean_of_all(grid: Grid) -> Months:
    """Return the mean of all networks that read a radiograph's sex, (N,), NaN for a sex without networks."""
    estimates = np.full(len(grid), np.nan)
    for sex in Sex:
        if members := grid.members(sex):
            estimates[grid.of_sex(sex)] = _stack(grid, members, grid.of_sex(sex)).mean(axis=0)
    return estimates


def _stack(grid: Grid, members: Sequence[Cell], radiographs: NDArray[np.bool_]) -> Months:
    return np.stack([grid.networks[cell][radiographs] for cell in members])


REPORT_FILES = ("grid.md", "grid.csv", "stages.csv", "orders.csv", "weights.csv")
"""Names of the files of `write_report`."""


def write_report(folder: Path, report: GridReport, notes: Sequence[str] = ()) -> None:
    """Write ``grid.md``, ``grid.csv``, ``stages.csv``, ``orders.csv`` and, if there are weights, ``weights.csv``."""
    write_text(folder / "grid.md", grid_markdown(report, notes))
    write_rows(
        folder / "grid.csv",
        ("column", "row", "radiographs", "count", "mad_months", "low", "high", "paper_months"),
        _tidy_fields(report),
    )
    write_rows(
        folder / "stages.csv",
        ("column", "row", "sex", "stage", "count", "mad_months", "low", "high"),
        [(*each.place, each.sex, each.stage, each.radiographs, *_tidy(each.mad)) for each in report.stages],
    )
    write_rows(
        folder / "orders.csv",
        ("claim", "worse", "better", "radiographs", "count", "difference_months", "low", "high", "verdict"),
        [
            (o.claim, o.worse.title, o.better.title, o.radiographs, o.count, *_tidy(o.difference), o.verdict)
            for o in report.orders
        ],
    )
    if report.weighted is not None:
        write_rows(
            folder / "weights.csv",
            ("sex", "cell", "weight"),
            [
                (sex, cell.name, f"{weight:.6f}")
                for sex, of_sex in report.weighted.weights.items()
                for cell, weight in of_sex.items()
            ],
        )


def grid_markdown(report: GridReport, notes: Sequence[str] = ()) -> str:
    """Return all tables as one Markdown text. The notes describe the training and its scale."""
    grid = report.grid
    counts = {sex: int(grid.of_sex(sex).sum()) for sex in Sex}
    facts = [
        *notes,
        f"{radiographs_in_words(len(grid))}: "
        + ", ".join(f"{SEX_LABELS[sex]} {count}" for sex, count in counts.items()),
    ]
    if grid.left_out:
        facts.append(
            f"{radiographs_in_words(grid.left_out)} left out, because some networks have no prediction for them"
        )
    if grid.missing:
        facts.append(
            f"Missing networks ({len(grid.missing)} of {len(CELLS)}): {', '.join(c.name for c in grid.missing)}"
        )
    lines = [
        *("# The grid of networks", ""),
        *(f"- {fact}" for fact in facts),
        *("", "## MAD in months, with 95 % confidence intervals (Iglovikov et al., Fig. 8)", ""),
        *field_lines(report),
        *("", f"Mean of all networks that read a radiograph, mixed ones included: {with_interval(report.of_all)}."),
        *("", _ABOUT_FIELDS),
        *("", "## Mixed and separate networks on the same radiographs", ""),
        *_sex_lines(report),
        *("", "## The paper's orders", ""),
        *_order_lines(report.orders),
        *(["", "## Weighted ensemble", "", *_weight_lines(report.weighted)] if report.weighted else []),
        *("", _ABOUT_INTERVALS),
    ]
    return "\n".join(lines) + "\n"


_ABOUT_FIELDS = (
    "Rows are regions (A whole hand, B carpal bones, C metacarpals and proximal phalanges) and the mean of the three. "
    "The last column averages the networks of the patient's own sex over both types. The paper's figures, in months, "
    "are those in the text of its section 5; its other fields are only in its plot. It has no ensemble of mixed "
    "classification. Its validation radiographs differ from ours, and its views have the full size of the frame."
)
_ABOUT_INTERVALS = (
    "Intervals are percentile bootstrap intervals over radiographs, stratified by sex, with the same resamples for all "
    "figures, so that differences are paired. They cover the sampling of radiographs, not the variation between "
    "training runs of the same networks. Among many comparisons at 95 %, about one in twenty is wrong by chance."
)


def field_lines(report: GridReport) -> list[str]:
    """Return the table of Fig. 8 as lines of Markdown; fields with missing networks are empty."""
    rows = [[row, *(_field_cell(report, Place(column, row)) for column in COLUMNS)] for row in ROWS]
    return markdown_table(["", *_HEADS.values()], rows)


def _field_cell(report: GridReport, place: Place) -> str:
    paper = f"paper {PAPER_MONTHS[place]:.2f}" if place in PAPER_MONTHS else ""
    ours = with_interval(report.fields[place].mad) if place in report.fields else ""
    return "; ".join(part for part in (ours, paper) if part)


def _sex_lines(report: GridReport) -> list[str]:
    heads = [f"{SEX_LABELS[sex]}, {networks} networks" for sex in Sex for networks in ("mixed", COHORT_OF[sex])]
    rows = []
    for kind in TYPES:
        for row in ROWS:
            keys = [(Place(f"{kind}-{networks}", row), sex) for sex in Sex for networks in ("mixed", COHORT_OF[sex])]
            cells = [report.by_sex.get(key) for key in keys]
            rows.append([f"{kind} {row}", *("" if each is None else with_interval(each.mad) for each in cells)])
    return markdown_table(["", *heads], rows)


def _order_lines(orders: Sequence[Order]) -> list[str]:
    lines = []
    for claim in Claim:
        of_claim = [order for order in orders if order.claim is claim]
        counts = Counter(order.verdict for order in of_claim)
        verdicts = (
            ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict) if of_claim else "networks are missing"
        )
        lines.append(f"- {claim.sentence}: {verdicts}")
    rows = [
        [
            f"{order.worse.title} > {order.better.title}",
            f"{order.count} ({order.radiographs})",
            with_interval(order.difference, sign="+"),
            order.verdict.value,
        ]
        for order in orders
    ]
    heads = ["MAD of", "radiographs", "difference, months", "verdict"]
    return [*lines, "", *markdown_table(heads, rows)] if rows else lines


def _weight_lines(weighted: WeightedEnsemble) -> list[str]:
    cells = [cell for cell in CELLS if any(cell in of_sex for of_sex in weighted.weights.values())]
    rows = [
        [cell.name, *(f"{of_sex[cell]:.3f}" if cell in of_sex else "" for of_sex in weighted.weights.values())]
        for cell in cells
    ]
    heads = [f"{SEX_LABELS[sex]} (fitted on {radiographs_in_words(n)})" for sex, n in weighted.fitted_on.items()]
    return [
        f"MAD {with_interval(weighted.weighted)} weighted, {with_interval(weighted.plain)} with equal weights of the "
        f"same networks; the weights gain {with_interval(weighted.gain, sign='+')}.",
        "",
        *markdown_table(["weight", *heads], rows),
    ]


def _tidy_fields(report: GridReport) -> Iterator[tuple[object, ...]]:
    """Yield one row for each field on all its radiographs, then those by sex that compare networks of both cohorts."""
    for column in COLUMNS:
        for row in ROWS:
            if (place := Place(column, row)) in report.fields:
                field = report.fields[place]
                paper = PAPER_MONTHS.get(place, "")
                yield (*place, "all of its cohort", field.radiographs, *_tidy(field.mad), paper)
    for (place, sex), field in report.by_sex.items():
        yield (*place, SEX_LABELS[sex].lower(), field.radiographs, *_tidy(field.mad), "")


def _tidy(figure: Figure | None) -> tuple[str, str, str]:
    if figure is None:
        return "", "", ""
    value, low, high = (
        f"{number:.6g}" if math.isfinite(number) else "" for number in (figure.value, figure.low, figure.high)
    )
    return value, low, high
