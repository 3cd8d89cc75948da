"""Reduced radiograph with its hand, on which disturbances are drawn, and shared drawing functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.arrays import Image
from boneage.geometry import Transform, downsample_area
from boneage.hand.registration import Hand, register

DRAWN_LENGTH = 170.0
"""Length of the hand on the reduced radiograph, pixels: 1.7 times that on the network's view."""

FINGER_DEGREES = (-28.0, -14.0, 0.0, 13.0, 48.0)
"""Directions of the fingers from the capitate in the frame, little finger to thumb, clockwise from upright."""


@dataclass(frozen=True)
class Scene:
    """Reduced radiograph with its hand.

    Attributes:
        pixels: float32 (H, W), bone bright, with the radiograph's range brought to 0..1.
        points_xy: float64 (3, 2), key points as a network would locate them, in its pixels.
        mask: float32 (H, W), 0..1, the hand.
    """

    pixels: Image
    points_xy: NDArray[np.float64]
    mask: Image

    @property
    def frame_xy(self) -> tuple[Image, Image]:
        """Coordinates of each pixel in the registered frame, two arrays (H, W)."""
        matrix = register(self.points_xy).matrix.astype(np.float32)
        rows, columns = (axis.astype(np.float32) + np.float32(0.5) for axis in np.indices(self.pixels.shape))
        x, y = (matrix[row, 0] * columns + matrix[row, 1] * rows + matrix[row, 2] for row in (0, 1))
        return x, y

    def to_pixels(self, frame_xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert points (..., 2) of the frame to pixels of this image."""
        return register(self.points_xy).inverse().points(frame_xy)

    @property
    def zoom(self) -> float:
        """Number of pixels per frame pixel."""
        return 1 / register(self.points_xy).zoom


def scene_of(pixels: Image, hand: Hand, mask_on: Callable[[Transform, tuple[int, int]], Image]) -> Scene:
    """Reduce a radiograph to the size of a scene, with its range brought to 0..1 and bone bright.

    Args:
        pixels: float32 (H, W), 0..1.
        hand: hand on the radiograph.
        mask_on: returns the hand's mask through a transform from the radiograph, on an image of a shape.
    """
    small = downsample_area(pixels, DRAWN_LENGTH / hand.length_pixels)
    if hand.inverted:
        small = np.float32(1) - small
    low, high = (float(value) for value in np.percentile(small, (0.1, 99.9)))
    small = np.clip((small - low) / max(high - low, 1e-3), 0, 1).astype(np.float32)
    to_small = Transform.scale(small.shape[1] / pixels.shape[1], small.shape[0] / pixels.shape[0])
    return Scene(small, to_small.points(hand.points_xy), mask_on(to_small, (small.shape[0], small.shape[1])))


def smooth_noise(generator: np.random.Generator, shape: tuple[int, int], cells: float) -> Image:
    """Draw smooth noise (H, W) of about unit size, with a number of cells along the longer side."""
    rows, columns = (max(2, round(cells * side / max(shape))) for side in shape)
    small = generator.standard_normal((rows, columns)).astype(np.float32)
    return np.asarray(cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def soft_step(distance: Image, soft: float) -> Image:
    """Return a step from 0 to 1 where `distance` passes 0, over a width of about `soft`."""
    return np.asarray(np.clip(distance / np.float32(soft) + np.float32(0.5), 0, 1), np.float32)


def draw_line(scene: Scene, cover: Image, frame_xy: NDArray[np.float64], width: float) -> None:
    """Draw a line through points (n, 2) of the frame, `width` in frame pixels."""
    points = np.rint(scene.to_pixels(frame_xy) * 16 - 8).astype(np.int32)
    pixels = width * scene.zoom
    thin = np.zeros_like(cover)
    cv2.polylines(thin, [points], False, min(1.0, max(0.45, pixels)), max(1, round(pixels)), cv2.LINE_AA, 4)
    np.maximum(cover, thin, out=cover)
