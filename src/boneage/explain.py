"""Heat maps on a radiograph from activation maps of networks, and their overlay.

The map is Grad-CAM's (Souza & Oliveira, section VI): the sum of the feature maps of the last convolutions, weighted by
the gradient of the age with respect to them. It has a sign. A place with a positive value raised the estimate, and one
with a negative value lowered it, against a network that sees nothing there. For a class, Grad-CAM keeps the positive
part of that sum. An age is not a class: evidence for a young hand lowers it, and the positive part of a young child's
map is empty or shows the forearm (observed on real radiographs, docs/log.md). Therefore the map shows both, in two
colours. The positive part alone, the map of section VI, is an option.

The values of a map over all its cells sum to a part of the network's age, in months. A map is therefore painted as a
density, and densities of several networks add up, whatever the size of their cells. Grad-CAM's cells are coarse, and a
network also draws on the blanked surroundings of the hand. The heat map is confined to the hand where it was found.
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
from boneage.hand.views import CellGrid, ViewSpec, mask_through
from boneage.image_pyramid import ImagePyramid, ImageSource

Evidence = Literal["both", "raising"]

DISPLAY_SIDE = 1024
"""Longest side of a displayed radiograph, pixels."""

_FADE = 0.2
"""Width of the zone inside a view's border in which its map fades out, as a share of the view's shorter side.

Without it, the frame of each region would be visible as straight edges.
"""

_ROUND = (0.5, 1.1)
"""Distances from the middle of a bone's tile at which its map begins and ends to fade out, as shares of half a side."""

_HAND_EDGE = 0.008
"""Standard deviation of the edge at which the map ends on the hand's outline, as a share of the hand's length."""

_SMALLEST_SIDE = 640
"""Minimum longest side of a displayed radiograph, pixels. It keeps the labels of the colour scale legible."""

_DISPLAY_PERCENTILES = (0.2, 99.8)
"""Percentiles of grey levels that are displayed as black and white.

Many radiographs use a small part of their range and could not be judged otherwise.
"""

_NO_EVIDENCE, _STEPS = 128, 127
"""Level of a map in 8 bits that stands for 0, and number of levels from there to 1."""

_LOWERED = ((60, 100, 225), (80, 190, 255))
_RAISED = ((225, 105, 30), (255, 190, 60))
"""Colours (red, green, blue) of faint and of the strongest evidence that lowered and that raised the age: blue and
orange, which people with any deficiency of colour vision can tell apart."""

_STRONGEST_OPACITY = 0.62
_FAINTEST_SHOWN = 0.08
"""Minimum value that is tinted, so that the radiograph stays unchanged where nothing moved the estimate."""

_FINER, _SMOOTHING = 8, 0.3
"""Cells of a map are divided by this number in both directions, and smoothed by a Gaussian of this standard deviation,
in cells. Neither gives values beyond those of the cells: cubic interpolation would surround evidence of one sign with
evidence of the other."""

_TAIL = 0.02
"""Largest part of a cell's value that smoothing adds to empty neighbours one and a half cells away.

If a radiograph has no more than this part of the strongest cell of its map, that cell lies beside the radiograph, and
the map is empty.
"""

_JPEG_QUALITY = 92

_LOWEST_PANEL = 80
"""Minimum height of a picture with a colour scale, whose labels need these rows, pixels."""

_SCALE_TICKS = ((1.0, "older"), (0.0, "none"), (-1.0, "younger"))
_INK = (228, 228, 228)
_PANEL = (16, 16, 18)

_OUTLINE_COLOUR = (84, 196, 236)
_POINT_COLOUR = (120, 255, 150)
_EPIPHYSIS_COLOUR = (215, 168, 255)
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
    """Evidence by which pixels of a radiograph moved the age, relative to the strongest of them.

    Attributes:
        values: Map, float32 (H, W), -1..1. Positive values raised the age, and negative ones lowered it; 1 or -1
            corresponds to `peak_months`.
        peak_months: Largest absolute value, months for each hundredth of the radiograph's area; 0 if no pixel moved the
            age. The padding of a view does not count.
    """

    values: NDArray[np.float32]
    peak_months: float

    @property
    def is_empty(self) -> bool:
        """True if the map is zero everywhere. Such a map is reported and not drawn."""
        return self.peak_months <= 0.0

    @property
    def levels(self) -> NDArray[np.uint8]:
        """The map in 8 bits, (H, W): 128 for no evidence, 255 for 1 and 1 for -1."""
        return np.asarray(np.rint(self.values * np.float32(_STEPS)) + _NO_EVIDENCE, dtype=np.uint8)

    @classmethod
    def from_levels(cls, levels: NDArray[np.uint8]) -> HeatMap:
        """Return the map of its `levels`. Its largest value in months is not known; it is 1 unless the map is empty."""
        values = (levels.astype(np.float32) - np.float32(_NO_EVIDENCE)) / np.float32(_STEPS)
        return cls(np.maximum(values, np.float32(-1.0)), 1.0 if (levels != _NO_EVIDENCE).any() else 0.0)

    @classmethod
    def of(cls, months: NDArray[np.float32], evidence: Evidence = "both") -> HeatMap:
        """Return the heat map of painted evidence.

        Args:
            months: Evidence of all networks together (`paint`), float32 (H, W).
            evidence: ``both`` for pixels that moved the age up or down, ``raising`` for those that raised it
                (Grad-CAM's ReLU).
        """
        shown = np.maximum(months, np.float32(0.0)) if evidence == "raising" else months
        peak = float(np.abs(shown).max())
        return cls(np.asarray(shown / max(peak, 1e-30), dtype=np.float32), peak)


