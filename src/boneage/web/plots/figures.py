"""Plots of the result page, drawn on the server as SVG: they need no script, print well, and screen readers can read
them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from django.utils.formats import number_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext
from numpy.typing import NDArray

from boneage import words
from boneage.bundle.estimate import OLDEST_MONTHS
from boneage.explain import scale_colours
from boneage.schema import AssessmentDocument
from boneage.web.plots.svg import number, path

Colour = tuple[int, int, int]
Kind = Literal["networks", "validation"]

_WIDTH, _HEIGHT = 400.0, 222.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 10.0, 390.0, 54.0, 180.0
_ROWS = (14.0, 34.0)
"""Vertical positions of the names of the two marks. They are above the plot and not at their lines, where long names
have no room."""
_SAMPLE = 24.0
"""Length of the line before a mark's name."""
_LEAST_YEARS = 6
"""Minimum number of years on the axis, so that a narrow curve looks narrow."""
_SHOWN_SHARE = 0.001
"""Minimum share of the curve's height for a month to be on the axis."""
_STANDARD_DEVIATIONS = 1.96
"""Half width of an interval that contains 95 % of normally distributed errors, in standard deviations."""


_SCALE_STEPS = 17
"""Number of colours that define a scale of the heat map; the viewer interpolates between them."""


@dataclass(frozen=True)
class AgeCurve:
    """Distribution of the estimated age.

    Attributes:
        kind: ``networks`` for the networks' distribution for this radiograph; ``validation`` for the distribution of
            the errors on validation radiographs, centred on this radiograph's estimate.
        months: (N,) ages, rising.
        density: (N,) at least 0, maximum 1.
        estimate_months: estimated bone age.
        interval_months: (low, high) of the 95 % prediction interval, or None.
        chronological_months: chronological age at the study, or None.
        interval_80_months: (low, high) of the 80 % prediction interval, or None.
        is_calibrated: the errors are those on radiographs of the sex and near the age.
    """

    kind: Kind
    months: NDArray[np.float64]
    density: NDArray[np.float64]
    estimate_months: float
    interval_months: tuple[float, float] | None
    chronological_months: float | None
    interval_80_months: tuple[float, float] | None = None
    is_calibrated: bool = False

    @property
    def caption(self) -> str:
        """Return the caption of the curve in the active language."""
        if self.kind == "networks":
            return gettext("Probability that the networks give to each month of age for this radiograph.")
        if self.is_calibrated:
            return gettext(
                "Distribution of the errors on radiographs of this sex and near this age, centred on this estimate. "
                "It is not specific to this radiograph."
            )
        return gettext(
            "Distribution of the errors on validation radiographs, centred on this estimate. "
            "It is the same for every radiograph."
        )


def age_curve(result: AssessmentDocument, chronological_months: float | None) -> AgeCurve | None:
    """Return the curve of a result; None if neither its networks nor their validation give a distribution.

    Args:
        result: document of a finished assessment.
        chronological_months: chronological age at the study, if known.
    """
    estimate, bounds = result.age_months, result.interval_months
    narrow, is_calibrated = result.interval_80_months, result.interval_calibrated
    shares = np.asarray(result.age_distribution or (), dtype=np.float64)
    if shares.size and shares.max() > 0:
        months = np.arange(shares.size, dtype=np.float64)
        return AgeCurve(
            "networks", months, shares / shares.max(), estimate, bounds, chronological_months, narrow, is_calibrated
        )
    if bounds is None:
        return None
    # The interval is cut at the ends of bone age; its longer half is the whole one.
    deviation = max(estimate - bounds[0], bounds[1] - estimate) / _STANDARD_DEVIATIONS
    if deviation <= 0:
        return None
    months = np.linspace(0.0, OLDEST_MONTHS, 2 * round(OLDEST_MONTHS) + 1)
    density = np.exp(-0.5 * ((months - estimate) / deviation) ** 2)
    return AgeCurve("validation", months, density, estimate, bounds, chronological_months, narrow, is_calibrated)


