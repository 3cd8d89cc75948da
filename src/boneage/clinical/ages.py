"""Chronological age by the calendar, exact or as an interval.

Clinics count completed years and months and never round up. `calendar_months` is the one measure behind every age of
this package: completed months plus the elapsed part of the current month. Its whole part is therefore what clinics
print, a child is two years old on the second birthday, and differences add up with the ages that are shown. It differs
from days divided by 30.4375 by less than 0.1 month.

An age that is known in whole years (DICOM's ``013Y``) is any age from 13 y 0 m up to the 14th birthday. It stays an
interval and is never taken as 156.0 months.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from boneage.clinical.errors import ClinicalError

DAYS_PER_MONTH = 365.25 / 12
"""Mean length of a month in days. It serves only where no date is known: for ages in weeks or days."""

FIRST_DAY = date(1900, 1, 1)
"""Earliest birth date that is accepted."""

OLDEST_MONTHS = 130 * 12.0
"""Ages above 130 years are errors of entry."""

AGREEMENT_MONTHS = 0.25
"""Tolerance, in months, between a stated age and the dates: some systems state the age on a day close to the study."""

TOLERANCE_MONTHS = 1.0
"""Largest gap, in months, between an age that a person states and the dates or the file: people count differently."""

_FARTHEST_FROM_UTC = timedelta(hours=14)
"""Largest time zone offset. A date lies in the future only if it does so everywhere on earth."""

_LAST_YEAR = 9998
_PATIENT_AGE = re.compile(r"0*([0-9]{1,3}) *([DWMY])")
"""Three digits and a unit (DICOM PS3.5, 6.2, AS). Fewer digits, further zeros and a space occur and are read too."""
_WRITTEN_AGE = re.compile(r"([0-9]{1,3}) *Y?|(?:([0-9]{1,3}) *Y *)?([0-9]{1,4}) *M")
"""Years, years and months, or months: ``13``, ``13y``, ``13y6m`` and ``18m``."""


class AgePrecision(StrEnum):
    """Unit to which an age is known."""

    DAYS = "days"
    WEEKS = "weeks"
    MONTHS = "months"
    YEARS = "years"


_UNITS: Mapping[str, tuple[AgePrecision, float]] = MappingProxyType(
    {
        "D": (AgePrecision.DAYS, 1 / DAYS_PER_MONTH),
        "W": (AgePrecision.WEEKS, 7 / DAYS_PER_MONTH),
        "M": (AgePrecision.MONTHS, 1.0),
        "Y": (AgePrecision.YEARS, 12.0),
    }
)
"""Precision and length in months of the units of a DICOM age."""


class AgeSource(StrEnum):
    """Origin of a chronological age."""

    DATES = "dates"
    """Birth date and study date."""
    PATIENT_AGE = "patient_age"
    """DICOM's Patient's Age (0010,1010)."""
    ENTERED = "entered"
    """A person or a table gave the age itself."""


class AgeIssue(StrEnum):
    """Reason why the age in a file is missing or less certain than it could be."""

    AGES_DIFFER = "ages_differ"
    """Patient's Age contradicts birth date and study date, so that no age is used."""
    STUDY_BEFORE_BIRTH = "study_before_birth"
    """The study date lies before the birth date, so that no age is used."""
    DATES_IMPOSSIBLE = "dates_impossible"
    """The dates are too early or lie in the future, so that no age is used."""
    PATIENT_AGE_MALFORMED = "patient_age_malformed"
    """Patient's Age cannot be read; the age rests on the dates, where they are known."""


class CompletedAge(NamedTuple):
    """Completed years and months, as clinics write an age: ``11 y 6 m``.

    Attributes:
        years: completed years, at least 0.
        months: completed months beyond them, 0 to 11.
    """

    years: int
    months: int


def completed_age(months: float) -> CompletedAge:
    """Return the completed years and months of an age, rounded down.

    Args:
        months: age in months, finite and at least 0.

    Raises:
        ClinicalError: ``age_out_of_range``.
    """
    return CompletedAge(*divmod(math.floor(_checked_months(months)), 12))


