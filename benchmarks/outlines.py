"""Agreement of a bundle's outlines of epiphyses and carpal bones with masks that people drew.

    python benchmarks/outlines.py --radiographs radiographs.csv --masks masks.csv --bundle standard

The table of masks is that of the recipe ``hand-outlines``: a CSV ``id,mask`` of whole radiographs. Outlines are filled
on the grid of the mask. The Dice coefficient of a radiograph is 2 |A and B| / (|A| + |B|). Parts of masks belong to the
bones as in training (`boneage.train.data.outline_views.bone_labels`). A group of bones counts where the mask or the
outlines have a part of it. The output is Markdown.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boneage.bundle.bundle import Bundle
from boneage.errors import Rejection
from boneage.hand.bones import BONES, cut_bones
from boneage.hand.outlines import Outline, trace_outlines
from boneage.hand.views import measure_grey
from boneage.reading.radiograph import read_radiograph
from boneage.tables.radiographs import LabelledRadiograph, radiographs_of_split, read_radiographs
from boneage.train.data.annotations import load_mask, read_masks
from boneage.train.data.outline_views import bone_labels
from boneage.train.mining.outlines import Polygon, rasterised

WRIST = ("radius", "ulna")
GROUPS: dict[str, tuple[str, ...]] = {
    "all": tuple(bone.name for bone in BONES),
    "carpal bones": ("carpals",),
    "radius and ulna": WRIST,
    "metacarpals and phalanges": tuple(bone.name for bone in BONES if bone.name not in ("carpals", *WRIST)),
}
AGE_BANDS_YEARS = (0, 4, 8, 12, 16, 20)


@dataclass(frozen=True)
class Agreement:
    """Comparison of one radiograph.

    Attributes:
        age_months: label of the radiograph.
        dice: Dice coefficient by group; NaN where neither mask nor outlines have a part of it.
        common: pixels in both, by bone.
        drawn: pixels of the outlines, by bone.
        masked: pixels of the mask, by bone.
    """

    age_months: float
    dice: dict[str, float]
    common: NDArray[np.int64]
    drawn: NDArray[np.int64]
    masked: NDArray[np.int64]


def main() -> None:
    """Compare the outlines of all radiographs of the split that have masks, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--radiographs", type=Path, required=True)
    parser.add_argument("--masks", type=Path, required=True)
    parser.add_argument("--bundle", default="standard")
    parser.add_argument("--split", default="validation")
    arguments = parser.parse_args()
    masks = read_masks(arguments.masks)
    chosen = radiographs_of_split(read_radiographs(arguments.radiographs), arguments.split)
    bundle = Bundle.open(arguments.bundle, threads=1)
    compared = list(_compare_each([one for one in chosen if one.id in masks], masks, bundle))
    print(f"Bundle {bundle.manifest.name} {bundle.manifest.version}; {len(compared)} radiographs.\n")
    print("| bones | radiographs | mean | median | 5th percentile |\n|---|---:|---:|---:|---:|")
    for group in GROUPS:
        _print_row(group, [one.dice[group] for one in compared])
    for low, high in itertools.pairwise(AGE_BANDS_YEARS):
        band = [one.dice["all"] for one in compared if low * 12 <= one.age_months < high * 12]
        _print_row(f"all, bone age {low} to {high} years", band)
    common, drawn, masked = (
        np.sum([getattr(one, name) for one in compared], axis=0) for name in ("common", "drawn", "masked")
    )
    print("\n| bone | Dice of all pixels | outlines / mask, area |\n|---|---:|---:|")
    for number, bone in enumerate(BONES):
        dice = 2 * common[number] / max(1, drawn[number] + masked[number])
        print(f"| {bone.name} | {dice:.3f} | {drawn[number] / max(1, masked[number]):.2f} |")


def _print_row(name: str, values: Sequence[float]) -> None:
    finite = [value for value in values if np.isfinite(value)]
    if finite:
        figures = np.mean(finite), np.median(finite), np.percentile(finite, 5)
        print(f"| {name} | {len(finite)} | {' | '.join(f'{figure:.3f}' for figure in figures)} |")


def _compare_each(
    radiographs: Sequence[LabelledRadiograph], masks: dict[str, Path], bundle: Bundle
) -> Iterator[Agreement]:
    for radiograph in radiographs:
        try:
            yield compare(radiograph, load_mask(masks[radiograph.id]), bundle)
        except Rejection as rejection:
            print(f"{radiograph.id}: {rejection.code}")


def compare(radiograph: LabelledRadiograph, mask: NDArray[np.uint8], bundle: Bundle) -> Agreement:
    """Compare a bundle's outlines on a radiograph with a mask, uint8 (h, w) of 0 and 1.

    Raises:
        Rejection: The radiograph is rejected.
        BundleError: The bundle has no network for outlines.
    """
    pixels = read_radiograph(radiograph.image).pixels
    shape = pixels.shape[0], pixels.shape[1]
    hand, spec = bundle.find_hand(pixels), bundle.outline_spec
    if spec is None:
        bundle.outline_graph()  # raises the error
        raise AssertionError
    bones = cut_bones(pixels, spec, hand, measure_grey(pixels, spec.grey, hand))
    outlines = trace_outlines(bundle.run_outlines(bones.view), spec, hand, bones.unreadable)
    labels = bone_labels(mask, shape, hand)
    masked = [labels == number + 1 for number in range(len(BONES))]
    drawn = [_filled(outlines.get(bone.name, ()), shape, mask.shape) for bone in BONES]
    return Agreement(
        radiograph.boneage_months,
        {group: _dice(_union(drawn, names), _union(masked, names)) for group, names in GROUPS.items()},
        *(
            np.array([int(one.sum()) for one in each])
            for each in ([a & b for a, b in zip(drawn, masked, strict=True)], drawn, masked)
        ),
    )


def _filled(outlines: Sequence[Outline], shape: tuple[int, int], grid: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the pixels of a grid (h, w) on the whole radiograph (H, W) that lie within outlines."""
    if not outlines:
        return np.zeros(grid, np.bool_)
    polygons = [Polygon(outline / (shape[1], shape[0])) for outline in outlines]
    return np.asarray(rasterised(polygons, grid[0], grid[1]) > 0)


def _union(each: Sequence[NDArray[np.bool_]], names: Sequence[str]) -> NDArray[np.bool_]:
    return np.asarray(np.any([one for one, bone in zip(each, BONES, strict=True) if bone.name in names], axis=0))


def _dice(drawn: NDArray[np.bool_], masked: NDArray[np.bool_]) -> float:
    total = int(drawn.sum() + masked.sum())
    return 2 * int((drawn & masked).sum()) / total if total else float("nan")


if __name__ == "__main__":
    main()
