"""Named changes of a radiograph that make its bone age unreliable, for measuring the warnings.

The changes are plaster, metal, cut fingertips, gamma, blur, strong compression and photographs. They are drawn
differently from the training data of the quality network (`boneage.train.data.disturbances`). They use only the
radiograph's pixels, and the physics of a tube around a forearm instead of patches of brightness. Fingers point upwards
on the changed radiographs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.arrays import Image
from boneage.evaluate.perturbations import Change, compressed, largest_bright, with_gamma

_KNUCKLES, _WRIST = 0.45, 0.72
"""Positions of knuckles and wrist between fingertips and the end of the bright area, on ordinary radiographs."""


def plastered(radiograph: Image, density: float, start: float = _KNUCKLES, *, bandaged: bool = True) -> Image:
    """Draw a tube of plaster around palm, wrist and forearm.

    Args:
        radiograph: Radiograph, float32 (H, W), 0..1.
        density: Optical density of both walls at right angles to the ray: 3 hides the bones, 0.3 is faint.
        start: Beginning of the tube, as a share of the length of the bright area.
        bandaged: True to show the turns of the bandage as bands.
    """
    low, high = _range(radiograph)
    rows, left, right = _outline(radiograph)
    thickness = np.zeros(radiograph.shape, np.float32)
    columns = np.arange(radiograph.shape[1]) + 0.5
    begin = int(rows[0] + start * (rows[-1] - rows[0]))
    wall = 0.12 * float(np.median(right - left))
    for row in range(begin, radiograph.shape[0]):
        place = min(max(row - int(rows[0]), 0), len(rows) - 1)
        centre, inner = (left[place] + right[place]) / 2, (right[place] - left[place]) / 2 + wall
        outer = inner + wall
        chord = np.sqrt(np.maximum(outer**2 - (columns - centre) ** 2, 0))
        chord -= np.sqrt(np.maximum(inner**2 - (columns - centre) ** 2, 0))
        turn = 0.75 + 0.25 * ((row - begin) % max(8.0, 1.3 * wall)) / max(8.0, 1.3 * wall) if bandaged else 1.0
        thickness[row] = turn * chord / wall
    return _attenuated(radiograph, density * cv2.GaussianBlur(thickness, (0, 0), max(1.0, wall / 8)), low, high)


def splinted(radiograph: Image, density: float) -> Image:
    """Draw a plaster slab behind one half of hand and forearm, up to the fingers."""
    low, high = _range(radiograph)
    rows, left, right = _outline(radiograph)
    begin = int(rows[0] + 0.25 * (rows[-1] - rows[0]))
    middle = int(np.median((left + right) / 2))
    slab = np.zeros(radiograph.shape, np.float32)
    slab[begin:, : middle + radiograph.shape[1] // 40] = 1
    slab += 0.1 * np.sin(np.arange(radiograph.shape[1], dtype=np.float32) / 6)[None] * slab
    return _attenuated(radiograph, density * cv2.GaussianBlur(slab, (0, 0), 1.5), low, high)


def covered(radiograph: Image, opacity: float) -> Image:
    """Cover everything from the palm to the lower end with one bright grey."""
    low, high = _range(radiograph)
    rows, _, _ = _outline(radiograph)
    begin = int(rows[0] + 0.5 * (rows[-1] - rows[0]))
    changed = radiograph.copy()
    grey = np.float32(low + 0.9 * (high - low))
    changed[begin:] += np.float32(opacity) * (grey - changed[begin:])
    return changed


def wired(radiograph: Image) -> Image:
    """Draw two crossed wires through the wrist, bent at their ends."""
    rows, left, right = _outline(radiograph)
    y = rows[0] + _WRIST * (rows[-1] - rows[0])
    place = int(y) - int(rows[0])
    x, half = (left[place] + right[place]) / 2, (right[place] - left[place]) / 2
    cross = [
        [(x - 1.3 * half, y - 1.6 * half), (x - half, y - 1.3 * half), (x + 0.6 * half, y + 0.9 * half)],
        [(x + 1.2 * half, y - 1.7 * half), (x + half, y - 1.3 * half), (x - 0.6 * half, y + 0.9 * half)],
    ]
    return _with_lines(radiograph, cross, max(1, round(0.05 * half)))


def plated(radiograph: Image) -> Image:
    """Draw a plate with screws along the radius."""
    rows, left, right = _outline(radiograph)
    y = rows[0] + 0.78 * (rows[-1] - rows[0])
    place = int(y) - int(rows[0])
    x, half = (left[place] + right[place]) / 2 + 0.4 * (right[place] - left[place]) / 2, right[place] - left[place]
    plated_radiograph = _with_lines(
        radiograph, [[(x, y - 0.5 * half), (x, y + 0.5 * half)]], max(2, round(0.16 * half))
    )
    screws = [
        [(x - 0.3 * half, y + k * 0.17 * half), (x + 0.05 * half, y + k * 0.17 * half)] for k in (-2, -1, 0, 1, 2)
    ]
    return _with_lines(plated_radiograph, screws, max(1, round(0.05 * half)))


def fingertips_cut(radiograph: Image, share: float) -> Image:
    """Cut off the upper end, by this share of the hand's length."""
    rows, _, _ = _outline(radiograph)
    return radiograph[int(rows[0] + share * _hand_length(rows)) :].copy()


