"""Facts on a radiograph and on the system that read it, in the reader's language."""

from __future__ import annotations

from collections.abc import Iterator

from boneage import words
from boneage.schema import AssessmentDocument, HandDocument
from boneage.words import gettext

Row = tuple[str, str]
"""Term and value."""


def fact_rows(document: AssessmentDocument) -> Iterator[Row]:
    """Yield what the file states, and the system, as (term, value) without unknown values."""
    facts = document.facts
    bundle = {"name": document.bundle.name, "version": document.bundle.version}
    rows = (
        (gettext("Radiograph"), _size(document)),
        (gettext("Bits per pixel"), str(facts.bits_stored)),
        (gettext("Pixel spacing"), _spacing(facts.spacing_mm)),
        (gettext("Study date"), words.day(facts.study_date)),
        (gettext("Side (from the file)"), side(facts.side)),
        (gettext("Sex (from the file)"), words.sex(facts.sex)),
        (gettext("Body part (from the file)"), facts.body_part or ""),
        (gettext("Modality"), facts.modality or ""),
        (gettext("Position of the hand"), position(document.hand)),
        (gettext("Model bundle"), gettext("%(name)s, version %(version)s") % bundle),
        (gettext("Processing time"), _seconds(document.timings_ms.get("total"))),
    )
    return ((term, value) for term, value in rows if value)


def _size(document: AssessmentDocument) -> str:
    size = gettext("%(width)s × %(height)s pixels") % {
        "width": words.number(document.radiograph.width_pixels, 0),
        "height": words.number(document.radiograph.height_pixels, 0),
    }
    return f"{size}, {document.facts.format.upper()}"


def _spacing(spacing_mm: tuple[float, float] | None) -> str:
    if spacing_mm is None:
        return ""
    return gettext("%(rows)s × %(columns)s mm") % {
        "rows": words.number(spacing_mm[0], 3),
        "columns": words.number(spacing_mm[1], 3),
    }


def side(code: str | None) -> str:
    """Return the side of a hand in words, from ``L`` or ``R``; empty for None."""
    return {"L": gettext("left"), "R": gettext("right")}.get(code or "", "")


def position(hand: HandDocument | None) -> str:
    """Return the position of the hand on its radiograph; empty for None."""
    if hand is None:
        return ""
    degrees = round(hand.rotation_degrees)
    if degrees > 0:
        turned = gettext("rotated by %(degrees)d° clockwise") % {"degrees": degrees}
    elif degrees < 0:
        turned = gettext("rotated by %(degrees)d° anticlockwise") % {"degrees": -degrees}
    else:
        turned = gettext("upright")
    notes = [turned]
    notes += [gettext("mirrored")] if hand.mirrored else []
    notes += [gettext("inverted")] if hand.inverted else []
    return gettext(", ").join(notes)


def _seconds(milliseconds: float | None) -> str:
    if milliseconds is None:
        return ""
    return gettext("%(seconds)s s") % {"seconds": words.number(milliseconds / 1000, 2)}