def age_plot(curve: AgeCurve, name: str = "age-plot") -> SafeString:
    """Return the curve as an SVG element with title and description. Colours come from ``currentColor`` and CSS
    classes.

    Args:
        curve: the curve.
        name: prefix for the ids of the element's parts, unique on the page.
    """
    scale = _Scale.of(curve)
    bone = words.age(curve.estimate_months)
    marks = [_mark(scale, curve.estimate_months, gettext("Bone age"), bone, "estimate", _ROWS[0])]
    if curve.chronological_months is not None and scale.holds(curve.chronological_months):
        label = gettext("Chronological age")
        age = _completed(curve.chronological_months)
        marks.append(_mark(scale, curve.chronological_months, label, age, "chronological", _ROWS[1]))
    return format_html(
        '<svg class="plot age-plot" viewBox="0 0 {width} {height}" role="img"'
        ' aria-labelledby="{name}-title {name}-text">'
        '<title id="{name}-title">{title}</title><desc id="{name}-text">{description}</desc>'
        "{intervals}{curve}{axis}{marks}</svg>",
        width=number(_WIDTH),
        height=number(_HEIGHT),
        name=name,
        title=gettext("Distribution of the age"),
        description=_description(curve),
        intervals=_intervals(scale, curve),
        curve=_area(scale, curve),
        axis=_axis(scale),
        marks=mark_safe("".join(marks)),  # noqa: S308 - each was made by format_html
    )


@cache
def heat_scales() -> dict[str, list[Colour]]:
    """Return the colour scales of the viewer for the heat map, (red, green, blue) 0..255.

    They lead from the strongest evidence of a younger hand to that of an older one. ``orange`` is that of the reports
    (`boneage.explain`); ``green`` goes from purple to green. People with any deficiency of colour vision can tell the
    ends of both apart.
    """
    return {
        "orange": scale_colours(_SCALE_STEPS),
        "green": [(205, 120, 255), (125, 60, 190), (40, 140, 60), (150, 245, 120)],
    }


