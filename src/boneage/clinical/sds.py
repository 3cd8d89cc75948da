"""Standard deviation score (SDS) of a bone age and its determination against healthy children.

The score is ``z = (bone age - mean) / SD`` with mean and SD of a reference at the exact chronological age. A bone age
is delayed at ``z <= -2``, advanced at ``z >= +2`` and within normal limits between. Where the 80 % interval for the
mean of several readers reaches into another class, the determination is borderline. Scores are rounded to hundredths
before they are judged, so that no output shows -2.00 beside "within normal limits".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from boneage.clinical.ages import ChronologicalAge
from boneage.clinical.errors import ClinicalError
from boneage.clinical.maturity import SCALE_END_MONTHS, YOUNGEST_MONTHS, AgeZone, age_zone
from boneage.clinical.references import Reference
from boneage.sex import Sex

NORMAL_SDS = 2.0
"""Scores between minus and plus this number are within normal limits; the bounds themselves are not."""

INTERVAL_PERCENT = 80
"""Percentage of the interval that an SDS carries: the 80 % interval for the mean of several readers.

That mean is what a physician means by the child's bone age. The interval for one reader holds 94 % of such means, and
made a third of healthy children borderline (docs/clinical.md).
"""

OLDEST_MONTHS: Mapping[Sex, float] = MappingProxyType({Sex.FEMALE: 192.0, Sex.MALE: 204.0})
"""Highest chronological age in months with an SDS, included: 16 years in girls, 17 years in boys."""

Interval = tuple[float, float]


class Determination(StrEnum):
    """Class of a bone age among healthy children of the same age and sex."""

    DELAYED = "delayed"
    """The SDS is -2 or below."""
    NORMAL = "normal"
    """The SDS lies between -2 and +2: within normal limits."""
    ADVANCED = "advanced"
    """The SDS is +2 or above."""
    BORDERLINE = "borderline"
    """The 80 % interval for the mean of several readers holds more than one class."""


class WithheldReason(StrEnum):
    """Reason why a signed difference, an SDS or a determination is withheld."""

    NO_ESTIMATE = "no_estimate"
    """There is no bone age."""
    MEANINGLESS = "meaningless"
    """The number is no bone age: the radiograph is the phantom's, or the estimate lies outside the scale."""
    CRITICAL_WARNING = "critical_warning"
    """A critical warning says that the bone age must not be used."""
    BEYOND_SCALE = "beyond_scale"
    """The chronological age lies beyond the scale of Greulich & Pyle."""
    UNDER_TWO_YEARS = "under_two_years"
    """The child is under two years old, when the bone age of the hand is unreliable."""
    SEX_UNKNOWN = "sex_unknown"
    """The sex is unknown or neither female nor male, and references are by sex."""
    NEAR_MATURITY = "near_maturity"
    """The hand is at or near skeletal maturity, where the bones hardly change any more."""
    AGE_UNKNOWN = "age_unknown"
    """The chronological age is unknown."""
    AGE_IN_WHOLE_YEARS = "age_in_whole_years"
    """The chronological age is known to the year only."""
    OVER_REFERENCE_AGE = "over_reference_age"
    """The child is over 16 years (girls) or 17 years (boys)."""
    OUTSIDE_REFERENCE = "outside_reference"
    """The chosen reference has no values at this age and sex."""


_OUTSIDE: Mapping[AgeZone, WithheldReason] = MappingProxyType(
    {
        AgeZone.BEYOND_SCALE: WithheldReason.BEYOND_SCALE,
        AgeZone.UNDER_TWO_YEARS: WithheldReason.UNDER_TWO_YEARS,
    }
)


@dataclass(frozen=True)
class SdsResult:
    """SDS of one bone age.

    Attributes:
        sds: score rounded to hundredths, or None.
        interval_80: score at both ends of the 80 % interval for the mean of several readers, rounded likewise; None
            without one.
        range: lowest and highest score that an age in whole years allows, where the reference covers all of that
            year; else None. It is no interval of the estimate.
        determination: class, or None.
        candidates: classes that `interval_80` holds, from delayed to advanced: two, in wide intervals three, for
            a borderline determination; one otherwise; none without a determination.
        reason: reason for a missing determination; None if there is one.
    """

    sds: float | None = None
    interval_80: Interval | None = None
    range: Interval | None = None
    determination: Determination | None = None
    candidates: tuple[Determination, ...] = ()
    reason: WithheldReason | None = None


@dataclass(frozen=True)
class NormalRange:
    """Normal range of bone age at a chronological age: mean ± 2 SD of a reference.

    Attributes:
        lower_months: lower bound in months, at least 0.
        upper_months: upper bound in months, at most the end of the scale.
        is_open_above: the mean + 2 SD lies beyond the end of the scale, so that the range has no upper bound on it.
    """

    lower_months: float
    upper_months: float
    is_open_above: bool = False


def standard_score(bone_age_months: float, age_months: float, sex: Sex, reference: Reference) -> float | None:
    """Return the unrounded score of a bone age, or None where the reference has no values.

    Args:
        bone_age_months: finite.
        age_months: exact chronological age.
        sex: sex of the child.
        reference: reference to judge by.
    """
    node = reference.at(sex, age_months)
    return None if node is None else (bone_age_months - node.mean_months) / node.sd_months


