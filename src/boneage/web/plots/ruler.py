"""The ruler of a result's card: bone age with its likely range above, chronological age with the normal range below, on
one scale of years. It is drawn on the server as SVG.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.formats import number_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from boneage.bundle.estimate import OLDEST_MONTHS
from boneage.schema import ChronologicalAgeDocument, NormalRangeDocument
from boneage.web.plots.axes import years_around
from boneage.web.plots.svg import number

_WIDTH, _HEIGHT = 300.0, 114.0
_LEFT, _RIGHT, _AXIS = 8.0, 292.0, 90.0
_BONE_Y, _CHILD_Y = 27.0, 68.0
"""Vertical positions of the two rows; their names stand above them."""
_NAME_ABOVE = 13.0
_LIKELY_HEIGHT, _NORMAL_HEIGHT, _HALF_MARK = 6.0, 14.0, 8.0
_LEAST_YEARS = 6
"""Minimum number of years on the axis, so that a narrow range looks narrow."""
_MOST_TICKS = 12
_OLDEST_YEARS = 100
"""The ruler shows any chronological age, such as an adult's."""


@dataclass(frozen=True)
class Ruler:
    """Values on the ruler, in months.

    Attributes:
        bone_months: bone age that counts.
        likely_months: (low, high) of its likely range, or None; no `high` where the range is open above.
        age: chronological age.
        normal: normal range of bone age at that age, or None.
    """

    bone_months: float
    likely_months: tuple[float, float | None] | None
    age: ChronologicalAgeDocument
    normal: NormalRangeDocument | None


def draw_ruler(ruler: Ruler, description: str) -> SafeString:
    """Return the ruler as an SVG element. Colours come from ``currentColor`` and CSS classes.

    Args:
        ruler: values.
        description: the same in words, for readers who cannot see it.
    """
    axis = _Axis.of(ruler)
    normal = ruler.normal
    return format_html(
        '<svg class="plot ruler" viewBox="0 0 {width} {height}" role="img" aria-labelledby="ruler-title ruler-text">'
        '<title id="ruler-title">{title}</title><desc id="ruler-text">{description}</desc>'
        "{axis}{names}{likely}{normal}{bone}{age}</svg>",
        width=number(_WIDTH),
        height=number(_HEIGHT),
        title=gettext("Bone age and chronological age"),
        description=description,
        axis=axis.draw(),
        names=_names(ruler),
        likely=axis.bar("likely", ruler.likely_months, _BONE_Y, _LIKELY_HEIGHT),
        normal=axis.bar(
            "normal",
            None if normal is None else (normal.lower_months, None if normal.is_open_above else normal.upper_months),
            _CHILD_Y,
            _NORMAL_HEIGHT,
        ),
        bone=axis.diamond(ruler.bone_months, _BONE_Y),
        age=axis.stroke(ruler.age.lower_months, ruler.age.upper_months, _CHILD_Y),
    )


def _names(ruler: Ruler) -> SafeString:
    bone = gettext("Bone age, likely range") if ruler.likely_months else gettext("Bone age")
    child = gettext("Chronological age, normal range") if ruler.normal else gettext("Chronological age")
    rows = ((bone, _BONE_Y), (child, _CHILD_Y))
    return format_html_join(
        "",
        '<text class="name" x="{}" y="{}">{}</text>',
        ((number(_LEFT), number(y - _NAME_ABOVE), name) for name, y in rows),
    )


@dataclass(frozen=True)
class _Axis:
    """Range of years on the axis."""

    first: int
    last: int

    @classmethod
    def of(cls, ruler: Ruler) -> _Axis:
        values = [ruler.bone_months, *(ruler.likely_months or ()), ruler.age.lower_months, ruler.age.upper_months]
        values += [] if ruler.normal is None else [ruler.normal.lower_months, ruler.normal.upper_months]
        shown = [value for value in values if value is not None]
        return cls(*years_around(shown, least_years=_LEAST_YEARS, oldest_years=_OLDEST_YEARS))

    def x(self, months: float) -> float:
        """Return the horizontal position of an age; ages beyond the axis lie at its ends."""
        share = (months / 12 - self.first) / (self.last - self.first)
        return _LEFT + min(1.0, max(0.0, share)) * (_RIGHT - _LEFT)

    def draw(self) -> SafeString:
        step = 1 if self.last - self.first <= _MOST_TICKS else 2
        ticks = format_html_join(
            "",
            '<line x1="{}" x2="{}" y1="{}" y2="{}" stroke="currentColor" stroke-opacity="0.5"/>'
            '<text x="{}" y="{}" text-anchor="middle">{}</text>',
            (
                (x, x, number(_AXIS), number(_AXIS + 5), x, number(_AXIS + 18), number_format(year))
                for year, x in ((year, number(self.x(12.0 * year))) for year in range(self.first, self.last + 1, step))
            ),
        )
        return format_html(
            '<g class="axis"><line x1="{}" x2="{}" y1="{}" y2="{}" stroke="currentColor" stroke-opacity="0.5"/>{}</g>',
            number(_LEFT),
            number(_RIGHT),
            number(_AXIS),
            number(_AXIS),
            ticks,
        )

    def bar(self, kind: str, bounds: tuple[float, float | None] | None, y: float, height: float) -> SafeString:
        """Return a range as a bar; one that is open above ends in an arrow at the end of the scale."""
        if bounds is None:
            return SafeString("")
        low, high = bounds
        left, right = self.x(low), self.x(min(12.0 * self.last, OLDEST_MONTHS) if high is None else high)
        arrow = format_html(
            '<path d="M{} {}l8 {}l-8 {}z" fill="currentColor"/>',
            number(right - 1),
            number(y - height),
            number(height),
            number(height),
        )
        return format_html(
            '<g class="{}"><rect x="{}" y="{}" width="{}" height="{}" rx="2" fill="currentColor"/>{}</g>',
            kind,
            number(left),
            number(y - height / 2),
            number(max(1.0, right - left)),
            number(height),
            arrow if high is None else "",
        )

    def diamond(self, months: float, y: float) -> SafeString:
        return format_html(
            '<path class="bone" d="M{} {}l{size} {size}l-{size} {size}l-{size} -{size}z" fill="currentColor"/>',
            number(self.x(months)),
            number(y - _HALF_MARK),
            size=number(_HALF_MARK),
        )

    def stroke(self, lower: float, upper: float, y: float) -> SafeString:
        """Return an age as a stroke, as wide as the interval in which it is known."""
        left, right = self.x(lower), self.x(upper)
        return format_html(
            '<rect class="age-mark" x="{}" y="{}" width="{}" height="{}" rx="1" fill="currentColor"/>',
            number(left - 1.5),
            number(y - _HALF_MARK - 2),
            number(right - left + 3),
            number(2 * _HALF_MARK + 4),
        )
