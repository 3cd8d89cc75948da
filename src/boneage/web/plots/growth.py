"""A child's bone age against chronological age over the years, drawn on the server as SVG: no script, prints well,
colours by CSS.

The plot also shows the line of equal bone age and chronological age, and the normal range of the sex
(`boneage.web.plots.brush_foundation`, mean ± 2 SD).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from boneage import words
from boneage.bundle.estimate import OLDEST_MONTHS
from boneage.sex import Sex
from boneage.web.models import Verdict
from boneage.web.plots import brush_foundation
from boneage.web.plots.svg import number, path

_WIDTH, _HEIGHT = 560.0, 560.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 546.0, 14.0, 498.0

_LEAST_YEARS = 4
"""Minimum number of years on the axes, so that a few months do not look like much."""

_MARGIN_MONTHS = 6.0

_LEAST_APART_MONTHS = 3.0
"""Minimum difference in age for a rate of maturation, months."""

_DEVIATIONS = 2.0


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


@dataclass(frozen=True)
class Gain:
    """Rate of maturation between two radiographs.

    Attributes:
        months_a_year: bone age gained per year, months.
        first: radiograph at the youngest age.
        last: radiograph at the oldest age.
    """

    months_a_year: float
    first: GrowthPoint
    last: GrowthPoint


def gain(points: Sequence[GrowthPoint]) -> Gain | None:
    """Return the bone age gained per year between the first and the last age; None if these are less than three months
    apart.
    """
    if not points:
        return None
    first = min(points, key=lambda point: point.chronological_months)
    last = max(points, key=lambda point: point.chronological_months)
    apart = last.chronological_months - first.chronological_months
    if apart < _LEAST_APART_MONTHS:
        return None
    return Gain(12 * (last.bone_months - first.bone_months) / apart, first, last)


def growth_plot(points: Sequence[GrowthPoint], sex: Sex) -> SafeString:
    """Return the plot as an SVG element with title and description; one per page.

    Args:
        points: radiographs in any order; without any, the plot has only axes and normal range.
        sex: sex of the child, for the normal range.
    """
    ordered = sorted(points, key=lambda point: point.chronological_months)
    scale = _Scale.of(ordered)
    return format_html(
        '<svg class="plot growth" viewBox="0 0 {width} {height}" role="img" aria-labelledby="growth-title growth-text">'
        '<title id="growth-title">{title}</title><desc id="growth-text">{description}</desc>'
        "{grid}{normal_range}{identity}{course}{points}</svg>",
        width=number(_WIDTH),
        height=number(_HEIGHT),
        title=gettext("Bone age against chronological age"),
        description=_description(ordered),
        grid=_grid(scale),
        normal_range=_normal_range(scale, sex),
        identity=_identity(),
        course=_course(scale, ordered),
        points=format_html_join("", "{}", ((_mark(scale, point),) for point in ordered)),
    )


@dataclass(frozen=True)
class _Scale:
    """Range of years, the same on both axes."""

    first: int
    last: int

    @classmethod
    def of(cls, points: Sequence[GrowthPoint]) -> _Scale:
        """Return the years that hold the points and their intervals with a margin; all of childhood without points."""
        oldest = round(OLDEST_MONTHS / 12)
        if not points:
            return cls(0, oldest)
        shown = [age for point in points for age in (point.chronological_months, point.bone_months)]
        shown += [bound for point in points for bound in point.interval_months or ()]
        first = max(0, math.floor((min(shown) - _MARGIN_MONTHS) / 12))
        last = min(oldest, math.ceil((max(shown) + _MARGIN_MONTHS) / 12))
        missing = max(0, _LEAST_YEARS - (last - first))
        last = min(oldest, last + missing // 2)
        first = max(0, min(first, last - _LEAST_YEARS))
        return cls(first, max(last, first + _LEAST_YEARS))

    @property
    def years(self) -> range:
        span = self.last - self.first
        return range(self.first, self.last + 1, 1 if span <= 10 else 2)

    def x(self, months: float) -> float:
        return _LEFT + self._part(months) * (_RIGHT - _LEFT)

    def y(self, months: float) -> float:
        return _BOTTOM - self._part(months) * (_BOTTOM - _TOP)

    def _part(self, months: float) -> float:
        """Return 0 at the first year and 1 at the last; ages beyond are drawn on the border."""
        return min(1.0, max(0.0, (months / 12 - self.first) / (self.last - self.first)))


def _grid(scale: _Scale) -> SafeString:
    lines = format_html_join(
        "",
        '<path class="grid" d="M{x} {top}V{bottom}M{left} {y}H{right}"/>'
        '<text class="tick" x="{x}" y="{below}" text-anchor="middle">{year}</text>'
        '<text class="tick" x="{beside}" y="{y}" dy="0.35em" text-anchor="end">{year}</text>',
        (
            {
                "x": number(scale.x(12.0 * year)),
                "y": number(scale.y(12.0 * year)),
                "left": number(_LEFT),
                "right": number(_RIGHT),
                "top": number(_TOP),
                "bottom": number(_BOTTOM),
                "below": number(_BOTTOM + 20),
                "beside": number(_LEFT - 8),
                "year": words.number(year, 0),
            }
            for year in scale.years
        ),
    )
    middle = number((_TOP + _BOTTOM) / 2)
    return format_html(
        '<g>{lines}<text class="name" x="{centre}" y="{baseline}" text-anchor="middle">{x_title}</text>'
        '<text class="name" x="18" y="{middle}" text-anchor="middle" transform="rotate(-90 18 {middle})">'
        "{y_title}</text></g>",
        lines=lines,
        centre=number((_LEFT + _RIGHT) / 2),
        baseline=number(_HEIGHT - 10),
        x_title=gettext("Chronological age, years"),
        middle=middle,
        y_title=gettext("Bone age, years"),
    )


def _normal_range(scale: _Scale, sex: Sex) -> SafeString:
    low, high = brush_foundation.range_months(sex)
    ages = np.arange(max(low, 12.0 * scale.first), min(high, 12.0 * scale.last) + 0.5)
    if ages.size < 2:
        return SafeString()
    means, deviations = brush_foundation.mean_and_deviation(sex, ages)
    above = [(scale.x(a), scale.y(m)) for a, m in zip(ages, means + _DEVIATIONS * deviations, strict=True)]
    below = [(scale.x(a), scale.y(m)) for a, m in zip(ages, means - _DEVIATIONS * deviations, strict=True)]
    return format_html('<path class="band" d="{}Z"/>', path([*above, *below[::-1]]))


def _identity() -> SafeString:
    return format_html('<path class="identity" d="{}"/>', path([(_LEFT, _BOTTOM), (_RIGHT, _TOP)]))


def _course(scale: _Scale, points: Sequence[GrowthPoint]) -> SafeString:
    if len(points) < 2:
        return SafeString()
    xy = [(scale.x(point.chronological_months), scale.y(point.bone_months)) for point in points]
    return format_html('<path class="course" d="{}"/>', path(xy))


def _mark(scale: _Scale, point: GrowthPoint) -> SafeString:
    """Return the point with its interval; for a corrected one, also a dash at the estimate."""
    x, y = scale.x(point.chronological_months), scale.y(point.bone_months)
    corrected = point.verdict is Verdict.CORRECTED
    return format_html(
        '<g class="radiograph {}"><title>{}</title>{}{}{}</g>',
        point.verdict or "estimated",
        point.title,
        _error_bar(scale, x, point),
        format_html('<path class="was" d="M{} {}h12"/>', number(x - 6), number(scale.y(point.estimate_months)))
        if corrected
        else "",
        format_html('<path class="dot" d="M{} {}l8 8l-8 8l-8-8Z"/>', number(x), number(y - 8))
        if corrected
        else format_html('<circle class="dot" cx="{}" cy="{}" r="6"/>', number(x), number(y)),
    )


def _error_bar(scale: _Scale, x: float, point: GrowthPoint) -> SafeString:
    """Return the 95 % interval, and in bold the 80 % interval."""
    if point.interval_months is None:
        return SafeString()
    low, high = (number(scale.y(bound)) for bound in point.interval_months)
    bar = format_html('<path class="bar" d="M{0} {2}h8M{1} {2}V{3}M{0} {3}h8"/>', number(x - 4), number(x), low, high)
    if point.interval_80_months is None:
        return bar
    low, high = (number(scale.y(bound)) for bound in point.interval_80_months)
    return format_html('{}<path class="bar inner" d="M{} {}V{}"/>', bar, number(x), low, high)


def _description(points: Sequence[GrowthPoint]) -> str:
    if not points:
        return gettext("There is no radiograph to show on the plot.")
    return " ".join(point.title for point in points)
