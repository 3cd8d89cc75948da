"""Geometry of a DICOM object: the shape of one pixel, and the display shutter around the radiograph.

Sources: DICOM PS3.3, C.7.6.3.1.7 (Pixel Aspect Ratio), 10.7 (spacings) and C.7.6.11 (Display Shutter).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from boneage.arrays import Image, Mask
from boneage.errors import Rejection, RejectionCode
from boneage.reading.dicom.tags import numbers, texts
from boneage.reading.facts import RadiographFacts

if TYPE_CHECKING:
    from pydicom import Dataset

logger = logging.getLogger(__name__)

_SQUARE_WITHIN = 0.01
"""Largest relative difference between the sides of a pixel that is taken as square."""
_FURTHEST = 1e6
"""Largest coordinate of a shutter, in pixels. A larger one would overflow where polygons are filled."""


def pixel_aspect(dataset: Dataset, facts: RadiographFacts) -> float:
    """Return the height of a pixel divided by its width.

    It comes from the spacing if the file gives one, else from Pixel Aspect Ratio, else it is 1. It is exactly 1 if
    height and width differ by less than 1 %.
    """
    sides = facts.spacing_mm or numbers(dataset, "PixelAspectRatio")
    if sides is None or len(sides) != 2 or min(sides) <= 0:
        return 1.0
    aspect = sides[0] / sides[1]
    return 1.0 if abs(math.log(aspect)) <= math.log1p(_SQUARE_WITHIN) else aspect


def with_square_pixels(
    pixels: Image, facts: RadiographFacts, aspect: float, max_pixels: int
) -> tuple[Image, RadiographFacts]:
    """Resample a radiograph whose pixels are `aspect` times as high as they are wide.

    The side on which pixels lie closer keeps its number of pixels, so that nothing is lost, and the other is
    interpolated. Only if that made more than `max_pixels` is the whole radiograph reduced to so many, averaged by area.

    Args:
        pixels: The radiograph, float32 (H, W).
        facts: Facts of the radiograph.
        aspect: Height of a pixel divided by its width, above 0.
        max_pixels: Largest number of pixels of the result.

    Returns:
        Radiograph and facts, with the spacing of the new pixels. Both are returned unchanged if pixels are square.
    """
    if aspect == 1.0:
        return pixels, facts
    rows, columns = pixels.shape
    tall, wide = rows * max(1.0, aspect), columns * max(1.0, 1.0 / aspect)
    shrink = math.sqrt(max_pixels / (tall * wide))
    if shrink >= 1.0:
        height, width, method = round(tall), round(wide), cv2.INTER_LINEAR
    else:
        height, width, method = int(tall * shrink), int(wide * shrink), cv2.INTER_AREA
    square = np.asarray(cv2.resize(pixels, (width, height), interpolation=method), dtype=np.float32)
    if facts.spacing_mm is not None:
        between_rows, between_columns = facts.spacing_mm
        facts = replace(facts, spacing_mm=(between_rows * rows / height, between_columns * columns / width))
    return square, facts


Shape = Callable[[int, int, float], Mask]
"""Function that draws the visible part of a shape: from rows, columns and pixel aspect to bool (rows, columns)."""


def read_shutter(dataset: Dataset) -> tuple[Shape, ...]:
    """Read the shapes of the display shutter, each kind once, without drawing them.

    A shape that is not known, or lacks its coordinates, is logged and left out.
    """
    shapes = [_SHAPES[kind](dataset) if kind in _SHAPES else None for kind in _kinds(dataset)]
    if None in shapes:
        logger.warning("the display shutter has a shape that is not known or lacks its coordinates: not applied")
    return tuple(shape for shape in shapes if shape is not None)


def _kinds(dataset: Dataset) -> list[str]:
    return list(dict.fromkeys(kind.upper() for kind in texts(dataset, "ShutterShape")))[: len(_SHAPES) + 1]


def hidden_pixels(shutter: tuple[Shape, ...], rows: int, columns: int, aspect: float) -> Mask | None:
    """Return the stored pixels that a display shutter hides: those that lie outside any one of its shapes.

    Coordinates count from 1, and the pixels on an edge are visible.

    Args:
        shutter: Shapes from `read_shutter`.
        rows: Rows of the radiograph as stored.
        columns: Columns of the radiograph as stored.
        aspect: Height of a pixel divided by its width. The radius of a circle counts pixels along a row.

    Returns:
        bool (rows, columns), True where hidden; None if nothing is.

    Raises:
        Rejection: ``no_contrast`` if nothing remains visible.
    """
    seen: Mask | None = None
    for shape in shutter:
        part = shape(rows, columns, aspect)
        seen = part if seen is None else seen & part
    if seen is None or seen.all():
        return None
    if not seen.any():
        raise Rejection(
            RejectionCode.NO_CONTRAST,
            "The DICOM object's display shutter hides the whole radiograph. Send it again without the shutter.",
        )
    return ~seen


def _rectangle(dataset: Dataset) -> Shape | None:
    edges = _coordinates(dataset, "ShutterUpperHorizontalEdge", "ShutterLowerHorizontalEdge")
    sides = _coordinates(dataset, "ShutterLeftVerticalEdge", "ShutterRightVerticalEdge")
    if edges is None or sides is None:
        return None

    def draw(rows: int, columns: int, _aspect: float) -> Mask:
        row, column = np.arange(1, rows + 1), np.arange(1, columns + 1)
        return ((row >= edges[0]) & (row <= edges[1]))[:, None] & ((column >= sides[0]) & (column <= sides[1]))

    return draw


def _circle(dataset: Dataset) -> Shape | None:
    centre, radius = numbers(dataset, "CenterOfCircularShutter"), _coordinates(dataset, "RadiusOfCircularShutter")
    if centre is None or len(centre) != 2 or radius is None:
        return None

    def draw(rows: int, columns: int, aspect: float) -> Mask:
        down = (np.arange(1, rows + 1) - centre[0]) * aspect
        across = np.abs(np.arange(1, columns + 1) - centre[1])
        # Half the chord of each row; only the comparison has the size of the radiograph.
        chord = np.sqrt(np.maximum(radius[0] ** 2 - down**2, 0.0))
        return np.asarray((across <= chord[:, None]) & (np.abs(down) <= radius[0])[:, None])

    return draw


def _polygon(dataset: Dataset) -> Shape | None:
    vertices = numbers(dataset, "VerticesOfThePolygonalShutter")
    if vertices is None or len(vertices) < 6 or len(vertices) % 2 or max(map(abs, vertices)) > _FURTHEST:
        return None
    points_xy = np.array(vertices).reshape(-1, 2)[:, ::-1] - 1  # OpenCV places the centre of the first pixel at 0

    def draw(rows: int, columns: int, _aspect: float) -> Mask:
        mask = np.zeros((rows, columns), np.uint8)
        cv2.fillPoly(mask, [np.rint(points_xy).astype(np.int32)], 1)
        return mask.view(np.bool_)

    return draw


def _coordinates(dataset: Dataset, *keywords: str) -> list[float] | None:
    """Return the first value of each element, or None if one is missing."""
    elements = [numbers(dataset, keyword) for keyword in keywords]
    return None if None in elements else [values[0] for values in elements if values]


_SHAPES: dict[str, Callable[[Dataset], Shape | None]] = {
    "RECTANGULAR": _rectangle,
    "CIRCULAR": _circle,
    "POLYGONAL": _polygon,
}
