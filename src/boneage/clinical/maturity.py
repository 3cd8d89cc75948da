"""Both ends of the scale: under two years, near skeletal maturity, and beyond the scale.

Near skeletal maturity the hand stops changing while the child grows older, so that a bone age does not tell ages
beyond. Under two years the hand has few ossification centres, and the normal variation is smaller than the error of an
estimate. In these cases signed difference, SDS and determination are withheld.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from boneage.clinical.ages import ChronologicalAge
from boneage.clinical.errors import ClinicalError
from boneage.sex import Sex

YOUNGEST_MONTHS = 24.0
"""Chronological age in months from which a radiograph of the hand is judged."""

NEAR_MATURITY_MONTHS: Mapping[Sex, float] = MappingProxyType({Sex.FEMALE: 180.0, Sex.MALE: 192.0})
"""Bone age in months from which a hand is at or near maturity: 15 years in girls, 16 years in boys."""

MATURE_MONTHS: Mapping[Sex, float] = MappingProxyType({Sex.FEMALE: 204.0, Sex.MALE: 216.0})
"""Bone age in months above which the age distribution counts as mature: 17 years in girls, 18 years in boys."""

MATURE_PROBABILITY = 0.2
"""Probability above `MATURE_MONTHS` that makes a hand at or near mature, excluded."""

SCALE_END_MONTHS: Mapping[Sex, float] = MappingProxyType({Sex.FEMALE: 216.0, Sex.MALE: 228.0})
"""Last plate of the atlas of Greulich & Pyle in months: 18 years for girls, 19 years for boys."""


class AgeZone(StrEnum):
    """Part of the scale in which a chronological age lies."""

    UNDER_TWO_YEARS = "under_two_years"
    """Radiographs of the hand say little under two years."""
    WITHIN = "within"
    """Bone age is defined, though a reference may end earlier."""
    BEYOND_SCALE = "beyond_scale"
    """The scale of Greulich & Pyle ends before this age."""


class NearMaturityReason(StrEnum):
    """Reason why a hand counts as at or near skeletal maturity."""

    ESTIMATE = "estimate"
    """The estimate has reached `NEAR_MATURITY_MONTHS`."""
    DISTRIBUTION = "distribution"
    """The age distribution gives more than `MATURE_PROBABILITY` to ages above `MATURE_MONTHS`."""


@dataclass(frozen=True)
class AgeDistribution:
    """Probability of each bone age, as the networks give it.

    Attributes:
        ages_months: rising middles of the bins in months, such as 0, 1, ...
        probabilities: one value for each bin, at least 0. They are normalised where they are used.
    """

    ages_months: tuple[float, ...]
    probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ClinicalError: ``estimate_invalid``.
        """
        ages, shares = self._arrays()
        if ages.shape != shares.shape or ages.size < 1 or not np.isfinite(ages).all() or (np.diff(ages) <= 0).any():
            raise ClinicalError("estimate_invalid", "The ages of a distribution must rise, one for each probability.")
        if not np.isfinite(shares).all() or (shares < 0).any() or shares.sum() <= 0:
            raise ClinicalError("estimate_invalid", "The probabilities of a distribution must be numbers from 0 on.")

    @classmethod
    def by_month(cls, probabilities: ArrayLike) -> AgeDistribution:
        """Make the distribution whose values are the probabilities of 0, 1, 2, ... months, to the nearest month.

        Args:
            probabilities: shape (N,), one value for each month of age.

        Raises:
            ClinicalError: ``estimate_invalid``.
        """
        shares = np.asarray(probabilities, dtype=np.float64).ravel()
        return cls(tuple(np.arange(shares.size, dtype=np.float64).tolist()), tuple(shares.tolist()))

    def probability_above(self, age_months: float) -> float:
        """Return the probability, 0 to 1, of bins whose middle lies above an age."""
        ages, shares = self._arrays()
        return float(shares[ages > age_months].sum() / shares.sum())

    def _arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.asarray(self.ages_months, np.float64), np.asarray(self.probabilities, np.float64)


@dataclass(frozen=True)
class NearMaturity:
    """Result of the rule for skeletal maturity.

    Attributes:
        reasons: conditions that hold; empty for a hand that is still maturing.
        probability_mature: probability, 0 to 1, of an age above `MATURE_MONTHS`; None without a distribution.
    """

    reasons: tuple[NearMaturityReason, ...]
    probability_mature: float | None

    @property
    def is_near(self) -> bool:
        """True if the hand is at or near maturity; intervals are then open above."""
        return bool(self.reasons)


def near_maturity(bone_age_months: float, sex: Sex | None, distribution: AgeDistribution | None = None) -> NearMaturity:
    """Judge whether a hand is at or near skeletal maturity.

    Args:
        bone_age_months: estimate, finite.
        sex: sex of the patient. If it is unknown, the limits of girls hold, which are lower.
        distribution: age distribution of the estimate, if the networks give one.
    """
    limits = sex or Sex.FEMALE
    probability = None if distribution is None else distribution.probability_above(MATURE_MONTHS[limits])
    conditions = {
        NearMaturityReason.ESTIMATE: bone_age_months >= NEAR_MATURITY_MONTHS[limits],
        NearMaturityReason.DISTRIBUTION: probability is not None and probability > MATURE_PROBABILITY,
    }
    return NearMaturity(tuple(reason for reason, holds in conditions.items() if holds), probability)


def age_zone(age: ChronologicalAge, sex: Sex | None) -> AgeZone:
    """Return the part of the scale in which a chronological age lies.

    An age that is an interval is judged by its middle. Intervals of whole years or months lie on one side of each
    limit.

    Args:
        age: chronological age.
        sex: sex of the patient. If it is unknown, the scale ends where that of boys ends.
    """
    months = age.middle_months
    if months < YOUNGEST_MONTHS:
        return AgeZone.UNDER_TWO_YEARS
    if months > SCALE_END_MONTHS[sex or Sex.MALE]:
        return AgeZone.BEYOND_SCALE
    return AgeZone.WITHIN
