"""Tables of masks and key points: read strictly, or rejected by name."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from boneage.train.data.annotations import load_mask, read_key_points, read_masks
from tests.error_codes import code_of

HEADER = "id,middle_tip_x,middle_tip_y,thumb_tip_x,thumb_tip_y,capitate_x,capitate_y"


def table(folder: Path, *lines: str) -> Path:
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_read_key_points_pairs_in_order(tmp_path: Path) -> None:
    points = read_key_points(table(tmp_path, HEADER, "7,0.5,0.1,0.9,0.45,0.52,0.7", "x,0.4,-0.1,1.2,0.5,0.4,0.8"))
    assert list(points) == ["7", "x"]
    assert points["7"].dtype == np.float64
    assert np.array_equal(points["7"], [[0.5, 0.1], [0.9, 0.45], [0.52, 0.7]])


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ((HEADER, "7,0.5,0.1,0.9,0.45,0.52"), "table_value"),
        ((HEADER, "7,0.5,0.1,0.9,0.45,0.52,nan"), "table_value"),
        ((HEADER, "7,0.5,0.1,0.9,0.45,0.52,two"), "table_value"),
        ((HEADER, "7,0.5,0.1,0.9,0.45,0.52,1.6"), "table_value"),
        ((HEADER, "7,120,300,500,600,0.52,0.7"), "table_value"),  # pixels, not shares
        ((HEADER, "7,0.5,0.7,0.9,0.45,0.505,0.7"), "table_value"),  # fingertip upon the wrist
        ((HEADER, "7,0.5,0.1,0.9,0.45,0.52,0.7", "7,0.5,0.1,0.9,0.45,0.52,0.7"), "table_duplicate"),
        ((HEADER.replace("capitate_x", "wrist_x"), "7,0.5,0.1,0.9,0.45,0.52,0.7"), "table_columns"),
    ],
)
def test_read_key_points_rejects_invalid(tmp_path: Path, lines: tuple[str, ...], code: str) -> None:
    assert code_of(partial(read_key_points, table(tmp_path, *lines))) == code


def test_read_masks_zero_and_one(tmp_path: Path) -> None:
    """Masks lie beside their table and are none and one."""
    (tmp_path / "masks").mkdir()
    picture = np.array([[0, 255, 1], [0, 128, 0]], np.uint8)
    cv2.imwrite(str(tmp_path / "masks" / "7.png"), picture)
    paths = read_masks(table(tmp_path, "id,mask", "7,masks/7.png"))
    assert paths == {"7": tmp_path / "masks" / "7.png"}
    mask = load_mask(paths["7"])
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, [[0, 1, 1], [0, 1, 0]])


def test_read_masks_rejects_missing_or_duplicate(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "7.png"), np.zeros((4, 4), np.uint8))
    assert code_of(lambda: read_masks(table(tmp_path, "id,mask", "7,7.png", "8,8.png"))) == "table_image_missing"
    assert code_of(lambda: read_masks(table(tmp_path, "id,mask", "7,7.png", "7,7.png"))) == "table_duplicate"
    assert code_of(lambda: read_masks(tmp_path / "none.csv")) == "table_not_found"


def test_load_mask_rejects_other_files(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_bytes(b"no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    cv2.imwrite(str(tmp_path / "large.png"), np.zeros((2049, 4), np.uint8))
    for name in ("text.png", "empty.png", "large.png", "missing.png"):
        assert code_of(partial(load_mask, tmp_path / name)) == "table_value", name
