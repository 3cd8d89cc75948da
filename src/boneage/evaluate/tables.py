"""Figures by group of radiographs, as Markdown for people and as tidy CSV for programs.

Groups are by the label, so that systems are measured on the same radiographs. Because labels scatter, those of an old
group are too old on average and the best estimates lie below them (regression to the mean); those of a young group lie
above. The table grouped by the estimate shows the expected error of a given estimate.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boneage.evaluate.metrics import RESAMPLES, Figure, measure, measure_interval
from boneage.evaluate.predictions import INTERVAL_PERCENTS, Predictions
from boneage.evaluate.stages import Stage
from boneage.sex import Sex
from boneage.tables.csv_table import write_rows

SMALLEST_GROUP = 5
"""Minimum number of radiographs for figures. Those of fewer would be noise, and could be traced to one child."""

BAND_MONTHS = 24

SEX_LABELS = {Sex.FEMALE: "Girls", Sex.MALE: "Boys"}

_METRIC_LABELS = {
    "mad": "MAD, months",
    "ccc": "CCC",
    "rmse": "RMSE, months",
    "median": "Median absolute error, months",
    "bias": "Bias (estimate minus label), months",
    "within_6": "Within 6 months",
    "within_12": "Within 12 months",
    "within_24": "Within 24 months",
    "pearson": "Pearson r",
    **{f"coverage_{percent}": f"Within the {percent} % interval" for percent in INTERVAL_PERCENTS},
    **{f"width_{percent}": f"Mean width of the {percent} % interval, months" for percent in INTERVAL_PERCENTS},
}
_MARKDOWN_COLUMNS = ("mad", "ccc", "rmse", "median", "bias", "within_6", "within_12", "within_24")
_MARKDOWN_HEADS = ("MAD [95 % interval]", "CCC", "RMSE", "median", "bias", "≤ 6", "≤ 12", "≤ 24")


_INTERVAL_CRITERIA = ("overall", "sex", "stage")
"""Criteria of the groups in the table of intervals."""


@dataclass(frozen=True)
class GroupFigures:
    """Figures of one group of radiographs.

    Attributes:
        group: Name, unique in its table.
        n: Number of radiographs.
        figures: Figures by metric; empty if the group is too small. With intervals they include ``coverage_95`` and
            ``width_95`` and so on: the share of labels within, 0 to 1, and the mean width, months.
    """

    group: str
    n: int
    figures: Mapping[str, Figure]


@dataclass(frozen=True)
class Table:
    """Figures of all groups by one criterion.

    The criterion is ``overall``, ``sex``, ``age_band``, ``stage``, ``sex_and_stage``, ``estimated_stage`` or a column.
    """

    criterion: str
    title: str
    groups: tuple[GroupFigures, ...]


def make_tables(
    predictions: Predictions, by: Sequence[str] = (), *, resamples: int = RESAMPLES, seed: int = 0
) -> list[Table]:
    """Measure figures overall, by sex, 2-year band of bone age, stage, sex and stage, estimated stage, and columns.

    Args:
        predictions: Predictions of at least one radiograph.
        by: Further columns of the predictions.
        resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap.

    Raises:
        TableError: ``table_columns`` for an unknown column of `by`.
    """
    sexes, stages = predictions.sexes, predictions.stages()
    names: Mapping[Hashable, str] = {stage: stage.label for stage in Stage}
    bands = [int(age // BAND_MONTHS) for age in predictions.boneage_months]
    criteria: list[tuple[str, str, Sequence[Hashable], Mapping[Hashable, str]]] = [
        ("overall", "Overall", [0] * len(predictions), {0: "All radiographs"}),
        ("sex", "By sex", sexes, {sex: SEX_LABELS[sex] for sex in Sex}),
        ("age_band", "By bone age", bands, {band: band_label(band) for band in sorted(set(bands))}),
        ("stage", "By developmental stage", stages, names),
        (
            "sex_and_stage",
            "By sex and developmental stage",
            list(zip(sexes, stages, strict=True)),
            {(sex, stage): f"{SEX_LABELS[sex]}, {stage.label.lower()}" for sex in Sex for stage in Stage},
        ),
        ("estimated_stage", "By the estimate's developmental stage", predictions.estimated_stages(), names),
    ]
    for column in by:
        texts = predictions.group(column)
        criteria.append((column, f"By {column}", texts, {text: text or "(empty)" for text in sorted(set(texts))}))
    return [
        Table(criterion, title, _groups(predictions, keys, labels, resamples, seed))
        for criterion, title, keys, labels in criteria
    ]


def radiographs_in_words(count: int) -> str:
    """Return a count in words: ``1 radiograph``, ``2 radiographs``."""
    return f"{count} radiograph" if count == 1 else f"{count} radiographs"


def two_decimals(value: float, sign: str = "") -> str:
    """Return ``7.52``, or ``+7.52`` with the sign ``+``; never -0.00, which would suggest a direction."""
    return format(round(value, 2) + 0.0, f"{sign}.2f")


def with_interval(figure: Figure, sign: str = "") -> str:
    """Return a figure with its interval, ``7.52 [7.11, 7.95]``, in the format of `two_decimals`."""
    value, low, high = (two_decimals(number, sign) for number in (figure.value, figure.low, figure.high))
    return f"{value} [{low}, {high}]"


def band_label(band: int) -> str:
    """Return the name of a band of `BAND_MONTHS`: ``8 to 10 years``."""
    years = BAND_MONTHS // 12
    return f"{band * years} to {(band + 1) * years} years"


def _groups(
    predictions: Predictions, keys: Sequence[Hashable], labels: Mapping[Hashable, str], resamples: int, seed: int
) -> tuple[GroupFigures, ...]:
    groups = []
    for key, label in labels.items():
        chosen = np.array([other == key for other in keys])
        count = int(chosen.sum())
        if count == 0:
            continue
        figures: Mapping[str, Figure] = {}
        if count >= SMALLEST_GROUP:
            figures = _figures(predictions, chosen, resamples, seed)
        groups.append(GroupFigures(label, count, figures))
    return tuple(groups)


def _figures(predictions: Predictions, chosen: NDArray[np.bool], resamples: int, seed: int) -> dict[str, Figure]:
    """Return all figures of the chosen radiographs (N,)."""
    labels = predictions.boneage_months[chosen]
    figures = measure(labels, predictions.age_months[chosen], resamples=resamples, seed=seed)
    for percent, bounds in predictions.intervals.items():
        of_interval = measure_interval(labels, bounds[chosen], resamples=resamples, seed=seed)
        figures |= {f"{name}_{percent}": figure for name, figure in of_interval.items()}
    return figures


def overall_lines(tables: Sequence[Table]) -> list[str]:
    """Return the overall figures with their intervals as lines of a Markdown table, one metric on each line."""
    overall = tables[0].groups[0]
    rows = [
        (
            _METRIC_LABELS[name],
            _number(name, figure.value),
            f"{_number(name, figure.low)} to {_number(name, figure.high)}",
        )
        for name, figure in overall.figures.items()
    ]
    return markdown_table(
        ("", radiographs_in_words(overall.n), "95 % interval"), rows or [("too few radiographs for figures", "", "")]
    )


def to_markdown(tables: Sequence[Table], heading: str, notes: Sequence[str] = ()) -> str:
    """Return all tables as one Markdown text.

    Args:
        tables: Tables from `make_tables`.
        heading: Heading of the text.
        notes: Lines of the list below the heading, on the evaluated and the rejected radiographs.
    """
    lines = [f"# {heading}", "", *(f"- {note}" for note in notes), *([""] if notes else []), *overall_lines(tables)]
    for table in tables[1:]:
        rows = [(group.group, str(group.n), *_cells(group)) for group in table.groups]
        lines += ["", f"## {table.title}", "", *markdown_table(("", "radiographs", *_MARKDOWN_HEADS), rows)]
    lines += _interval_lines(tables)
    lines += [
        "",
        "Figures are in months, except for shares and coefficients. Groups are by the label unless stated otherwise. "
        "The scatter of the labels causes a part of the bias in young and old groups (regression to the mean). The "
        "table by the estimate's stage is free of it. Intervals are percentile bootstrap intervals over radiographs "
        f"with a fixed seed. Groups of fewer than {SMALLEST_GROUP} radiographs are only counted. CCC falls with the "
        "range of ages in a group, so compare it between systems, not between groups. Stages: see "
        "`boneage.evaluate.stages`.",
    ]
    return "\n".join(lines) + "\n"


def write_tidy(path: Path, tables: Sequence[Table]) -> None:
    """Write one row for each figure: ``criterion,group,n,metric,value,low,high``.

    A group too small for figures has one row with an empty metric; undefined values are empty.
    """
    rows: list[Sequence[object]] = []
    for table in tables:
        for group in table.groups:
            start = (table.criterion, group.group, group.n)
            rows += [
                (*start, name, *(_tidy(value) for value in (figure.value, figure.low, figure.high)))
                for name, figure in group.figures.items()
            ] or [(*start, "", "", "", "")]
    write_rows(path, ("criterion", "group", "n", "metric", "value", "low", "high"), rows)


def _interval_lines(tables: Sequence[Table]) -> list[str]:
    """Return the section on prediction intervals; nothing without intervals."""
    percents = [percent for percent in INTERVAL_PERCENTS if f"coverage_{percent}" in tables[0].groups[0].figures]
    if not percents:
        return []
    heads = [head for percent in percents for head in (f"within {percent} % [95 % interval]", "mean width")]
    rows = [
        (group.group, str(group.n), *(_interval_cells(group, percents)))
        for table in tables
        if table.criterion in _INTERVAL_CRITERIA
        for group in table.groups
    ]
    return ["", "## Intervals", "", *markdown_table(("", "radiographs", *heads), rows)]


def _interval_cells(group: GroupFigures, percents: Sequence[int]) -> Iterator[str]:
    for percent in percents:
        held, width = (group.figures.get(f"{name}_{percent}") for name in ("coverage", "width"))
        if held is None or width is None:
            yield from ("", "")
        else:
            shares = [f"{100 * share:.1f}" for share in (held.value, held.low, held.high)]
            yield f"{shares[0]} % [{shares[1]}, {shares[2]}]"
            yield two_decimals(width.value)


def _cells(group: GroupFigures) -> list[str]:
    if not group.figures:
        return [""] * len(_MARKDOWN_COLUMNS)
    cells = [_number(name, group.figures[name].value) for name in _MARKDOWN_COLUMNS]
    mad = group.figures["mad"]
    cells[0] += f" [{_number('mad', mad.low)}, {_number('mad', mad.high)}]"
    return cells


def _number(metric: str, value: float) -> str:
    if not math.isfinite(value):
        return "undefined"
    if metric.startswith(("within_", "coverage_")):
        return f"{100 * value:.1f} %"
    if metric in {"ccc", "pearson"}:
        return f"{value:.3f}"
    return two_decimals(value, "+" if metric == "bias" else "")


def _tidy(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""


def figure_cells(figure: Figure | None) -> tuple[str, str, str]:
    """Return a figure and the bounds of its interval as cells of a CSV table; empty for no figure."""
    if figure is None:
        return "", "", ""
    value, low, high = (f"{number:.4f}" for number in (figure.value, figure.low, figure.high))
    return value, low, high


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table. All columns except the first are aligned to the right."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = "|" + "|".join(["---", *["---:"] * (len(heads) - 1)]) + "|"
    return [line(heads), rule, *(line(row) for row in rows)]
