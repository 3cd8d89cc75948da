"""Disturbed radiographs for the quality network: plaster, metal, cut fingertips, altered greys, photographs.

No collection of such radiographs is assumed to exist, so the disturbances are drawn on the radiographs of the training.
Shapes are given in the registered frame (`boneage.hand.registration`), so that plaster lies where it is put on.
Drawings vary more than real plaster does, so that the network also detects shapes that were never drawn.

The generator determines everything: equal generators give equal images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.arrays import Image
from boneage.bundle.quality import QUALITY_LABELS, QualityLabel
from boneage.hand.registration import CAPITATE_IN_FRAME_XY, HAND_LENGTH
from boneage.train.data.metal import draw_metal
from boneage.train.data.photographs import photograph
from boneage.train.data.plaster import draw_plaster
from boneage.train.data.scene import FINGER_DEGREES, Scene, draw_line

CLEAN_SHARE = 0.42
"""Share of radiographs with harmless changes only."""

_SECOND_SHARE = 0.1
"""Share of the disturbed radiographs with a second disturbance."""

_SHARES: Mapping[QualityLabel, float] = MappingProxyType(
    {"plaster": 0.29, "metal": 0.22, "fingertips_cut": 0.17, "altered_grey": 0.14, "photographed": 0.18}
)

_VISIBLE_CHANGE = 0.08
"""Smallest visible change of grey, as a share of the radiograph's range."""

_LEAST_VISIBLE: Mapping[QualityLabel, float] = MappingProxyType({"plaster": 0.03, "metal": 0.003})
"""Share of the hand that must change visibly; else the disturbance is drawn again."""

_TRIES = 4


def draw_disturbed(generator: np.random.Generator, scene: Scene) -> tuple[Scene, frozenset[QualityLabel]]:
    """Draw harmless changes, and in most cases a disturbance.

    Returns:
        The changed scene, with the labels of its disturbances.
    """
    labels: list[QualityLabel] = []
    if generator.random() >= CLEAN_SHARE:
        count = 2 if generator.random() < _SECOND_SHARE else 1
        labels = list(
            generator.choice(QUALITY_LABELS, count, replace=False, p=[_SHARES[one] for one in QUALITY_LABELS])
        )
    # The hand and objects on it come first, then edges and greys of the radiograph, then the photograph of it.
    seen: set[QualityLabel] = set(labels)
    for label in ("plaster", "metal"):
        if label in labels:
            scene, is_visible = _visibly(_DISTURBANCES[label], generator, scene, _LEAST_VISIBLE[label])
            seen -= set() if is_visible else {label}
    scene = _harmless(generator, scene, mild_grey="altered_grey" not in labels)
    for label in ("fingertips_cut", "altered_grey", "photographed"):
        if label in labels:
            scene = _DISTURBANCES[label](generator, scene)
    return scene, frozenset(seen)


def _visibly(
    draw: Callable[[np.random.Generator, Scene], Scene], generator: np.random.Generator, scene: Scene, share: float
) -> tuple[Scene, bool]:
    """Draw until a reader would notice the change of the hand; give up after a limited number of attempts.

    Returns:
        The drawn scene and True, or the unchanged scene and False.
    """
    hand = scene.mask > 0.5
    for _ in range(_TRIES):
        drawn = draw(generator, scene)
        if float((np.abs(drawn.pixels - scene.pixels)[hand] > _VISIBLE_CHANGE).mean()) >= share:
            return drawn, True
    return scene, False


def _harmless(generator: np.random.Generator, scene: Scene, *, mild_grey: bool) -> Scene:
    """Draw rings, markers, borders, a collimator's edge, noise, blur and mild changes of grey, which have no label."""
    if generator.random() < 0.08:
        scene = _ringed(generator, scene)
    pixels, points_xy, mask = scene.pixels, scene.points_xy, scene.mask
    if generator.random() < 0.15:
        pixels = _marked(generator, pixels, mask)
    if mild_grey and generator.random() < 0.4:
        pixels = np.power(pixels, np.float32(math.exp(generator.uniform(-0.25, 0.25))))
        gain, offset = generator.uniform(0.85, 1.15), generator.uniform(-0.05, 0.05)
        pixels = np.clip(pixels * np.float32(gain) + np.float32(offset), 0, 1)
    if generator.random() < 0.15:
        pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), generator.uniform(0.4, 1.2)), np.float32)
    if generator.random() < 0.2:
        noise = generator.standard_normal(pixels.shape, dtype=np.float32)
        pixels = np.clip(pixels + np.float32(generator.uniform(0.005, 0.04)) * noise, 0, 1)
    if generator.random() < 0.2:
        pixels, points_xy, mask = _bordered(generator, pixels, points_xy, mask)
    return Scene(np.asarray(pixels, np.float32), points_xy, mask)


