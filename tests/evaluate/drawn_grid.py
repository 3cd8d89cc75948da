"""A grid that no network made: 18 predictions tables of drawn errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from boneage.evaluate.grid import CELLS, SEXES_OF, Cell
from boneage.evaluate.predictions import Predictions, write_predictions
from tests.evaluate.drawn_predictions import drawn_predictions

SPREADS = {"A": 8.0, "B": 12.0, "C": 10.0, "mixed": 1.3, "males": 1.0, "females": 1.0}


def drawn_grid(count: int = 200, seed: int = 0) -> dict[Cell, Predictions]:
    """Errors as the paper has them: B worst, A best, mixed networks worse than separate ones; independent of each
    other."""
    radiographs = drawn_predictions(count, seed)
    generator = np.random.default_rng(seed + 1)
    tables = {}
    for cell in CELLS:
        spread = SPREADS[cell.region] * SPREADS[cell.cohort] * (1.15 if cell.type == "regression" else 1.0)
        estimates = radiographs.boneage_months + generator.normal(0, spread, count)
        read = [place for place, sex in enumerate(radiographs.sexes) if sex in SEXES_OF[cell.cohort]]
        tables[cell] = of_radiographs(replace(radiographs, age_months=estimates), read)
    return tables


def of_radiographs(radiographs: Predictions, places: list[int]) -> Predictions:
    """Some of the radiographs, in the order of `places`."""
    return Predictions(
        tuple(radiographs.ids[place] for place in places),
        tuple(radiographs.sexes[place] for place in places),
        radiographs.boneage_months[places],
        radiographs.age_months[places],
        {column: tuple(texts[place] for place in places) for column, texts in radiographs.groups.items()},
    )


def write_tables(folder: Path, tables: Mapping[Cell, Predictions]) -> None:
    for cell, table in tables.items():
        write_predictions(folder / f"{cell.name}.csv", table)
