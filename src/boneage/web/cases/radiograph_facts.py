"""Facts on a radiograph as lines for the pages."""

from __future__ import annotations

from django.template.defaultfilters import filesizeformat
from django.utils.formats import number_format
from django.utils.translation import gettext

from boneage.schema import FactsDocument, HandDocument, RadiographDocument, to_json
from boneage.web import texts
from boneage.web.models import Assessment

Line = tuple[str, str]


def radiograph_lines(assessment: Assessment) -> list[Line]:
    """Return (term, value) in the active language, without unknown values.

    Args:
        assessment: one that is done.
    """
    result = assessment.finished
    facts = result.facts
    lines = [
        (gettext("File"), assessment.radiograph_name),
        (gettext("Radiograph"), _size(result.radiograph, facts.format)),
        (gettext("File size"), filesizeformat(assessment.radiograph_bytes)),
        (gettext("Bits per pixel"), facts.bits_stored),
        (gettext("Pixel spacing"), _spacing(facts.spacing_mm)),
        (gettext("Study date"), _study_date(assessment, facts)),
        (gettext("Side (from the file)"), _side(facts.side)),
        (gettext("Sex (from the file)"), texts.sex(facts.sex)),
        (gettext("Body part (from the file)"), facts.body_part),
        (gettext("Modality"), facts.modality),
        (gettext("Position of the hand"), _hand(result.hand)),
        (gettext("Model bundle"), gettext("%(name)s, version %(version)s") % to_json(result.bundle)),
        (gettext("Processing time"), _seconds(result.timings_ms.get("total"))),
    ]
    return [(term, str(value)) for term, value in lines if value]


def _size(radiograph: RadiographDocument, file_format: str | None) -> str:
    size = gettext("%(width)s × %(height)s pixels") % {
        "width": number_format(radiograph.width_pixels, force_grouping=True),
        "height": number_format(radiograph.height_pixels, force_grouping=True),
    }
    return f"{size}, {file_format.upper()}" if file_format else size


def _spacing(spacing_mm: tuple[float, float] | None) -> str:
    if not spacing_mm:
        return ""
    return gettext("%(rows)s × %(columns)s mm") % {
        "rows": texts.number(spacing_mm[0], 3),
        "columns": texts.number(spacing_mm[1], 3),
    }


def _study_date(assessment: Assessment, facts: FactsDocument) -> str:
    return texts.day(assessment.study_date or facts.study_date)


def _side(side: str | None) -> str:
    return {"L": gettext("left"), "R": gettext("right")}.get(side or "", "")


def _hand(hand: HandDocument | None) -> str:
    """Return the position of the hand on its radiograph."""
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
    return gettext("%(seconds)s s") % {"seconds": texts.number(milliseconds / 1000, 2)}
