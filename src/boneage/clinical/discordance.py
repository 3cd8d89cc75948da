"""Carpal discordance: the bone age of the carpal bones against that of the other regions of the hand.

The carpal bones vary more between healthy children than the bones of the fingers, and some disorders delay or advance
them more than the rest. The size of an unusual difference depends on sex and age. The limits are measured on
radiographs that the networks were not trained on, and stand in the manifest of the model bundle.
Regions: B carpal bones, C metacarpals and proximal phalanges, D middle and distal phalanges, E radius and ulna. The
whole hand (A) holds the carpal bones and does not count among the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from boneage.clinical.errors import ClinicalError
from boneage.clinical.maturity import SCALE_END_MONTHS, YOUNGEST_MONTHS
from boneage.sex import Sex

CARPAL_REGION = "B"
OTHER_REGIONS = ("C", "D", "E")

USUAL_SHARE = 0.98
"""Share of ordinary radiographs whose difference is usual. The warning is raised on the others."""

LEAST_RADIOGRAPHS = 200
"""Least number of radiographs in an age band with limits; two of them then lie beyond each limit."""


class Direction(StrEnum):
    """Side to which the carpal bones differ from the other regions."""

    OLDER = "older"
    YOUNGER = "younger"
    EQUAL = "equal"


@dataclass(frozen=True)
class DiscordanceLimit:
    """Usual differences in one age band of one sex; all values in months.

    Attributes:
        lower_age_months: lowest bone age of the band, included.
        upper_age_months: upper bound of the band, excluded.
        low_months: lowest usual difference, carpal bones minus the others.
        high_months: highest usual difference, at least `low_months`.
    """

    lower_age_months: float
    upper_age_months: float
    low_months: float
    high_months: float

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of values that do not go together (`boneage.strict`)."""
        if self.upper_age_months <= self.lower_age_months:
            yield "upper_age_months", "must lie above lower_age_months"
        if self.high_months < self.low_months:
            yield "high_months", "must not lie below low_months"


@dataclass(frozen=True)
class DiscordanceLimits:
    """Table of usual differences.

    Attributes:
        by_sex: bands by sex, rising and without overlap. A sex or an age without a band has no limits.
    """

    by_sex: Mapping[Sex, tuple[DiscordanceLimit, ...]]

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of bands that overlap or fall (`boneage.strict`)."""
        for sex, bands in self.by_sex.items():
            for number, (lower, upper) in enumerate(pairwise(bands), 1):
                if upper.lower_age_months < lower.upper_age_months:
                    yield f"by_sex.{sex.value}[{number}].lower_age_months", "must not lie in the band before"

    def at(self, sex: Sex, bone_age_months: float) -> DiscordanceLimit | None:
        """Return the band of a sex and a bone age, or None without one."""
        bands = (one for one in self.by_sex.get(sex, ()))
        return next((one for one in bands if one.lower_age_months <= bone_age_months < one.upper_age_months), None)


@dataclass(frozen=True)
class CarpalDiscordance:
    """Carpal bones against the other regions.

    Attributes:
        carpal_months: bone age of the carpal bones.
        others_months: mean bone age of the other regions.
        limits: (low, high) of the usual difference in months, or None without limits for this sex and age.
    """

    carpal_months: float
    others_months: float
    limits: tuple[float, float] | None

    @property
    def difference_months(self) -> float:
        """Carpal bones minus the others, in months."""
        return self.carpal_months - self.others_months

    @property
    def direction(self) -> Direction:
        """Side of the difference, to the nearest whole month."""
        months = round(self.difference_months)
        if months == 0:
            return Direction.EQUAL
        return Direction.OLDER if months > 0 else Direction.YOUNGER

    @property
    def is_beyond(self) -> bool | None:
        """True if the difference lies outside the limits; None without limits."""
        if self.limits is None:
            return None
        return not self.limits[0] <= self.difference_months <= self.limits[1]


def carpal_discordance(
    region_ages_months: Mapping[str, float],
    sex: Sex | None,
    bone_age_months: float,
    limits: DiscordanceLimits | None = None,
) -> CarpalDiscordance | None:
    """Compare the carpal bones with the other regions.

    Args:
        region_ages_months: bone age by region, finite.
        sex: sex of the patient, which selects the limits; None if unknown.
        bone_age_months: estimated bone age, which selects the limits.
        limits: usual differences, if they were measured for the model bundle.

    Returns:
        The comparison, or None without the carpal bones or with fewer than two other regions.
    """
    others = [region_ages_months[region] for region in OTHER_REGIONS if region in region_ages_months]
    if CARPAL_REGION not in region_ages_months or len(others) < 2:
        return None
    band = None if limits is None or sex is None else limits.at(sex, bone_age_months)
    return CarpalDiscordance(
        carpal_months=region_ages_months[CARPAL_REGION],
        others_months=sum(others) / len(others),
        limits=None if band is None else (band.low_months, band.high_months),
    )


def measure_limits(
    sexes: Sequence[Sex], bone_ages_months: ArrayLike, differences_months: ArrayLike
) -> DiscordanceLimits | None:
    """Measure usual differences on radiographs that the networks were not trained on.

    The bands of a sex hold equally many radiographs, and reach from 2 years to the end of the scale. The limits of a
    band are the quantiles that leave half of the rest of `USUAL_SHARE` on either side.

    Args:
        sexes: sexes of N patients, one for each radiograph.
        bone_ages_months: shape (N,), estimated bone ages.
        differences_months: shape (N,), carpal bones minus the others.

    Returns:
        The limits; a sex with fewer than `LEAST_RADIOGRAPHS` radiographs has none. None if neither sex has any.

    Raises:
        ClinicalError: ``limits_invalid`` if the shapes differ or a value is not finite.
    """
    ages, differences = np.asarray(bone_ages_months, np.float64), np.asarray(differences_months, np.float64)
    if not ages.shape == differences.shape == (len(sexes),):
        raise ClinicalError("limits_invalid", "Ages and differences must be as many as sexes.")
    if not (np.isfinite(ages).all() and np.isfinite(differences).all()):
        raise ClinicalError("limits_invalid", "Ages and differences must be finite.")
    by_sex: dict[Sex, tuple[DiscordanceLimit, ...]] = {}
    for sex in Sex:
        of_sex = np.array([one is sex for one in sexes], dtype=bool)
        of_sex &= (ages >= YOUNGEST_MONTHS) & (ages < SCALE_END_MONTHS[sex])
        by_sex[sex] = tuple(_bands(ages[of_sex], differences[of_sex], SCALE_END_MONTHS[sex]))
    return DiscordanceLimits(by_sex) if any(by_sex.values()) else None


def _bands(ages: NDArray[np.float64], differences: NDArray[np.float64], end: float) -> Iterator[DiscordanceLimit]:
    """Yield the limits of bands of equally many radiographs."""
    count = ages.size // LEAST_RADIOGRAPHS
    order = np.argsort(ages, kind="stable")
    parts = np.array_split(order, count) if count else []
    edges = [YOUNGEST_MONTHS, *(round(float(ages[part[0]]), 2) for part in parts[1:]), end]
    tail = (1 - USUAL_SHARE) / 2
    for part, lower, upper in zip(parts, edges[:-1], edges[1:], strict=False):
        low, high = np.quantile(differences[part], [tail, 1 - tail])
        yield DiscordanceLimit(lower, upper, round(float(low), 2), round(float(high), 2))
