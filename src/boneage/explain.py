"""Heat maps on a radiograph from activation maps of networks, and their overlay.

The map is Grad-CAM's (Souza & Oliveira, section VI): the sum of the feature maps of the last convolutions, weighted by
the gradient of the age with respect to them. For a class, Grad-CAM keeps the positive part of that sum. An age is not a
class: evidence for a young hand lowers it, and the positive part of a young child's map is empty or shows the forearm
(observed on real radiographs, docs/log.md). Therefore the map shows the absolute value of the sum, for pixels that
moved the estimate up or down. The positive part alone, the map of section VI, is an option.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.arrays import FloatArray
from boneage.errors import BundleError
from boneage.geometry import Transform, sample
from boneage.hand.registration import BOXES, Hand, Region, box_corners
from boneage.hand.views import CellGrid, ViewSpec

Evidence = Literal["both", "raising"]

DISPLAY_SIDE = 1024
"""Longest side of a displayed radiograph, pixels."""

_FADE = 0.04
"""Width of the zone inside a view's border in which its weight in a mean map rises to 1.

It is a share of the radiograph's longest side.
"""

_SMALLEST_SIDE = 640
"""Minimum longest side of a displayed radiograph, pixels. It keeps the labels of the colour scale legible."""

_DISPLAY_PERCENTILES = (0.2, 99.8)
"""Percentiles of grey levels that are displayed as black and white.

Many radiographs use a small part of their range and could not be judged otherwise.
"""

_STRONGEST_OPACITY = 0.62
_FAINTEST_SHOWN = 0.08
"""Minimum value that is tinted, so that the radiograph stays unchanged where nothing moved the estimate."""

_RINGING = 0.02
"""Maximum part of a cell's value that cubic interpolation adds to empty neighbours.

