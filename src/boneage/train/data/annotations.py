"""Annotations of hands: outlines, masks and key points, as tables and as arrays."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.errors import TableError
from boneage.hand.joints import JOINT_NAMES
from boneage.hand.registration import POINT_NAMES
from boneage.tables.csv_table import read_rows, reject_duplicates

_POINT_COLUMNS = tuple(f"{name}_{axis}" for name in POINT_NAMES for axis in "xy")
_MASK_SIDE = 2048


def read_masks(table: Path) -> dict[str, Path]:
    """Read the paths of masks by the radiograph's id from a CSV ``id,mask``, whose paths are relative to it.

    Raises:
        TableError: see `boneage.tables.csv_table.read_rows`; ``table_duplicate``; ``table_image_missing`` if a mask is
            missing.
    """
    rows = read_rows(table, ("id", "mask"))
    reject_duplicates(rows, "id")
    paths = {row.text("id"): table.parent / row.text("mask") for row in rows}
    missing = [path.name for path in paths.values() if not path.is_file()]
    if missing:
        raise TableError("table_image_missing", f"{len(missing)} masks of {table} are missing: {missing[0]}, ...")
    return paths


def load_mask(path: Path) -> NDArray[np.uint8]:
    """Read a mask, uint8 (h, w) of 0 and 1, from an image that covers the whole radiograph and is black outside.

    Raises:
        TableError: ``table_value`` if it cannot be read, or has more than 2,048 pixels a side.
    """
    content = np.frombuffer(path.read_bytes() if path.is_file() else b"", np.uint8)
    picture = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE) if content.size else None
    if picture is None or max(picture.shape) > _MASK_SIDE:
        raise TableError("table_value", f"{path} is not a mask of at most {_MASK_SIDE} pixels a side.")
    return (np.asarray(picture) > 0).astype(np.uint8)


def read_key_points(table: Path) -> dict[str, NDArray[np.float64]]:
    """Read key points by the radiograph's id, (3, 2), as fractions of width and height, with the rows of `POINT_NAMES`.

    The columns are ``id`` and ``<name>_x``, ``<name>_y`` for each point. A point may lie slightly outside the
    radiograph.

    Raises:
        TableError: see `boneage.tables.csv_table.read_rows`; ``table_value``, ``table_duplicate``.
    """
    rows = read_rows(table, ("id", *_POINT_COLUMNS))
    reject_duplicates(rows, "id")
    points: dict[str, NDArray[np.float64]] = {}
    for row in rows:
        values = np.array([row.number(column, -0.5, 1.5) for column in _POINT_COLUMNS]).reshape(len(POINT_NAMES), 2)
        if math.dist(values[0], values[2]) < 0.01:
            raise row.bad_value(_POINT_COLUMNS[0], "must lie apart from the capitate")
        points[row.text("id")] = values
    return points


def read_joints(table: Path) -> dict[str, NDArray[np.float64]]:
    """Read joints by the radiograph's id, (J, 2), as fractions of width and height, with the rows of `JOINT_NAMES`.

    The columns are ``id`` and ``<name>_x``, ``<name>_y`` for each joint. A joint without an annotation has two empty
    cells, and is NaN. A joint may lie slightly outside the radiograph.

    Raises:
        TableError: see `boneage.tables.csv_table.read_rows`; ``table_value``, ``table_duplicate``.
    """
    columns = [f"{name}_{axis}" for name in JOINT_NAMES for axis in "xy"]
    rows = read_rows(table, ("id", *columns))
    reject_duplicates(rows, "id")
    joints: dict[str, NDArray[np.float64]] = {}
    for row in rows:
        values = [row.number(column, -0.5, 1.5) if row.cells[column] else math.nan for column in columns]
        joints[row.text("id")] = np.array(values).reshape(len(JOINT_NAMES), 2)
    return joints
