"""The table of joints: sources are merged, and boxes without a finger's name find their finger."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from boneage.hand.joints import JOINT_NAMES, JOINT_ROWS, TYPICAL_JOINTS_XY
from boneage.train.data.annotations import read_joints
from tests.programs import load_program

SIZE = 2080.0
"""Side of the drawn radiograph, pixels of the frame."""

KINDS = {"mcp": "MCP", "pip": "PIP", "ip": "PIP", "dip": "DIP", "radius": "Radius", "ulna": "Ulna"}
FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
POINTS_3 = ("id", "middle_tip_x", "middle_tip_y", "thumb_tip_x", "thumb_tip_y", "capitate_x", "capitate_y")


def turned(degrees: float, mirrored: bool) -> dict[str, tuple[float, float]]:
    """Joints of the typical hand, turned about the middle of the radiograph, as fractions."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    places = {}
    side = -1 if mirrored else 1
    for name, (right, down) in zip(JOINT_NAMES, TYPICAL_JOINTS_XY, strict=True):
        x, y = side * (right - 800) / SIZE / 2, (down - 1000) / SIZE / 2
        places[name] = (0.5 + cosine * x - sine * y, 0.5 + sine * x + cosine * y)
    return places


def write(path: Path, rows: list[list[object]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def boxes_of(places: dict[str, tuple[float, float]], folder: Path) -> Path:
    rows: list[list[object]] = [["id", "set", "structure", "left", "top", "right", "bottom"]]
    for name, (x, y) in sorted(places.items(), key=lambda one: one[1]):  # an order that says nothing about fingers
        kind = KINDS.get(name.split("_")[0])
        if kind:
            rows.append(["7", "annotations/train", kind, x - 0.01, y - 0.01, x + 0.01, y + 0.01])
    carpals = (places["wrist"][0] + places["mcp_3"][0]) / 2, (places["wrist"][1] + places["mcp_3"][1]) / 2
    x, y = (0.8 * wrist + 0.2 * middle for wrist, middle in zip(places["wrist"], carpals, strict=True))
    rows.append(["7", "annotations/train", "Wrist", x - 0.1, y - 0.1, x + 0.1, y + 0.1])
    return write(folder / "boxes.csv", rows)


def table_of(folder: Path, boxes: Path) -> dict[str, list[list[float]]]:
    columns = ["id", "wrist_x", "wrist_y"]
    columns += [f"{finger}{number}_{axis}" for finger in FINGERS for number in (1, 2, 3, 4) for axis in "xy"]
    points = write(folder / "points.csv", [list[object](columns), ["5", *range(1, len(columns))]])
    tips = write(folder / "tips.csv", [list(POINTS_3), ["7", 0.1, 0.2, 0.3, 0.4, 0, 0], ["5", 9, 9, 9, 9, 9, 9]])
    load_program("tools/joint_table.py").main(points, boxes, tips, folder / "joints.csv")
    with (folder / "joints.csv").open(encoding="utf-8", newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}  # type: ignore[misc]


@pytest.mark.parametrize("degrees", [0, 40, -30, 90, 180])
@pytest.mark.parametrize("mirrored", [False, True])
def test_boxes_find_their_finger(degrees: float, mirrored: bool, tmp_path: Path) -> None:
    places = turned(degrees, mirrored)
    table_of(tmp_path, boxes_of(places, tmp_path))
    rows = tmp_path.joinpath("joints.csv").read_text(encoding="utf-8").splitlines()
    (tmp_path / "of-boxes.csv").write_text("\n".join(row for row in rows if not row.startswith("5,")), encoding="utf-8")
    joints = read_joints(tmp_path / "of-boxes.csv")["7"]
    for name, place in places.items():
        if name.split("_")[0] in KINDS:
            assert tuple(joints[JOINT_ROWS[name]]) == pytest.approx(place, abs=1e-6), name
    assert tuple(joints[JOINT_ROWS["tip_3"]]) == (0.1, 0.2)
    assert tuple(joints[JOINT_ROWS["tip_1"]]) == (0.3, 0.4)


def test_first_table_counts_and_incomplete_boxes_do_not(tmp_path: Path) -> None:
    boxes = boxes_of(turned(0, False), tmp_path)
    boxes.write_text(boxes.read_text(encoding="utf-8").replace("Ulna", "Other"), encoding="utf-8")
    rows = table_of(tmp_path, boxes)
    assert rows["5"]["tip_3_x"] == "25.0"  # type: ignore[call-overload]
    assert rows["7"]["mcp_3_x"] == ""  # type: ignore[call-overload]