If a radiograph has no more than this part of the strongest cell of its map, that cell lies beside the radiograph, and
the map is empty.
"""

_JPEG_QUALITY = 92

_LOWEST_PANEL = 80
"""Minimum height of a picture with a colour scale, whose labels need these rows, pixels."""

_SCALE_TICKS = ((1.0, "strongest"), (0.5, "half"), (0.0, "none"))
_INK = (228, 228, 228)
_PANEL = (16, 16, 18)

_OUTLINE_COLOUR = (84, 196, 236)
_POINT_COLOUR = (120, 255, 150)
_BOX_COLOURS: dict[Region, tuple[int, int, int]] = {
    "A": (228, 228, 228),
    "B": (255, 190, 90),
    "C": (190, 160, 255),
    "D": (140, 220, 170),
    "E": (255, 160, 170),
}
_SUBPIXEL_BITS = 4
_SIDE_OF_ONE_LINE = 700
"""Longest side of a picture with lines of one pixel; lines on larger pictures are wider, pixels."""


@dataclass(frozen=True)
class HeatMap:
    """Strength by which pixels of a radiograph moved the age, relative to the strongest of them.

    Attributes:
        values: Map, float32 (H, W), 0..1; 1 corresponds to `peak_months`.
        peak_months: Largest value on the radiograph, months; 0 if no pixel moved the age. The padding of the view
            does not count.
        covered: Pixels inside the network's view, bool (H, W); None if it shows the whole radiograph.
    """

    values: NDArray[np.float32]
    peak_months: float
    covered: NDArray[np.bool_] | None = None

    @property
    def is_empty(self) -> bool:
        """True if the map is zero everywhere. Such a map is reported and not drawn."""
        return self.peak_months <= 0.0


def heat_map(
    activation: NDArray[np.float32],
    radiograph_shape: tuple[int, int],
    view_to_radiograph: Transform,
    spec: ViewSpec,
    cells: CellGrid,
    evidence: Evidence = "both",
) -> HeatMap:
    """Map an activation map onto the radiograph through one transform (grid to view to radiograph).

    The absolute value or the positive part is taken on the network's own grid, and then interpolated smoothly.

    Args:
        activation: Signed sum of Grad-CAM, (h, w), months.
        radiograph_shape: Shape (H, W) of the radiograph, or of a reduced copy to which `view_to_radiograph` leads.
        view_to_radiograph: Transform from the view's coordinates to the radiograph's.
        spec: View that the network read.
        cells: Positions of the map's cells on the view.
        evidence: ``both`` for pixels that moved the age up or down, ``raising`` for those that raised it (Grad-CAM's
            ReLU).

    Raises:
        BundleError: ``bundle_output`` if the map is not a grid of finite numbers.
    """
    grid = np.asarray(activation, dtype=np.float32)
    if grid.ndim != 2 or grid.size == 0 or not np.isfinite(grid).all():
        raise BundleError("bundle_output", "The bundle gave an activation map that is not a grid of finite numbers.")
    strength = np.abs(grid) if evidence == "both" else np.maximum(grid, np.float32(0.0))
    strongest = float(strength.max())
    covered = (
        None
        if _covers(view_to_radiograph, spec, radiograph_shape)
        else _place_of_view(view_to_radiograph, spec, radiograph_shape)
    )
    if not strongest > 0.0:
        return HeatMap(np.zeros(radiograph_shape, dtype=np.float32), 0.0, covered)
    grid_to_radiograph = cells.to_view().then(view_to_radiograph)
    shares = np.asarray(strength / strongest, dtype=np.float32)
    values = _warp(shares, grid_to_radiograph, radiograph_shape, cv2.INTER_CUBIC, cv2.BORDER_REPLICATE)
    np.clip(values, 0.0, 1.0, out=values)  # cubic interpolation overshoots a little
    if covered is not None:
        values *= covered
    return _scaled(values * np.float32(strongest if values.max() > _RINGING else 0.0), covered)


def mean_heat_map(maps: Sequence[HeatMap], weights: Sequence[float]) -> HeatMap:
    """Return the weighted mean, in months, of maps of one radiograph from several views.

    A pixel has the mean over the views that contain it, so that the other views do not dilute it. A pixel outside all
    views has 0. The weight of a view falls towards its border, so that no border is visible where views overlap.

    Args:
        maps: Maps, at least one, all of one shape.
        weights: Positive weight of each map.
    """
    if len(maps) == 1:
        return maps[0]
    months, total = np.zeros_like(maps[0].values), np.zeros_like(maps[0].values)
    for one, weight in zip(maps, weights, strict=True):
        counts = np.float32(weight) if one.covered is None else _faded(one.covered) * np.float32(weight)
        months += one.values * np.float32(one.peak_months) * counts
        total += counts
    np.divide(months, total, out=months, where=total > 0)
    return _scaled(months, None if any(one.covered is None for one in maps) else total > 0)


def _faded(covered: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the weight of a view at each pixel, (H, W): 1 well inside, less near its border, 0 outside."""
    inwards = cv2.distanceTransform(covered.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(np.minimum(inwards / max(1.0, _FADE * max(covered.shape)), 1.0), dtype=np.float32)


def _scaled(months: NDArray[np.float32], covered: NDArray[np.bool_] | None) -> HeatMap:
    """Return the map of months (H, W), relative to the largest."""
    peak = float(months.max())
    return HeatMap(months / np.float32(peak) if peak > 0.0 else np.zeros_like(months), max(peak, 0.0), covered)


def display_size(radiograph_shape: tuple[int, int], longest: int = DISPLAY_SIDE) -> tuple[int, int]:
    """Return the shape (h, w) at which a radiograph of shape (H, W) is displayed.

    Its longest side has between 640 and `longest` pixels.
    """
    height, width = radiograph_shape
    side = min(max(height, width, min(_SMALLEST_SIDE, longest)), longest)
    zoom = side / max(height, width)
    return max(1, round(height * zoom)), max(1, round(width * zoom))


def display_picture(pixels: NDArray[np.float32], longest: int = DISPLAY_SIDE) -> NDArray[np.uint8]:
    """Return a radiograph for display.

    Args:
        pixels: Radiograph, float32 (H, W), 0..1, with bright bone.
        longest: Maximum longest side, pixels.

    Returns:
        Picture, uint8 (h, w) of `display_size`, with its grey levels spread over the whole range.
    """
    height, width = display_size(pixels.shape, longest)
    shrinks = height < pixels.shape[0]
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    low, high = np.percentile(small[::4, ::4] if min(small.shape) > 64 else small, _DISPLAY_PERCENTILES)
    stretched = (small - np.float32(low)) * np.float32(255.0 / max(float(high - low), 1e-6))
    return np.asarray(np.rint(np.clip(stretched, 0.0, 255.0)), dtype=np.uint8)


def overlay(picture: NDArray[np.uint8], heat: HeatMap, *, scale_bar: bool = True) -> NDArray[np.uint8]:
    """Lay a heat map over a radiograph in colour: the warmer and the more opaque, the stronger.

    Args:
        picture: Radiograph from `display_picture`, uint8 (h, w).
        heat: Heat map of the same shape, or of another size of the same radiograph.
        scale_bar: True to add a panel with the colour scale at the right, if the picture has at least 80 rows.

    Returns:
        RGB picture, uint8 (h, w, 3), or (h, w + panel, 3) with the scale. It is grey if the map is empty.
    """
    height, width = picture.shape
    values = heat.values
    if values.shape != picture.shape:
        values = np.asarray(cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA), dtype=np.float32)
    levels = np.rint(values * np.float32(255.0)).astype(np.uint8)
    opacity = _opacity()[levels][..., None]
    radiograph = np.repeat(picture[..., None], 3, axis=2)
    mixed = radiograph + opacity * (_colours()[levels] - radiograph)
    blended = np.rint(mixed).astype(np.uint8)
    return np.hstack([blended, _scale_panel(height, heat)]) if scale_bar and height >= _LOWEST_PANEL else blended


