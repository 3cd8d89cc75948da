"""A child's bone age against chronological age over the years, drawn on the server as SVG: no script, prints well,
colours by CSS.

The plot also shows the line of equal bone age and chronological age, and the normal range of the sex by a reference
(mean ± 2 SD).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from boneage.bundle.estimate import OLDEST_MONTHS
from boneage.clinical.references import Reference
from boneage.clinical.sds import NORMAL_SDS
from boneage.sex import Sex
from boneage.web.models import Verdict
from boneage.web.plots.axes import LEFT, RIGHT, TOP, WIDTH, Axes, year_ticks, years_around
from boneage.web.plots.marks import draw_course, draw_dot, draw_error_bar
from boneage.web.plots.svg import number, path

_BOTTOM = 498.0
"""Lower side of the area within the axes, which is a square."""


@dataclass(frozen=True)
class GrowthPoint:
    """A radiograph on the plot.

    Attributes:
        chronological_months: age at the study, 0 to 228.
        bone_months: bone age that counts, 0 to 228.
        estimate_months: estimated bone age.
        interval_months: (low, high) of the 95 % prediction interval of the estimate, or None.
        verdict: None if nobody has decided.
        title: description of the radiograph.
        interval_80_months: (low, high) of the 80 % prediction interval, or None.
    """

    chronological_months: float
    bone_months: float
    estimate_months: float
    interval_months: tuple[float, float] | None
    verdict: Verdict | None
    title: str
    interval_80_months: tuple[float, float] | None = None

    @staticmethod
    def fits(*months: float | None) -> bool:
        """Return whether ages can be drawn: known and 0 to 19 years."""
        return all(age is not None and 0 <= age <= OLDEST_MONTHS for age in months)


def growth_plot(points: Sequence[GrowthPoint], sex: Sex, reference: Reference) -> SafeString:
    """Return the plot as an SVG element with title and description; one per page.

    Args:
        points: radiographs in any order; without any, the plot has only axes and normal range.
        sex: sex of the child, for the normal range.
        reference: reference of the normal range.
    """
    ordered = sorted(points, key=lambda point: point.chronological_months)
    axes, years = _axes(ordered)
    ticks = year_ticks(*years)
    return format_html(
        '<svg class="plot growth" viewBox="0 0 {width} {height}" role="img" aria-labelledby="growth-title growth-text">'
        '<title id="growth-title">{title}</title><desc id="growth-text">{description}</desc>'
        "{grid}{normal_range}{identity}{course}{points}</svg>",
        width=number(WIDTH),
        height=number(axes.height),
        title=gettext("Bone age against chronological age"),
        description=_description(ordered),
        grid=axes.grid(ticks, ticks, gettext("Chronological age, years"), gettext("Bone age, years")),
        normal_range=_normal_range(axes, years, sex, reference),
        identity=_identity(),
        course=draw_course([(axes.x(one.chronological_months), axes.y(one.bone_months)) for one in ordered]),
        points=format_html_join("", "{}", ((_mark(axes, point),) for point in ordered)),
    )


def _axes(points: Sequence[GrowthPoint]) -> tuple[Axes, tuple[int, int]]:
    """Return the axes, both with the same years, and the first and the last year."""
    shown = [age for point in points for age in (point.chronological_months, point.bone_months)]
    shown += [bound for point in points for bound in point.interval_months or ()]
    first, last = years_around(shown)
    months = (12.0 * first, 12.0 * last)
    return Axes(months, months, _BOTTOM), (first, last)


def _normal_range(axes: Axes, years: tuple[int, int], sex: Sex, reference: Reference) -> SafeString:
    covered = reference.range_months(sex)
    if covered is None:
        return SafeString()
    ages = np.arange(max(covered[0], 12.0 * years[0]), min(covered[1], 12.0 * years[1]) + 0.5)
    if ages.size < 2:
        return SafeString()
    means, deviations = reference.curve(sex, ages)
    above = [(axes.x(a), axes.y(m)) for a, m in zip(ages, means + NORMAL_SDS * deviations, strict=True)]
    below = [(axes.x(a), axes.y(m)) for a, m in zip(ages, means - NORMAL_SDS * deviations, strict=True)]
    return format_html('<path class="band" d="{}Z"/>', path([*above, *below[::-1]]))


def _identity() -> SafeString:
    return format_html('<path class="identity" d="{}"/>', path([(LEFT, _BOTTOM), (RIGHT, TOP)]))


def _mark(axes: Axes, point: GrowthPoint) -> SafeString:
    """Return the point with its interval; for a corrected one, also a dash at the estimate."""
    x, y = axes.x(point.chronological_months), axes.y(point.bone_months)
    corrected = point.verdict is Verdict.CORRECTED
    return format_html(
        '<g class="radiograph {}"><title>{}</title>{}{}{}</g>',
        point.verdict or "estimated",
        point.title,
        _error_bar(axes, x, point),
        format_html('<path class="was" d="M{} {}h12"/>', number(x - 6), number(axes.y(point.estimate_months)))
        if corrected
        else "",
        draw_dot(x, y, point.verdict),
    )


def _error_bar(axes: Axes, x: float, point: GrowthPoint) -> SafeString:
    """Return the 95 % interval, and in bold the 80 % interval."""
    if point.interval_months is None:
        return SafeString()
    low, high = point.interval_months
    bar = draw_error_bar(x, axes.y(low), axes.y(high))
    if point.interval_80_months is None:
        return bar
    low, high = point.interval_80_months
    ends = number(axes.y(low)), number(axes.y(high))
    return format_html('{}<path class="bar inner" d="M{} {}V{}"/>', bar, number(x), *ends)


def _description(points: Sequence[GrowthPoint]) -> str:
    if not points:
        return gettext("There is no radiograph to show on the plot.")
    return " ".join(point.title for point in points)
