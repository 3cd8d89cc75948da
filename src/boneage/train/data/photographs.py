"""Photographs of a radiograph on a screen or light box, simulated."""

from __future__ import annotations

import math

import cv2
import numpy as np

from boneage.arrays import Image
from boneage.train.data.scene import Scene, smooth_noise, soft_step


def photograph(generator: np.random.Generator, scene: Scene) -> Scene:
    """Simulate a photograph of a screen or light box: skewed, unevenly lit, with reflections, moiré and a dark room."""
    height, width = scene.pixels.shape
    margin = generator.uniform(0.02, 0.3)
    frame = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    spread = generator.uniform(0.01, 0.09) * min(height, width)
    target = frame + generator.normal(0, 1, (4, 2)).astype(np.float32) * np.float32(spread)
    target = (target * (1 - margin) + np.array([width, height]) * margin / 2).astype(np.float32)
    way = cv2.getPerspectiveTransform(frame, target)
    light_box = generator.random() < 0.35
    room = generator.uniform(0.7, 1.0) if light_box else generator.uniform(0.0, 0.35)
    size = (width, height)
    seen = cv2.warpPerspective(
        scene.pixels, way, size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_CONSTANT, borderValue=room
    )
    shape = (height, width)
    rows, columns = (axis.astype(np.float32) for axis in np.indices(shape))
    if generator.random() < 0.75:
        seen = _with_moire(generator, np.asarray(seen, np.float32), rows, columns)
    seen = np.power(np.clip(seen, 0, 1), np.float32(math.exp(generator.uniform(-0.5, 0.5))))
    floor = generator.uniform(0.02, 0.25)  # black is not black on a screen
    seen = floor + (1 - floor) * generator.uniform(0.6, 1.0) * seen
    slope = smooth_noise(generator, shape, 2.2)
    seen = seen * (1 + generator.uniform(0.08, 0.4) * slope)
    away = np.hypot(rows / height - generator.uniform(0.3, 0.7), columns / width - generator.uniform(0.3, 0.7))
    seen = seen * (1 - generator.uniform(0.1, 0.7) * away.astype(np.float32) ** 2)
    for _ in range(int(generator.integers(0, 3))):
        seen = _with_reflection(generator, np.asarray(seen, np.float32), rows, columns)
    seen = cv2.GaussianBlur(np.asarray(seen, np.float32), (0, 0), generator.uniform(0.3, 1.3))
    seen = seen + generator.uniform(0.003, 0.03) * generator.standard_normal(shape, dtype=np.float32)
    points_xy = cv2.perspectiveTransform(scene.points_xy[None], way)[0]
    mask = cv2.warpPerspective(scene.mask, way, size)
    return Scene(
        np.clip(seen, 0, 1).astype(np.float32), np.asarray(points_xy, np.float64), np.asarray(mask, np.float32)
    )


def _with_moire(generator: np.random.Generator, seen: Image, rows: Image, columns: Image) -> Image:
    """Add interference of screen and camera pixels: wavy stripes in one or two directions."""
    for _ in range(int(generator.integers(1, 3))):
        angle, period = generator.uniform(0, math.pi), math.exp(generator.uniform(math.log(2.2), math.log(40)))
        bend = generator.uniform(0, 12) * smooth_noise(generator, (seen.shape[0], seen.shape[1]), 3)
        phase = (rows * math.cos(angle) + columns * math.sin(angle) + bend) * (2 * math.pi / period)
        seen = seen * (1 + generator.uniform(0.02, 0.16) * np.sin(phase).astype(np.float32))
    return np.asarray(seen, np.float32)


def _with_reflection(generator: np.random.Generator, seen: Image, rows: Image, columns: Image) -> Image:
    """Add the reflection of a lamp or a bright window on the screen."""
    height, width = seen.shape
    y, x = generator.uniform(0, height), generator.uniform(0, width)
    tall, wide = generator.uniform(0.04, 0.3, 2) * max(height, width)
    away = np.hypot((rows - y) / tall, (columns - x) / wide).astype(np.float32)
    glow = np.exp(-(away**2)) if generator.random() < 0.6 else soft_step(1 - away, 0.3)
    return np.asarray(seen + generator.uniform(0.1, 0.7) * glow, np.float32)
