"""Named changes of a radiograph that preserve its bone age, for measuring the change of an estimate.

Radiographs of users are rotated, mirrored, inverted, framed, marked, reduced and compressed. Every change takes a
radiograph in the form of `boneage.reading.radiograph` (float32 (H, W), 0..1) and returns one. Equal inputs give equal
outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.arrays import Image
from boneage.geometry import Transform, downsample_area, sample

_NOISE_SHARE = 0.03
"""Standard deviation of the added noise, as a share of the radiograph's grey range.

It corresponds roughly to a radiograph at a quarter of the dose.
"""

_FRAME_SHARE = 0.08
"""Width of a pasted border, as a share of the radiograph's longer side."""

_MARKER_SHARE = 0.12
"""Side of a lead marker, as a share of the radiograph's shorter side, as on radiographs of the RSNA challenge."""


@dataclass(frozen=True)
class Change:
    """Change of a radiograph.

    Attributes:
        name: Name on the command line and in tables.
        title: Description for people.
        kind: ``mild`` if the changed radiograph is still an ordinary one, else ``strong`` or ``disturbing``.
        apply: Function from a radiograph, float32 (H, W), 0..1, to the changed radiograph of any size. They share no
            memory.
        change_limit_months: Maximum mean absolute change of the estimate, months; None without a limit.
    """

    name: str
    title: str
    kind: Literal["mild", "strong", "disturbing"]
    apply: Callable[[Image], Image]
    change_limit_months: float | None = None

    @property
    def rise_limit_months(self) -> float:
        """Maximum rise of the mean absolute difference from readers, months."""
        return 1.0 if self.kind == "mild" else 3.0


def rotated_by_quarters(radiograph: Image, quarters: int) -> Image:
    """Rotate clockwise by a multiple of 90 degrees, without interpolation."""
    return np.ascontiguousarray(np.rot90(radiograph, -quarters))


def rotated(radiograph: Image, degrees: float) -> Image:
    """Rotate clockwise about the centre, onto a canvas that contains the radiograph, with the grey of its border."""
    height, width = radiograph.shape
    rotation = Transform.rotation(degrees)
    corners = rotation.points(np.array([[0, 0], [width, 0], [width, height], [0, height]]))
    low, high = corners.min(axis=0), corners.max(axis=0)
    new_width, new_height = (int(side) for side in np.ceil(high - low - 1e-6))
    centred = rotation.then(Transform.shift(*((np.array([new_width, new_height]) - low - high) / 2)))
    return sample(radiograph, centred, new_height, new_width, fill=border_grey(radiograph))


def mirrored(radiograph: Image) -> Image:
    """Exchange left and right."""
    return np.ascontiguousarray(radiograph[:, ::-1])


def inverted(radiograph: Image) -> Image:
    """Return the negative, with dark bone."""
    return np.asarray(1.0 - radiograph, dtype=np.float32)


def framed(radiograph: Image, grey: float) -> Image:
    """Paste a border of one grey around the radiograph."""
    wide = max(1, round(_FRAME_SHARE * max(radiograph.shape)))
    return np.pad(radiograph, wide, constant_values=np.float32(grey))


