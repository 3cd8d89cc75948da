"""Chronological age as the database keeps it, and the range of valid dates."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

from django.utils import timezone

from boneage.clinical.ages import FIRST_DAY, OLDEST_MONTHS, AgePrecision, AgeSource, ChronologicalAge

__all__ = ["FIRST_DAY", "age_of_columns", "midnight", "midnight_after"]

_UNIT_MONTHS = {AgePrecision.YEARS: 12.0, AgePrecision.MONTHS: 1.0}
"""Length of the interval of an age, months. Ages in weeks and days count as exact."""


def midnight(day: date) -> datetime:
    """Return the time at which a day begins in the service's time zone."""
    return datetime.combine(day, time(), timezone.get_default_timezone())


def midnight_after(day: date) -> datetime:
    """Return the time at which a day ends in the service's time zone. The last day of the calendar ends a day early."""
    return midnight(min(day, date.max - timedelta(days=1)) + timedelta(days=1))


def age_of_columns(
    months: float | None, precision: str, *, is_middle: bool = True, source: AgeSource = AgeSource.ENTERED
) -> ChronologicalAge | None:
    """Return the age that two columns keep.

    Args:
        months: the age; None if it is unknown. An age above 130 years, by wrong dates, counts as unknown.
        precision: unit to which it is known; empty for an exact age.
        is_middle: True if `months` is the middle of the interval; False if it is the lower end, as entered.
        source: origin of the age; an age that is exact to the day counts as one by dates where it is the middle.
    """
    if months is None or months > OLDEST_MONTHS - 12:
        return None
    unit = AgePrecision(precision or AgePrecision.DAYS)
    width = _UNIT_MONTHS.get(unit, 0.0)
    lower = max(0.0, months - width / 2) if is_middle else months
    if is_middle and unit is AgePrecision.DAYS:
        source = AgeSource.DATES
    return ChronologicalAge(lower, lower + width, unit, source)
