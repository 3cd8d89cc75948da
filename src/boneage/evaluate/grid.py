"""The grid of 18 networks and its ensembles, from their predictions tables (Iglovikov et al., sections 4.3 to 5, Fig.
8).

Rows are the regions A, B, C and their mean; columns are a type of network and a cohort, and a last one in which the
networks of the patient's own sex, of both types, are averaged. All figures are of the same radiographs and the same
bootstrap resamples, so that differences are paired.
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
    """One of the 18 networks."""

    type: NetworkType
    cohort: Cohort
    region: GridRegion

    @property
    def name(self) -> str:
        """Of its run and its table: ``regression-mixed-a``."""
        return f"{self.type}-{self.cohort}-{self.region.lower()}"


CELLS: tuple[Cell, ...] = tuple(itertools.starmap(Cell, itertools.product(TYPES, COHORTS, REGIONS)))
"""All 18."""

ENSEMBLE = "ensemble"
ROWS = (*REGIONS, ENSEMBLE)
TOGETHER = "together"
SEPARATE = "separate"
COLUMNS = (
    *("regression-mixed", "regression-males", "regression-females"),
    *("classification-mixed", "classification-males", "classification-females"),
    TOGETHER,
)
"""Of the table, by name. The paper's Fig. 8 has all but ``classification-mixed``."""


class Place(NamedTuple):
    """A field of the table, or of a column that joins the males' and the females' networks
    (``regression-separate``).
    """

    column: str
    row: str

    @property
    def title(self) -> str:
        """As people read it: ``regression mixed A``."""
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
"""MAE of the paper, months, where its section 5 gives it in words; the other fields stand only in the figure."""


@dataclass(frozen=True, eq=False)
class Grid:
    """What the networks say of N radiographs that all of them have seen, as far as they read the radiograph's sex.

    Attributes:
        sexes: N.
        boneage_months: labels, months, (N,).
        networks: by cell, estimates in months, (N,), NaN for radiographs of a sex that the network does not read. Cells
            may be missing.
        left_out: radiographs that only some of the tables have; they are not among the N.
    """

    sexes: tuple[Sex, ...]
    boneage_months: Months
    networks: Mapping[Cell, Months]
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.sexes)

    @property
    def missing(self) -> tuple[Cell, ...]:
        """The cells without a network."""
        return tuple(cell for cell in CELLS if cell not in self.networks)

    def of_sex(self, sex: Sex) -> NDArray[np.bool_]:
        """Which radiographs, (N,)."""
        return np.array([each is sex for each in self.sexes], dtype=np.bool_)

    def members(self, sex: Sex) -> tuple[Cell, ...]:
        """The networks that read radiographs of a sex."""
        return tuple(cell for cell in CELLS if cell in self.networks and sex in SEXES_OF[cell.cohort])

    @cached_property
    def estimates(self) -> Mapping[Place, Months]:
        """Estimates of every field whose networks are all there, months, (N,), NaN as in `networks`."""
        found: dict[Place, Months] = {}
        for cell in self.networks:
            found[Place(f"{cell.type}-{cell.cohort}", cell.region)] = self.networks[cell]
        boys = self.of_sex(Sex.MALE)
        for kind, region in itertools.product(TYPES, REGIONS):
            males, females = (found.get(Place(f"{kind}-{cohort}", region)) for cohort in ("males", "females"))
            if males is not None and females is not None:
                found[Place(f"{kind}-{SEPARATE}", region)] = np.where(boys, males, females)
        for region in REGIONS:
            _add_mean(found, Place(TOGETHER, region), [Place(f"{kind}-{SEPARATE}", region) for kind in TYPES])
        for column in dict.fromkeys(place.column for place in found):
            _add_mean(found, Place(column, ENSEMBLE), [Place(column, region) for region in REGIONS])
        return MappingProxyType(found)


def _add_mean(found: dict[Place, Months], place: Place, parts: Sequence[Place]) -> None:
    """The linear average of section 4.4, if all its parts are there."""
    if all(part in found for part in parts):
        found[place] = np.mean([found[part] for part in parts], axis=0)