def mark_hand(
    picture: NDArray[np.uint8], hand: Hand, radiograph_to_picture: Transform, regions: Sequence[Region] = ()
) -> NDArray[np.uint8]:
    """Draw the outline of the hand's mask, its key points and the boxes of regions in thin lines.

    Args:
        picture: Radiograph or a picture made from it, uint8 (h, w) or RGB (h, w, 3); it is not changed.
        hand: Hand on the radiograph.
        radiograph_to_picture: Transform from the radiograph's coordinates to the picture's.
        regions: Regions whose boxes are drawn; the whole radiograph has none.

    Returns:
        RGB picture, uint8 (h, w, 3).
    """
    drawn = np.ascontiguousarray(picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)).copy()
    height, width = drawn.shape[:2]
    thickness = max(1, round(max(height, width) / _SIDE_OF_ONE_LINE))
    smooth = np.asarray(cv2.GaussianBlur(hand.mask.astype(np.float32), (0, 0), 1.0), dtype=np.float32)  # avoids steps
    inside = sample(smooth, hand.radiograph_to_mask.inverse().then(radiograph_to_picture), height, width)
    outlines, _ = cv2.findContours((inside > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, outlines, -1, _OUTLINE_COLOUR, thickness, cv2.LINE_AA)
    for region in dict.fromkeys(regions):
        if region in BOXES:
            _draw_box(drawn, region, hand.radiograph_to_frame.inverse().then(radiograph_to_picture), thickness)
    radius = round(5 * thickness * 2**_SUBPIXEL_BITS)
    for x, y in _fixed(radiograph_to_picture.points(hand.points_xy)):
        cv2.circle(drawn, (int(x), int(y)), radius, _POINT_COLOUR, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
    return drawn


def _draw_box(drawn: NDArray[np.uint8], region: Region, frame_to_picture: Transform, thickness: int) -> None:
    """Draw a region's box, which may be rotated, and its letter in the upper left corner of the upright hand."""
    colour = _BOX_COLOURS.get(region, _INK)
    corners = frame_to_picture.points(box_corners(region))
    cv2.polylines(drawn, [_fixed(corners)], True, colour, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
    inset = 14 * thickness
    x, y = corners[0] + inset * np.sign(corners[2] - corners[0])
    if region in _BOX_COLOURS:
        place = (round(x) - 5 * thickness, round(y) + 5 * thickness)
        cv2.putText(drawn, region, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5 * thickness, colour, thickness, cv2.LINE_AA)


def _fixed(points_xy: FloatArray) -> NDArray[np.int32]:
    """Return continuous coordinates in OpenCV's form: whole sixteenths, with the first pixel's centre at 0."""
    return np.asarray(np.rint((points_xy - 0.5) * 2**_SUBPIXEL_BITS), dtype=np.int32)


def encode_picture(suffix: str, picture: NDArray[np.uint8]) -> bytes:
    """Encode a grey (h, w) or RGB (h, w, 3) picture as a file's content.

    Args:
        suffix: File ending, ``.png`` or ``.jpg``.
        picture: Picture, uint8.

    Raises:
        ValueError: If the picture cannot be encoded.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if suffix == ".jpg" else []
    bgr = picture if picture.ndim == 2 else np.ascontiguousarray(picture[..., ::-1])
    done, data = cv2.imencode(suffix, bgr, options)
    if not done:
        raise ValueError(f"a picture of {picture.shape} could not be encoded as {suffix}")
    return data.tobytes()


def scale_colours(count: int) -> list[tuple[int, int, int]]:
    """Return `count` (at least 2) colours of the scale as (red, green, blue), 0..255, up to the strongest."""
    steps = np.linspace(0, 255, count).round().astype(int)
    return [(int(red), int(green), int(blue)) for red, green, blue in _colours()[steps]]


def _warp(
    grid: NDArray[np.float32],
    to_radiograph: Transform,
    radiograph_shape: tuple[int, int],
    interpolation: int,
    border: int,
) -> NDArray[np.float32]:
    # OpenCV places the centre of the first cell at 0, this module at 0.5.
    to_index = Transform.shift(0.5, 0.5).then(to_radiograph).then(Transform.shift(-0.5, -0.5))
    height, width = radiograph_shape
    warped = cv2.warpAffine(grid, to_index.matrix[:2], (width, height), flags=interpolation, borderMode=border)
    return np.asarray(warped, dtype=np.float32)


def _place_of_view(
    view_to_radiograph: Transform, spec: ViewSpec, radiograph_shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """Return a mask of the radiograph's pixels inside the view, bool (H, W)."""
    view = np.ones((spec.height, spec.width), dtype=np.float32)
    return _warp(view, view_to_radiograph, radiograph_shape, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT) > 0


def _covers(view_to_radiograph: Transform, spec: ViewSpec, radiograph_shape: tuple[int, int]) -> bool:
    """Return True if the view contains the whole radiograph, up to a tenth of a view's pixel."""
    height, width = radiograph_shape
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], dtype=np.float64)
    in_view = view_to_radiograph.inverse().points(corners)
    return bool((in_view >= -0.1).all() and (in_view <= np.array([spec.width, spec.height]) + 0.1).all())


def _colours() -> NDArray[np.float32]:
    """Return the colour scale, (256, 3) RGB 0..255: OpenCV's *inferno* from violet to amber, with even lightness."""
    whole = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0, ::-1]
    positions = np.linspace(70, 214, 256)
    return np.stack([np.interp(positions, np.arange(256), whole[:, i]) for i in range(3)], axis=1).astype(np.float32)