def paint(
    activation: NDArray[np.float32],
    radiograph_shape: tuple[int, int],
    view_to_radiograph: Transform,
    spec: ViewSpec,
    cells: CellGrid,
) -> NDArray[np.float32]:
    """Paint an activation map onto the radiograph through one transform (grid to view to radiograph).

    The map is interpolated smoothly, and fades out at the view's border unless the view shows the whole radiograph.

    Args:
        activation: Signed sum of Grad-CAM, (h, w), months.
        radiograph_shape: Shape (H, W) of the radiograph, or of a reduced copy to which `view_to_radiograph` leads.
        view_to_radiograph: Transform from the view's coordinates to the radiograph's.
        spec: View that the network read. That of a single bone is its tile, and fades out in a circle.
        cells: Positions of the map's cells on the view.

    Returns:
        Evidence at each pixel, float32 (H, W), months for each hundredth of the radiograph's area. A map whose cells
        all lie within the radiograph has the mean of this sum of its months.

    Raises:
        BundleError: ``bundle_output`` if the map is not a grid of finite numbers.
    """
    grid = np.asarray(activation, dtype=np.float32)
    if grid.ndim != 2 or grid.size == 0 or not np.isfinite(grid).all():
        raise BundleError("bundle_output", "The bundle gave an activation map that is not a grid of finite numbers.")
    painted = np.zeros(radiograph_shape, dtype=np.float32)
    left, top, right, bottom = _bounds(view_to_radiograph, spec, radiograph_shape)
    strongest = float(np.abs(grid).max())
    if not strongest > 0.0 or right <= left or bottom <= top:
        return painted
    size, to_part = (bottom - top, right - left), Transform.shift(-left, -top)
    grid_to_radiograph = cells.to_view().then(view_to_radiograph)
    fine_to_part = Transform.scale(1 / _FINER).then(grid_to_radiograph).then(to_part)
    part = _warp(_fine(grid), fine_to_part, size, cv2.BORDER_REPLICATE)
    if not _covers(view_to_radiograph, spec, radiograph_shape):
        part *= _warp(_faded(spec), view_to_radiograph.then(to_part), size, cv2.BORDER_CONSTANT)
    if np.abs(part).max() > _TAIL * strongest:
        pixels_of_cell = grid_to_radiograph.zoom**2
        painted[top:bottom, left:right] = part * np.float32(painted.size / 100.0 / pixels_of_cell)
    return painted


