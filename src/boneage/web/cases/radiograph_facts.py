"""What a result says of its radiograph, as lines for a person."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.template.defaultfilters import filesizeformat
from django.utils.formats import number_format
from django.utils.translation import gettext

from boneage.web import texts
from boneage.web.models import Assessment

Line = tuple[str, str]


def radiograph_lines(assessment: Assessment) -> list[Line]:
    """(term, value) in the reader's language; what is not known is left out.

    Args:
        assessment: one that is done.
    """
    result: dict[str, Any] = assessment.result or {}
    facts: dict[str, Any] = result.get("facts", {})
    lines = [
        (gettext("File"), assessment.radiograph_name),
        (gettext("Radiograph"), _size(result["radiograph"], facts.get("format"))),
        (gettext("File size"), filesizeformat(assessment.radiograph_bytes)),
        (gettext("Bits per pixel"), facts.get("bits_stored")),
        (gettext("Pixel spacing"), _spacing(facts.get("spacing_mm"))),
        (gettext("Study date"), _study_date(assessment, facts)),
        (gettext("Side (from the file)"), _side(facts.get("side"))),
        (gettext("Sex (from the file)"), texts.sex(facts.get("sex"))),
        (gettext("Body part (from the file)"), facts.get("body_part")),
        (gettext("Modality"), facts.get("modality")),
        (gettext("Position of the hand"), _hand(result.get("hand"))),
        (gettext("Model bundle"), gettext("%(name)s, version %(version)s") % result["bundle"]),
        (gettext("Processing time"), _seconds(result.get("timings_ms", {}).get("total"))),
    ]
    return [(term, str(value)) for term, value in lines if value]


def _size(radiograph: dict[str, Any], file_format: str | None) -> str:
    size = gettext("%(width)s × %(height)s pixels") % {
        "width": number_format(radiograph["width_pixels"], force_grouping=True),
        "height": number_format(radiograph["height_pixels"], force_grouping=True),
    }
    return f"{size}, {file_format.upper()}" if file_format else size


def _spacing(spacing_mm: list[float] | None) -> str:
    if not spacing_mm:
        return ""
    return gettext("%(rows)s × %(columns)s mm") % {
        "rows": texts.number(spacing_mm[0], 3),
        "columns": texts.number(spacing_mm[1], 3),
    }


def _study_date(assessment: Assessment, facts: dict[str, Any]) -> str:
    said = facts.get("study_date")
    found = assessment.study_date or (date.fromisoformat(said) if said else None)
    return texts.day(found) if found else ""


def _side(side: str | None) -> str:
    return {"L": gettext("left"), "R": gettext("right")}.get(side or "", "")


def _hand(hand: dict[str, Any] | None) -> str:
    """How the hand lies on its radiograph."""
    if hand is None:
        return ""
    degrees = round(hand["rotation_degrees"])
    if degrees > 0:
        turned = gettext("rotated by %(degrees)d° clockwise") % {"degrees": degrees}
    elif degrees < 0:
        turned = gettext("rotated by %(degrees)d° anticlockwise") % {"degrees": -degrees}
    else:
        turned = gettext("upright")
    notes = [turned]
    notes += [gettext("mirrored")] if hand["mirrored"] else []
    notes += [gettext("inverted")] if hand["inverted"] else []
    return gettext(", ").join(notes)


def _seconds(milliseconds: float | None) -> str:
    if milliseconds is None:
        return ""
    return gettext("%(seconds)s s") % {"seconds": texts.number(milliseconds / 1000, 2)}
