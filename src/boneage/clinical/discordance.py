"""Carpal discordance: the bone age of the carpal bones against that of the other regions of the hand.

The carpal bones vary more between healthy children than the bones of the fingers, and some disorders delay or advance
them more than the rest. The size of an unusual difference depends on sex and age. The limits are measured on
radiographs that the networks were not trained on, and the caller passes them in.
Regions: B carpal bones, C metacarpals and proximal phalanges, D middle and distal phalanges, E radius and ulna. The
whole hand (A) holds the carpal bones and does not count among the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike

from boneage.clinical.errors import ClinicalError
from boneage.sex import Sex

CARPAL_REGION = "B"
OTHER_REGIONS = ("C", "D", "E")

LEAST_RADIOGRAPHS = 100
"""Least number of radiographs in an age band with limits; 2.5 % of them are then at least two."""


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


@dataclass(frozen=True)
class DiscordanceLimits:
    """Table of usual differences.

    Attributes:
        by_sex: bands by sex, rising and without overlap. A sex or an age without a band has no limits.
    """

    by_sex: Mapping[Sex, tuple[DiscordanceLimit, ...]]

    def __post_init__(self) -> None:
        """Check the bands.

        Raises:
            ClinicalError: ``limits_invalid``.
        """
        for bands in self.by_sex.values():
            end = -math.inf
            for band in bands:
                values = (band.lower_age_months, band.upper_age_months, band.low_months, band.high_months)
                in_order = end <= band.lower_age_months < band.upper_age_months and band.low_months <= band.high_months
                if not in_order or not all(math.isfinite(value) for value in values):
                    raise ClinicalError("limits_invalid", "The bands must rise without overlap, with low up to high.")
                end = band.upper_age_months

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
    sexes: Sequence[Sex],
    bone_ages_months: ArrayLike,
    differences_months: ArrayLike,
    edges_months: Sequence[float],
    coverage: float = 0.95,
) -> DiscordanceLimits:
    """Measure usual differences on radiographs that the networks were not trained on (out of fold).

    The limits of a band are the quantiles that leave half of the rest on either side. A band with fewer than
    `LEAST_RADIOGRAPHS` radiographs is left out.

    Args:
        sexes: sexes of N patients, one for each radiograph.
        bone_ages_months: shape (N,), estimated bone ages.
        differences_months: shape (N,), carpal bones minus the others.
        edges_months: rising edges of the age bands, at least two.
        coverage: share of radiographs within the limits, above 0 and below 1.

    Raises:
        ClinicalError: ``limits_invalid`` if the shapes differ, the edges do not rise or a value is not finite.
    """
    ages, differences = np.asarray(bone_ages_months, np.float64), np.asarray(differences_months, np.float64)
    edges = np.asarray(edges_months, np.float64)
    if not ages.shape == differences.shape == (len(sexes),) or edges.size < 2 or (np.diff(edges) <= 0).any():
        raise ClinicalError("limits_invalid", "Ages and differences must be as many as sexes, and the edges must rise.")
    if not (np.isfinite(ages).all() and np.isfinite(differences).all() and 0 < coverage < 1):
        raise ClinicalError("limits_invalid", "Ages and differences must be finite, and the coverage within 0 to 1.")
    tails = [(1 - coverage) / 2, (1 + coverage) / 2]
    by_sex: dict[Sex, tuple[DiscordanceLimit, ...]] = {}
    for sex in Sex:
        of_sex = np.array([one is sex for one in sexes], dtype=bool)
        bands = []
        for low, high in pairwise(edges):
            of_band = differences[of_sex & (ages >= low) & (ages < high)]
            if of_band.size >= LEAST_RADIOGRAPHS:
                lowest, highest = np.quantile(of_band, tails)
                bands.append(DiscordanceLimit(float(low), float(high), float(lowest), float(highest)))
        by_sex[sex] = tuple(bands)
    return DiscordanceLimits(MappingProxyType(by_sex))