@dataclass(frozen=True)
class ChronologicalAge:
    """Age of a child at the study, as exactly as it is known.

    Attributes:
        lower_months: lowest possible age in months, included.
        upper_months: upper bound in months. It is excluded, unless both bounds are equal and the age is exact to the
            day.
        precision: unit to which the age is known.
        source: origin of the age.
    """

    lower_months: float
    upper_months: float
    precision: AgePrecision
    source: AgeSource

    def __post_init__(self) -> None:
        """Check the bounds.

        Raises:
            ClinicalError: ``age_out_of_range``.
        """
        if _checked_months(self.lower_months) > _checked_months(self.upper_months):
            raise ClinicalError("age_out_of_range", "The lower bound of an age must not lie above the upper bound.")

    @property
    def middle_months(self) -> float:
        """Middle of the interval in months: the exact age where the age is known to the day."""
        return (self.lower_months + self.upper_months) / 2

    @property
    def is_known_to_the_month(self) -> bool:
        """True where the age is known to the month or better, so that differences and SDS can be computed."""
        return self.precision is not AgePrecision.YEARS

    @property
    def completed(self) -> CompletedAge:
        """Completed years and months of the lower bound.

        The months are meaningless for an age in whole years.
        """
        return completed_age(self.lower_months)

    @property
    def last_completed(self) -> CompletedAge:
        """Highest completed years and months that the interval allows: 13 y 11 m for an age of 13 years."""
        if self.lower_months == self.upper_months:
            return self.completed
        return completed_age(max(self.lower_months, math.ceil(self.upper_months) - 1))


@dataclass(frozen=True)
class FileAge:
    """Age that a file gives, and the problem with it.

    Attributes:
        age: the age, or None if the file gives none or contradicts itself.
        issue: problem with the age, or None. An integration shows it as a warning.
    """

    age: ChronologicalAge | None
    issue: AgeIssue | None = None


def completed_months(birth_date: date, study_date: date) -> int:
    """Return the completed months between two dates.

    A month is complete on the same day of a later month. Where that month has no such day, it is complete on the first
    day of the month after it. A child born on 29 February is therefore one year old on 1 March.

    Raises:
        ClinicalError: ``study_before_birth``.
    """
    birth, study = _day(birth_date), _day(study_date)
    if study < birth:
        raise ClinicalError("study_before_birth", "The study date lies before the birth date. Check both dates.")
    months = 12 * (study.year - birth.year) + study.month - birth.month
    return months if study.day >= birth.day else months - 1


def day_of_completion(birth_date: date, months: int) -> date:
    """Return the day on which a number of months is complete, by the rule of `completed_months`.

    Args:
        birth_date: day of birth.
        months: at least 0.

    Raises:
        ClinicalError: ``age_out_of_range`` if the day lies beyond the calendar.
    """
    birth = _day(birth_date)
    years, month = divmod(birth.month - 1 + months, 12)
    year = birth.year + years
    if months < 0 or year > _LAST_YEAR:
        raise ClinicalError("age_out_of_range", f"{months} months after the birth date is no day of the calendar.")
    try:
        return date(year, month + 1, birth.day)
    except ValueError:  # the month has no such day; December has all, so that the year does not change
        return date(year, month + 2, 1)


def calendar_months(birth_date: date, study_date: date) -> float:
    """Return the exact age in months: completed months plus the elapsed part of the current month.

    The value rises with every day, and its whole part equals `completed_months`.

    Raises:
        ClinicalError: ``study_before_birth``, or ``age_out_of_range`` beyond the calendar.
    """
    months = completed_months(birth_date, study_date)
    start, end = day_of_completion(birth_date, months), day_of_completion(birth_date, months + 1)
    return months + (_day(study_date) - start).days / (end - start).days


def latest_study_day() -> date:
    """Return the last day that does not lie in the future somewhere on earth, for `age_from_dates`."""
    return (datetime.now(UTC) + _FARTHEST_FROM_UTC).date()


