"""The earlier radiograph of a child, with which a later one is compared."""

from __future__ import annotations

from dataclasses import dataclass

from boneage.clinical.change import SerialReading, change
from boneage.clinical.errors import ClinicalError
from boneage.report.comparison import Decided, serial_reading
from boneage.web.models import BOTH, Assessment, State, Verdict


@dataclass(frozen=True)
class Earlier:
    """An earlier radiograph of a child.

    Attributes:
        assessment: the assessment of it that counts.
        reading: the bone age that counts, for `boneage.clinical.change`.
    """

    assessment: Assessment
    reading: SerialReading


def decided(assessment: Assessment) -> Decided | None:
    """Return the decision that counts; None if nobody has decided."""
    if assessment.decided_months is None:
        return None
    return Decided(assessment.decided_months, is_corrected=assessment.decision == Verdict.CORRECTED)


def reading_of(assessment: Assessment) -> SerialReading:
    """Return a finished assessment as one of several readings of a child."""
    return serial_reading(assessment.finished, decided(assessment))


def earlier_of(assessment: Assessment) -> Earlier | None:
    """Return the last radiograph of the child before this one whose bone age may be used; None without one.

    Radiographs are in the order of their study dates, or of the child's ages where a date is unknown.

    Args:
        assessment: a finished one. There is no comparison if its sex is unknown or other.
    """
    if assessment.case_id is None or assessment.sex == BOTH:
        return None
    own = reading_of(assessment)
    others = Assessment.objects.filter(case=assessment.case_id, state=State.DONE, superseded_by=None)
    others = others.filter(sex=assessment.sex).exclude(pk=assessment.pk)
    usable = [
        Earlier(other, reading_of(other)) for other in others if not (other.is_void or _is_same(other, assessment))
    ]
    distances = [(_months_before(one.reading, own), one) for one in usable]
    before = [(months, one) for months, one in distances if months is not None]
    return min(before, key=lambda pair: pair[0], default=(0.0, None))[1]


def _is_same(one: Assessment, other: Assessment) -> bool:
    """Return whether two assessments are of the same radiograph."""
    return one.radiograph_key == other.radiograph_key or one.radiograph_sha256 == other.radiograph_sha256


def _months_before(one: SerialReading, other: SerialReading) -> float | None:
    """Return the months from one radiograph to another; None if it is not known to be the earlier one."""
    try:
        distance = change(one, other).distance_months
    except ClinicalError:  # it is the later one
        return None
    return distance or None
