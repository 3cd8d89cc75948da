"""Outlines drawn by a person, as the first masks of a mining project."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.errors import RecipeError, TableError
from boneage.files import atomic_write
from boneage.reading.radiograph import read_radiograph
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.mining.state import (
    SETTINGS,
    RadiographMask,
    Settings,
    Status,
    mask_path,
    write_masks,
    write_settings,
)

LONGEST_SIDE = 512
"""Longest side of a stored mask, pixels: twice the network's view."""

_FINER = 4
"""Factor by which outlines are drawn finer and then reduced, because filling also covers each pixel that they touch."""


@dataclass(frozen=True, eq=False)
class Polygon:
    """One outline, in fractions of the radiograph's width and height.

    Attributes:
        exterior: float64 (N, 2), x and y.
        interiors: outlines of holes, each as `exterior`.
    """

    exterior: NDArray[np.float64]
    interiors: tuple[NDArray[np.float64], ...] = ()


def read_outlines(path: Path) -> dict[str, list[Polygon]]:
    """Read a JSON file ``{id: [{"exterior": [[x, y], ...], "interior": [[[x, y], ...], ...]}, ...]}``.

    Returns:
        Polygons whose union is the hand, by the radiograph's id.

    Raises:
        TableError: ``table_not_found``, ``table_unreadable`` if it is not such a file, ``table_empty``, ``table_value``
            if a polygon has fewer than three points or lies outside the radiograph.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        outlines = {
            str(radiograph_id): [_polygon(one) for one in polygons] for radiograph_id, polygons in table.items()
        }
    except (FileNotFoundError, NotADirectoryError):
        raise TableError("table_not_found", f"There is no file of outlines {path}.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TableError("table_unreadable", f"{path} is no file of outlines: {error!r}.") from error
    if not outlines:
        raise TableError("table_empty", f"{path} has no outlines.")
    for radiograph_id, polygons in outlines.items():
        _check(path, radiograph_id, polygons)
    return outlines


def _polygon(rings: dict[str, Any]) -> Polygon:
    interiors = tuple(np.array(ring, dtype=np.float64) for ring in rings.get("interior", []))
    return Polygon(np.array(rings["exterior"], dtype=np.float64), interiors)


def _check(path: Path, radiograph_id: str, polygons: Sequence[Polygon]) -> None:
    rings = [ring for polygon in polygons for ring in (polygon.exterior, *polygon.interiors)]
    if not rings or any(ring.ndim != 2 or ring.shape[0] < 3 or ring.shape[1] != 2 for ring in rings):
        raise TableError("table_value", f"{path}: the outline of {radiograph_id!r} needs three or more points (x, y).")
    if not all(np.isfinite(ring).all() and ring.min() >= -0.05 and ring.max() <= 1.05 for ring in rings):
        raise TableError(
            "table_value", f"{path}: the outline of {radiograph_id!r} must be in fractions of width and height, 0..1."
        )


def mask_shape(radiograph_shape: tuple[int, int]) -> tuple[int, int]:
    """Return rows and columns of a radiograph's mask: its aspect ratio, at most `LONGEST_SIDE` long."""
    zoom = min(1.0, LONGEST_SIDE / max(radiograph_shape))
    return max(1, round(radiograph_shape[0] * zoom)), max(1, round(radiograph_shape[1] * zoom))


def rasterised(polygons: Sequence[Polygon], height: int, width: int) -> NDArray[np.uint8]:
    """Return the union of polygons as a mask (height, width): 1 where at least half of a pixel is covered, else 0."""
    fine = np.zeros((height * _FINER, width * _FINER), np.uint8)
    for polygon in polygons:
        filled = np.zeros_like(fine)
        for ring, value in ((polygon.exterior, 1), *((interior, 0) for interior in polygon.interiors)):
            corners = ring * (width * _FINER, height * _FINER) - 0.5  # OpenCV puts the first pixel's centre at 0
            cv2.fillPoly(filled, [np.rint(corners * 256).astype(np.int32)], value, shift=8)
        fine |= filled
    covered = fine.reshape(height, _FINER, width, _FINER).sum((1, 3), dtype=np.uint16)
    mask: NDArray[np.uint8] = (covered >= _FINER**2 // 2).astype(np.uint8)
    return mask


def write_mask(path: Path, mask: NDArray[np.uint8]) -> None:
    """Write a mask of 0 and 1 as a PNG with one bit per pixel, in one step."""
    _, encoded = cv2.imencode(".png", mask * np.uint8(255), [cv2.IMWRITE_PNG_BILEVEL, 1])
    with atomic_write(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def start(folder: Path, settings: Settings, outlines: Path, held_out: int) -> dict[str, RadiographMask]:
    """Start a mining project: radiographs with outlines get their masks, all others are unseen.

    Args:
        folder: folder of the mining; an interrupted start is repeated.
        settings: table of the radiographs, and the seed that draws the held-out outlines.
        outlines: see `read_outlines`; outlines without a radiograph in the table are left out.
        held_out: number of outlines that measure only.

    Returns:
        The table of masks.

    Raises:
        RecipeError: ``recipe_changed`` if the folder holds a mining project.
        TableError: see `read_outlines` and `boneage.tables.radiographs.read_radiographs`; ``table_split`` if too few
            outlines are left for training.
        Rejection: A radiograph with an outline cannot be read.
    """
    if (folder / SETTINGS).exists():
        raise RecipeError(
            "recipe_changed", f"{folder} holds a mining project already. Choose another folder, or continue it."
        )
    radiographs = settings.read_radiographs()
    polygons = {
        radiograph_id: rings for radiograph_id, rings in read_outlines(outlines).items() if radiograph_id in radiographs
    }
    if not 0 < held_out < len(polygons):
        raise TableError(
            "table_split",
            f"{len(polygons)} outlines belong to these radiographs, so {held_out} of them cannot be held out.",
        )
    drawn = np.random.default_rng(settings.seed).permutation(sorted(polygons))
    measuring = {str(radiograph_id) for radiograph_id in drawn[:held_out]}
    masks = {radiograph_id: RadiographMask(radiograph_id) for radiograph_id in radiographs}
    for radiograph_id, rings in polygons.items():
        path = mask_path("outlines", radiograph_id)
        write_mask(folder / path, _outline_mask(radiographs[radiograph_id], rings))
        status = Status.HELD_OUT if radiograph_id in measuring else Status.OUTLINE
        masks[radiograph_id] = RadiographMask(radiograph_id, status, round=0, mask=path)
    write_masks(folder, masks)
    write_settings(folder, settings)  # last, because this file makes the folder a mining project
    return masks


def _outline_mask(radiograph: LabelledRadiograph, polygons: Sequence[Polygon]) -> NDArray[np.uint8]:
    rows, columns = read_radiograph(radiograph.image).pixels.shape
    return rasterised(polygons, *mask_shape((rows, columns)))
