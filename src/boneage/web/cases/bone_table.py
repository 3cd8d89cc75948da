"""Single bones of a result, as the page shows them: a table, and tiles on the radiograph with their texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.safestring import SafeString

from boneage import words
from boneage.schema import AssessmentDocument, BoneDocument, Point
from boneage.web.plots.bone_ruler import BoneScale
from boneage.words import gettext


@dataclass(frozen=True)
class BoneRow:
    """A bone or joint.

    Attributes:
        name: its name.
        age: bone age by it alone, in words; empty if it was not read.
        interval: 95 % prediction interval in words; empty without one.
        reason: reason why it was not read; empty if it was.
        stands_apart: the estimate lies outside of this interval.
        corners: corners of the part that was read, on the radiograph, pixels.
        ruler: age and interval on the scale of all bones, as SVG; empty if it was not read.
    """

    name: str
    age: str
    interval: str
    reason: str
    stands_apart: bool
    corners: Sequence[Point]
    ruler: SafeString

    @property
    def text(self) -> str:
        """Everything in one line, for the tile on the radiograph."""
        apart = gettext("stands apart") if self.stands_apart else ""
        reading = "; ".join(part for part in (self.age, self.interval, self.reason, apart) if part)
        return f"{self.name}: {reading}"


def bone_rows(result: AssessmentDocument) -> list[BoneRow]:
    """Return the single bones of a result; none if its bundle does not read them."""
    scale = BoneScale.of(result.bones, result.age_months)
    return [_row(bone, scale) for bone in result.bones]


def _row(bone: BoneDocument, scale: BoneScale) -> BoneRow:
    ends = bone.interval_months
    return BoneRow(
        name=words.bone(bone.name),
        age=words.age(bone.age_months),
        interval=words.ages_between(ends),
        reason="" if bone.unreadable is None else words.unreadable(bone.unreadable),
        stands_apart=ends is not None and not ends[0] <= scale.estimate_months <= ends[1],
        corners=bone.corners,
        ruler=scale.draw(bone),
    )