def _opacity() -> NDArray[np.float32]:
    """Return the opacity for each of 256 values, (256,): none for the faintest, never hiding the bone."""
    values = np.linspace(0.0, 1.0, 256)
    grown = np.clip((values - _FAINTEST_SHOWN) / (1.0 - _FAINTEST_SHOWN), 0.0, 1.0)
    return np.asarray(_STRONGEST_OPACITY * grown**0.75, dtype=np.float32)


def _scale_panel(height: int, heat: HeatMap) -> NDArray[np.uint8]:
    """Return the colour scale as an RGB panel of the given height, at least `_LOWEST_PANEL`."""
    unit = max(8, height // 48)
    panel = np.full((height, 8 * unit, 3), _PANEL, dtype=np.uint8)
    font, size = cv2.FONT_HERSHEY_SIMPLEX, unit / 36
    if heat.is_empty:
        cv2.putText(panel, "no activation", (unit // 2, 2 * unit), font, size, _INK, 1, cv2.LINE_AA)
        return panel
    top, bottom = 3 * unit, height - 3 * unit
    ramp = _colours()[np.linspace(255, 0, bottom - top).round().astype(int)]
    opacity = _opacity()[np.linspace(255, 0, bottom - top).round().astype(int)][:, None]
    # The scale is blended with mid grey, because this resembles the colours on the radiograph.
    shown = np.rint(112 + opacity / _STRONGEST_OPACITY * (ramp - 112)).astype(np.uint8)
    panel[top:bottom, unit : 2 * unit] = shown[:, None]
    for value, label in _SCALE_TICKS:
        y = round(bottom - 1 - value * (bottom - 1 - top))
        cv2.line(panel, (2 * unit, y), (2 * unit + unit // 3, y), _INK, 1, cv2.LINE_AA)
        cv2.putText(panel, label, (2 * unit + unit // 2 + 2, y + unit // 4), font, size, _INK, 1, cv2.LINE_AA)
    return panel
