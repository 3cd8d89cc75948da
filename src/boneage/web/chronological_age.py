"""Chronological age: from dates, and compared with the bone age; and the range of valid dates."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from django.utils import timezone

from boneage.bundle.estimate import OLDEST_MONTHS
from boneage.reading.dicom.facts import DAYS_PER_MONTH

FIRST_DAY = date(1900, 1, 1)
"""Earliest valid date: no radiograph and no patient is older."""

_FARTHEST_FROM_UTC = timedelta(hours=14)
"""Largest time zone offset. A date lies in the future only if it does so everywhere."""


def last_day() -> date:
    """Return the last day that does not lie in the future somewhere on earth."""
    return (timezone.now() + _FARTHEST_FROM_UTC).date()


def midnight(day: date) -> datetime:
    """Return the time at which a day begins, UTC."""
    return datetime.combine(day, time(), UTC)


def midnight_after(day: date) -> datetime:
    """Return the time at which a day ends, UTC. The last day of the calendar ends a day early."""
    return midnight(min(day, date.max - timedelta(days=1))) + timedelta(days=1)


def months_between(birth: date, study: date) -> float:
    """Return the age in months of 30.44 days; negative if the study was before the birth."""
    return (study - birth).days / DAYS_PER_MONTH


def months_ahead(bone_months: float | None, chronological_months: float | None) -> float | None:
    """Return bone age minus chronological age, months.

    Return None if one of them is unknown, or if the chronological age is above 19 years, where bone age ends
    (like `boneage.assessment.Assessment.difference_months`).
    """
    if bone_months is None or chronological_months is None or chronological_months > OLDEST_MONTHS:
        return None
    return bone_months - chronological_months