def classify(sds: float) -> Determination:
    """Return the class of a score; the bounds -2 and +2 belong to delayed and advanced."""
    if sds <= -NORMAL_SDS:
        return Determination.DELAYED
    return Determination.ADVANCED if sds >= NORMAL_SDS else Determination.NORMAL


def age_obstacle(age: ChronologicalAge | None, sex: Sex | None, reference: Reference) -> WithheldReason | None:
    """Return the reason why a chronological age and a sex allow no SDS, or None if they allow one."""
    if age is not None and (outside := _OUTSIDE.get(age_zone(age, sex))) is not None:
        return outside
    if sex is None or age is None:
        return WithheldReason.SEX_UNKNOWN if sex is None else WithheldReason.AGE_UNKNOWN
    if age.middle_months > OLDEST_MONTHS[sex]:
        return WithheldReason.OVER_REFERENCE_AGE
    if not age.is_known_to_the_month:
        return WithheldReason.AGE_IN_WHOLE_YEARS
    return None if reference.covers(sex, age.middle_months) else WithheldReason.OUTSIDE_REFERENCE


def judge(
    bone_age_months: float,
    interval_80: Interval | None,
    age: ChronologicalAge | None,
    sex: Sex | None,
    reference: Reference,
) -> SdsResult:
    """Return SDS and determination of a bone age that is fit to be judged by.

    `boneage.clinical.reading.clinical_reading` decides whether the estimate itself may be judged (near maturity,
    phantom, critical warning). An age that is known to the month counts by the middle of that month.

    Args:
        bone_age_months: estimate or a physician's reading, finite.
        interval_80: (low, high) of the 80 % interval for the mean of several readers in months. Without one, as for a
            physician's reading, the determination is never borderline.
        age: chronological age, or None.
        sex: sex of the child; None if it is unknown or neither female nor male.
        reference: reference to judge by.

    Raises:
        ClinicalError: ``estimate_invalid`` if the interval is reversed.
    """
    if interval_80 is not None and interval_80[0] > interval_80[1]:
        raise ClinicalError("estimate_invalid", "The lower bound of an interval must not lie above the upper bound.")
    reason = age_obstacle(age, sex, reference)
    if reason is not None or age is None or sex is None:
        span = None
        if reason is WithheldReason.AGE_IN_WHOLE_YEARS and age is not None and sex is not None:
            span = sds_range(bone_age_months, age, sex, reference)
        return SdsResult(range=span, reason=reason)
    score = _rounded_score(bone_age_months, age.middle_months, sex, reference)
    bounds = None
    if interval_80 is not None:
        low, high = (_rounded_score(bound, age.middle_months, sex, reference) for bound in interval_80)
        bounds = (low, high)
    scores = (score, *(bounds or ()))
    candidates = _classes(min(scores), max(scores))
    determination = candidates[0] if len(candidates) == 1 else Determination.BORDERLINE
    return SdsResult(score, bounds, None, determination, candidates)


def sds_range(bone_age_months: float, age: ChronologicalAge, sex: Sex, reference: Reference) -> Interval | None:
    """Return the lowest and the highest score over the interval of an age, rounded to hundredths.

    Between two rows of a reference the score is monotonic in age, so that both extremes lie at a row or at an end of
    the interval.

    Returns:
        (low, high), or None where the reference or the limits of the SDS do not cover the whole interval.
    """
    low, high = age.lower_months, age.upper_months
    covered = reference.covers(sex, low) and reference.covers(sex, high)
    if not covered or low < YOUNGEST_MONTHS or high > OLDEST_MONTHS[sex]:
        return None
    ages = [low, *(node.age_months for node in reference.nodes[sex] if low < node.age_months < high), high]
    scores = [_rounded_score(bone_age_months, at, sex, reference) for at in ages]
    return min(scores), max(scores)


def normal_range(age: ChronologicalAge | None, sex: Sex | None, reference: Reference) -> NormalRange | None:
    """Return the normal range of bone age at an age, or None where `age_obstacle` finds an obstacle.

    Args:
        age: chronological age, or None.
        sex: sex of the child, or None.
        reference: reference to judge by.
    """
    if age is None or sex is None or age_obstacle(age, sex, reference) is not None:
        return None
    mean, deviation = (float(value) for value in reference.curve(sex, age.middle_months))
    low, high = mean - NORMAL_SDS * deviation, mean + NORMAL_SDS * deviation
    end = SCALE_END_MONTHS[sex]
    return NormalRange(max(low, 0.0), min(high, end), high > end)


def _classes(low: float, high: float) -> tuple[Determination, ...]:
    """Return the classes between two scores, both included."""
    order = (Determination.DELAYED, Determination.NORMAL, Determination.ADVANCED)
    return order[order.index(classify(low)) : order.index(classify(high)) + 1]


def _rounded_score(bone_age_months: float, age_months: float, sex: Sex, reference: Reference) -> float:
    """Return the score at an age that the reference covers, rounded to hundredths."""
    mean, deviation = (float(value) for value in reference.curve(sex, age_months))
    return round((bone_age_months - mean) / deviation, 2) + 0.0  # turns -0.0 into 0.0
