"""Heat maps of validation radiographs: their share on the hand, their strongest place, and their sign by age.

    python benchmarks/heat_maps.py --radiographs radiographs.csv --count 200

The hand is that of the bundle's mask, without a margin. The place of the strongest evidence is the bone or joint whose
tile (`boneage.hand.bones`) contains it. The output is Markdown.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boneage.assessment import Assessment
from boneage.bundle.bundle import Bundle
from boneage.composition import assess
from boneage.errors import Rejection
from boneage.evaluate.tables import markdown_table
from boneage.hand.views import mask_through
from boneage.tables.radiographs import radiographs_of_split, read_radiographs

BANDS_MONTHS = (0, 72, 108, 144, 168, 240)
"""Bounds of the bands of the estimate."""

GROUPS = {
    "radius": "radius and ulna",
    "ulna": "radius and ulna",
    "carpals": "carpal bones",
    "metacarpal": "base of the first metacarpal",
    "mcp": "metacarpophalangeal joints",
    "pip": "proximal interphalangeal joints",
    "dip": "distal interphalangeal joints",
    "ip": "interphalangeal joint of the thumb",
}
"""Titles of groups of bones by the first part of their names."""

ELSEWHERE, OUTSIDE = "elsewhere on the hand", "outside the hand"


@dataclass(frozen=True)
class Place:
    """Heat map of one radiograph.

    Attributes:
        age_months: estimate.
        on_hand: share of the evidence, without its sign, that lies on the hand.
        strongest: group of bones at the strongest evidence.
        raising: share of the evidence that raised the estimate.
    """

    age_months: float
    on_hand: float
    strongest: str
    raising: float


def place_of(assessment: Assessment) -> Place | None:
    """Return where the heat map of a radiograph lies; None without a hand or a map."""
    heat = assessment.heat_map()
    if assessment.hand is None or heat.is_empty:
        return None
    strength = np.abs(heat.values)
    inside = mask_through(assessment.hand, assessment.radiograph_to_picture, heat.values.shape) > 0.5
    row, column = np.unravel_index(strength.argmax(), strength.shape)
    strongest = _group(assessment, np.array([column + 0.5, row + 0.5])) if inside[row, column] else OUTSIDE
    raising = np.maximum(heat.values, 0).sum() / strength.sum()
    return Place(assessment.age_months, float(strength[inside].sum() / strength.sum()), strongest, float(raising))


def _group(assessment: Assessment, picture_xy: NDArray[np.float64]) -> str:
    """Return the group of the bone in whose tile a point lies, relative to the tile's size nearest to its middle."""
    xy = assessment.radiograph_to_picture.inverse().points(picture_xy)
    corners = np.array([bone.corners_xy for bone in assessment.bones])
    if not len(corners):
        return ELSEWHERE
    sides = np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1)
    away = np.linalg.norm(corners.mean(axis=1) - xy, axis=1) / sides
    nearest = int(away.argmin())
    return GROUPS[assessment.bones[nearest].name.partition("_")[0]] if away[nearest] < 0.5 else ELSEWHERE


def places(table: Path, split: str, count: int, bundle: Bundle) -> Iterator[Place]:
    """Yield the place of each heat map of a random choice of radiographs; those that are rejected are left out."""
    radiographs = radiographs_of_split(read_radiographs(table), split)
    for index in np.random.default_rng(0).permutation(len(radiographs))[:count]:
        radiograph = radiographs[index]
        try:
            place = place_of(assess(radiograph.image, radiograph.sex, bundle))
        except Rejection:
            continue
        if place is not None:
            yield place


def tables(heat_places: list[Place]) -> list[str]:
    """Return the lines of all tables."""
    shares = np.array([place.on_hand for place in heat_places])
    figures = shares.mean(), np.percentile(shares, 5), (shares >= 0.95).mean()
    heads = ["heat maps", "share on the hand, mean", "5th percentile", "at least 95 %"]
    lines = markdown_table(heads, [[str(len(heat_places)), *(f"{100 * one:.1f} %" for one in figures)]])
    counts = Counter(place.strongest for place in heat_places)
    rows = [[group, f"{100 * number / len(heat_places):.1f} %"] for group, number in counts.most_common()]
    lines += ["", *markdown_table(["strongest evidence", "radiographs"], rows)]
    bands = []
    for low, high in pairwise(BANDS_MONTHS):
        raising = [place.raising for place in heat_places if low <= place.age_months < high]
        if raising:
            bands.append([f"{low} to {high}", str(len(raising)), f"{100 * np.mean(raising):.0f} %"])
    return [*lines, "", *markdown_table(["estimate, months", "radiographs", "evidence that raised it"], bands)]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--radiographs", type=Path, required=True)
    parser.add_argument("--split", default="validation")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--bundle", default="default")
    options = parser.parse_args()
    heat_places = list(places(options.radiographs, options.split, options.count, Bundle.open(options.bundle)))
    print("\n".join(tables(heat_places)))


if __name__ == "__main__":
    main()