def read_grid(folder: Path) -> Grid:
    """Read the tables ``<cell>.csv`` that are in a folder, as `boneage.evaluate.predictions` describes them.

    Raises:
        TableError: as `read_predictions`; ``table_not_found`` if there is none of the 18; ``table_value`` if two give
            a radiograph different labels or sexes, or one holds a sex that is not its cohort's; ``table_empty`` if they
            have no radiograph in common.
    """
    tables = {cell: path for cell in CELLS if (path := folder / f"{cell.name}.csv").is_file()}
    if not tables:
        raise TableError("table_not_found", f"{folder} holds no predictions of the grid, such as {CELLS[0].name}.csv.")
    return align({cell: read_predictions(path) for cell, path in tables.items()})


def align(tables: Mapping[Cell, Predictions]) -> Grid:
    """Bring the tables of some cells to the radiographs that all of them have, sex by sex.

    Raises:
        TableError: see `read_grid`.
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
    """Sex and label, months, of every radiograph of any table."""
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
    """Bootstrap resamples of a grid's radiographs, drawn with replacement within each sex, the same for every figure.

    Args:
        grid: whose radiographs.
        count: how many resamples.
        seed: same seed, same intervals.
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
        """Mean of the values, (N,), that are numbers, with its interval."""
        known = np.isfinite(values)
        if not known.any():
            return Figure(np.nan, np.nan, np.nan)
        times, values = self._times[:, known], values[known]
        drawn = times.sum(axis=1, dtype=np.float64)
        sums = times.astype(np.float64) @ values
        means = np.divide(sums, drawn, out=np.full_like(sums, np.nan), where=drawn > 0)
        tail = (1.0 - CONFIDENCE) / 2.0
        low, high = np.nanquantile(means, (tail, 1.0 - tail))
        return Figure(float(values.mean()), float(low), float(high))


@dataclass(frozen=True)
class FieldFigures:
    """MAD of one field, months, on so many radiographs."""

    place: Place
    radiographs: int
    mad: Figure


@dataclass(frozen=True)
class StageFigures:
    """MAD of one field on the radiographs of one sex and stage; None if they are too few for a figure."""

    place: Place
    sex: Sex
    stage: Stage
    radiographs: int
    mad: Figure | None


def field_figures(grid: Grid, resamples: Resamples) -> dict[Place, FieldFigures]:
    """MAD of every field of the table whose networks are there."""
    return {
        place: _field(place, np.abs(estimates - grid.boneage_months), resamples)
        for place, estimates in grid.estimates.items()
        if place.column in COLUMNS
    }


def sex_figures(grid: Grid, resamples: Resamples) -> dict[tuple[Place, Sex], FieldFigures]:
    """MAD of the mixed and of the separate networks on boys and on girls alone: the same radiographs for both."""
    found = {}
    for place, estimates in grid.estimates.items():
        cohort = place.column.rpartition("-")[2]
        for sex in Sex:
            if cohort in ("mixed", COHORT_OF[sex]):
                errors = np.where(grid.of_sex(sex), np.abs(estimates - grid.boneage_months), np.nan)
                if np.isfinite(errors).any():
                    found[place, sex] = _field(place, errors, resamples)
    return found


def stage_figures(grid: Grid, resamples: Resamples, *, smallest: int) -> list[StageFigures]:
    """MAD of every field by sex and stage of development, in order (Fig. 9); groups without radiographs are left out.

    Args:
        grid: the predictions.
        resamples: of its radiographs.
        smallest: groups of fewer radiographs are only counted.
    """
    stages = np.array(
        [stage_of(age, sex) for age, sex in zip(grid.boneage_months.tolist(), grid.sexes, strict=True)], dtype=object
    )
    found = []
    for place, estimates in grid.estimates.items():
        errors = np.abs(estimates - grid.boneage_months)
        for sex, stage in itertools.product(Sex, Stage) if place.column in COLUMNS else ():
            chosen = np.where(grid.of_sex(sex) & (stages == stage), errors, np.nan)
            radiographs = int(np.isfinite(chosen).sum())
            if radiographs:
                mad = resamples.mean(chosen) if radiographs >= smallest else None
                found.append(StageFigures(place, sex, stage, radiographs, mad))
    return found


def _field(place: Place, errors: Months, resamples: Resamples) -> FieldFigures:
    return FieldFigures(place, int(np.isfinite(errors).sum()), resamples.mean(errors))
