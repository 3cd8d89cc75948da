"""Audit of a bundle on a hospital's own radiographs, with a verdict on its fitness for use there.

The input is a table of assessed radiographs with readings (`AuditTable`). Figures are measured for all radiographs, by
sex, by band of the estimate, by any column, and by each column crossed with sex and with the band. `judge_group`
applies a rule that is fixed beforehand (`LARGEST_BIAS_MONTHS`, `SMALLEST_COVERAGE`) to every group of
`SMALLEST_JUDGED` radiographs or more.

Bands are those of the estimate, not of the reading. Readings scatter, so that the readings of an old group are too old
on average; a band of the estimate is free of this regression to the mean, and a clinic meets radiographs by their
estimate. A rejected radiograph, which has none, counts in the band of its reading.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from boneage.arrays import Months
from boneage.clinical.ages import exact_age
from boneage.clinical.maturity import near_maturity
from boneage.clinical.references import Reference
from boneage.clinical.sds import Determination, judge
from boneage.errors import TableError
from boneage.evaluate.audit_table import AuditTable
from boneage.evaluate.metrics import (
    RESAMPLES,
    Figure,
    Metric,
    bias,
    mean_absolute_difference,
    measure,
    measure_interval,
)
from boneage.evaluate.tables import BAND_MONTHS, SEX_LABELS, SMALLEST_GROUP, band_label
from boneage.severity import Severity
from boneage.sex import Sex

LARGEST_BIAS_MONTHS = 3.0
"""Limit of the rule: the mean of estimate minus reading must stay below it, on either side."""

SMALLEST_COVERAGE = 0.90
"""Limit of the rule: at least this share of readings must lie within the 95 % prediction interval."""

SMALLEST_JUDGED = 30
"""Number of radiographs from which a group is judged."""

_WARNED = {Severity.CAUTION, Severity.CRITICAL}
_CONFIDENCE = 0.95


class Fitness(StrEnum):
    """Verdict of the rule on a group."""

    FIT = "fit"
    """Bias and coverage keep the limits."""
    UNDECIDED = "undecided"
    """One of them does not, but its confidence interval reaches within the limits: it may be chance."""
    UNFIT = "unfit"
    """One of them does not, and its confidence interval lies outside the limits."""
    TOO_FEW = "too_few"
    """There are fewer than `SMALLEST_JUDGED` assessed radiographs, or no 95 % interval to judge."""


@dataclass(frozen=True)
class AuditGroup:
    """Figures of one group of radiographs.

    Attributes:
        criterion: ``all``, ``sex``, ``band``, ``sex x band``, a column, ``column x sex`` or ``column x band``.
        name: name of the group, unique in its criterion.
        n: number of radiographs.
        rejected: number of those that were rejected.
        warned: number of assessed ones with a caution or a critical warning.
        figures: figures of the assessed ones by name; empty with fewer than
            `boneage.evaluate.tables.SMALLEST_GROUP`. ``mad`` and ``bias`` are in months, ``slope`` is that of the
            readings on the estimates (1 is ideal), ``coverage_80``, ``coverage_95``, ``delayed``, ``advanced``,
            ``read_delayed``, ``read_advanced`` and ``flipped`` are shares, 0 to 1. The last five, on radiographs with
            an SDS, are missing without a chronological age.
        with_sds: number of assessed radiographs with an SDS of estimate and reading.
        fitness: verdict of the rule.
    """

    criterion: str
    name: str
    n: int
    rejected: int
    warned: int
    figures: Mapping[str, Figure]
    with_sds: int
    fitness: Fitness


@dataclass(frozen=True)
class Gap:
    """Largest difference of bias between two groups of a criterion.

    Attributes:
        criterion: criterion of the groups.
        older: group whose estimates are older against the readings.
        younger: the other group.
        months: difference of the two biases with its interval, months. The interval is widened for the number of
            pairs (Bonferroni), since the largest gap was chosen among them.
        p: probability of such a gap by chance, adjusted for all pairs by Holm's method.
        pairs: number of pairs.
    """

    criterion: str
    older: str
    younger: str
    months: Figure
    p: float
    pairs: int


@dataclass(frozen=True)
class Audit:
    """Result of an audit.

    Attributes:
        groups: figures by group; all radiographs first.
        gaps: largest gap of each criterion that has two groups or more to compare.
        fitness: verdict on the whole: unfit if any group is, undecided if any group is, else that of all radiographs.
        reference: name of the reference of the SDS.
    """

    groups: tuple[AuditGroup, ...]
    gaps: tuple[Gap, ...]
    fitness: Fitness
    reference: str

    def of(self, fitness: Fitness) -> list[AuditGroup]:
        """Return the groups with this verdict."""
        return [group for group in self.groups if group.fitness is fitness]


def audit(
    table: AuditTable, reference: Reference, by: Sequence[str] = (), *, resamples: int = RESAMPLES, seed: int = 0
) -> Audit:
    """Measure and judge all groups of a table.

    Args:
        table: assessed radiographs with readings.
        reference: reference of the SDS.
        by: columns to group by, besides sex and band.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.

    Raises:
        TableError: ``table_columns`` for an unknown column of `by`; ``table_empty`` if no radiograph was assessed.
    """
    if np.isnan(table.age_months).all():
        raise TableError("table_empty", "No radiograph of the table was assessed.")
    classes = _classes(table, reference)
    criteria = dict(_criteria(table, by))
    groups = [
        _measured(table, classes, criterion, name, np.array(chosen), resamples, seed)
        for criterion, keys in criteria.items()
        for name, chosen in _members(keys).items()
    ]
    gaps = [gap for criterion, keys in criteria.items() if (gap := _largest_gap(table, criterion, keys)) is not None]
    return Audit(tuple(groups), tuple(gaps), _overall(groups), reference.name)


def judge_group(figures: Mapping[str, Figure], assessed: int) -> Fitness:
    """Return the verdict of the rule on a group.

    Args:
        figures: figures of the group, as in `AuditGroup`.
        assessed: number of its assessed radiographs.
    """
    if assessed < SMALLEST_JUDGED or "coverage_95" not in figures:
        return Fitness.TOO_FEW
    shift, coverage = figures["bias"], figures["coverage_95"]
    if abs(shift.value) < LARGEST_BIAS_MONTHS and coverage.value >= SMALLEST_COVERAGE:
        return Fitness.FIT
    is_certain = (
        shift.low >= LARGEST_BIAS_MONTHS or shift.high <= -LARGEST_BIAS_MONTHS or coverage.high < SMALLEST_COVERAGE
    )
    return Fitness.UNFIT if is_certain else Fitness.UNDECIDED


def calibration_slope(labels: Months, estimates: Months) -> NDArray[np.float64]:
    """Return the slope of the regression of readings on estimates, arrays (..., N); NaN if all estimates are equal.

    It is below 1 where estimates spread more than the readings that they stand for.
    """
    x = estimates - estimates.mean(axis=-1, keepdims=True)
    y = labels - labels.mean(axis=-1, keepdims=True)
    spread = (x * x).sum(axis=-1)
    slope = np.divide((x * y).sum(axis=-1), spread, out=np.full_like(spread, np.nan), where=spread > 1e-9)
    return np.asarray(slope, dtype=np.float64)


_METRICS: Mapping[str, Metric] = {"mad": mean_absolute_difference, "bias": bias, "slope": calibration_slope}


# --- groups -----------------------------------------------------------------------------------------------------------


def _criteria(table: AuditTable, by: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each criterion with the name of every radiograph's group."""
    ages = np.where(np.isnan(table.age_months), table.boneage_months, table.age_months)
    sexes = [SEX_LABELS[sex] for sex in table.sexes]
    bands = [band_label(int(max(age, 0.0) // BAND_MONTHS)) for age in ages]
    yield "all", ["All radiographs"] * len(table)
    yield "sex", sexes
    yield "band", bands
    yield "sex x band", _crossed(sexes, bands)
    for column in by:
        texts = [text or "(empty)" for text in table.group(column)]
        yield column, texts
        yield f"{column} x sex", _crossed(texts, sexes)
        yield f"{column} x band", _crossed(texts, bands)


def _crossed(first: Sequence[str], second: Sequence[str]) -> list[str]:
    return [", ".join(pair) for pair in zip(first, second, strict=True)]


def _members(keys: Sequence[str]) -> dict[str, list[bool]]:
    """Return the radiographs of each group, groups in the order of their names with numbers by value."""
    return {name: [key == name for key in keys] for name in sorted(set(keys), key=_natural)}


def _natural(name: str) -> tuple[tuple[bool, float, str], ...]:
    parts = name.replace(",", " ").split()
    return tuple((not part.isdigit(), float(part) if part.isdigit() else 0.0, part) for part in parts)


def _measured(
    table: AuditTable,
    classes: Mapping[str, NDArray[np.float64]],
    criterion: str,
    name: str,
    chosen: NDArray[np.bool_],
    resamples: int,
    seed: int,
) -> AuditGroup:
    """Return the figures of the chosen radiographs, bool (N,)."""
    assessed = chosen & ~np.isnan(table.age_months)
    warned = sum(
        bool(is_assessed) and severity in _WARNED
        for is_assessed, severity in zip(assessed, table.severities, strict=True)
    )
    figures: dict[str, Figure] = {}
    with_sds = assessed & ~np.isnan(classes["flipped"])
    if assessed.sum() >= SMALLEST_GROUP:
        labels, estimates = table.boneage_months[assessed], table.age_months[assessed]
        figures |= measure(labels, estimates, _METRICS, resamples=resamples, seed=seed)
        for percent, bounds in table.intervals.items():
            held = measure_interval(labels, bounds[assessed], resamples=resamples, seed=seed)
            figures[f"coverage_{percent}"] = held["coverage"]
    if with_sds.sum() >= SMALLEST_GROUP:
        share: dict[str, Metric] = {"share": lambda held, _: np.asarray(held.mean(axis=-1))}
        for key, values in classes.items():
            held_by = values[with_sds]
            figures[key] = measure(held_by, held_by, share, resamples=resamples, seed=seed)["share"]
    return AuditGroup(
        criterion=criterion,
        name=name,
        n=int(chosen.sum()),
        rejected=int((chosen & ~assessed).sum()),
        warned=int(warned),
        figures=figures,
        with_sds=int(with_sds.sum()),
        fitness=judge_group(figures, int(assessed.sum())),
    )


def _overall(groups: Sequence[AuditGroup]) -> Fitness:
    verdicts = {group.fitness for group in groups}
    if groups[0].fitness is Fitness.TOO_FEW:
        return Fitness.TOO_FEW
    return next((one for one in (Fitness.UNFIT, Fitness.UNDECIDED) if one in verdicts), Fitness.FIT)


# --- classes by SDS ---------------------------------------------------------------------------------------------------


def _classes(table: AuditTable, reference: Reference) -> dict[str, NDArray[np.float64]]:
    """Return for each radiograph whether it is called delayed and so on, 0 or 1, (N,); NaN without an SDS."""
    names = ("delayed", "advanced", "read_delayed", "read_advanced", "flipped")
    classes = {name: np.full(len(table), np.nan) for name in names}
    for row, sex in enumerate(table.sexes):
        estimated = _class(table.age_months[row], table.chronological_months[row], sex, reference)
        read = _class(table.boneage_months[row], table.chronological_months[row], sex, reference)
        if estimated is None or read is None or table.severities[row] == Severity.CRITICAL:
            continue
        values = (
            estimated is Determination.DELAYED,
            estimated is Determination.ADVANCED,
            read is Determination.DELAYED,
            read is Determination.ADVANCED,
            estimated is not read,
        )
        for name, value in zip(names, values, strict=True):
            classes[name][row] = float(value)
    return classes


def _class(bone_age: float, chronological: float, sex: Sex, reference: Reference) -> Determination | None:
    """Return the class of a bone age, never borderline; None where the clinical reading withholds it."""
    if math.isnan(bone_age) or math.isnan(chronological) or near_maturity(bone_age, sex).is_near:
        return None
    return judge(bone_age, None, exact_age(chronological), sex, reference).determination


# --- gaps -------------------------------------------------------------------------------------------------------------


def _largest_gap(table: AuditTable, criterion: str, keys: Sequence[Hashable]) -> Gap | None:
    """Return the largest gap of bias among groups of `SMALLEST_JUDGED` or more; None if fewer than two are."""
    errors = table.age_months - table.boneage_months
    by_name = {
        str(name): errors[np.array([key == name for key in keys]) & ~np.isnan(errors)] for name in dict.fromkeys(keys)
    }
    judged = {name: values for name, values in by_name.items() if values.size >= SMALLEST_JUDGED}
    pairs = []
    for (one, first), (other, second) in itertools.combinations(judged.items(), 2):
        difference = float(first.mean() - second.mean())
        spread = math.sqrt(first.var(ddof=1) / first.size + second.var(ddof=1) / second.size)
        pairs.append((difference, spread, one, other) if difference >= 0 else (-difference, spread, other, one))
    if not pairs:
        return None
    probabilities = [_two_sided(difference, spread) for difference, spread, _, _ in pairs]
    largest = max(range(len(pairs)), key=lambda place: pairs[place][0])
    difference, spread, older, younger = pairs[largest]
    reach = NormalDist().inv_cdf(1 - (1 - _CONFIDENCE) / (2 * len(pairs))) * spread
    months = Figure(difference, difference - reach, difference + reach)
    return Gap(criterion, older, younger, months, holm(probabilities)[largest], len(pairs))


def _two_sided(difference: float, spread: float) -> float:
    """Return the probability of a difference at least this far from 0 by chance."""
    if spread == 0:
        return 1.0 if difference == 0 else 0.0
    return 2 * NormalDist().cdf(-abs(difference) / spread)


def holm(probabilities: Sequence[float]) -> list[float]:
    """Return probabilities adjusted for their number by Holm's method (Scandinavian Journal of Statistics 1979;6:65).

    Args:
        probabilities: one for each test, 0 to 1.
    """
    order = sorted(range(len(probabilities)), key=lambda place: probabilities[place])
    adjusted, highest = [0.0] * len(probabilities), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * probabilities[place]))
        adjusted[place] = highest
    return adjusted
