"""Make the table of joints for ``boneage train hand-joints`` from published annotations of RSNA's radiographs.

* ``key_points_21.csv`` (Pediatric-Hand-Bone-Analysis-Lab): the joints of the fingers, and the wrist.
* ``ossification_boxes.csv`` (rsna-boneage-ossification-roi-detection): the middles of the boxes of joints, radius and
  ulna. The boxes do not say which finger they belong to. They are sorted by their angle about the carpals, from the
  side of the radius over the fingers to that of the ulna.
* ``key_points_3.csv`` (gr-bone-age): the tips of the thumb and the middle finger.

A radiograph that is not in all of them has empty cells for the joints of the others. The first table that has a joint
counts.

    python tools/joint_table.py key_points_21.csv ossification_boxes.csv key_points_3.csv joints.csv
"""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from boneage.hand.joints import JOINT_NAMES
from boneage.tables.csv_table import write_rows

_FINGERS = {"thumb": 1, "forefinger": 2, "middle_finger": 3, "ring_finger": 4, "pinky_finger": 5}
_THUMB, _OTHER = ("cmc", "mcp", "ip", "tip"), ("mcp", "pip", "dip", "tip")
_OF_STRUCTURE = {
    "MCP": ("mcp_1", "mcp_2", "mcp_3", "mcp_4", "mcp_5"),
    "PIP": ("ip_1", "pip_2", "pip_3", "pip_4", "pip_5"),
    "DIP": ("dip_2", "dip_3", "dip_4", "dip_5"),
    "Radius": ("radius",),
    "Ulna": ("ulna",),
    "Wrist": ("",),
}
"""Joints of each kind of box, from the side of the thumb; the box of the carpals has none."""

_SECOND_READER = "eval/nonexpert"

_OF_TIPS = {"tip_3": "middle_tip", "tip_1": "thumb_tip"}

Place = tuple[float, float]


def main(key_points: Path, boxes: Path, tips: Path, out: Path) -> None:
    """Write the table `out`."""
    places: dict[str, dict[str, Place]] = {}
    for source in (_of_key_points(key_points), _of_boxes(boxes), _of_tips(tips)):
        for radiograph_id, joints in source:
            places[radiograph_id] = joints | places.get(radiograph_id, {})
    header = ["id", *(f"{name}_{axis}" for name in JOINT_NAMES for axis in "xy")]
    rows = [
        [radiograph_id, *(cell for name in JOINT_NAMES for cell in joints.get(name, ("", "")))]
        for radiograph_id, joints in sorted(places.items())
    ]
    write_rows(out, header, rows)


def _rows(table: Path) -> Iterator[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _of_key_points(table: Path) -> Iterator[tuple[str, dict[str, Place]]]:
    columns = {"wrist": "wrist"}
    for finger, ray in _FINGERS.items():
        for number, joint in enumerate(_THUMB if ray == 1 else _OTHER, start=1):
            columns[f"{joint}_{ray}"] = f"{finger}{number}"
    for row in _rows(table):
        yield row["id"], {name: (float(row[f"{one}_x"]), float(row[f"{one}_y"])) for name, one in columns.items()}


def _of_boxes(table: Path) -> Iterator[tuple[str, dict[str, Place]]]:
    middles: dict[str, dict[str, list[Place]]] = {}
    for row in _rows(table):
        if row["set"] != _SECOND_READER and row["structure"] in _OF_STRUCTURE:
            left, top, right, bottom = (float(row[side]) for side in ("left", "top", "right", "bottom"))
            of_radiograph = middles.setdefault(row["id"], {})
            of_radiograph.setdefault(row["structure"], []).append(((left + right) / 2, (top + bottom) / 2))
    for radiograph_id, boxes in middles.items():
        if any(len(boxes.get(kind, ())) != len(names) for kind, names in _OF_STRUCTURE.items()):
            continue  # a box is missing, so that the others have no order
        angle = _Angle(boxes)
        yield (
            radiograph_id,
            {
                name: place
                for kind, names in _OF_STRUCTURE.items()
                for name, place in zip(names, sorted(boxes[kind], key=angle), strict=True)
                if name
            },
        )


class _Angle:
    """Angle of a place about the carpals, from the side of the radius over the fingers to that of the ulna."""

    def __init__(self, boxes: Mapping[str, Sequence[Place]]) -> None:
        self.wrist = np.array(boxes["Wrist"][0])
        self.across = np.subtract(boxes["Radius"][0], boxes["Ulna"][0])
        fingers = np.mean(boxes["PIP"], axis=0) - self.wrist
        upwards = np.array([-self.across[1], self.across[0]])
        self.upwards = upwards if upwards @ fingers > 0 else -upwards

    def __call__(self, place: Place) -> float:
        """Return the angle, radians, -pi to pi."""
        from_wrist = np.subtract(place, self.wrist)
        return math.atan2(float(self.upwards @ from_wrist), float(self.across @ from_wrist))


def _of_tips(table: Path) -> Iterator[tuple[str, dict[str, Place]]]:
    for row in _rows(table):
        yield row["id"], {name: (float(row[f"{one}_x"]), float(row[f"{one}_y"])) for name, one in _OF_TIPS.items()}


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:5]))