def blurred(radiograph: Image, share: float) -> Image:
    """Blur with a Gaussian whose standard deviation is this share of the hand's length."""
    rows, _, _ = _outline(radiograph)
    return np.asarray(cv2.GaussianBlur(radiograph, (0, 0), max(0.3, share * _hand_length(rows))), np.float32)


def despeckled(radiograph: Image, share: float) -> Image:
    """Filter with the median over a square whose side is this share of the hand's length, as against speckles."""
    rows, _, _ = _outline(radiograph)
    side = 2 * max(1, round(share * _hand_length(rows) / 2)) + 1
    levels = np.rint(255 * np.clip(radiograph, 0, 1)).astype(np.uint8)  # OpenCV has large medians of 8 bits only
    return np.asarray(cv2.medianBlur(levels, side), np.float32) / np.float32(255)


def moved(radiograph: Image, share: float, *, along: bool = False) -> Image:
    """Blur by a movement to the side, or along the fingers, by this share of the hand's length."""
    rows, _, _ = _outline(radiograph)
    path = max(2, round(share * _hand_length(rows)))
    return np.asarray(cv2.blur(radiograph, (1, path) if along else (path, 1)), np.float32)


def photographed(radiograph: Image, *, light_box: bool) -> Image:
    """Imitate a photograph of a screen, with moiré, or of a light-box, which is bright around the radiograph."""
    height, width = radiograph.shape
    rows, columns = (axis.astype(np.float32) for axis in np.indices(radiograph.shape))
    low, high = _range(radiograph)
    photograph = np.clip((radiograph - low) / (high - low), 0, 1).astype(np.float32)
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    askew = np.array([[0.06, 0.03], [0.95, 0.07], [0.98, 0.95], [0.03, 0.98]], np.float32) * (width, height)
    perspective = cv2.getPerspectiveTransform(corners, askew.astype(np.float32))
    around = 0.95 if light_box else 0.08
    photograph = np.asarray(
        cv2.warpPerspective(photograph, perspective, (width, height), flags=cv2.INTER_AREA, borderValue=around)
    )
    if not light_box:
        grid = np.sin(2 * np.pi * rows / 2.7) * np.sin(2 * np.pi * columns / 3.1)
        beats = np.sin(2 * np.pi * (rows + 0.2 * columns) / 37) * np.sin(2 * np.pi * (columns - 0.1 * rows) / 53)
        photograph = photograph * (1 + 0.05 * grid + 0.06 * beats)
    photograph = 0.1 + 0.8 * photograph ** np.float32(0.85)
    photograph = photograph * (1.1 - 0.5 * np.hypot(rows / height - 0.45, columns / width - 0.4))
    lamp = np.exp(-(((rows - 0.2 * height) / (0.12 * height)) ** 2 + ((columns - 0.75 * width) / (0.1 * width)) ** 2))
    photograph = cv2.GaussianBlur(np.asarray(photograph + 0.35 * lamp, np.float32), (0, 0), 0.8)
    noise = np.random.default_rng(0).standard_normal(radiograph.shape, dtype=np.float32)
    return compressed(np.clip(photograph + np.float32(0.015) * noise, 0, 1), 80)


def _range(radiograph: Image) -> tuple[float, float]:
    """Return the grey levels of air and of the densest bone."""
    low, high = (float(grey) for grey in np.percentile(radiograph, (0.5, 99.5)))
    return low, max(high, low + 1e-3)


