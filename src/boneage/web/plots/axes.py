"""Axes of a plot over chronological age, with grid and names, as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from boneage import words
from boneage.bundle.estimate import OLDEST_MONTHS
from boneage.web.plots.svg import number

WIDTH = 560.0
LEFT, RIGHT, TOP = 62.0, 546.0, 14.0
"""Sides of the area within the axes."""

_BELOW = 62.0
"""Height below the area, for the numbers and the name of the axis."""

_LEAST_YEARS = 4
"""Minimum number of years on an axis, so that a few months do not look like much."""

_MARGIN_MONTHS = 6.0


_OLDEST_YEARS = round(OLDEST_MONTHS / 12)
"""Last year of an axis for bone ages."""


def years_around(
    months: Sequence[float], *, least_years: int = _LEAST_YEARS, oldest_years: int = _OLDEST_YEARS
) -> tuple[int, int]:
    """Return the first and the last year of an axis that holds ages with a margin; all of childhood without ages.

    Args:
        months: ages on the axis.
        least_years: minimum number of years on it.
        oldest_years: last year of the axis, at most.
    """
    if not months:
        return 0, oldest_years
    first = max(0, math.floor((min(months) - _MARGIN_MONTHS) / 12))
    last = min(oldest_years, math.ceil((max(months) + _MARGIN_MONTHS) / 12))
    missing = max(0, least_years - (last - first))
    last = min(oldest_years, last + missing // 2)
    first = max(0, min(first, last - least_years))
    return first, max(last, first + least_years)


@dataclass(frozen=True)
class Axes:
    """Axes of a plot. Values beyond them are drawn on the border.

    Attributes:
        x_range: first and last value of the horizontal axis.
        y_range: lowest and highest value of the vertical axis.
        bottom: lower side of the area within the axes.
    """

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    bottom: float

    @property
    def height(self) -> float:
        """Height of the picture."""
        return self.bottom + _BELOW

    def x(self, value: float) -> float:
        """Return the horizontal position of a value."""
        return LEFT + _part(value, self.x_range) * (RIGHT - LEFT)

    def y(self, value: float) -> float:
        """Return the vertical position of a value."""
        return self.bottom - _part(value, self.y_range) * (self.bottom - TOP)

    def grid(
        self, xs: Iterable[tuple[float, float]], ys: Iterable[tuple[float, float]], x_name: str, y_name: str
    ) -> SafeString:
        """Return the grid with its numbers, and the names of the axes.

        Args:
            xs: values of the horizontal axis, each with the number to print.
            ys: the same for the vertical axis.
            x_name: name of the horizontal axis.
            y_name: name of the vertical axis.
        """
        left, right, top, bottom = (number(side) for side in (LEFT, RIGHT, TOP, self.bottom))
        across = format_html_join(
            "",
            '<path class="grid" d="M{} {}V{}"/><text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>',
            (
                (x, top, bottom, x, number(self.bottom + 20), words.number(label, 0))
                for x, label in ((number(self.x(value)), label) for value, label in xs)
            ),
        )
        up = format_html_join(
            "",
            '<path class="grid" d="M{} {}H{}"/>'
            '<text class="tick" x="{}" y="{}" dy="0.35em" text-anchor="end">{}</text>',
            (
                (left, y, right, number(LEFT - 8), y, _label(label))
                for y, label in ((number(self.y(value)), label) for value, label in ys)
            ),
        )
        middle = number((TOP + self.bottom) / 2)
        return format_html(
            '<g>{}{}<text class="name" x="{}" y="{}" text-anchor="middle">{}</text>'
            '<text class="name" x="18" y="{}" text-anchor="middle" transform="rotate(-90 18 {})">{}</text></g>',
            across,
            up,
            number((LEFT + RIGHT) / 2),
            number(self.height - 10),
            x_name,
            middle,
            middle,
            y_name,
        )


def year_ticks(first: int, last: int) -> list[tuple[float, float]]:
    """Return the ages in months at which an axis has a year, each with the year."""
    return [(12.0 * year, float(year)) for year in range(first, last + 1, 1 if last - first <= 10 else 2)]


def _part(value: float, bounds: tuple[float, float]) -> float:
    return min(1.0, max(0.0, (value - bounds[0]) / (bounds[1] - bounds[0])))


def _label(value: float) -> str:
    return words.signed(value, 0) if value < 0 else words.number(value, 0)
