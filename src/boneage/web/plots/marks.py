"""Marks of a child's radiographs on a plot over the years, as SVG: course, dots and error bars."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.html import format_html
from django.utils.safestring import SafeString

from boneage.web.models import Verdict
from boneage.web.plots.svg import number, path


def draw_course(xy: Sequence[tuple[float, float]]) -> SafeString:
    """Return the line through the positions of two or more radiographs, in their order; nothing for fewer."""
    return SafeString() if len(xy) < 2 else format_html('<path class="course" d="{}"/>', path(xy))


def draw_dot(x: float, y: float, verdict: Verdict | None) -> SafeString:
    """Return the dot of a radiograph: a diamond if a physician corrected the bone age, else a circle."""
    if verdict is Verdict.CORRECTED:
        return format_html('<path class="dot" d="M{} {}l8 8l-8 8l-8-8Z"/>', number(x), number(y - 8))
    return format_html('<circle class="dot" cx="{}" cy="{}" r="6"/>', number(x), number(y))


def draw_error_bar(x: float, low_y: float, high_y: float) -> SafeString:
    """Return an interval at the position `x`, with a stroke at either end."""
    return format_html(
        '<path class="bar" d="M{0} {2}h8M{1} {2}V{3}M{0} {3}h8"/>',
        number(x - 4),
        number(x),
        number(low_y),
        number(high_y),
    )