def _outline(radiograph: Image) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the rows of the bright area, and its smoothed left and right ends in them."""
    bright = largest_bright(radiograph)
    filled = np.flatnonzero(bright.any(axis=1))
    rows = np.arange(int(filled[0]), int(filled[-1]) + 1)
    left = np.array([np.flatnonzero(bright[row])[0] if bright[row].any() else np.nan for row in rows])
    right = np.array([np.flatnonzero(bright[row])[-1] if bright[row].any() else np.nan for row in rows])
    finite = np.isfinite(left)
    ends = [np.interp(rows, rows[finite], end[finite]).astype(np.float32)[:, None] for end in (left, right)]
    smooth = [
        cv2.GaussianBlur(end, (1, 0), 0, sigmaY=max(1.0, len(rows) / 40))[:, 0].astype(np.float64) for end in ends
    ]
    return rows, smooth[0], np.maximum(smooth[1], smooth[0] + 4)


def _hand_length(rows: NDArray[np.int64]) -> float:
    """Return the length of the hand in these rows of the bright area, which also shows the forearm."""
    return 0.8 * float(rows[-1] - rows[0])


def _attenuated(radiograph: Image, depth: Image, low: float, high: float) -> Image:
    """Return a radiograph behind an object of this optical depth, which transmits ``exp(-depth)`` of the rays."""
    ceiling = min(1.0, low + 1.15 * (high - low))
    bright = np.maximum(radiograph, ceiling)
    return np.asarray(bright - (bright - radiograph) * np.exp(-depth), np.float32)


def _with_lines(radiograph: Image, lines: list[list[tuple[float, float]]], thick: int) -> Image:
    cover = np.zeros(radiograph.shape, np.uint8)
    for line in lines:
        points = np.rint(np.array(line) * 16).astype(np.int32)
        cv2.polylines(cover, [points], False, 255, thick, cv2.LINE_AA, 4)
    share = cover.astype(np.float32) / np.float32(255)
    return np.asarray(
        radiograph + share * (np.maximum(radiograph, np.float32(max(0.9, radiograph.max()))) - radiograph), np.float32
    )


_ALL = (
    Change("plaster_opaque", "plaster to the knuckles, opaque", "disturbing", partial(plastered, density=3.0)),
    Change("plaster_half", "plaster to the knuckles, half", "disturbing", partial(plastered, density=1.0)),
    Change("plaster_faint", "plaster to the knuckles, faint", "disturbing", partial(plastered, density=0.3)),
    Change(
        "plaster_wrist",
        "plaster of the wrist",
        "disturbing",
        partial(plastered, density=1.5, start=0.62, bandaged=False),
    ),
    Change("slab", "plaster slab, one side", "disturbing", partial(splinted, density=0.9)),
    Change("covered_90", "lower half covered to 90 %", "disturbing", partial(covered, opacity=0.9)),
    Change("covered_40", "lower half covered to 40 %", "disturbing", partial(covered, opacity=0.4)),
    Change("wires", "wires through the wrist", "disturbing", wired),
    Change("plate", "plate on the radius", "disturbing", plated),
    Change("fingertips_8", "fingertips cut by 8 %", "disturbing", partial(fingertips_cut, share=0.08)),
    Change("fingertips_15", "fingertips cut by 15 %", "disturbing", partial(fingertips_cut, share=0.15)),
    Change("gamma_0.5", "gamma 0.5", "disturbing", partial(with_gamma, exponent=0.5)),
    Change("gamma_2", "gamma 2", "disturbing", partial(with_gamma, exponent=2.0)),
    Change("gamma_3", "gamma 3", "disturbing", partial(with_gamma, exponent=3.0)),
    Change("blur_0.8", "blurred by 0.8 % of the hand", "disturbing", partial(blurred, share=0.008)),
    Change("blur_1.2", "blurred by 1.2 % of the hand", "disturbing", partial(blurred, share=0.012)),
    Change("blur_2", "blurred by 2 % of the hand", "disturbing", partial(blurred, share=0.02)),
    Change("median_1.5", "median over 1.5 % of the hand", "disturbing", partial(despeckled, share=0.015)),
    Change("median_2.5", "median over 2.5 % of the hand", "disturbing", partial(despeckled, share=0.025)),
    Change("moved_4", "moved by 4 % of the hand", "disturbing", partial(moved, share=0.04)),
    Change("moved_8", "moved by 8 % of the hand", "disturbing", partial(moved, share=0.08)),
    Change("moved_along_5", "moved by 5 % along the fingers", "disturbing", partial(moved, share=0.05, along=True)),
    Change("jpeg_15", "JPEG of quality 15", "disturbing", partial(compressed, quality=15)),
    Change("jpeg_8", "JPEG of quality 8", "disturbing", partial(compressed, quality=8)),
    Change("screen", "photograph of a screen", "disturbing", partial(photographed, light_box=False)),
    Change("light_box", "photograph of a light-box", "disturbing", partial(photographed, light_box=True)),
)

DISTURBING_CHANGES: Mapping[str, Change] = MappingProxyType({change.name: change for change in _ALL})
"""All of them by name, in the order of tables."""
