"""Comparison of predictions of the same radiographs, with the gain of each step by a paired bootstrap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from boneage.errors import TableError
from boneage.evaluate.metrics import RESAMPLES, Figure, concordance, mean_absolute_difference, measure
from boneage.evaluate.predictions import Predictions
from boneage.evaluate.tables import (
    SMALLEST_GROUP,
    figure_cells,
    markdown_table,
    radiographs_in_words,
    with_interval,
)
from boneage.tables.csv_table import write_rows


@dataclass(frozen=True)
class ComparedRow:
    """Figures of one predictions table on the common radiographs.

    Attributes:
        name: Name of the table.
        mad: Mean absolute difference from the labels, months.
        ccc: Concordance correlation coefficient.
        gain: MAD minus that of the row above, months, with a paired interval; None in the first row.
    """

    name: str
    mad: Figure
    ccc: Figure
    gain: Figure | None


@dataclass(frozen=True)
class Comparison:
    """Rows of a comparison, and the number of radiographs.

    Attributes:
        rows: Rows in the given order.
        radiographs: Number of radiographs in all tables.
        left_out: Number of radiographs that some table lacks.
    """

    rows: tuple[ComparedRow, ...]
    radiographs: int
    left_out: int


def compare(tables: Mapping[str, Predictions], *, resamples: int = RESAMPLES, seed: int = 0) -> Comparison:
    """Measure several predictions on their common radiographs.

    Args:
        tables: Tables by the names of the rows, in their order; at least one.
        resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap; equal seeds give equal intervals.

    Raises:
        TableError: ``table_value`` if two tables give a radiograph different labels or sexes; ``table_empty`` if they
            have fewer than `SMALLEST_GROUP` radiographs in common.
    """
    facts: dict[str, tuple[object, float]] = {}
    for name, table in tables.items():
        for radiograph, sex, label in zip(table.ids, table.sexes, table.boneage_months.tolist(), strict=True):
            if facts.setdefault(radiograph, (sex, label)) != (sex, label):
                raise TableError(
                    "table_value", f"{name}: the radiograph {radiograph!r} has another label or sex than before."
                )
    months = [dict(zip(table.ids, table.age_months.tolist(), strict=True)) for table in tables.values()]
    common = sorted(radiograph for radiograph in facts if all(radiograph in ages for ages in months))
    if not common:
        raise TableError("table_empty", "The tables have no radiograph in common.")
    if len(common) < SMALLEST_GROUP:
        raise TableError(
            "table_empty",
            f"Only {radiographs_in_words(len(common))} {'is' if len(common) == 1 else 'are'} common to all tables."
            f" A comparison needs at least {SMALLEST_GROUP}.",
        )
    labels = np.array([facts[radiograph][1] for radiograph in common])
    rows: list[ComparedRow] = []
    above = None
    for name, ages in zip(tables, months, strict=True):
        estimates = np.array([ages[radiograph] for radiograph in common])
        figures = measure(
            labels,
            estimates,
            {"mad": mean_absolute_difference, "ccc": concordance},
            resamples=resamples,
            seed=seed,
        )
        errors = np.abs(estimates - labels)
        gain = None
        if above is not None:
            paired = {"gain": lambda former, latter: (latter - former).mean(axis=-1)}
            gain = measure(above, errors, paired, resamples=resamples, seed=seed)["gain"]
        rows.append(ComparedRow(name, figures["mad"], figures["ccc"], gain))
        above = errors
    return Comparison(tuple(rows), len(common), len(facts) - len(common))


def comparison_lines(comparison: Comparison) -> list[str]:
    """Return the comparison as lines of a Markdown table."""
    heads = ("", "MAD", "CCC", "against the row above")
    rows = [
        (
            row.name,
            with_interval(row.mad),
            f"{row.ccc.value:.3f}",
            "" if row.gain is None else with_interval(row.gain, "+"),
        )
        for row in comparison.rows
    ]
    return markdown_table(heads, rows)


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Write the comparison as CSV atomically: figures and the bounds of their 95 % confidence intervals, months."""
    names = ("mad", "ccc", "gain")
    heads = ("name", *(f"{name}{end}" for name in names for end in ("", "_low", "_high")))
    rows = [
        (row.name, *chain.from_iterable(map(figure_cells, (row.mad, row.ccc, row.gain)))) for row in comparison.rows
    ]
    write_rows(path, heads, rows)