def on_hand(hand: Hand, radiograph_to_shape: Transform, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return the share, 0..1, of the evidence that counts at each pixel: that on the hand, up to its outline.

    Args:
        hand: Hand on the radiograph.
        radiograph_to_shape: Transform from the radiograph's coordinates to those of the map.
        shape: Shape (H, W) of the map.
    """
    inside = mask_through(hand, radiograph_to_shape, shape)
    edge = max(_HAND_EDGE * hand.length_pixels * radiograph_to_shape.zoom, 0.3)
    # On the outline itself the result is a half.
    blurred = cv2.GaussianBlur(inside, (0, 0), edge)
    return np.asarray(np.clip(2.0 * blurred - 0.5, 0.0, 1.0), dtype=np.float32)


def _fine(grid: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a map (h, w) with finer cells, `_FINER` times as many in both directions, interpolated smoothly."""
    fine = cv2.resize(grid, None, fx=_FINER, fy=_FINER, interpolation=cv2.INTER_LINEAR)
    sigma = _FINER * _SMOOTHING
    return np.asarray(cv2.GaussianBlur(fine, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), dtype=np.float32)


def _faded(spec: ViewSpec) -> NDArray[np.float32]:
    """Return the share, (h, w) of the view, of its map that is painted: 1 well inside, 0 at the border."""
    x, y = (np.arange(side, dtype=np.float32) + np.float32(0.5) for side in (spec.width, spec.height))
    if spec.region == "bones":
        away = np.hypot(2 * x / spec.width - 1, (2 * y / spec.height - 1)[:, None])
        inwards = (_ROUND[1] - away) / (_ROUND[1] - _ROUND[0])
        return _smooth_step(inwards)
    width = np.float32(_FADE * min(spec.height, spec.width))
    across, along = (np.minimum(one, side - one) / width for one, side in ((x, spec.width), (y, spec.height)))
    return _smooth_step(across) * _smooth_step(along)[:, None]


def _smooth_step(values: FloatArray) -> NDArray[np.float32]:
    """Return a rise from 0 to 1 without a bend while values go from 0 to 1."""
    clipped = np.clip(values, 0.0, 1.0)
    return np.asarray(clipped * clipped * (3.0 - 2.0 * clipped), dtype=np.float32)


def _bounds(
    view_to_radiograph: Transform, spec: ViewSpec, radiograph_shape: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the part of the radiograph that holds a view."""
    corners = np.array([[0, 0], [spec.width, 0], [spec.width, spec.height], [0, spec.height]], dtype=np.float64)
    on_radiograph = view_to_radiograph.points(corners)
    left, top = np.clip(np.floor(on_radiograph.min(axis=0)), 0, radiograph_shape[::-1]).astype(int)
    right, bottom = np.clip(np.ceil(on_radiograph.max(axis=0)), 0, radiograph_shape[::-1]).astype(int)
    return int(left), int(top), int(right), int(bottom)


def display_size(radiograph_shape: tuple[int, int], longest: int = DISPLAY_SIDE) -> tuple[int, int]:
    """Return the shape (h, w) at which a radiograph of shape (H, W) is displayed.

    Its longest side has between 640 and `longest` pixels.
    """
    height, width = radiograph_shape
    side = min(max(height, width, min(_SMALLEST_SIDE, longest)), longest)
    zoom = side / max(height, width)
    return max(1, round(height * zoom)), max(1, round(width * zoom))


def display_picture(source: ImageSource, longest: int = DISPLAY_SIDE) -> NDArray[np.uint8]:
    """Return a radiograph for display.

    Args:
        source: Radiograph, float32 (H, W), 0..1, with bright bone, or its pyramid.
        longest: Maximum longest side, pixels.

    Returns:
        Picture, uint8 (h, w) of `display_size`, with its grey levels spread over the whole range.
    """
    pyramid = ImagePyramid.of(source)
    height, width = display_size(pyramid.shape, longest)
    zoom = height / pyramid.shape[0]
    # The copy is less than halved, so that interpolation loses nothing. Area averaging takes four times as long.
    copy, interpolation = pyramid.copy_for(zoom), cv2.INTER_LINEAR if zoom < 1 else cv2.INTER_CUBIC
    small = cv2.resize(copy, (width, height), interpolation=interpolation)
    low, high = np.percentile(small[::4, ::4] if min(small.shape) > 64 else small, _DISPLAY_PERCENTILES)
    stretched = (small - np.float32(low)) * np.float32(255.0 / max(float(high - low), 1e-6))
    return np.asarray(np.rint(np.clip(stretched, 0.0, 255.0)), dtype=np.uint8)


def overlay(picture: NDArray[np.uint8], heat: HeatMap, *, scale_bar: bool = True) -> NDArray[np.uint8]:
    """Lay a heat map over a radiograph: orange where the age was raised, blue where it was lowered.

    The stronger the evidence, the more opaque is the colour.

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
    levels = HeatMap(values, heat.peak_months).levels
    opacity = _opacity()[levels][..., None]
    radiograph = np.repeat(picture[..., None], 3, axis=2)
    mixed = radiograph + opacity * (_colours()[levels] - radiograph)
    blended = np.rint(mixed).astype(np.uint8)
    return np.hstack([blended, _scale_panel(height, heat)]) if scale_bar and height >= _LOWEST_PANEL else blended


def mark_hand(
    picture: NDArray[np.uint8],
    hand: Hand,
    radiograph_to_picture: Transform,
    regions: Sequence[Region] = (),
    tiles: Sequence[Sequence[tuple[float, float]]] = (),
) -> NDArray[np.uint8]:
    """Draw the outline of the hand's mask, its key points, and the boxes of regions and tiles in thin lines.

    Args:
        picture: Radiograph or a picture made from it, uint8 (h, w) or RGB (h, w, 3); it is not changed.
        hand: Hand on the radiograph.
        radiograph_to_picture: Transform from the radiograph's coordinates to the picture's.
        regions: Regions whose boxes are drawn; the whole radiograph has none.
        tiles: Corners of the tiles of single bones on the radiograph, pixels.

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
    for corners in tiles:
        outline = _fixed(radiograph_to_picture.points(np.asarray(corners, np.float64)))
        cv2.polylines(drawn, [outline], True, _INK, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
    radius = round(5 * thickness * 2**_SUBPIXEL_BITS)
    for x, y in _fixed(radiograph_to_picture.points(hand.points_xy)):
        cv2.circle(drawn, (int(x), int(y)), radius, _POINT_COLOUR, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
    return drawn


def mark_epiphyses(
    picture: NDArray[np.uint8], outlines_xy: Sequence[FloatArray], radiograph_to_picture: Transform
) -> NDArray[np.uint8]:
    """Draw the outlines of epiphyses and carpal bones in thin lines.

    Args:
        picture: radiograph or a picture made from it, uint8 (h, w) or RGB (h, w, 3); it is not changed.
        outlines_xy: outlines on the radiograph (`boneage.hand.outlines`), each (N, 2), pixels.
        radiograph_to_picture: transform from the radiograph's coordinates to the picture's.

    Returns:
        RGB picture, uint8 (h, w, 3).
    """
    drawn = np.ascontiguousarray(picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)).copy()
    thickness = max(1, round(max(drawn.shape[:2]) / _SIDE_OF_ONE_LINE))
    polygons = [_fixed(radiograph_to_picture.points(outline)) for outline in outlines_xy]
    cv2.polylines(drawn, polygons, True, _EPIPHYSIS_COLOUR, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
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
    """Return `count` (at least 2) colours of the scale as (red, green, blue), 0..255.

    They lead from the strongest evidence that lowered the age to the strongest that raised it.
    """
    steps = np.linspace(_NO_EVIDENCE - _STEPS, _NO_EVIDENCE + _STEPS, count).round().astype(int)
    return [(int(red), int(green), int(blue)) for red, green, blue in _colours()[steps]]


def _warp(
    grid: NDArray[np.float32], to_radiograph: Transform, radiograph_shape: tuple[int, int], border: int
) -> NDArray[np.float32]:
    # OpenCV places the centre of the first cell at 0, this module at 0.5.
    to_index = Transform.shift(0.5, 0.5).then(to_radiograph).then(Transform.shift(-0.5, -0.5))
    height, width = radiograph_shape
    warped = cv2.warpAffine(grid, to_index.matrix[:2], (width, height), flags=cv2.INTER_LINEAR, borderMode=border)
    return np.asarray(warped, dtype=np.float32)


def _covers(view_to_radiograph: Transform, spec: ViewSpec, radiograph_shape: tuple[int, int]) -> bool:
    """Return True if the view contains the whole radiograph, up to a tenth of a view's pixel."""
    height, width = radiograph_shape
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], dtype=np.float64)
    in_view = view_to_radiograph.inverse().points(corners)
    return bool((in_view >= -0.1).all() and (in_view <= np.array([spec.width, spec.height]) + 0.1).all())


