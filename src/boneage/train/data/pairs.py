"""Radiographs with two hands, joined from radiographs of one hand."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.arrays import Image
from boneage.evaluate.perturbations import border_grey
from boneage.geometry import downsample_area


class MaskedRadiograph(NamedTuple):
    """Radiograph and mask of its hand.

    Attributes:
        pixels: float32 (H, W), 0..1.
        mask: uint8 (h, w), 0 / non-zero, aligned by fractions of both sides.
    """

    pixels: Image
    mask: NDArray[np.uint8]


def pair_radiographs(
    generator: np.random.Generator,
    first: tuple[Image, NDArray[np.uint8]],
    second: tuple[Image, NDArray[np.uint8]] | None = None,
    *,
    longest_side: int = 256,
) -> MaskedRadiograph:
    """Join two hands on one radiograph, side by side or one above the other.

    Each radiograph is cut near its hand or left whole. The hands are brought to similar sizes and their greys to
    similar ranges. There may be a gap or a border.

    Args:
        generator: random generator, which determines everything.
        first: radiograph of one hand and its mask, as `MaskedRadiograph`.
        second: another one; None for `first` beside its own mirror image, similar to both hands of one child.
        longest_side: longer side of the result, pixels, at least 32.

    Returns:
        The radiograph and its joined masks: float32 (H, W), 0..1, and uint8 (H, W), 0 / 1, of one shape.

    Raises:
        ValueError: A mask is empty, or the side is under 32 px.
    """
    if longest_side < 32:
        raise ValueError(f"An image has at least 32 px a side, not {longest_side}.")
    across = generator.random() < 0.75  # radiographs of both hands show them side by side
    tight = generator.random() < 0.6
    halves = [
        _half(generator, MaskedRadiograph(*radiograph), longest_side, tight=tight)
        for radiograph in (first, second or first)
    ]
    if second is None or generator.random() < 0.3:
        halves[1] = MaskedRadiograph(halves[1].pixels[:, ::-1], halves[1].mask[:, ::-1])
    share = 1.0 if generator.random() < 0.5 else generator.uniform(0.5, 1.0)
    halves[1] = halves[1]._replace(pixels=_same_greys(halves[1].pixels, halves[0].pixels, share))
    joined = _joined(generator, halves, across=across)
    return _bordered(generator, joined, longest_side)


def reduce_radiograph(radiograph: MaskedRadiograph, longest_side: int) -> MaskedRadiograph:
    """Resample radiograph and mask to one grid whose longer side is `longest_side`; the mask becomes 0 / 1."""
    zoom = longest_side / max(radiograph.pixels.shape)
    height, width = (max(1, round(zoom * side)) for side in radiograph.pixels.shape)
    pixels = downsample_area(radiograph.pixels, zoom)
    if pixels.shape != (height, width):
        pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    mask = cv2.resize((radiograph.mask > 0).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return MaskedRadiograph(pixels, np.asarray(mask, dtype=np.uint8))


def _half(
    generator: np.random.Generator, radiograph: MaskedRadiograph, longest_side: int, *, tight: bool
) -> MaskedRadiograph:
    """Scale one radiograph such that the diagonal of its hand is about `longest_side` / 2."""
    pixels, mask = reduce_radiograph(radiograph, longest_side)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        raise ValueError("The mask is empty, so there is no hand to pair.")
    tall, wide = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
    if tight:
        margins = np.rint(generator.uniform(0.03, 0.2, 4) * max(tall, wide)).astype(int)
        top, left = max(0, rows[0] - margins[0]), max(0, columns[0] - margins[1])
        pixels = pixels[top : rows[-1] + 1 + margins[2], left : columns[-1] + 1 + margins[3]]
        mask = mask[top : rows[-1] + 1 + margins[2], left : columns[-1] + 1 + margins[3]]
    zoom = generator.uniform(0.85, 1.15) * 0.5 * longest_side / math.hypot(tall, wide)
    size = (max(8, round(zoom * mask.shape[1])), max(8, round(zoom * mask.shape[0])))
    return MaskedRadiograph(
        np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.float32),
        np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), dtype=np.uint8),
    )


def _same_greys(pixels: Image, model: Image, share: float) -> Image:
    """Stretch grey levels such that their 2nd and 98th percentile approach those of another radiograph by `share`.

    Hands on one radiograph have one exposure; a hand that is hardly visible beside another would not count.
    """
    low, high = np.percentile(pixels, (2, 98))
    model_low, model_high = np.percentile(model, (2, 98))
    aim_low, aim_high = low + share * (model_low - low), high + share * (model_high - high)
    stretched = (pixels - low) * ((aim_high - aim_low) / max(high - low, 1e-3)) + aim_low
    return np.asarray(np.clip(stretched, 0, 1), dtype=np.float32)


def _joined(generator: np.random.Generator, halves: list[MaskedRadiograph], *, across: bool) -> MaskedRadiograph:
    """Place two radiographs on one canvas, in a row or a column, each with its own background."""
    sizes = np.array([half.mask.shape for half in halves])
    along = 1 if across else 0
    gap = round(generator.choice([0.0, generator.uniform(0, 0.15)]) * float(sizes[:, along].mean()))
    other = int(sizes[:, 1 - along].max())
    shape = (other, int(sizes[:, 1].sum()) + gap) if across else (int(sizes[:, 0].sum()) + gap, other)
    canvas = np.full(
        shape, generator.choice([0.0, 1.0, border_grey(halves[0].pixels)], p=[0.3, 0.05, 0.65]), np.float32
    )
    mask = np.zeros(shape, np.uint8)
    start = 0
    for half in halves:
        height, width = half.mask.shape
        free = other - half.mask.shape[1 - along]
        aside = int(generator.integers(free + 1))
        top, left = (aside, start) if across else (start, aside)
        canvas[top : top + height, left : left + width] = half.pixels
        mask[top : top + height, left : left + width] = half.mask
        start += half.mask.shape[along] + gap
    return MaskedRadiograph(canvas, mask)


def _bordered(generator: np.random.Generator, radiograph: MaskedRadiograph, longest_side: int) -> MaskedRadiograph:
    """Add a border in some cases, then scale to the requested size."""
    if generator.random() < 0.4:
        top, bottom, left, right = np.rint(generator.uniform(0.01, 0.12, 4) * max(radiograph.mask.shape)).astype(int)
        grey = float(generator.choice([0.0, 1.0, border_grey(radiograph.pixels)], p=[0.5, 0.2, 0.3]))
        wide = ((top, bottom), (left, right))
        radiograph = MaskedRadiograph(
            np.pad(radiograph.pixels, wide, constant_values=grey), np.pad(radiograph.mask, wide)
        )
    reduced = reduce_radiograph(radiograph, longest_side)
    return MaskedRadiograph(np.ascontiguousarray(np.clip(reduced.pixels, 0, 1)), reduced.mask)
