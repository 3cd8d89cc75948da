"""Augmentation by lost detail: blur, movement, few pixels, strong compression, noise and median filters.

Radiographs from elsewhere are softer or coarser than those of training, and networks that have seen sharp ones only
read them too young (`boneage.checks.detail`). Sizes are shares of the hand's length, so that radiographs of any
resolution lose equally much. `boneage.evaluate.disturbances` measures the effect.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from boneage.arrays import Image
from boneage.evaluate.perturbations import compressed

_BLUR = (0.002, 0.012)
"""Standard deviation of a blur, hand lengths."""
_PATH = (0.01, 0.06)
"""Path of a movement, hand lengths."""
_PIXELS = (60.0, 180.0)
"""Length of the hand on a reduced radiograph, pixels."""
_QUALITY = (8, 60)
"""Quality of JPEG."""
_NOISE = (0.01, 0.06)
"""Standard deviation of noise, as a share of the hand's grey range."""
_SQUARE = (0.006, 0.03)
"""Side of a median filter's square, hand lengths."""
_TWICE = 0.3
"""Probability that a second kind follows."""


def with_lost_detail(pixels: Image, hand_pixels: float, grey_range: float, generator: np.random.Generator) -> Image:
    """Return a radiograph of the same shape that lost detail in one or two random ways.

    Args:
        pixels: radiograph, float32 (H, W), 0..1.
        hand_pixels: length of the hand, pixels.
        grey_range: range of the hand's grey levels.
        generator: source of everything random.
    """
    count = 1 + int(generator.random() < _TWICE)
    for kind in generator.choice(len(_KINDS), count, replace=False):
        pixels = _KINDS[kind](pixels, hand_pixels, grey_range, generator)
    return pixels


def _log_uniform(generator: np.random.Generator, bounds: tuple[float, float]) -> float:
    return math.exp(generator.uniform(math.log(bounds[0]), math.log(bounds[1])))


def _blurred(pixels: Image, hand_pixels: float, _: float, generator: np.random.Generator) -> Image:
    spread = _log_uniform(generator, _BLUR) * hand_pixels
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), max(spread, 0.2)), np.float32)


def _moved(pixels: Image, hand_pixels: float, _: float, generator: np.random.Generator) -> Image:
    """Return the mean over a straight path in any direction."""
    angle, path = generator.uniform(0, math.pi), _log_uniform(generator, _PATH) * hand_pixels
    reach = math.ceil(path / 2) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    half = path / 2 * np.array([math.cos(angle), math.sin(angle)])
    ends = np.rint((np.array([reach, reach]) + np.outer([-1, 1], half)) * 16).astype(np.int32)
    cv2.line(kernel, tuple(ends[0].tolist()), tuple(ends[1].tolist()), 1.0, 1, cv2.LINE_8, 4)
    return np.asarray(cv2.filter2D(pixels, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE), np.float32)


def _reduced(pixels: Image, hand_pixels: float, _: float, generator: np.random.Generator) -> Image:
    """Return the radiograph reduced and enlarged again."""
    zoom = _log_uniform(generator, _PIXELS) / hand_pixels
    if zoom >= 1:
        return pixels
    height, width = pixels.shape
    small = cv2.resize(
        pixels, (max(1, round(zoom * width)), max(1, round(zoom * height))), interpolation=cv2.INTER_AREA
    )
    how = (cv2.INTER_LINEAR, cv2.INTER_CUBIC)[int(generator.integers(2))]
    return np.clip(np.asarray(cv2.resize(small, (width, height), interpolation=how), np.float32), 0, 1)


def _compressed(pixels: Image, _: float, __: float, generator: np.random.Generator) -> Image:
    quality = int(generator.integers(_QUALITY[0], _QUALITY[1] + 1))
    return compressed(pixels, quality)


def _noisy(pixels: Image, _: float, grey_range: float, generator: np.random.Generator) -> Image:
    spread = np.float32(_log_uniform(generator, _NOISE) * grey_range)
    return np.clip(pixels + spread * generator.standard_normal(pixels.shape, dtype=np.float32), 0, 1)


def _despeckled(pixels: Image, hand_pixels: float, _: float, generator: np.random.Generator) -> Image:
    """Return the median over squares, by which viewers and acquisition software remove speckles."""
    side = 2 * max(1, round(_log_uniform(generator, _SQUARE) * hand_pixels / 2)) + 1
    levels = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)  # OpenCV has large medians of 8 bits only
    return np.asarray(cv2.medianBlur(levels, side), np.float32) / np.float32(255)


_KINDS = (_blurred, _moved, _reduced, _compressed, _noisy, _despeckled)
