"""Radiographs with their masks' outlines, as single tiles and as contact sheets (Iglovikov et al., Fig. 3F)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.arrays import ByteImage
from boneage.errors import TableError
from boneage.files import atomic_write
from boneage.geometry import fit_inside, sample
from boneage.tables.csv_table import read_rows, reject_duplicates, write_rows
from boneage.train.data.annotations import load_mask
from boneage.train.data.cache import RadiographCache
from boneage.train.mining.state import RadiographMask, Status

SheetKind = Literal["pending", "worst", "random", "accepted"]

_BACKGROUND = (24, 20, 18)
_LINE = (60, 190, 255)
"""Amber (BGR), which radiographs do not contain, and which is distinct from grey for red-green colour blindness."""

_TEXT = (200, 196, 190)
_LABEL_HEIGHT = 18


@dataclass(frozen=True)
class Grid:
    """Layout of tiles on a sheet: the size of a tile, pixels, and the number of columns and rows."""

    columns: int = 10
    rows: int = 5
    tile_width: int = 180
    tile_height: int = 225


def draw_tile(pixels: NDArray[np.float32], mask: NDArray[np.uint8], height: int, width: int) -> ByteImage:
    """Return a radiograph fitted into a tile, with its mask's outline.

    Its grey levels are stretched, so that dark radiographs can be judged.

    Args:
        pixels: float32 (H, W), 0..1.
        mask: uint8 (h, w), 0 and 1, over the whole radiograph.
        height: height of the tile, pixels.
        width: width of the tile, pixels.

    Returns:
        (height, width, 3).
    """
    rows, columns = pixels.shape
    to_tile = fit_inside(rows, columns, height, width)
    low, high = (float(level) for level in np.percentile(pixels[::4, ::4], (0.5, 99.5)))
    shades = sample(pixels, to_tile, height, width, fill=low)
    shades = np.clip((shades - low) / max(high - low, 1e-4), 0, 1)
    tile = np.repeat(np.rint(30 + 215 * shades).astype(np.uint8)[..., None], 3, axis=2)
    inside = sample(np.ones_like(pixels), to_tile, height, width) > 0.5
    tile[~inside] = _BACKGROUND
    outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    on_radiograph = (columns / mask.shape[1], rows / mask.shape[0])
    corners = [to_tile.points((outline[:, 0] + 0.5) * on_radiograph) - 0.5 for outline in outlines]
    lines = [np.rint(corner * 16).astype(np.int32) for corner in corners]
    thickness = 1 if width < 200 else 2
    cv2.polylines(tile, lines, isClosed=True, color=_LINE, thickness=thickness, lineType=cv2.LINE_AA, shift=4)
    return tile


def radiograph_tile(folder: Path, mask: RadiographMask, cache: RadiographCache, height: int, width: int) -> ByteImage:
    """Return the tile of one radiograph of a mining project.

    Raises:
        TableError: ``table_image_missing`` if the radiograph cannot be read, ``table_value`` if its mask cannot.
    """
    if mask.id not in cache:
        raise TableError("table_image_missing", f"The radiograph {mask.id} cannot be read.")
    return draw_tile(cache.pixels(mask.id), load_mask(folder / mask.mask), height, width)


def by_uncertainty(masks: Iterable[RadiographMask]) -> list[RadiographMask]:
    """Return the masks with the most uncertain first."""
    return sorted(masks, key=lambda mask: -1.0 if mask.uncertainty is None else mask.uncertainty, reverse=True)


def at_random(masks: Iterable[RadiographMask], seed: int) -> list[RadiographMask]:
    """Return the masks in a random order that follows from the seed and the masks."""
    listed = list(masks)
    return [listed[place] for place in np.random.default_rng(seed).permutation(len(listed))]


def choose_masks(masks: Mapping[str, RadiographMask], kind: SheetKind, *, seed: int) -> list[RadiographMask]:
    """Return the masks of a kind of sheet, in its order.

    ``pending`` and ``accepted`` show masks of this status, the most uncertain first. ``worst`` shows both together in
    that
    order, ``random`` both together in a random order.
    """
    statuses = {
        "pending": {Status.PENDING},
        "accepted": {Status.ACCEPTED},
        "worst": {Status.PENDING, Status.ACCEPTED},
        "random": {Status.PENDING, Status.ACCEPTED},
    }[kind]
    chosen = [mask for mask in masks.values() if mask.status in statuses]
    return at_random(chosen, seed) if kind == "random" else by_uncertainty(chosen)


def draw_sheet(folder: Path, masks: Sequence[RadiographMask], cache: RadiographCache, grid: Grid) -> ByteImage:
    """Draw one contact sheet, as high as its tiles need, with id, round and uncertainty under each."""
    height, width, gap = grid.tile_height + _LABEL_HEIGHT, grid.tile_width, 4
    rows = -(-len(masks) // grid.columns)
    sheet = np.full((rows * (height + gap) + gap, grid.columns * (width + gap) + gap, 3), _BACKGROUND, np.uint8)
    for place, mask in enumerate(masks):
        top, left = gap + place // grid.columns * (height + gap), gap + place % grid.columns * (width + gap)
        tile = radiograph_tile(folder, mask, cache, grid.tile_height, width)
        sheet[top : top + grid.tile_height, left : left + width] = tile
        uncertainty = "" if mask.uncertainty is None else f"  {mask.uncertainty:.3f}"
        label = f"{mask.id}  r{mask.round}{uncertainty}"
        cv2.putText(sheet, label, (left + 2, top + height - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.4, _TEXT, 1, cv2.LINE_AA)
    return sheet


def write_sheets(
    folder: Path, out: Path, name: str, masks: Sequence[RadiographMask], cache: RadiographCache, grid: Grid
) -> list[Path]:
    """Write contact sheets ``name-001.png`` and so on, each with a table ``name-001.csv`` of its radiographs in order.

    The tables have the columns ``id,round,uncertainty,status``, which `read_sheet` reads.

    Raises:
        TableError: ``table_empty`` if there is nothing to show; see also `radiograph_tile`.
    """
    if not masks:
        raise TableError("table_empty", f"{folder} has no such masks: there is nothing to show.")
    size = grid.columns * grid.rows
    paths = []
    for number, first in enumerate(range(0, len(masks), size), start=1):
        part = masks[first : first + size]
        _, encoded = cv2.imencode(".png", draw_sheet(folder, part, cache, grid))
        path = out / f"{name}-{number:03d}.png"
        with atomic_write(path) as temporary:
            temporary.write_bytes(encoded.tobytes())
        rows = [
            (mask.id, mask.round, "" if mask.uncertainty is None else mask.uncertainty, mask.status.value)
            for mask in part
        ]
        write_rows(path.with_suffix(".csv"), ("id", "round", "uncertainty", "status"), rows)
        paths.append(path)
    return paths


def read_sheet(table: Path) -> dict[str, int]:
    """Return the radiographs of a contact sheet by id, with the round whose mask it shows.

    Raises:
        TableError: see `boneage.tables.csv_table.read_rows`; ``table_duplicate``; ``table_value`` for a bad round.
    """
    rows = read_rows(table, ("id", "round"))
    reject_duplicates(rows, "id")
    return {row.text("id"): int(row.number("round", 0)) for row in rows}
