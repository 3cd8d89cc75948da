"""Bones under drawn plaster: how many are read wrong, and how many of them are marked as not readable.

    python benchmarks/disturbed_bones.py --radiographs radiographs.csv --count 60

The changes are those of ``boneage evaluate --stress``. A bone is disturbed if its age moves by more than 24 months
against that of the unchanged radiograph, whether it is reported or marked. The output is Markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boneage.bundle.bone_ages import BoneAge
from boneage.bundle.bundle import Bundle
from boneage.composition import assess_radiograph
from boneage.errors import Rejection
from boneage.evaluate.disturbances import DISTURBING_CHANGES
from boneage.evaluate.tables import markdown_table
from boneage.hand.bones import BONES
from boneage.reading.radiograph import Radiograph, read_radiograph
from boneage.sex import Sex
from boneage.tables.radiographs import radiographs_of_split, read_radiographs

CHANGES = ("plaster_opaque", "plaster_half", "plaster_faint", "plaster_wrist", "slab", "covered_40")
DISTURBED_MONTHS, NEAR_MONTHS = 24.0, 4.0
UNCHANGED = "unchanged"

WRIST = np.array([bone.name in {"radius", "ulna", "carpals"} for bone in BONES])
FINGERS = np.array([bone.name.partition("_")[0] in {"mcp", "pip", "dip", "ip"} for bone in BONES])


@dataclass(frozen=True)
class Read:
    """Bones of one radiograph.

    Attributes:
        radiograph: number of the radiograph.
        change: its change, or `UNCHANGED`.
        ages: age by each bone, whether it is reported or implausible, (B,); NaN where it was not read.
        marked: bool (B,), True for a bone that is reported as not readable.
    """

    radiograph: int
    change: str
    ages: NDArray[np.float64]
    marked: NDArray[np.bool_]


def read_of(radiograph: int, change: str, bones: Sequence[BoneAge]) -> Read:
    """Return the bones of a radiograph."""
    months = np.arange(240)
    ages = [np.nan if bone.distribution is None else float(bone.distribution @ months) for bone in bones]
    return Read(radiograph, change, np.array(ages), np.array([bone.unreadable is not None for bone in bones]))


def reads(table: Path, count: int, bundle: Bundle) -> Iterator[Read]:
    """Yield the bones of each radiograph of a random choice, unchanged and with each change.

    Radiographs that are rejected, or on which the bones have no part in the estimate, are left out.
    """
    radiographs = radiographs_of_split(read_radiographs(table), "validation")
    for index in np.random.default_rng(0).permutation(len(radiographs))[:count]:
        radiograph = read_radiograph(radiographs[index].image)
        for change in (UNCHANGED, *CHANGES):
            pixels = radiograph.pixels if change == UNCHANGED else DISTURBING_CHANGES[change].apply(radiograph.pixels)
            changed = replace(radiograph, pixels=np.ascontiguousarray(pixels, np.float32))
            bones = _bones(changed, radiographs[index].sex, bundle)
            if bones:
                yield read_of(int(index), change, bones)


def _bones(radiograph: Radiograph, sex: Sex, bundle: Bundle) -> tuple[BoneAge, ...]:
    try:
        (assessment,) = assess_radiograph(radiograph, (sex,), bundle)
    except Rejection:
        return ()
    return assessment.bones


def table(results: Sequence[Read]) -> list[str]:
    """Return the lines of the table: one row for the unchanged radiographs, and one for each change."""
    clean = {one.radiograph: one for one in results if one.change == UNCHANGED}
    rows = []
    for change in (UNCHANGED, *CHANGES):
        of_change = [one for one in results if one.change == change and one.radiograph in clean]
        if not of_change:
            continue
        ages, marked = (np.stack([getattr(one, name) for one in of_change]) for name in ("ages", "marked"))
        before = np.stack([clean[one.radiograph].ages for one in of_change])
        moved = np.abs(ages - before)
        disturbed = moved > DISTURBED_MONTHS
        reported = np.isfinite(moved) & ~marked & FINGERS
        rows.append(
            [
                change,
                str(len(of_change)),
                _percent(marked),
                _percent(marked[:, WRIST]),
                str(int(disturbed.sum())),
                _percent(marked[disturbed]),
                _percent(moved[reported] <= NEAR_MONTHS),
                f"{np.mean(moved[reported]):.1f}",
            ]
        )
    heads = ["radiographs", "number", "bones marked", "wrist marked", "bones disturbed", "of them marked"]
    return markdown_table([*heads, "reported joints of fingers within 4 months", "mean move"], rows)


def _percent(marks: NDArray[np.bool_]) -> str:
    return f"{100 * marks.mean():.1f} %" if marks.size else ""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--radiographs", type=Path, required=True)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--bundle", default="default")
    options = parser.parse_args()
    print("\n".join(table(list(reads(options.radiographs, options.count, Bundle.open(options.bundle))))))


if __name__ == "__main__":
    main()
