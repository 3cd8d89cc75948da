"""Grid of 18 networks and its ensembles, from predictions tables (Iglovikov et al., sections 4.3 to 5, Fig. 8).

Rows are the regions A, B, C and their mean. A column is a type of network and a cohort; the last one averages the
networks of the patient's own sex of both types. All figures use the same radiographs and the same bootstrap resamples,
so that differences are paired.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from boneage.arrays import Months
from boneage.errors import TableError
from boneage.evaluate.metrics import CONFIDENCE, RESAMPLES, Figure
from boneage.evaluate.predictions import Predictions, read_predictions
from boneage.evaluate.stages import Stage, stage_of
from boneage.sex import Sex

NetworkType = Literal["regression", "classification"]
Cohort = Literal["mixed", "males", "females"]
GridRegion = Literal["A", "B", "C"]

TYPES: tuple[NetworkType, ...] = get_args(NetworkType)
COHORTS: tuple[Cohort, ...] = get_args(Cohort)
REGIONS: tuple[GridRegion, ...] = get_args(GridRegion)

SEXES_OF: Mapping[Cohort, frozenset[Sex]] = MappingProxyType(
    {"mixed": frozenset(Sex), "males": frozenset({Sex.MALE}), "females": frozenset({Sex.FEMALE})}
)
COHORT_OF: Mapping[Sex, Cohort] = MappingProxyType({Sex.MALE: "males", Sex.FEMALE: "females"})


class Cell(NamedTuple):
    """Cell of the grid: one of the 18 networks."""

    type: NetworkType
    cohort: Cohort
    region: GridRegion

    @property
    def name(self) -> str:
        """Name of the run and the table: ``regression-mixed-a``."""
        return f"{self.type}-{self.cohort}-{self.region.lower()}"


CELLS: tuple[Cell, ...] = tuple(itertools.starmap(Cell, itertools.product(TYPES, COHORTS, REGIONS)))
"""All 18 cells."""

ENSEMBLE = "ensemble"
ROWS = (*REGIONS, ENSEMBLE)
TOGETHER = "together"
SEPARATE = "separate"
COLUMNS = (
    *("regression-mixed", "regression-males", "regression-females"),
    *("classification-mixed", "classification-males", "classification-females"),
    TOGETHER,
)
"""Columns of the table. The paper's Fig. 8 has all except ``classification-mixed``."""


class Place(NamedTuple):
    """Field of the table, or of a column that joins the networks of males and females (``regression-separate``)."""

    column: str
    row: str

    @property
    def title(self) -> str:
        """Name for people: ``regression mixed A``."""
        column = "regression and classification" if self.column == TOGETHER else self.column.replace("-", " ")
        return f"{column} {self.row}"