def collimated(radiograph: Image) -> Image:
    """Show the radiograph as a collimated field: black outside, with a bright edge of scattered radiation."""
    wide = max(1, round(_FRAME_SHARE * max(radiograph.shape)))
    edge = max(1, wide // 12)
    bright = np.float32(np.percentile(radiograph, 99))
    return np.pad(np.pad(radiograph, edge, constant_values=bright), wide - edge, constant_values=np.float32(0.0))


def marked_beside(radiograph: Image) -> Image:
    """Draw a lead marker in the darker upper corner."""
    side = _marker_side(radiograph)
    gap = side // 3
    left, right = radiograph[gap : gap + side, gap : gap + side], radiograph[gap : gap + side, -gap - side : -gap]
    x = gap if left.mean() <= right.mean() else radiograph.shape[1] - gap - side
    return _with_marker(radiograph, x, gap)


def marked_over(radiograph: Image) -> Image:
    """Draw a lead marker over the left edge of the bright area, at 60 % of its height.

    The bright area (the largest piece above Otsu's threshold) is the hand on ordinary radiographs.
    """
    side = _marker_side(radiograph)
    bright = largest_bright(radiograph)
    rows = np.flatnonzero(bright.any(axis=1))
    row = int(rows[round(0.6 * (rows.size - 1))])
    edge = int(np.flatnonzero(bright[row])[0])
    x, y = np.clip([edge - side // 2, row - side // 2], 0, np.array([radiograph.shape[1], radiograph.shape[0]]) - side)
    return _with_marker(radiograph, int(x), int(y))


def brightened(radiograph: Image, factor: float) -> Image:
    """Multiply all grey levels by `factor`, with clipping at white."""
    return np.asarray(np.clip(radiograph * np.float32(factor), 0, 1), dtype=np.float32)


def contrasted(radiograph: Image, factor: float) -> Image:
    """Multiply the distances from the mean grey by `factor`, with clipping at black and white."""
    mean = np.float32(radiograph.mean())
    return np.asarray(np.clip(mean + np.float32(factor) * (radiograph - mean), 0, 1), dtype=np.float32)


def with_gamma(radiograph: Image, exponent: float) -> Image:
    """Raise grey levels to a power: an exponent below 1 brightens dark areas, one above 1 darkens them."""
    return np.asarray(np.power(np.clip(radiograph, 0, 1), np.float32(exponent)), dtype=np.float32)


def shrunk(radiograph: Image, zoom: float) -> Image:
    """Reduce the number of pixels by area averaging."""
    return downsample_area(radiograph, zoom).copy()


def compressed(radiograph: Image, quality: int) -> Image:
    """Store as an 8-bit JPEG of this quality (1..100) and read again."""
    levels = np.rint(np.clip(radiograph, 0, 1) * 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    if decoded is None:
        raise ValueError("OpenCV cannot read its own JPEG")
    return decoded.astype(np.float32) / np.float32(255)


def noisy(radiograph: Image) -> Image:
    """Add constant Gaussian noise of 3 % of the radiograph's grey range (0.5th to 99.5th percentile)."""
    low, high = np.percentile(radiograph, (0.5, 99.5))
    noise = np.random.default_rng(0).standard_normal(radiograph.shape, dtype=np.float32)
    return np.clip(radiograph + np.float32(_NOISE_SHARE * (high - low)) * noise, 0, 1)


def on_canvas(radiograph: Image, times: float, grey: float, generator: np.random.Generator | None = None) -> Image:
    """Place a radiograph at a random position on a square of one grey.

    Args:
        radiograph: Radiograph, float32 (H, W).
        times: Side of the square as a multiple of the radiograph's longer side, at least 1.
        grey: Grey level of the canvas, 0..1.
        generator: Random generator of the position; by default one seeded by the radiograph's size.
    """
    generator = generator or np.random.default_rng(radiograph.shape)
    height, width = radiograph.shape
    side = round(times * max(height, width))
    top, left = int(generator.integers(side - height + 1)), int(generator.integers(side - width + 1))
    canvas = np.full((side, side), grey, dtype=np.float32)
    canvas[top : top + height, left : left + width] = radiograph
    return canvas


def screenshot(radiograph: Image) -> Image:
    """Show a radiograph in a viewer's window on a screen of 1920 x 1080 pixels, with buttons and text beside it.

    Text is drawn as strokes, independent of a library's font.
    """
    height, width = 1080, 1920
    screen = np.full((height, width), 0.15, dtype=np.float32)
    screen[:48] = 0.25
    for left in range(16, 800, 56):
        screen[8:40, left : left + 40] = 0.6
    window = screen[64:1064, 420:1520]
    window[...] = 0.0
    zoom = min(window.shape[0] / radiograph.shape[0], window.shape[1] / radiograph.shape[1])
    size = (max(1, int(radiograph.shape[1] * zoom)), max(1, int(radiograph.shape[0] * zoom)))
    shown = cv2.resize(radiograph, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)
    top, left = (window.shape[0] - size[1]) // 2, (window.shape[1] - size[0]) // 2
    window[top : top + size[1], left : left + size[0]] = shown
    strokes = np.random.default_rng(0)
    for x, lines in ((24, 28), (1560, 20)):
        for line in range(lines):
            _draw_words(screen, x, 90 + 32 * line, strokes)
    for line in range(4):
        _draw_words(screen, 432, 80 + 26 * line, strokes)
    return np.clip(screen, 0, 1)


def _draw_words(screen: Image, x: int, y: int, strokes: np.random.Generator) -> None:
    """Draw a line of 6 to 20 letters of 10 x 16 pixels, with two or three random strokes each."""
    for letter in range(int(strokes.integers(6, 21))):
        cell = screen[y : y + 16, x + 14 * letter : x + 14 * letter + 10]
        for column in strokes.choice([0, 4, 8], int(strokes.integers(1, 3)), replace=False):
            cell[:, column : column + 2] = 0.9
        row = int(strokes.choice([0, 7, 14]))
        cell[row : row + 2] = 0.9


def border_grey(radiograph: Image) -> float:
    """Return the median grey of a radiograph's outermost pixels."""
    return float(np.median(np.concatenate([radiograph[0], radiograph[-1], radiograph[:, 0], radiograph[:, -1]])))


def to_png(radiograph: Image) -> bytes:
    """Encode a radiograph as a 16-bit PNG file.

    Grey levels of 8 and 16 bits are preserved to the bit, others within 1 / 131,070.

    Raises:
        ValueError: If OpenCV cannot encode it.
    """
    levels = np.rint(np.clip(radiograph, 0, 1) * np.float32(65535)).astype(np.uint16)
    done, data = cv2.imencode(".png", levels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise ValueError(f"a radiograph of shape {radiograph.shape} cannot be encoded")
    return data.tobytes()


def largest_bright(radiograph: Image) -> NDArray[np.bool_]:
    """Return the largest connected piece above Otsu's threshold, or the whole radiograph if it is nearly uniform.

    Grey levels are clipped at the 95th percentile first. Otherwise letters alone would be bright on a dark radiograph.
    """
    low, high = (float(grey) for grey in np.percentile(radiograph, (1, 95)))
    if not high > low:
        return np.ones(radiograph.shape, dtype=np.bool_)
    blurred = cv2.GaussianBlur(np.clip(radiograph, low, high), (0, 0), 2.0)
    levels = np.rint((blurred - low) / (high - low) * 255).astype(np.uint8)
    _, bright = cv2.threshold(levels, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    # Bright edges of the radiograph would join the hand.
    rim = max(1, round(0.03 * min(radiograph.shape)))
    inner = np.pad(np.asarray(bright, dtype=np.uint8)[rim:-rim, rim:-rim], rim)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(inner)
    areas = stats[1:, cv2.CC_STAT_AREA]
    return np.asarray(labels == (1 + int(areas.argmax()) if areas.size else 0))


def _marker_side(radiograph: Image) -> int:
    return max(8, round(_MARKER_SHARE * int(min(radiograph.shape))))


def _with_marker(radiograph: Image, left: int, top: int) -> Image:
    """Draw a letter in a frame with the brightness of lead, as strokes independent of a library's font."""
    side = _marker_side(radiograph)
    lead = float(max(0.9, radiograph.max()))
    thick = max(1, side // 8)
    changed = radiograph.copy()
    block = changed[top : top + side, left : left + side]
    block[...] = 0.5 * block + 0.2 * lead  # plate that carries the letter
    block[:thick] = block[-thick:] = block[:, :thick] = block[:, -thick:] = lead
    block[side // 4 : 3 * side // 4, side // 3 : side // 3 + thick] = lead
    block[3 * side // 4 - thick : 3 * side // 4, side // 3 : 3 * side // 4] = lead
    return changed


_ALL = (
    Change("rotate_90", "rotated by 90°", "strong", partial(rotated_by_quarters, quarters=1), 1.5),
    Change("rotate_180", "rotated by 180°", "strong", partial(rotated_by_quarters, quarters=2), 1.5),
    Change("rotate_270", "rotated by 270°", "strong", partial(rotated_by_quarters, quarters=3), 1.5),
    Change("rotate_30", "rotated by 30°", "mild", partial(rotated, degrees=30.0)),
    Change("rotate_-30", "rotated by -30°", "mild", partial(rotated, degrees=-30.0)),
    Change("mirror", "mirrored", "mild", mirrored, 1.0),
    Change("invert", "inverted grey", "mild", inverted, 1.0),
    Change("frame_white", "white border", "strong", partial(framed, grey=1.0), 1.0),
    Change("frame_black", "black border", "strong", partial(framed, grey=0.0), 1.0),
    *(
        Change(
            f"canvas_{name}_{times:g}",
            f"on a {name} canvas, {times:g} times",
            "strong",
            partial(on_canvas, times=times, grey=grey),
            1.0,
        )
        for name, grey in (("black", 0.0), ("white", 1.0), ("grey", 0.5))
        for times in (1.5, 2.0, 2.5, 3.0)
    ),
    Change("screenshot", "in a viewer's window", "strong", screenshot, 1.0),
    Change("collimator", "collimator's edges", "strong", collimated, 1.0),
    Change("marker_beside", "lead marker in a corner", "strong", marked_beside, 1.0),
    Change("marker_over", "lead marker over the hand's edge", "strong", marked_over, 1.0),
    Change("brightness_130", "brightness x 1.3", "strong", partial(brightened, factor=1.3)),
    Change("brightness_70", "brightness x 0.7", "strong", partial(brightened, factor=0.7)),
    Change("contrast_130", "contrast x 1.3", "mild", partial(contrasted, factor=1.3)),
    Change("contrast_70", "contrast x 0.7", "mild", partial(contrasted, factor=0.7)),
    Change("gamma_0.7", "gamma 0.7", "strong", partial(with_gamma, exponent=0.7)),
    Change("gamma_1.4", "gamma 1.4", "strong", partial(with_gamma, exponent=1.4)),
    Change("half_size", "half the size", "mild", partial(shrunk, zoom=0.5)),
    Change("quarter_size", "a quarter of the size", "strong", partial(shrunk, zoom=0.25)),
    Change("jpeg_30", "JPEG of quality 30", "strong", partial(compressed, quality=30)),
    Change("noise", "added noise", "strong", noisy),
)

CHANGES: Mapping[str, Change] = MappingProxyType({change.name: change for change in _ALL})
"""All changes by name, in the order of tables. Ordinary radiographs may have undergone the mild ones."""