def age_from_dates(birth_date: date, study_date: date, *, last_day: date | None = None) -> ChronologicalAge:
    """Return the age at the study, exact to the day.

    Args:
        birth_date: not before 1900.
        study_date: not before the birth date.
        last_day: last day on which a study can have taken place (`latest_study_day`); unchecked if None.

    Raises:
        ClinicalError: ``birth_too_early``, ``study_before_birth``, ``study_in_future`` or ``age_out_of_range``.
    """
    if _day(birth_date) < FIRST_DAY:
        raise ClinicalError("birth_too_early", "The birth date lies before 1900. Check the date.")
    if last_day is not None and _day(study_date) > _day(last_day):
        raise ClinicalError("study_in_future", "The study date lies in the future. Check the date.")
    months = calendar_months(birth_date, study_date)
    return ChronologicalAge(months, months, AgePrecision.DAYS, AgeSource.DATES)


def parse_patient_age(text: str) -> ChronologicalAge:
    """Read a DICOM age: three digits and a unit, ``013Y``, ``018M``, ``003W`` or ``010D``.

    Such an age counts completed units, so that it is an interval of one unit: ``013Y`` is 156 to 168 months.

    Raises:
        ClinicalError: ``age_malformed``, or ``age_out_of_range`` above 130 years.
    """
    match = _PATIENT_AGE.fullmatch(text.strip(" \0").upper())
    if match is None:
        raise ClinicalError("age_malformed", "The age must be three digits and a unit, such as 013Y or 018M.")
    precision, unit = _UNITS[match[2]]
    count = int(match[1])
    return ChronologicalAge(count * unit, (count + 1) * unit, precision, AgeSource.PATIENT_AGE)


def entered_age(years: int, months: int | None = None) -> ChronologicalAge:
    """Return the age that a person entered as completed years, with or without completed months.

    Args:
        years: completed years, at least 0.
        months: completed months, 0 to 11. Without them the age is known to the year only; 0 is a known month.

    Raises:
        ClinicalError: ``age_malformed`` or ``age_out_of_range``.
    """
    if months is None:
        return ChronologicalAge(12.0 * years, 12.0 * (years + 1), AgePrecision.YEARS, AgeSource.ENTERED)
    if not 0 <= months < 12:
        raise ClinicalError("age_malformed", "The months beside the years must be 0 to 11.")
    lower = 12.0 * years + months
    return ChronologicalAge(lower, lower + 1, AgePrecision.MONTHS, AgeSource.ENTERED)


def exact_age(months: float, source: AgeSource = AgeSource.ENTERED) -> ChronologicalAge:
    """Return an age that is given as an exact number of months, such as 167.5.

    Raises:
        ClinicalError: ``age_out_of_range``.
    """
    return ChronologicalAge(months, months, AgePrecision.DAYS, source)


def age_in_file(
    patient_age: str | None, birth_date: date | None, study_date: date | None, *, last_day: date | None = None
) -> FileAge:
    """Return the age that a file gives by Patient's Age, by its dates or by both.

    The dates are used where Patient's Age agrees with them within its unit, with a tolerance of `AGREEMENT_MONTHS`, or
    is missing or malformed. Where the two contradict each other it is unknown which is right, and there is no age.

    Args:
        patient_age: DICOM's Patient's Age, or None.
        birth_date: day of birth, or None.
        study_date: day of the study, or None.
        last_day: see `age_from_dates`.
    """
    stated, issue = _stated(patient_age)
    if birth_date is None or study_date is None:
        return FileAge(stated, issue)
    try:
        dated = age_from_dates(birth_date, study_date, last_day=last_day)
    except ClinicalError as error:
        before = error.code == AgeIssue.STUDY_BEFORE_BIRTH
        return FileAge(None, AgeIssue.STUDY_BEFORE_BIRTH if before else AgeIssue.DATES_IMPOSSIBLE)
    if stated is not None and not _agree(stated, dated):
        return FileAge(None, AgeIssue.AGES_DIFFER)
    return FileAge(dated, issue)


@dataclass(frozen=True)
class StatedAge:
    """Dates and age of a child as a person or a table states them.

    Attributes:
        birth_date: day of birth, or None.
        study_date: day of the study, or None.
        age: chronological age at the study, or None.
    """

    birth_date: date | None = None
    study_date: date | None = None
    age: ChronologicalAge | None = None