PAPER_MONTHS: Mapping[Place, float] = MappingProxyType(
    {
        Place("regression-mixed", "A"): 8.08,
        Place("regression-mixed", "C"): 8.42,
        Place("regression-mixed", ENSEMBLE): 7.52,
        Place("regression-males", "A"): 6.67,
        Place("regression-males", ENSEMBLE): 6.30,
        Place("regression-females", "C"): 6.79,
        Place("regression-females", ENSEMBLE): 6.49,
        Place("classification-males", "A"): 6.44,
        Place("classification-males", ENSEMBLE): 6.16,
        Place("classification-females", "A"): 6.85,
        Place("classification-females", "C"): 6.85,
        Place("classification-females", ENSEMBLE): 6.39,
        Place(TOGETHER, ENSEMBLE): 6.10,
    }
)
"""MAE of the paper, months, from the text of its section 5. The other fields are only in its plot."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Estimates of the networks for N radiographs, which all networks of the radiograph's sex have assessed.

    Attributes:
        sexes: Sexes, N.
        boneage_months: Labels in months, (N,).
        networks: Estimates in months by cell, (N,), NaN for radiographs of a sex that the network does not read. Cells
            may be missing.
        left_out: Number of radiographs that only some of the tables have; they are not among the N.
    """

    sexes: tuple[Sex, ...]
    boneage_months: Months
    networks: Mapping[Cell, Months]
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.sexes)

    @property
    def missing(self) -> tuple[Cell, ...]:
        """Cells without a network."""
        return tuple(cell for cell in CELLS if cell not in self.networks)

    def of_sex(self, sex: Sex) -> NDArray[np.bool_]:
        """Return a mask of the radiographs of a sex, (N,)."""
        return np.array([each is sex for each in self.sexes], dtype=np.bool_)

    def members(self, sex: Sex) -> tuple[Cell, ...]:
        """Return the networks that read radiographs of a sex."""
        return tuple(cell for cell in CELLS if cell in self.networks and sex in SEXES_OF[cell.cohort])

    @cached_property
    def estimates(self) -> Mapping[Place, Months]:
        """Estimates of every field without missing networks, months, (N,), NaN as in `networks`."""
        estimates: dict[Place, Months] = {}
        for cell in self.networks:
            estimates[Place(f"{cell.type}-{cell.cohort}", cell.region)] = self.networks[cell]
        boys = self.of_sex(Sex.MALE)
        for kind, region in itertools.product(TYPES, REGIONS):
            males, females = (estimates.get(Place(f"{kind}-{cohort}", region)) for cohort in ("males", "females"))
            if males is not None and females is not None:
                estimates[Place(f"{kind}-{SEPARATE}", region)] = np.where(boys, males, females)
        for region in REGIONS:
            _add_mean(estimates, Place(TOGETHER, region), [Place(f"{kind}-{SEPARATE}", region) for kind in TYPES])
        for column in dict.fromkeys(place.column for place in estimates):
            _add_mean(estimates, Place(column, ENSEMBLE), [Place(column, region) for region in REGIONS])
        return MappingProxyType(estimates)


def _add_mean(estimates: dict[Place, Months], place: Place, parts: Sequence[Place]) -> None:
    """Add the linear average of section 4.4, if all its parts exist."""
    if all(part in estimates for part in parts):
        estimates[place] = np.mean([estimates[part] for part in parts], axis=0)


def read_grid(folder: Path) -> Grid:
    """Read the tables ``<cell>.csv`` of a folder in the format of `boneage.evaluate.predictions`.

    Raises:
        TableError: Same as in `read_predictions`; ``table_not_found`` if there is none of the 18; ``table_value`` if
            two tables have different labels or sexes for a radiograph, or one has a sex outside its cohort;
            ``table_empty`` if they have no radiograph in common.
    """
    tables = {cell: path for cell in CELLS if (path := folder / f"{cell.name}.csv").is_file()}
    if not tables:
        raise TableError("table_not_found", f"{folder} has no predictions of the grid, such as {CELLS[0].name}.csv.")
    return align({cell: read_predictions(path) for cell, path in tables.items()})


def align(tables: Mapping[Cell, Predictions]) -> Grid:
    """Reduce the tables of cells to their common radiographs, sex by sex.

    Raises:
        TableError: Same as in `read_grid`.
    """
    facts = _facts_of_radiographs(tables)
    months = {cell: dict(zip(table.ids, table.age_months, strict=True)) for cell, table in tables.items()}
    kept = [
        radiograph
        for radiograph, (sex, _) in facts.items()
        if all(radiograph in months[cell] for cell in tables if sex in SEXES_OF[cell.cohort])
    ]
    if not kept:
        raise TableError("table_empty", "The predictions of the grid have no radiograph in common.")
    return Grid(
        sexes=tuple(facts[radiograph][0] for radiograph in kept),
        boneage_months=np.array([facts[radiograph][1] for radiograph in kept]),
        networks={
            cell: np.array([of_radiograph.get(radiograph, np.nan) for radiograph in kept])
            for cell, of_radiograph in months.items()
        },
        left_out=len(facts) - len(kept),
    )


def _facts_of_radiographs(tables: Mapping[Cell, Predictions]) -> dict[str, tuple[Sex, float]]:
    """Return sex and label in months of every radiograph of any table."""
    facts: dict[str, tuple[Sex, float]] = {}
    for cell, table in tables.items():
        for radiograph, sex, label in zip(table.ids, table.sexes, table.boneage_months.tolist(), strict=True):
            if sex not in SEXES_OF[cell.cohort]:
                raise TableError("table_value", f"{cell.name}: the radiograph {radiograph!r} has the sex {sex}.")
            if facts.setdefault(radiograph, (sex, label)) != (sex, label):
                raise TableError(
                    "table_value",
                    f"{cell.name}: the radiograph {radiograph!r} has another label or sex than in another table.",
                )
    return facts


