"""Parts of the pages of the service that come from the node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import template

from boneage.web.models import Assessment
from boneage.web.node.pacs import is_on
from boneage.web.node.summary import DeliveryLine, Note, delivery_lines, notes

register = template.Library()


@register.filter
def delivery(lines: Mapping[Any, DeliveryLine] | str, assessment: Assessment) -> DeliveryLine | None:
    """Return the line of one radiograph of several (`boneage.web.node.summary.delivery_lines`); None without one."""
    return lines.get(assessment.pk) if isinstance(lines, Mapping) else None


@register.filter
def remarks(notes_of_rows: Mapping[Any, list[Note]] | str, assessment: Assessment) -> list[Note]:
    """Return the remarks on one radiograph of several (`boneage.web.node.summary.notes`)."""
    return notes_of_rows.get(assessment.pk, []) if isinstance(notes_of_rows, Mapping) else []


@register.inclusion_tag("web/_node_notes.html")
def node_notes(assessment: Assessment) -> dict[str, Any]:
    """Show what there is to say about a radiograph of the PACS, and where its results are."""
    if not is_on():
        return {}
    sentences = [note.text for note in notes([assessment]).get(assessment.pk, [])]
    return {"sentences": sentences, "line": delivery_lines([assessment.pk]).get(assessment.pk)}


@register.simple_tag
def node_is_on() -> bool:
    """Return whether the service is a DICOM node."""
    return is_on()
