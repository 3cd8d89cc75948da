"""Metal implants, fixators and jewellery, drawn on a radiograph."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.arrays import Image
from boneage.geometry import Transform
from boneage.hand.registration import CAPITATE_IN_FRAME_XY, register
from boneage.train.data.scene import Scene, draw_line


def draw_metal(generator: np.random.Generator, scene: Scene) -> Scene:
    """Draw wires, screws, plates, an external fixator, fragments, or jewellery over bones."""
    cover = np.zeros(scene.pixels.shape, np.float32)
    kind = generator.choice(["wires", "plate", "fixator", "blobs", "band"], p=[0.42, 0.2, 0.13, 0.13, 0.12])
    {"wires": _wires, "plate": _plate, "fixator": _fixator, "blobs": _blobs, "band": _band}[kind](
        generator, scene, cover
    )
    cover = cv2.GaussianBlur(cover, (0, 0), generator.uniform(0.3, 0.8)) * np.float32(generator.uniform(0.75, 1.0))
    level = generator.uniform(0.9, 1.0)
    pixels = scene.pixels * np.float32(1.0 if generator.random() < 0.6 else generator.uniform(0.55, 1.0))
    pixels = pixels + cover * np.maximum(np.float32(level) - pixels, 0)
    return replace(scene, pixels=np.asarray(pixels, np.float32))


def _on_bone(generator: np.random.Generator, scene: Scene) -> NDArray[np.float64]:
    """Return a place in the hand, frame coordinates (2,), more often at wrist and palm than in the fingers."""
    rows, columns = np.nonzero(scene.mask > 0.5)
    if not len(rows):
        return np.array(CAPITATE_IN_FRAME_XY)
    places = generator.integers(len(rows), size=2 if generator.random() < 0.5 else 1)
    frame = register(scene.points_xy).points(np.stack([columns[places], rows[places]], axis=1) + 0.5)
    return np.asarray(frame[int(frame[:, 1].argmax())], np.float64)


def _direction(generator: np.random.Generator) -> NDArray[np.float64]:
    """Return a direction of unit length, more often along the hand than across it."""
    angle = generator.normal(0, 0.5) if generator.random() < 0.6 else generator.uniform(0, math.pi)
    return np.array([math.sin(angle), -math.cos(angle)])


def _wires(generator: np.random.Generator, scene: Scene, cover: Image) -> None:
    centre = _on_bone(generator, scene)
    for _ in range(int(generator.integers(1, 5))):
        middle = centre + generator.normal(0, 110, 2)
        half = _direction(generator) * generator.uniform(90, 480)
        points = [middle - half, middle + half]
        if generator.random() < 0.5:  # bent outside the skin
            points.append(points[-1] + generator.normal(0, 60, 2))
        if generator.random() < 0.3:
            points.insert(1, middle + generator.normal(0, 25, 2))
        draw_line(scene, cover, np.array(points), generator.uniform(9, 24))


def _plate(generator: np.random.Generator, scene: Scene, cover: Image) -> None:
    middle, along = _on_bone(generator, scene), _direction(generator)
    half, width = generator.uniform(80, 320), generator.uniform(35, 95)
    draw_line(scene, cover, np.array([middle - half * along, middle + half * along]), width)
    across = np.array([along[1], -along[0]])
    for share in np.linspace(-0.85, 0.85, int(generator.integers(3, 8))):
        hole = scene.to_pixels((middle + share * half * along)[None])[0]
        if generator.random() < 0.5:
            cv2.circle(cover, tuple(np.rint(hole).astype(int).tolist()), max(1, round(width * scene.zoom / 5)), 0.3, -1)
        if generator.random() < 0.7:
            reach = across * generator.uniform(-150, 150)
            start = middle + share * half * along
            draw_line(scene, cover, np.array([start, start + reach]), generator.uniform(14, 30))


def _fixator(generator: np.random.Generator, scene: Scene, cover: Image) -> None:
    middle, along = _on_bone(generator, scene), _direction(generator)
    across = np.array([along[1], -along[0]])
    rod = middle + across * generator.uniform(-550, 550)
    half = generator.uniform(250, 800)
    draw_line(scene, cover, np.array([rod - half * along, rod + half * along]), generator.uniform(45, 120))
    for share in generator.uniform(-0.9, 0.9, int(generator.integers(2, 6))):
        start = rod + share * half * along
        draw_line(scene, cover, np.array([start, middle + share * half * along]), generator.uniform(18, 40))
        clamp = scene.to_pixels(start[None])[0]
        radius = max(2, round(generator.uniform(40, 90) * scene.zoom))
        cv2.circle(cover, tuple(np.rint(clamp).astype(int).tolist()), radius, 1.0, -1)


def _blobs(generator: np.random.Generator, scene: Scene, cover: Image) -> None:
    for _ in range(int(generator.integers(1, 7))):
        centre = scene.to_pixels(_on_bone(generator, scene)[None])[0]
        axes = np.maximum(1, np.rint(generator.uniform(12, 70, 2) * scene.zoom)).astype(int).tolist()
        place, turn = tuple(np.rint(centre).astype(int).tolist()), generator.uniform(0, 180)
        cv2.ellipse(cover, place, tuple(axes), turn, 0, 360, 1.0, -1, cv2.LINE_AA)


def _band(generator: np.random.Generator, scene: Scene, cover: Image) -> None:
    """Draw a chain, bangle or watch over wrist or palm."""
    height, half = generator.uniform(1000, 1850), generator.uniform(220, 420)
    angle = np.linspace(0, 2 * math.pi, 40)
    flat = generator.uniform(0.03, 0.4)
    ring = np.stack([half * np.cos(angle), flat * half * np.sin(angle)], axis=1)
    place = Transform.rotation(generator.normal(0, 12)).then(Transform.shift(CAPITATE_IN_FRAME_XY[0], height))
    ring = place.points(ring)
    draw_line(scene, cover, ring, generator.uniform(15, 90))
