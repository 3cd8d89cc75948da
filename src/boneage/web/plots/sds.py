"""SDS of a child's bone age against chronological age over the years, drawn on the server as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from boneage.clinical.sds import NORMAL_SDS
from boneage.web.models import Verdict
from boneage.web.plots.axes import LEFT, RIGHT, WIDTH, Axes, year_ticks, years_around
from boneage.web.plots.marks import draw_course, draw_dot, draw_error_bar
from boneage.web.plots.svg import number, path

_BOTTOM = 318.0

_LEAST_SDS, _MOST_SDS = 3.0, 6.0
"""Smallest and largest end of the vertical axis; scores beyond the largest are drawn on the border."""


@dataclass(frozen=True)
class SdsPoint:
    """A radiograph on the plot.

    Attributes:
        chronological_months: age at the study, 0 to 228.
        sds: SDS of the bone age that counts.
        interval_80: score at both ends of the 80 % prediction interval, or None.
        verdict: None if nobody has decided.
        title: description of the radiograph.
    """

    chronological_months: float
    sds: float
    interval_80: tuple[float, float] | None
    verdict: Verdict | None
    title: str


def sds_plot(points: Sequence[SdsPoint]) -> SafeString:
    """Return the plot as an SVG element with title and description; one per page.

    Args:
        points: radiographs in any order, at least one.
    """
    ordered = sorted(points, key=lambda point: point.chronological_months)
    first, last = years_around([point.chronological_months for point in ordered])
    scores = [abs(score) for point in ordered for score in (point.sds, *(point.interval_80 or ()))]
    end = min(_MOST_SDS, max(_LEAST_SDS, math.ceil(max(scores))))
    axes = Axes((12.0 * first, 12.0 * last), (-end, end), _BOTTOM)
    ticks = [(float(score), float(score)) for score in range(-round(end), round(end) + 1)]
    return format_html(
        '<svg class="plot growth sds" viewBox="0 0 {} {}" role="img" aria-labelledby="sds-title sds-text">'
        '<title id="sds-title">{}</title><desc id="sds-text">{}</desc>{}{}{}{}{}</svg>',
        number(WIDTH),
        number(axes.height),
        gettext("SDS of the bone age against chronological age"),
        " ".join(point.title for point in ordered),
        axes.grid(year_ticks(first, last), ticks, gettext("Chronological age, years"), gettext("SDS")),
        _band(axes),
        format_html('<path class="identity" d="{}"/>', path([(LEFT, axes.y(0.0)), (RIGHT, axes.y(0.0))])),
        draw_course([(axes.x(one.chronological_months), axes.y(one.sds)) for one in ordered]),
        format_html_join("", "{}", ((_mark(axes, point),) for point in ordered)),
    )


def _band(axes: Axes) -> SafeString:
    top, bottom = axes.y(NORMAL_SDS), axes.y(-NORMAL_SDS)
    return format_html(
        '<path class="band" d="{}Z"/>', path([(LEFT, top), (RIGHT, top), (RIGHT, bottom), (LEFT, bottom)])
    )


def _mark(axes: Axes, point: SdsPoint) -> SafeString:
    x, y = axes.x(point.chronological_months), axes.y(point.sds)
    bar = SafeString()
    if point.interval_80 is not None:
        low, high = point.interval_80
        bar = draw_error_bar(x, axes.y(low), axes.y(high))
    dot = draw_dot(x, y, point.verdict)
    return format_html(
        '<g class="radiograph {}"><title>{}</title>{}{}</g>', point.verdict or "estimated", point.title, bar, dot
    )
