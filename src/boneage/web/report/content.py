"""What the printable report says, in the active language: once, for the page and for the PDF."""

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

from boneage.errors import AtlasError
from boneage.explain import HeatMap, encode_picture, overlay
from boneage.sex import Sex
from boneage.web import installation, texts
from boneage.web.cases.exports import last_decision, region_ages
from boneage.web.cases.radiograph_facts import radiograph_lines
from boneage.web.documents import StoredResult
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
        alternative: what it shows, for who cannot see it.
    """

    jpeg: bytes
    width: int
    height: int
    caption: str
    alternative: str

    @property
    def data_uri(self) -> str:
        """For a page."""
        return "data:image/jpeg;base64," + base64.b64encode(self.jpeg).decode("ascii")


@dataclass(frozen=True)
class Report:
    """What stands on the report, from top to bottom; rows are (term, what it is).

    Attributes:
        title: without patient data.
        printed_at: when it was made.
        patient: whose radiograph it is.
        age: the bone age that counts, in words.
        is_void: the number must not be used.
        stamp: said beside it then; or empty.
        answer: lines below the age.
        decision: who decided what, and why; or that nobody has.
        warnings: by severity, the gravest first.
        figures: radiograph, heat map, reference plate.
        map_note: what the heat map does not say; empty without one.
        regions: the bone age by each region alone.
        facts: on the radiograph and the system.
        notice: sentences: that this is not a medical device.
        signature: what is to be filled in by hand.
    """

    title: str
    printed_at: str
    patient: tuple[tuple[str, str], ...]
    age: str
    is_void: bool
    stamp: str
    answer: tuple[str, ...]
    decision: tuple[str, ...]
    warnings: tuple[texts.WarningGroup, ...]
    figures: tuple[Figure, ...]
    map_note: str
    regions: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    notice: tuple[str, ...]
    signature: tuple[str, ...]


def report_of(assessment: Assessment, printed_at: datetime | None = None) -> Report:
    """The report on a finished assessment.

    Args:
        assessment: a finished one.
        printed_at: date and time to print; now if not given.
    """
    result = assessment.finished
    void = assessment.is_void
    heat = _heat(assessment)
    return Report(
        title=gettext("Bone age report"),
        printed_at=texts.moment(printed_at or timezone.now()),
        patient=tuple(_patient(assessment)),
        age=texts.age(assessment.current_months),
        is_void=void,
        stamp=texts.stamp(result.warnings, is_meaningless=assessment.is_meaningless) if void else "",
        answer=tuple(_answer(assessment, result, void)),
        decision=tuple(_decision(assessment)),
        warnings=texts.warning_groups(result.warnings),
        figures=tuple(_figures(assessment, heat, void)),
        map_note=_map_note(heat),
        regions=() if assessment.is_unusable else tuple(_regions(result)),
        facts=tuple(_facts(assessment)),
        notice=(
            gettext("Not a medical device."),
            gettext("For research and teaching; a physician must read the radiograph."),
        ),
        signature=(gettext("Date"), gettext("Name"), gettext("Signature")),
    )


def _patient(assessment: Assessment) -> Iterator[tuple[str, str]]:
    case = assessment.case
    yield from _known(
        (gettext("Patient reference"), case.reference if case is not None else ""),
        (gettext("Sex"), texts.sex(assessment.sex)),
        (gettext("Date of birth"), texts.day(assessment.birth_date)),
        (gettext("Date of the radiograph"), texts.day(assessment.study_date)),
        (gettext("Chronological age"), texts.chronological_age(assessment.chronological_age)),
        (gettext("Note"), assessment.note),
    )


def _answer(assessment: Assessment, result: StoredResult, void: bool) -> Iterator[str]:
    if not void:
        yield texts.months(assessment.current_months)
    if not void and assessment.difference_months is not None:
        yield gettext("Difference: %(difference)s") % {"difference": texts.difference(assessment.difference_months)}
    if assessment.is_unusable:
        return
    if assessment.decision == Verdict.CORRECTED:
        yield gettext("Estimated bone age: %(age)s (%(months)s)") % {
            "age": texts.age(assessment.age_months),
            "months": texts.months(assessment.age_months),
        }
        if assessment.estimated_difference_months is not None:
            yield gettext("Difference of the estimate: %(difference)s") % {
                "difference": texts.difference(assessment.estimated_difference_months)
            }
    if result.typical_error_months is not None:
        yield gettext("Mean absolute difference (MAD) of the estimate: %(months)s") % {
            "months": texts.months(result.typical_error_months)
        }
    if result.interval_months is not None:
        yield _wide_range(result)
    if result.interval_80_months is not None:
        ages = texts.ages_between(result.interval_80_months)
        yield gettext("80 %% prediction interval of the estimate: %(ages)s") % {"ages": ages}


def _wide_range(result: StoredResult) -> str:
    ages = texts.ages_between(result.interval_months)
    if result.interval_coverage is None:
        return gettext("95 %% prediction interval of the estimate: %(ages)s") % {"ages": ages}
    return gettext(
        "95 %% prediction interval of the estimate: %(ages)s "
        "(contained %(percent)s %% of the readings of the validation radiographs)"
    ) % {
        "ages": ages,
        "percent": texts.number(100 * result.interval_coverage),
    }


def _decision(assessment: Assessment) -> Iterator[str]:
    decision = last_decision(assessment)
    if decision is None:
        yield gettext("No physician has decided on this estimate yet.")
        return
    said = {"when": texts.moment(decision.decided_at), "age": texts.age(decision.age_months)}
    accepted = decision.verdict == Verdict.ACCEPTED
    if decision.decided_by is None:
        yield (
            gettext("Accepted on %(when)s: %(age)s") if accepted else gettext("Corrected on %(when)s: %(age)s")
        ) % said
    else:
        said["name"] = _name(decision.decided_by)
        sentence = (
            gettext("Accepted by %(name)s on %(when)s: %(age)s")
            if accepted
            else gettext("Corrected by %(name)s on %(when)s: %(age)s")
        )
        yield sentence % said
    if decision.reason:
        yield gettext("Reason: %(reason)s") % {"reason": decision.reason}


def _name(user: User) -> str:
    return user.get_full_name() or user.username


# --- pictures ---------------------------------------------------------------------------------------------------------


def _heat(assessment: Assessment) -> HeatMap | None:
    """Its heat map; None if there is nothing on it."""
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
    """The reference plate nearest to the age that counts; none if the atlas has none."""
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
    caption = gettext("Reference plate nearest by age: %(age)s") % {"age": texts.age(plate.age_months)}
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


def _regions(result: StoredResult) -> Iterator[tuple[str, str]]:
    for name, age_months in region_ages(result):
        yield texts.region_with_letter(name), _with_months(age_months)


def _with_months(age_months: float) -> str:
    said = {"age": texts.age(age_months), "months": texts.months(age_months)}
    return gettext("%(age)s (%(months)s)") % said


def _facts(assessment: Assessment) -> Iterator[tuple[str, str]]:
    yield gettext("Submitted"), texts.moment(assessment.submitted_at)
    yield from radiograph_lines(assessment)
    yield gettext("Assessment"), str(assessment.pk)


def _known(*rows: tuple[str, str | None]) -> Iterator[tuple[str, str]]:
    """The rows that say something."""
    return ((term, said) for term, said in rows if said)
