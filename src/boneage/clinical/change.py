"""Change between readings of one child: difference, velocity and SDS over time.

A difference of two readings carries the error of both. Its 95 % band is ``±1.96 sqrt(s1² + s2²)``, where s is the SD
of repeated readings of the same hand. The velocity, in months of bone age per year, divides difference and band by the
time between the radiographs. The bands describe repeatability and exclude errors that both readings share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from itertools import pairwise

from boneage.clinical.ages import ChronologicalAge, calendar_months
from boneage.clinical.errors import ClinicalError
from boneage.clinical.references import Reference
from boneage.clinical.sds import SdsResult, WithheldReason, judge
from boneage.sex import Sex

LEAST_DISTANCE_MONTHS = 6.0
"""Time between two radiographs from which a velocity is given, included. At 3 months its band is ±14 months a year."""

EXPECTED_VELOCITY = 12.0
"""Months of bone age per year of a child that matures as the scale does."""

Z_95 = 1.96
"""Standard deviations on either side of the mean that hold 95 % of a normal distribution."""


class ReadingMethod(StrEnum):
    """Origin of a bone age."""

    AUTOMATIC = "automatic"
    """A model bundle gave it, and nobody changed it."""
    MANUAL = "manual"
    """A physician read or corrected it."""


MANUAL_REPEAT_SD_MONTHS = 7.0
"""SD of a physician's repeated readings of the same hand, in months. It also stands for a model bundle whose SD was not
measured."""


class ChangeFlag(StrEnum):
    """Fact that limits the comparison of two readings, and is to be stated beside it."""

    MIXED_METHODS = "mixed_methods"
    """One reading is automatic, the other manual."""
    MIXED_VERSIONS = "mixed_versions"
    """The automatic readings are of different model bundles or versions, or the version of one is unknown."""
    NEAR_MATURITY = "near_maturity"
    """A reading is at or near skeletal maturity, where the bones hardly change any more."""


class ChangeReason(StrEnum):
    """Reason why there is no velocity and no verdict."""

    TOO_CLOSE = "too_close"
    """The radiographs are less than 6 months apart."""
    AGE_IN_WHOLE_YEARS = "age_in_whole_years"
    """The time between the radiographs is unknown: an age is known to the year only, and a study date is missing."""
    NEAR_MATURITY = "near_maturity"
    """A reading is at or near skeletal maturity."""
    AGE_UNKNOWN = "age_unknown"
    """The time between the radiographs is unknown: an age and a study date are missing."""


class Verdict(StrEnum):
    """Pace at which the bones matured between two radiographs."""

    FASTER = "faster"
    """The whole 95 % band lies above 12 months of bone age per year."""
    SLOWER = "slower"
    """The whole 95 % band lies below 12 months of bone age per year."""
    AS_EXPECTED = "as_expected"
    """The band includes 12 months per year, so the readings show no difference from the pace of the scale. A wider
    band makes this statement weaker."""


@dataclass(frozen=True)
class SerialReading:
    """One of several readings of a child.

    Attributes:
        bone_age_months: bone age that counts, finite.
        method: origin of the bone age.
        age: chronological age at the study, or None.
        study_date: day of the study, or None.
        version: name and version of the model bundle of an automatic reading, or None.
        is_near_maturity: the hand is at or near skeletal maturity.
        interval_80: (low, high) of the 80 % interval of an automatic reading in months, for the mean of several
            readers, or None.
        repeat_sd_months: SD of repeated readings of the same hand, above 0: from the manifest of the model bundle, or
            `MANUAL_REPEAT_SD_MONTHS`.
    """

    bone_age_months: float
    method: ReadingMethod
    age: ChronologicalAge | None = None
    study_date: date | None = None
    version: str | None = None
    is_near_maturity: bool = False
    interval_80: tuple[float, float] | None = None
    repeat_sd_months: float = MANUAL_REPEAT_SD_MONTHS

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ClinicalError: ``estimate_invalid``.
        """
        if not math.isfinite(self.bone_age_months):
            raise ClinicalError("estimate_invalid", "A bone age must be a finite number of months.")
        if not 0 < self.repeat_sd_months < math.inf:
            raise ClinicalError("estimate_invalid", "The SD of repeated readings must be a number above 0.")


@dataclass(frozen=True)
class Change:
    """Change from one reading to a later one.

    Attributes:
        distance_months: time between the radiographs, or None if unknown.
        difference_months: later minus earlier bone age.
        band_months: half width of the 95 % band of the difference.
        velocity: months of bone age per year, or None.
        velocity_band: (low, high) of its 95 % band, or None.
        verdict: pace, or None.
        reason: reason for a missing velocity and verdict; None if they exist.
        flags: limits of the comparison.
    """

    distance_months: float | None
    difference_months: float
    band_months: float
    velocity: float | None
    velocity_band: tuple[float, float] | None
    verdict: Verdict | None
    reason: ChangeReason | None
    flags: tuple[ChangeFlag, ...]

    @property
    def difference_interval(self) -> tuple[float, float]:
        """Lower and upper end of the 95 % band of the difference, in months."""
        return self.difference_months - self.band_months, self.difference_months + self.band_months


