"""The rulers of single bones: age and interval of each on one scale, with the estimate as a line. Drawn as SVG.

They repeat the numbers beside them, so that screen readers skip them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import format_html
from django.utils.safestring import SafeString

from boneage.schema import BoneDocument
from boneage.web.plots.axes import years_around
from boneage.web.plots.svg import number

_WIDTH, _HEIGHT, _MARGIN = 180.0, 16.0, 6.0
_BAR, _HALF_MARK = 5.0, 5.0


@dataclass(frozen=True)
class BoneScale:
    """Scale that the rulers of all bones of a radiograph share.

    Attributes:
        first, last: years at its ends.
        estimate_months: estimate of the whole hand.
    """

    first: int
    last: int
    estimate_months: float

    @classmethod
    def of(cls, bones: Sequence[BoneDocument], estimate_months: float) -> BoneScale:
        """Return a scale that holds the estimate, and the ages and intervals of all bones."""
        ends = [end for bone in bones for end in bone.interval_months or ()]
        ages = [bone.age_months for bone in bones if bone.age_months is not None]
        return cls(*years_around([estimate_months, *ages, *ends]), estimate_months)

    def draw(self, bone: BoneDocument) -> SafeString:
        """Return the ruler of a bone as an SVG element; empty if it was not read."""
        if bone.age_months is None:
            return SafeString("")
        low, high = bone.interval_months or (bone.age_months, bone.age_months)
        left, right, middle = self._x(low), self._x(high), _HEIGHT / 2
        return format_html(
            '<svg class="plot ruler bone-ruler" viewBox="0 0 {width} {height}" aria-hidden="true">'
            '<line x1="{start}" x2="{end}" y1="{middle}" y2="{middle}" stroke="currentColor" stroke-opacity="0.3"/>'
            '<g class="likely"><rect x="{left}" y="{top}" width="{bar}" height="{bar_height}" rx="2"'
            ' fill="currentColor"/></g>'
            '<line class="estimate" x1="{estimate}" x2="{estimate}" y1="1" y2="{bottom}" stroke="currentColor"/>'
            '<path class="bone" d="M{age} {tip}l{half} {half}l-{half} {half}l-{half} -{half}z" fill="currentColor"/>'
            "</svg>",
            width=number(_WIDTH),
            height=number(_HEIGHT),
            start=number(_MARGIN),
            end=number(_WIDTH - _MARGIN),
            middle=number(middle),
            left=number(left),
            top=number(middle - _BAR / 2),
            bar=number(max(1.0, right - left)),
            bar_height=number(_BAR),
            estimate=number(self._x(self.estimate_months)),
            bottom=number(_HEIGHT - 1),
            age=number(self._x(bone.age_months)),
            tip=number(middle - _HALF_MARK),
            half=number(_HALF_MARK),
        )

    def _x(self, months: float) -> float:
        """Return the horizontal position of an age; ages beyond the scale lie at its ends."""
        share = (months / 12 - self.first) / (self.last - self.first)
        return _MARGIN + min(1.0, max(0.0, share)) * (_WIDTH - 2 * _MARGIN)