def _ringed(generator: np.random.Generator, scene: Scene) -> Scene:
    """Draw a ring on a finger."""
    cover = np.zeros(scene.pixels.shape, np.float32)
    angle = math.radians(generator.choice(FINGER_DEGREES[:4]) + generator.normal(0, 2))
    out = np.array([math.sin(angle), -math.cos(angle)])
    centre = np.array(CAPITATE_IN_FRAME_XY) + generator.uniform(780, 980) * out
    across = np.array([out[1], -out[0]]) * generator.uniform(45, 70)
    draw_line(scene, cover, np.array([centre - across, centre + across]), generator.uniform(15, 45))
    pixels = scene.pixels + cover * (np.float32(1) - scene.pixels)
    return replace(scene, pixels=np.asarray(pixels, np.float32))


def _marked(generator: np.random.Generator, pixels: Image, mask: Image) -> Image:
    """Draw a lead letter beside the hand."""
    height, width = pixels.shape
    side = int(generator.uniform(0.05, 0.16) * min(height, width)) + 3
    top, left = int(generator.integers(0, height - side)), int(generator.integers(0, width - side))
    if mask[top : top + side, left : left + side].mean() > 0.02:
        return pixels
    letter, lead = chr(int(generator.integers(65, 91))), np.zeros(pixels.shape, np.uint8)
    place, thick = (left, top + side), max(1, side // 8)
    cv2.putText(lead, letter, place, cv2.FONT_HERSHEY_SIMPLEX, side / 22, 255, thick, cv2.LINE_AA)
    return np.asarray(np.maximum(pixels, lead.astype(np.float32) / np.float32(255)), np.float32)


def _bordered(
    generator: np.random.Generator, pixels: Image, points_xy: NDArray[np.float64], mask: Image
) -> tuple[Image, NDArray[np.float64], Image]:
    """Add a uniform border of any grey, with a different width on each side."""
    top, bottom, left, right = (
        int(side * generator.uniform(0, 0.25) * (generator.random() < 0.7)) for side in np.repeat(pixels.shape, 2)
    )
    level = float(generator.choice([0.0, 0.0, 1.0, generator.random()]))
    sides = ((top, bottom), (left, right))
    return (
        np.pad(pixels, sides, constant_values=np.float32(level)),
        points_xy + np.array([left, top]),
        np.pad(mask, sides),
    )


def cut_fingertips(generator: np.random.Generator, scene: Scene) -> Scene:
    """End the radiograph below the middle finger's tip, where a network then locates the tip."""
    share = generator.uniform(0.03, 0.3)
    x, y = scene.frame_xy
    tip_y = CAPITATE_IN_FRAME_XY[1] - HAND_LENGTH
    tilted = y - np.float32(generator.normal(0, 0.06)) * (x - np.float32(CAPITATE_IN_FRAME_XY[0]))
    kept = tilted > np.float32(tip_y + share * HAND_LENGTH)
    level = 0.0 if generator.random() < 0.6 else float(generator.choice([1.0, generator.random()]))
    pixels = np.where(kept, scene.pixels, np.float32(level))
    seen = share + generator.normal(0, 0.015)
    tip = np.array([CAPITATE_IN_FRAME_XY[0] + generator.normal(0, 20), tip_y + seen * HAND_LENGTH])
    points_xy = scene.points_xy.copy()
    points_xy[0] = scene.to_pixels(tip[None])[0]
    return Scene(pixels, points_xy, scene.mask * kept)


def _altered_grey(generator: np.random.Generator, scene: Scene) -> Scene:
    """Apply a gamma or a steep curve that radiographs are not usually displayed with."""
    pixels = scene.pixels
    kind = generator.random()
    if kind < 0.45:
        pixels = np.power(pixels, np.float32(generator.uniform(1.7, 3.5)))
    elif kind < 0.7:
        pixels = np.power(pixels, np.float32(1 / generator.uniform(1.7, 3.2)))
    else:
        middle, steep = np.median(pixels[scene.mask > 0.5]), generator.uniform(8, 20)
        pixels = 1 / (1 + np.exp(-np.float32(steep) * (pixels - np.float32(middle))))
    if generator.random() < 0.5:
        pixels = np.asarray(np.rint(pixels * 255) / 255, np.float32)
    return replace(scene, pixels=np.asarray(pixels, np.float32))


_DISTURBANCES: Mapping[str, Callable[[np.random.Generator, Scene], Scene]] = MappingProxyType(
    {
        "plaster": draw_plaster,
        "metal": draw_metal,
        "fingertips_cut": cut_fingertips,
        "altered_grey": _altered_grey,
        "photographed": photograph,
    }
)
