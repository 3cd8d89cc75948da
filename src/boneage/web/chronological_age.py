"""Chronological age: from dates, and against the bone age; and which days a date may be."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from django.utils import timezone

from boneage.bundle.estimate import OLDEST_MONTHS
from boneage.reading.dicom.facts import DAYS_PER_MONTH

FIRST_DAY = date(1900, 1, 1)
"""No radiograph is older, and nobody on one."""

_FARTHEST_FROM_UTC = timedelta(hours=14)
"""Where a day begins first: a date is in the future when it is so everywhere."""


def last_day() -> date:
    """The last day that is not in the future somewhere on earth."""
    return (timezone.now() + _FARTHEST_FROM_UTC).date()


def midnight(day: date) -> datetime:
    """When a day begins, UTC."""
    return datetime.combine(day, time(), UTC)


def midnight_after(day: date) -> datetime:
    """When a day ends, UTC; the last day that there is ends a day early."""
    return midnight(min(day, date.max - timedelta(days=1))) + timedelta(days=1)


def months_between(birth: date, study: date) -> float:
    """Age in months of 30.44 days; negative if the study was before the birth."""
    return (study - birth).days / DAYS_PER_MONTH


def months_ahead(bone_months: float | None, chronological_months: float | None) -> float | None:
    """Bone age less chronological age, months; None if either is not known, or the latter past 19 years, where bone
    age ends (as `boneage.assessment.Assessment.difference_months` has it).
    """
    if bone_months is None or chronological_months is None or chronological_months > OLDEST_MONTHS:
        return None
    return bone_months - chronological_months
