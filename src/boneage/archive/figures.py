"""Figures of an archive for its report: counts, distributions, and drift by year and by device."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from boneage.archive.pseudonyms import short_pseudonym
from boneage.archive.rows import ArchiveRow
from boneage.arrays import FloatArray
from boneage.severity import Severity

SMALLEST_GROUP = 20
"""Radiographs from which a mean is given."""
_Z_95 = 1.96
_WARNED = {Severity.CAUTION.value, Severity.CRITICAL.value}
UNKNOWN = "unknown"


@dataclass
class _Values:
    """Values of the assessed radiographs of a group, months."""

    n: int = 0
    rejected: int = 0
    warned: int = 0
    ages: list[float] = field(default_factory=list)
    differences: list[float] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class GroupFigures:
    """Figures of a group of radiographs.

    Attributes:
        name: Name of the group.
        n: Number of radiographs.
        rejected: Number of rejected ones.
        warned: Number of assessed ones with a caution or a critical warning.
        age_months: Median estimated bone age, months; None of a group that is too small, like all that follow.
        difference_months: Mean of estimated bone age minus chronological age, months.
        difference_error: Half width of its 95 % confidence interval, months.
        with_age: Number of radiographs with both ages.
        width_months: Median width of the 95 % prediction interval, months.
    """

    name: str
    n: int
    rejected: int
    warned: int
    age_months: float | None
    difference_months: float | None
    difference_error: float | None
    with_age: int
    width_months: float | None


@dataclass(frozen=True)
class Histogram:
    """Counts of values by bins of equal width.

    Attributes:
        title: Quantity that is counted.
        unit: Unit of the edges.
        edges: Lower edges of the bins and the upper one of the last, (N + 1,).
        counts: Counts of the bins by name of the group, each (N,). Values beyond the ends count in the first and last.
    """

    title: str
    unit: str
    edges: Sequence[float]
    counts: Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class ArchiveFigures:
    """Figures of a whole archive.

    Attributes:
        all: All radiographs.
        items: Number of files or objects, copies included.
        rejections: Number of rejected radiographs by code.
        warnings: Number of assessed radiographs by code of warning.
        sexes: Number of radiographs by sex; ``unknown`` without.
        histograms: Distributions.
        by_year: Groups by year of the study, in order.
        by_device: Groups by manufacturer, model and device, the largest first.
    """

    all: GroupFigures
    items: int
    rejections: Mapping[str, int]
    warnings: Mapping[str, int]
    sexes: Mapping[str, int]
    histograms: Sequence[Histogram]
    by_year: Sequence[GroupFigures]
    by_device: Sequence[GroupFigures]


class FigureCounter:
    """Counter of rows, of which only a few numbers each are kept."""

    def __init__(self) -> None:
        self._all = _Values()
        self._items = 0
        self._rejections: Counter[str] = Counter()
        self._warnings: Counter[str] = Counter()
        self._sexes: Counter[str] = Counter()
        self._years: defaultdict[str, _Values] = defaultdict(_Values)
        self._devices: defaultdict[str, _Values] = defaultdict(_Values)
        self._ages: defaultdict[str, list[float]] = defaultdict(list)
        self._differences: defaultdict[str, list[float]] = defaultdict(list)
        self._sds: defaultdict[str, list[float]] = defaultdict(list)

    def passing(self, rows: Iterable[ArchiveRow]) -> Iterator[ArchiveRow]:
        """Yield rows again, and count them on the way."""
        for row in rows:
            self._add(row)
            yield row

    def figures(self) -> ArchiveFigures:
        """Return the figures of the rows so far."""
        by_device = sorted(self._devices, key=lambda name: (-self._devices[name].n, name))
        return ArchiveFigures(
            all=_group("All radiographs", self._all),
            items=self._items,
            rejections=dict(self._rejections.most_common()),
            warnings=dict(self._warnings.most_common()),
            sexes=dict(sorted(self._sexes.items())),
            histograms=[
                _histogram("Estimated bone age", "years", self._ages, 12.0, 0.0, 19.0, 1.0),
                _histogram("Bone age minus chronological age", "months", self._differences, 1.0, -48.0, 48.0, 6.0),
                _histogram("SDS of the bone age", "SD", self._sds, 1.0, -5.0, 5.0, 0.5),
            ],
            by_year=[_group(year, self._years[year]) for year in sorted(self._years)],
            by_device=[_group(name, self._devices[name]) for name in by_device],
        )

    def _add(self, row: ArchiveRow) -> None:
        copies, sex = row.get("copies"), str(row.get("sex") or UNKNOWN)
        self._items += copies if isinstance(copies, int) else 1
        self._sexes[sex] += 1
        self._rejections.update([str(row["error"])] if row.get("error") else [])
        self._warnings.update(str(row.get("warnings") or "").split())
        device = " ".join(str(row[name]) for name in ("manufacturer", "model") if row.get(name)) or UNKNOWN
        if row.get("device"):
            device += f" ({short_pseudonym(str(row['device']))})"
        for group in (self._all, self._years[str(row.get("study_year") or UNKNOWN)], self._devices[device]):
            _add_to(group, row)
        for values, column in (
            (self._ages, "age_months"),
            (self._differences, "difference_months"),
            (self._sds, "sds"),
        ):
            value = row.get(column)
            if isinstance(value, float):
                values[sex].append(value)


def _add_to(group: _Values, row: ArchiveRow) -> None:
    group.n += 1
    group.rejected += bool(row.get("error"))
    group.warned += row.get("severity") in _WARNED
    age, difference = row.get("age_months"), row.get("difference_months")
    low, high = row.get("interval_months_low"), row.get("interval_months_high")
    group.ages += [age] if isinstance(age, float) else []
    group.differences += [difference] if isinstance(difference, float) else []
    group.widths += [high - low] if isinstance(low, float) and isinstance(high, float) else []


def _group(name: str, values: _Values) -> GroupFigures:
    differences = np.asarray(values.differences, dtype=np.float64)
    is_enough = len(differences) >= SMALLEST_GROUP
    return GroupFigures(
        name=name,
        n=values.n,
        rejected=values.rejected,
        warned=values.warned,
        age_months=_median(values.ages),
        difference_months=float(differences.mean()) if is_enough else None,
        difference_error=float(_Z_95 * differences.std(ddof=1) / np.sqrt(len(differences))) if is_enough else None,
        with_age=len(differences),
        width_months=_median(values.widths),
    )


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if len(values) >= SMALLEST_GROUP else None


def _histogram(
    title: str, unit: str, by_sex: Mapping[str, Sequence[float]], scale: float, low: float, high: float, step: float
) -> Histogram:
    edges: FloatArray = np.arange(low, high + step / 2, step)
    counts = {
        sex: np.histogram(np.clip(np.asarray(values) / scale, low, high), edges)[0].tolist()
        for sex, values in sorted(by_sex.items())
    }
    return Histogram(title, unit, edges.tolist(), counts)