def _values_of_levels() -> NDArray[np.float64]:
    """Return the value, -1..1, of each of 256 levels."""
    return np.clip((np.arange(256) - _NO_EVIDENCE) / _STEPS, -1.0, 1.0)


def _colours() -> NDArray[np.float32]:
    """Return the colour of each of 256 levels, (256, 3) RGB 0..255."""
    values = _values_of_levels()
    strength = np.abs(values)[:, None]
    lowered, raised = (
        (1 - strength) * np.array(faint) + strength * np.array(strong) for faint, strong in (_LOWERED, _RAISED)
    )
    return np.asarray(np.where(values[:, None] < 0, lowered, raised), dtype=np.float32)


def _opacity() -> NDArray[np.float32]:
    """Return the opacity for each of 256 levels, (256,): none for the faintest, never hiding the bone."""
    grown = np.clip((np.abs(_values_of_levels()) - _FAINTEST_SHOWN) / (1.0 - _FAINTEST_SHOWN), 0.0, 1.0)
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
    levels = np.linspace(_NO_EVIDENCE + _STEPS, _NO_EVIDENCE - _STEPS, bottom - top).round().astype(int)
    ramp, opacity = _colours()[levels], _opacity()[levels][:, None]
    # The scale is blended with mid grey, because this resembles the colours on the radiograph.
    shown = np.rint(112 + opacity / _STRONGEST_OPACITY * (ramp - 112)).astype(np.uint8)
    panel[top:bottom, unit : 2 * unit] = shown[:, None]
    for value, label in _SCALE_TICKS:
        y = round(bottom - 1 - (value + 1) / 2 * (bottom - 1 - top))
        cv2.line(panel, (2 * unit, y), (2 * unit + unit // 3, y), _INK, 1, cv2.LINE_AA)
        cv2.putText(panel, label, (2 * unit + unit // 2 + 2, y + unit // 4), font, size, _INK, 1, cv2.LINE_AA)
    return panel
