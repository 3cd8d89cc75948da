"""A child's radiographs over the years: the readings that are compared, their changes, and the SDS at each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from uuid import UUID

from django.db.models import QuerySet

from boneage.clinical.change import Change, Course, SerialReading, course
from boneage.clinical.errors import ClinicalError
from boneage.clinical.references import configured_reference
from boneage.clinical.sds import SdsResult
from boneage.sex import Sex
from boneage.web.cases.earlier import reading_of
from boneage.web.models import BOTH, Assessment, Case, State


@dataclass(frozen=True)
class Interval:
    """Change between two radiographs.

    Attributes:
        earlier, later: assessments of the radiographs.
        change: change of the bone age that counts.
    """

    earlier: Assessment
    later: Assessment
    change: Change


@dataclass(frozen=True)
class FollowUp:
    """Readings of a child that can be compared, in the order of the radiographs.

    Attributes:
        assessments: assessments of the radiographs.
        course: their readings, changes and SDS, in the same order.
    """

    assessments: tuple[Assessment, ...]
    course: Course

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """Changes between neighbouring radiographs, the last one first."""
        pairs = zip(pairwise(self.assessments), self.course.changes, strict=True)
        return tuple(Interval(*pair, change) for pair, change in pairs)[::-1]

    @property
    def overall(self) -> Interval | None:
        """Change from the first to the last of three or more radiographs; None for fewer."""
        if self.course.overall is None or len(self.assessments) < 3:
            return None
        return Interval(self.assessments[0], self.assessments[-1], self.course.overall)

    @property
    def sds(self) -> dict[UUID, SdsResult]:
        """SDS by the present reference, by the assessment's id."""
        return {assessment.pk: sds for assessment, sds in zip(self.assessments, self.course.sds, strict=True)}


def radiographs_of(case: Case) -> QuerySet[Assessment]:
    """Return the assessments of a child, without those that were assessed again."""
    return Assessment.objects.filter(case=case, superseded_by=None).select_related("case")


def follow_up(assessments: Iterable[Assessment], sex: str) -> FollowUp | None:
    """Return the readings of one child that can be compared; None if there is none, or their order is contradictory.

    Left out are radiographs whose bone age must not be used, results of another sex than the case's, further
    assessments of the same radiograph, and those without a date (or without an age, if more of them have an age).

    Args:
        assessments: all assessments of the child.
        sex: the child's, one of `boneage.web.models.SEXES`. There is no reading that counts for `BOTH`.

    Raises:
        ClinicalError: the reference of the setting cannot be read.
    """
    if sex == BOTH:
        return None
    readings = {one.pk: (one, reading_of(one)) for one in usable(assessments)}
    dated = [reading for _, reading in readings.values() if reading.study_date is not None]
    aged = [reading for _, reading in readings.values() if reading.age is not None]
    chosen = dated if len(dated) >= len(aged) else aged
    reference = configured_reference()
    if not chosen:
        return None
    try:
        compared = course(chosen, Sex(sex), reference)
    except ClinicalError:  # dates and ages contradict each other
        return None
    return FollowUp(tuple(_assessment_of(reading, readings.values()) for reading in compared.readings), compared)


def usable(assessments: Iterable[Assessment]) -> list[Assessment]:
    """Return one assessment of each radiograph whose bone age may be used.

    It is a decided one, else one with an age, else the last one. A result of another sex than the case's is left out,
    because the norms of the child's sex do not apply to it.
    """
    candidates = [
        one
        for one in assessments
        if one.state == State.DONE and one.stored is not None and not one.is_void and _is_of_its_case(one)
    ]
    candidates.sort(
        key=lambda one: (one.decided_months is not None, one.chronological_age is not None, one.submitted_at)
    )
    return list({one.radiograph_key: one for one in candidates}.values())


def _is_of_its_case(assessment: Assessment) -> bool:
    """Return whether an assessment has the sex of its case."""
    return assessment.case is None or assessment.sex == assessment.case.sex


def _assessment_of(reading: SerialReading, readings: Iterable[tuple[Assessment, SerialReading]]) -> Assessment:
    return next(assessment for assessment, own in readings if own is reading)