@dataclass(frozen=True)
class _Scale:
    """Range of years on the axis."""

    first: int
    last: int

    @classmethod
    def of(cls, curve: AgeCurve) -> _Scale:
        seen = curve.months[curve.density > _SHOWN_SHARE]
        shown = [float(seen.min()), float(seen.max()), curve.estimate_months]
        if curve.chronological_months is not None and 0 <= curve.chronological_months <= OLDEST_MONTHS:
            shown.append(curve.chronological_months)
        first, last = math.floor(min(shown) / 12), math.ceil(max(shown) / 12)
        missing = max(0, _LEAST_YEARS - (last - first))
        oldest = math.ceil(max(OLDEST_MONTHS, float(curve.months[-1])) / 12)
        last = min(oldest, last + missing // 2 + missing % 2)
        first = max(0, min(first - missing // 2, last - _LEAST_YEARS))
        return cls(first, max(last, first + _LEAST_YEARS))

    def x(self, months: float) -> float:
        part = (months / 12 - self.first) / (self.last - self.first)
        return _LEFT + part * (_RIGHT - _LEFT)

    def holds(self, months: float) -> bool:
        return self.first <= months / 12 <= self.last


def _curve_points(scale: _Scale, curve: AgeCurve, low: float, high: float) -> list[tuple[float, float]]:
    """Return the points of the curve between two ages, on the picture."""
    inside = curve.months[(curve.months > low) & (curve.months < high)]
    months = np.concatenate([[low], inside, [high]])
    heights = np.interp(months, curve.months, curve.density)
    return [
        (scale.x(float(month)), _BOTTOM - float(height) * (_BOTTOM - _TOP))
        for month, height in zip(months, heights, strict=True)
    ]


def _area(scale: _Scale, curve: AgeCurve) -> SafeString:
    points = _curve_points(scale, curve, 12.0 * scale.first, 12.0 * scale.last)
    return format_html(
        '<path class="curve" d="{}" fill="none" stroke="currentColor" stroke-width="2" stroke-linejoin="round"/>',
        path(points),
    )


def _intervals(scale: _Scale, curve: AgeCurve) -> SafeString:
    """Return the area beneath the curve within each interval, the narrower darker; the whole area without intervals."""
    whole = (12.0 * scale.first, 12.0 * scale.last)
    narrow = [] if curve.interval_80_months is None else [curve.interval_80_months]
    bounds = [curve.interval_months or whole, *narrow]
    return format_html_join("", "{}", ((_shaded(scale, curve, *pair),) for pair in bounds))


def _shaded(scale: _Scale, curve: AgeCurve, *bounds: float) -> SafeString:
    """Return the area beneath the curve between two ages."""
    low, high = (max(12.0 * scale.first, min(12.0 * scale.last, bound)) for bound in bounds)
    points = [(scale.x(low), _BOTTOM), *_curve_points(scale, curve, low, high), (scale.x(high), _BOTTOM)]
    return format_html(
        '<path class="interval" d="{}Z" fill="currentColor" fill-opacity="0.16"/>',
        path(points),
    )


def _axis(scale: _Scale) -> SafeString:
    step = 1 if scale.last - scale.first <= 12 else 2
    years = range(scale.first, scale.last + 1, step)
    ticks = format_html_join(
        "",
        '<line x1="{}" x2="{}" y1="{}" y2="{}" stroke="currentColor" stroke-opacity="0.5"/>'
        '<text x="{}" y="{}" text-anchor="middle" fill="currentColor">{}</text>',
        (
            (x, x, number(_BOTTOM), number(_BOTTOM + 5), x, number(_BOTTOM + 19), number_format(year))
            for year, x in ((year, number(scale.x(12.0 * year))) for year in years)
        ),
    )
    return format_html(
        '<g class="axis" font-size="13"><line x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"'
        ' stroke="currentColor" stroke-opacity="0.5"/>{ticks}'
        '<text x="{middle}" y="{baseline}" text-anchor="middle" fill="currentColor">{title}</text></g>',
        left=number(_LEFT),
        right=number(_RIGHT),
        bottom=number(_BOTTOM),
        ticks=ticks,
        middle=number((_LEFT + _RIGHT) / 2),
        baseline=number(_HEIGHT - 6),
        title=gettext("Age, years"),
    )


def _completed(months: float) -> str:
    """Return a chronological age in completed years and months, as clinics count it."""
    return words.completed_age(*divmod(math.floor(months), 12))


def _mark(scale: _Scale, months: float, label: str, age: str, kind: str, row: float) -> SafeString:
    """Return a line at an age, and its name above the plot with a sample of the line."""
    x = number(scale.x(months))
    return format_html(
        '<g class="mark {kind}" font-size="13" stroke-width="2" stroke-dasharray="{dashes}">'
        '<line x1="{x}" x2="{x}" y1="{top}" y2="{bottom}" stroke="currentColor"/>'
        '<line x1="{left}" x2="{right}" y1="{sample}" y2="{sample}" stroke="currentColor"/>'
        '<text x="{text}" y="{row}" fill="currentColor">{name}</text></g>',
        kind=kind,
        dashes="none" if kind == "estimate" else "5 4",
        x=x,
        top=number(_TOP - 8),
        bottom=number(_BOTTOM),
        left=number(_LEFT),
        right=number(_LEFT + _SAMPLE),
        sample=number(row - 4),
        text=number(_LEFT + _SAMPLE + 8),
        row=number(row),
        name=gettext("%(label)s: %(age)s") % {"label": label, "age": age},
    )


def _description(curve: AgeCurve) -> str:
    """Return the plot in words."""
    sentences = [gettext("Bone age %(age)s.") % {"age": words.age(curve.estimate_months)}]
    if curve.interval_months is not None:
        low, high = curve.interval_months
        sentence = gettext("The shaded 95 %% prediction interval goes from %(low)s to %(high)s.")
        sentences.append(sentence % {"low": words.age(low), "high": words.age(high)})
    if curve.interval_80_months is not None:
        low, high = curve.interval_80_months
        sentence = gettext("Its darker part, the 80 %% prediction interval, goes from %(low)s to %(high)s.")
        sentences.append(sentence % {"low": words.age(low), "high": words.age(high)})
    if curve.chronological_months is not None:
        sentences.append(gettext("Chronological age %(age)s.") % {"age": _completed(curve.chronological_months)})
    return " ".join([*sentences, curve.caption])