def age_at_study(
    stated: StatedAge,
    patient_age: str | None = None,
    birth_date: date | None = None,
    study_date: date | None = None,
    *,
    last_day: date | None = None,
) -> FileAge:
    """Return the age by what a person states, and by the file where that leaves a gap.

    Both dates go before an age, and what is stated goes before the file. A single date is completed by the file's other
    date, except by a birth date that Patient's Age contradicts.

    Args:
        stated: dates and age that a person or a table states.
        patient_age: DICOM's Patient's Age, or None.
        birth_date: day of birth by the file, or None.
        study_date: day of the study by the file, or None.
        last_day: see `age_from_dates`.
    """
    in_file = age_in_file(patient_age, birth_date, study_date, last_day=last_day)
    if stated.birth_date is None and stated.study_date is None:
        return in_file if stated.age is None else FileAge(stated.age)
    if stated.age is not None and (stated.birth_date is None or stated.study_date is None):
        return FileAge(stated.age)
    is_contradictory = in_file.issue is AgeIssue.AGES_DIFFER
    birth = stated.birth_date or (None if is_contradictory else birth_date)
    study = stated.study_date or study_date
    if birth is None or study is None:
        return FileAge(None) if stated.birth_date is not None else in_file
    dated = age_in_file(None, birth, study, last_day=last_day)
    if dated.age is not None and stated.age is not None and gap_months(dated.age, stated.age) > TOLERANCE_MONTHS:
        return FileAge(None, AgeIssue.AGES_DIFFER)
    return dated


def gap_months(first: ChronologicalAge, second: ChronologicalAge) -> float:
    """Return the distance between two ages in months: 0 where their intervals meet."""
    return max(0.0, first.lower_months - second.upper_months, second.lower_months - first.upper_months)


def parse_written_age(text: str) -> ChronologicalAge:
    """Read an age as people write it: ``13`` or ``13y`` for whole years, ``13y6m``, or ``18m``.

    Raises:
        ClinicalError: ``age_malformed`` or ``age_out_of_range``.
    """
    match = _WRITTEN_AGE.fullmatch(text.strip().upper())
    if match is None:
        raise ClinicalError(
            "age_malformed", "The age must be years, years and months or months, such as 13, 13y6m or 18m."
        )
    whole_years, years, months = match.groups()
    if whole_years is not None:
        return entered_age(int(whole_years))
    if years is not None:
        return entered_age(int(years), int(months))
    return ChronologicalAge(float(months), float(months) + 1, AgePrecision.MONTHS, AgeSource.ENTERED)


@dataclass(frozen=True)
class AgeDifference:
    """Bone age minus chronological age.

    Attributes:
        months: the difference in months, or None where the age is known to the year only.
        range_months: lowest and highest difference that the interval of the age allows. Both are equal for an age
            that is exact to the day.
    """

    months: float | None
    range_months: tuple[float, float]


def difference(bone_age_months: float, age: ChronologicalAge) -> AgeDifference:
    """Return bone age minus chronological age, from exact values.

    An age that is known to the month counts by the middle of that month.

    Args:
        bone_age_months: finite.
        age: chronological age.
    """
    return AgeDifference(
        months=bone_age_months - age.middle_months if age.is_known_to_the_month else None,
        range_months=(bone_age_months - age.upper_months, bone_age_months - age.lower_months),
    )


def _stated(patient_age: str | None) -> tuple[ChronologicalAge | None, AgeIssue | None]:
    if patient_age is None or not patient_age.strip(" \0"):
        return None, None
    try:
        return parse_patient_age(patient_age), None
    except ClinicalError:
        return None, AgeIssue.PATIENT_AGE_MALFORMED


def _agree(stated: ChronologicalAge, dated: ChronologicalAge) -> bool:
    low, high = stated.lower_months - AGREEMENT_MONTHS, stated.upper_months + AGREEMENT_MONTHS
    return low <= dated.middle_months < high


def _checked_months(months: float) -> float:
    if not 0 <= months <= OLDEST_MONTHS:  # also false for NaN
        raise ClinicalError("age_out_of_range", f"An age must lie between 0 and {OLDEST_MONTHS:g} months.")
    return months


def _day(day: date) -> date:
    """Return the calendar day of a date or a datetime, which Python does not compare with each other."""
    return date(day.year, day.month, day.day)
