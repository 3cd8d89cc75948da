"""Plaster casts, slabs, splints and other bright covers, drawn on a radiograph."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np

from boneage.arrays import Image
from boneage.hand.registration import CAPITATE_IN_FRAME_XY
from boneage.train.data.scene import FINGER_DEGREES, Scene, smooth_noise, soft_step


def _texture(generator: np.random.Generator, x: Image, y: Image) -> Image:
    """Return the thickness of plaster or bandage, mean about 1: layers, folds, weave, grain.

    Arguments are frame coordinates.
    """
    thickness = 1 + generator.uniform(0.03, 0.3) * smooth_noise(
        generator, (x.shape[0], x.shape[1]), generator.uniform(2, 9)
    )
    angle = generator.uniform(0, math.pi)
    along = (x * math.cos(angle) + y * math.sin(angle)).astype(np.float32)
    across = (y * math.cos(angle) - x * math.sin(angle)).astype(np.float32)
    kind = generator.choice(["plain", "folds", "weave", "layers", "grain"])
    if kind == "folds":
        wander = generator.uniform(20, 120) * smooth_noise(generator, (x.shape[0], x.shape[1]), 5)
        ridges = np.abs(np.sin((along + wander) * (math.pi / generator.uniform(70, 260))))
        thickness += generator.uniform(0.2, 0.8) * (ridges ** generator.uniform(2, 8) - 0.3)
    elif kind == "weave":
        period = generator.uniform(28, 70)
        weave = np.sin(along * (2 * math.pi / period)) * np.sin(across * (2 * math.pi / period))
        thickness += generator.uniform(0.1, 0.5) * weave
    elif kind == "layers":
        for _ in range(int(generator.integers(1, 5))):
            edge = along - generator.uniform(float(along.min()), float(along.max()))
            thickness += generator.uniform(0.15, 0.5) * (edge > 0)
    elif kind == "grain":
        thickness += generator.uniform(0.03, 0.25) * generator.standard_normal(x.shape, dtype=np.float32)
    return np.asarray(np.maximum(thickness, 0.05), np.float32)


def draw_plaster(generator: np.random.Generator, scene: Scene) -> Scene:
    """Draw a cast around the hand, a slab, a splint of one finger, or another bright patch over a part of the hand."""
    x, y = scene.frame_xy
    kind = generator.choice(["shell", "slab", "patch", "finger"], p=[0.4, 0.25, 0.23, 0.12])
    draw = {"shell": _shell, "slab": _slab, "patch": _patch, "finger": _finger_splint}[kind]
    thickness = draw(generator, scene, x, y) * _texture(generator, x, y)
    density = math.exp(generator.uniform(math.log(0.22), math.log(3.0)))
    opacity = 1 - np.exp(-np.float32(density) * thickness)
    pixels = scene.pixels
    if generator.random() < 0.7:
        level = generator.uniform(0.55, 1.0)  # 1 is the brightest bone
        pixels = pixels + opacity * (np.maximum(np.float32(level), pixels) - pixels)
    else:
        pixels = pixels + opacity * np.float32(generator.uniform(0.35, 0.9))
    if generator.random() < 0.3:  # the detector's range extends to the plaster
        pixels = pixels / max(float(np.percentile(pixels, 99.8)), 0.3)
    return replace(scene, pixels=np.clip(pixels, 0, 1).astype(np.float32))


def _along_hand(generator: np.random.Generator, x: Image, y: Image) -> Image:
    """Return the extent of the plaster along the hand, 0..1, between fingers and forearm."""
    reach = generator.choice(4, p=[0.25, 0.42, 0.22, 0.11])
    start = generator.uniform(*((1450, 1700), (950, 1450), (650, 950), (50, 650))[reach])
    end = start + generator.uniform(300, 900) if generator.random() < 0.3 else 1e6
    bend = generator.uniform(0, 50) * smooth_noise(generator, (x.shape[0], x.shape[1]), generator.uniform(2, 8))
    slope = generator.normal(0, 0.18)
    place = y - np.float32(slope) * (x - np.float32(CAPITATE_IN_FRAME_XY[0])) + bend
    soft = math.exp(generator.uniform(math.log(12), math.log(150)))
    return soft_step(place - np.float32(start), soft) * soft_step(np.float32(end) - place, soft)


def _shell(generator: np.random.Generator, scene: Scene, x: Image, y: Image) -> Image:
    """Return the thickness of a full cast: padding and wall, which is brightest where the beam passes along it."""
    outside = cv2.distanceTransform((scene.mask < 0.5).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    distance = cv2.GaussianBlur(np.asarray(outside, np.float32) / np.float32(scene.zoom), (0, 0), 2.0)
    gap, wall = generator.uniform(0, 110), generator.uniform(25, 140)
    distance = distance + generator.uniform(0, 15) * smooth_noise(generator, (x.shape[0], x.shape[1]), 6)
    body = soft_step(np.float32(gap + wall) - distance, generator.uniform(10, 40))
    rim = soft_step(distance - np.float32(gap), 20.0) * body
    return (body + np.float32(generator.uniform(0.0, 1.5)) * rim) * _along_hand(generator, x, y)


def _slab(generator: np.random.Generator, scene: Scene, x: Image, y: Image) -> Image:
    """Return the thickness of a slab or gutter: a straight strip along hand and forearm, or one side of them."""
    tilt = generator.normal(0, 0.12)
    centre = CAPITATE_IN_FRAME_XY[0] + generator.uniform(-350, 350)
    away = np.abs(x - np.float32(centre) - np.float32(tilt) * (y - np.float32(1500)))
    half = generator.uniform(130, 650)
    strip = soft_step(np.float32(half) - away, generator.uniform(8, 60))
    if generator.random() < 0.4:  # bent up at its edges
        strip = strip * (1 + generator.uniform(0.3, 1.2) * soft_step(away - np.float32(0.85 * half), 20.0))
    return strip * _along_hand(generator, x, y)


def _patch(generator: np.random.Generator, scene: Scene, x: Image, y: Image) -> Image:
    """Return the thickness of an ellipse, a rotated rectangle or clouds, for other covers of the hand."""
    centre = generator.uniform(450, 1150), generator.uniform(500, 1850)
    angle = generator.uniform(0, math.pi)
    along = ((x - centre[0]) * math.cos(angle) + (y - centre[1]) * math.sin(angle)) / generator.uniform(220, 800)
    across = ((y - centre[1]) * math.cos(angle) - (x - centre[0]) * math.sin(angle)) / generator.uniform(180, 500)
    soft = generator.uniform(0.04, 0.5)
    kind = generator.random()
    if kind < 0.4:
        return soft_step(1 - np.hypot(along, across).astype(np.float32), soft)
    edges = np.maximum(np.abs(along), np.abs(across)).astype(np.float32)
    if kind < 0.8:
        return soft_step(1 - edges, soft)
    return soft_step(1.2 - edges + 0.6 * smooth_noise(generator, (x.shape[0], x.shape[1]), 5), soft)


def _finger_splint(generator: np.random.Generator, scene: Scene, x: Image, y: Image) -> Image:
    """Return the thickness of an aluminium splint along one or two fingers, with upturned edges and foam."""
    angle = math.radians(generator.choice(FINGER_DEGREES) + generator.normal(0, 4))
    dx, dy = x - np.float32(CAPITATE_IN_FRAME_XY[0]), y - np.float32(CAPITATE_IN_FRAME_XY[1])
    out = (dx * math.sin(angle) - dy * math.cos(angle)).astype(np.float32)
    across = np.abs(dx * math.cos(angle) + dy * math.sin(angle) + generator.normal(0, 25)).astype(np.float32)
    half, start = generator.uniform(45, 150), generator.uniform(250, 950)
    strip = soft_step(np.float32(half) - across, 12.0) * (
        1 + generator.uniform(0, 1.5) * soft_step(across - half * 0.75, 12.0)
    )
    ends = soft_step(out - np.float32(start), 25.0) * soft_step(np.float32(generator.uniform(1250, 1700)) - out, 25.0)
    return np.asarray(strip * ends, np.float32)