def change(earlier: SerialReading, later: SerialReading) -> Change:
    """Compare two readings of one child.

    Args:
        earlier: reading of the earlier radiograph.
        later: reading of the later radiograph, of the same day at the earliest.

    Raises:
        ClinicalError: ``reading_order`` if the later radiograph is known to be the earlier one.
    """
    distance, unknown = _distance(earlier, later)
    moved = later.bone_age_months - earlier.bone_age_months
    band = Z_95 * math.hypot(earlier.repeat_sd_months, later.repeat_sd_months)
    flags = _flags(earlier, later)
    reason = unknown
    if ChangeFlag.NEAR_MATURITY in flags:
        reason = ChangeReason.NEAR_MATURITY
    elif distance is not None and distance < LEAST_DISTANCE_MONTHS:
        reason = ChangeReason.TOO_CLOSE
    if distance is None or reason is not None:
        return Change(distance, moved, band, None, None, None, reason, flags)
    low, velocity, high = (12 * value / distance for value in (moved - band, moved, moved + band))
    return Change(distance, moved, band, velocity, (low, high), _verdict(low, high), None, flags)


def in_order(readings: Sequence[SerialReading]) -> tuple[SerialReading, ...]:
    """Sort readings by study date where all have one, else by chronological age.

    Raises:
        ClinicalError: ``reading_order`` if a reading has neither, or if neither is known of all.
    """
    dates = [reading.study_date for reading in readings if reading.study_date is not None]
    if len(dates) == len(readings):
        return tuple(reading for _, reading in sorted(zip(dates, readings, strict=True), key=lambda pair: pair[0]))
    ages = [reading.age.middle_months for reading in readings if reading.age is not None]
    if len(ages) == len(readings):
        return tuple(reading for _, reading in sorted(zip(ages, readings, strict=True), key=lambda pair: pair[0]))
    raise ClinicalError("reading_order", "The readings need study dates, or chronological ages, to be put in order.")


@dataclass(frozen=True)
class Course:
    """Readings of one child over time.

    Attributes:
        readings: readings in chronological order.
        changes: changes between neighbouring readings, one fewer than readings.
        overall: change between the first and the last reading; None with fewer than two readings.
        sds: SDS at each reading, for a plot against age.
    """

    readings: tuple[SerialReading, ...]
    changes: tuple[Change, ...]
    overall: Change | None
    sds: tuple[SdsResult, ...]


def course(readings: Sequence[SerialReading], sex: Sex | None, reference: Reference) -> Course:
    """Describe the readings of one child over time.

    Args:
        readings: readings in any order.
        sex: sex of the child, or None if unknown; there is no SDS then.
        reference: reference of the SDS.

    Raises:
        ClinicalError: ``reading_order`` if the readings cannot be put in order.
    """
    ordered = in_order(readings)
    return Course(
        readings=ordered,
        changes=tuple(change(earlier, later) for earlier, later in pairwise(ordered)),
        overall=change(ordered[0], ordered[-1]) if len(ordered) > 1 else None,
        sds=tuple(_sds(reading, sex, reference) for reading in ordered),
    )


def _sds(reading: SerialReading, sex: Sex | None, reference: Reference) -> SdsResult:
    if reading.is_near_maturity:
        return SdsResult(reason=WithheldReason.NEAR_MATURITY)
    return judge(reading.bone_age_months, reading.interval_80, reading.age, sex, reference)


def _distance(earlier: SerialReading, later: SerialReading) -> tuple[float | None, ChangeReason | None]:
    """Return the months between two radiographs, or None and the reason; study dates come first."""
    if earlier.study_date is not None and later.study_date is not None:
        if later.study_date < earlier.study_date:
            raise ClinicalError("reading_order", "The later reading is of an earlier day. Give the readings in order.")
        return calendar_months(earlier.study_date, later.study_date), None
    if earlier.age is None or later.age is None:
        return None, ChangeReason.AGE_UNKNOWN
    if later.age.upper_months < earlier.age.lower_months:
        raise ClinicalError("reading_order", "The later reading is of a lower age. Give the readings in order.")
    if not (earlier.age.is_known_to_the_month and later.age.is_known_to_the_month):
        return None, ChangeReason.AGE_IN_WHOLE_YEARS
    return max(later.age.middle_months - earlier.age.middle_months, 0.0), None


def _flags(earlier: SerialReading, later: SerialReading) -> tuple[ChangeFlag, ...]:
    automatic = [one for one in (earlier, later) if one.method is ReadingMethod.AUTOMATIC]
    versions = {one.version for one in automatic}
    conditions = {
        ChangeFlag.MIXED_METHODS: len(automatic) == 1,
        ChangeFlag.MIXED_VERSIONS: len(automatic) > 1 and (len(versions) > 1 or None in versions),
        ChangeFlag.NEAR_MATURITY: earlier.is_near_maturity or later.is_near_maturity,
    }
    return tuple(flag for flag, holds in conditions.items() if holds)


def _verdict(low: float, high: float) -> Verdict:
    if low > EXPECTED_VELOCITY:
        return Verdict.FASTER
    return Verdict.SLOWER if high < EXPECTED_VELOCITY else Verdict.AS_EXPECTED
