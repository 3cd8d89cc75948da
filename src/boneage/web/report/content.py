"""Content of the printable report in the active language, once for the page and the PDF."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from django.utils import timezone
from django.utils.translation import gettext
from numpy.typing import NDArray

from boneage import words
from boneage.errors import AtlasError
from boneage.explain import HeatMap, encode_picture, overlay
from boneage.report.content import ReportContent, report_content
from boneage.sex import Sex
from boneage.web import installation, texts
from boneage.web.cases.earlier import decided, earlier_of
from boneage.web.cases.exports import last_decision
from boneage.web.cases.radiograph_facts import radiograph_lines
from boneage.web.models import Assessment, PictureKind, User, Verdict
from boneage.web.queue.pictures import decoded, heat_of, reduced, stored_picture

log = logging.getLogger(__name__)

PRINTED_SIDE = 1100
"""Longest side of a picture in the report, pixels: 300 to the inch at the height that it is printed at."""


@dataclass(frozen=True)
class Figure:
    """A picture of the report.

    Attributes:
        jpeg: its bytes.
        width, height: pixels.
        caption: below it.
        alternative: description for readers who cannot see it.
    """

    jpeg: bytes
    width: int
    height: int
    caption: str
    alternative: str

    @property
    def data_uri(self) -> str:
        """Address that holds the picture itself, for a page."""
        return "data:image/jpeg;base64," + base64.b64encode(self.jpeg).decode("ascii")


@dataclass(frozen=True)
class Report:
    """The report of the service: the content of every report, and the data that only the service holds.

    Attributes:
        content: content that command line and report files show, too (`boneage.report.content`).
        printed_at: date and time of printing.
        patient: rows on the patient.
        decision: physician who decided, and the reason; or the sentence that nobody has.
        figures: radiograph, heat map, reference plate.
        map_note: limits of the heat map.
        facts: rows on the radiograph and the system.
        signature: terms that are filled in by hand.
    """

    content: ReportContent
    printed_at: str
    patient: tuple[tuple[str, str], ...]
    decision: tuple[str, ...]
    figures: tuple[Figure, ...]
    map_note: str
    facts: tuple[tuple[str, str], ...]
    signature: tuple[str, ...]


def report_of(assessment: Assessment, printed_at: datetime | None = None) -> Report:
    """Return the report on a finished assessment.

    Args:
        assessment: a finished one.
        printed_at: date and time to print; now if not given.
    """
    heat = _heat(assessment)
    content = content_of(assessment)
    return Report(
        content=content,
        printed_at=texts.moment(printed_at or timezone.now()),
        patient=tuple(_patient(assessment)),
        decision=tuple(_decision(assessment)),
        figures=tuple(_figures(assessment, heat, content.is_void)),
        map_note=_map_note(heat),
        facts=tuple(_facts(assessment)),
        signature=(gettext("Date"), gettext("Name"), gettext("Signature")),
    )


def content_of(assessment: Assessment) -> ReportContent:
    """Return the content of a finished assessment's report, with the decision that counts."""
    earlier = earlier_of(assessment)
    return report_content(
        assessment.finished, decided(assessment), earlier=None if earlier is None else earlier.reading
    )


def _patient(assessment: Assessment) -> Iterator[tuple[str, str]]:
    case = assessment.case
    yield from _filled(
        (gettext("Patient reference"), case.reference if case is not None else ""),
        (gettext("Sex"), words.sex(assessment.sex)),
        (gettext("Date of birth"), words.day(assessment.birth_date)),
        (gettext("Date of the radiograph"), words.day(assessment.study_date)),
        (gettext("Note"), assessment.note),
    )


def _decision(assessment: Assessment) -> Iterator[str]:
    decision = last_decision(assessment)
    if decision is None:
        yield gettext("No physician has decided on this estimate yet.")
        return
    values = {"when": texts.moment(decision.decided_at), "age": words.age(decision.age_months)}
    accepted = decision.verdict == Verdict.ACCEPTED
    if decision.decided_by is None:
        yield (
            gettext("Accepted on %(when)s: %(age)s") if accepted else gettext("Corrected on %(when)s: %(age)s")
        ) % values
    else:
        values["name"] = _name(decision.decided_by)
        sentence = (
            gettext("Accepted by %(name)s on %(when)s: %(age)s")
            if accepted
            else gettext("Corrected by %(name)s on %(when)s: %(age)s")
        )
        yield sentence % values
    if decision.reason:
        yield gettext("Reason: %(reason)s") % {"reason": decision.reason}


def _name(user: User) -> str:
    return user.get_full_name() or user.username


# --- pictures ---------------------------------------------------------------------------------------------------------


def _heat(assessment: Assessment) -> HeatMap | None:
    """Return its heat map; None if there is nothing on it."""
    levels = stored_picture(assessment, PictureKind.HEAT)
    return None if levels is None or not levels.any() else heat_of(levels)


def _figures(assessment: Assessment, heat: HeatMap | None, void: bool) -> Iterator[Figure]:
    radiograph = stored_picture(assessment, PictureKind.RADIOGRAPH)
    if radiograph is not None:
        radiograph = reduced(radiograph, PRINTED_SIDE)
        yield _figure(radiograph, gettext("Radiograph (grey values stretched for display)"), gettext("The radiograph"))
        if heat is not None:
            tinted = overlay(radiograph, heat, scale_bar=False)
            yield _figure(
                tinted,
                gettext("Heat map (Grad-CAM): places that influenced the estimate"),
                gettext("The radiograph with the heat map"),
            )
    if not void:
        yield from _plate(assessment)


def _plate(assessment: Assessment) -> Iterator[Figure]:
    """Yield the reference plate nearest to the age that counts; none if the atlas has none."""
    if assessment.current_months is None:
        return
    try:
        atlas = installation.atlas()
        plate = atlas.nearest_by_age(Sex(assessment.sex), assessment.current_months)
        picture = decoded(atlas.picture_bytes(plate)[0])
    except AtlasError as error:
        log.warning("the report goes without a reference plate: %s", error)
        return
    if picture is None:
        return
    caption = gettext("Reference plate nearest by age: %(age)s") % {"age": words.age(plate.age_months)}
    if plate.count:
        caption += " · " + texts.averaged(plate.count)
    yield _figure(reduced(picture, PRINTED_SIDE), caption, gettext("Reference plate"))


def _map_note(heat: HeatMap | None) -> str:
    if heat is None:
        return gettext("There is no heat map: no place of the radiograph influenced the estimate.")
    return gettext("The heat map shows which places raised or lowered the estimate, not whether it is right.")


def _figure(picture: NDArray[np.uint8], caption: str, alternative: str) -> Figure:
    height, width = picture.shape[:2]
    return Figure(encode_picture(".jpg", picture), width, height, caption, alternative)


# --- tables -----------------------------------------------------------------------------------------------------------


def _facts(assessment: Assessment) -> Iterator[tuple[str, str]]:
    yield gettext("Submitted"), texts.moment(assessment.submitted_at)
    yield from radiograph_lines(assessment)
    yield gettext("Assessment"), str(assessment.pk)


def _filled(*rows: tuple[str, str | None]) -> Iterator[tuple[str, str]]:
    """Return the rows that have a value."""
    return ((term, value) for term, value in rows if value)