class Resamples:
    """Bootstrap resamples of a grid's radiographs, stratified by sex, the same for every figure.

    Args:
        grid: Grid with the radiographs.
        count: Number of resamples.
        seed: Seed of the bootstrap; equal seeds give equal intervals.
    """

    def __init__(self, grid: Grid, *, count: int = RESAMPLES, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        self._times = np.zeros((count, len(grid)), dtype=np.float32)
        for sex in Sex:
            radiographs = np.flatnonzero(grid.of_sex(sex))
            if radiographs.size:
                chances = np.full(radiographs.size, 1 / radiographs.size)
                self._times[:, radiographs] = generator.multinomial(radiographs.size, chances, size=count)

    def mean(self, values: Months) -> Figure:
        """Return the mean of the finite values, (N,), with its confidence interval."""
        finite = np.isfinite(values)
        if not finite.any():
            return Figure(np.nan, np.nan, np.nan)
        times, values = self._times[:, finite], values[finite]
        drawn = times.sum(axis=1, dtype=np.float64)
        sums = times.astype(np.float64) @ values
        means = np.divide(sums, drawn, out=np.full_like(sums, np.nan), where=drawn > 0)
        tail = (1.0 - CONFIDENCE) / 2.0
        low, high = np.nanquantile(means, (tail, 1.0 - tail))
        return Figure(float(values.mean()), float(low), float(high))


@dataclass(frozen=True)
class FieldFigures:
    """MAD of one field, months, with the number of radiographs."""

    place: Place
    radiographs: int
    mad: Figure


@dataclass(frozen=True)
class StageFigures:
    """MAD of one field on the radiographs of one sex and stage; None if there are too few radiographs."""

    place: Place
    sex: Sex
    stage: Stage
    radiographs: int
    mad: Figure | None


def field_figures(grid: Grid, resamples: Resamples) -> dict[Place, FieldFigures]:
    """Return the MAD of every field of the table without missing networks."""
    return {
        place: _field(place, np.abs(estimates - grid.boneage_months), resamples)
        for place, estimates in grid.estimates.items()
        if place.column in COLUMNS
    }


def sex_figures(grid: Grid, resamples: Resamples) -> dict[tuple[Place, Sex], FieldFigures]:
    """Return the MAD of mixed and separate networks for boys and for girls, on the same radiographs for both."""
    figures = {}
    for place, estimates in grid.estimates.items():
        cohort = place.column.rpartition("-")[2]
        for sex in Sex:
            if cohort in ("mixed", COHORT_OF[sex]):
                errors = np.where(grid.of_sex(sex), np.abs(estimates - grid.boneage_months), np.nan)
                if np.isfinite(errors).any():
                    figures[place, sex] = _field(place, errors, resamples)
    return figures


def stage_figures(grid: Grid, resamples: Resamples, *, smallest: int) -> list[StageFigures]:
    """Return the MAD of every field by sex and stage of development, in order (Fig. 9), without empty groups.

    Args:
        grid: Grid with the predictions.
        resamples: Resamples of its radiographs.
        smallest: Minimum number of radiographs for a figure; smaller groups are only counted.
    """
    stages = np.array(
        [stage_of(age, sex) for age, sex in zip(grid.boneage_months.tolist(), grid.sexes, strict=True)], dtype=object
    )
    figures = []
    for place, estimates in grid.estimates.items():
        errors = np.abs(estimates - grid.boneage_months)
        for sex, stage in itertools.product(Sex, Stage) if place.column in COLUMNS else ():
            chosen = np.where(grid.of_sex(sex) & (stages == stage), errors, np.nan)
            radiographs = int(np.isfinite(chosen).sum())
            if radiographs:
                mad = resamples.mean(chosen) if radiographs >= smallest else None
                figures.append(StageFigures(place, sex, stage, radiographs, mad))
    return figures


def _field(place: Place, errors: Months, resamples: Resamples) -> FieldFigures:
    return FieldFigures(place, int(np.isfinite(errors).sum()), resamples.mean(errors))
