"""Radiographs with plaster, metal, cut fingertips, altered greys, or photographed: what the quality network learns.

No collection of such radiographs may be assumed on a user's machine, so they are drawn on the radiographs that train.
Shapes are given in the registered frame (`boneage.hand.registration`), so that plaster lies where it is put on. What is
drawn varies more than real plaster does, since the network has to notice what nobody has drawn.

Everything is decided by the generator that is given: equal generators give equal pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.arrays import Image
from boneage.bundle.quality import QUALITY_LABELS, QualityLabel
from boneage.geometry import Transform, downsample_area
from boneage.hand.registration import CAPITATE_IN_FRAME_XY, HAND_LENGTH, Hand, register

DRAWN_LENGTH = 170.0
"""Length of the hand on the reduced radiograph that is drawn on, pixels: 1.7 times that on the network's view."""

CLEAN_SHARE = 0.42
"""Share of radiographs that nothing is drawn on but what is harmless."""

_SECOND_SHARE = 0.1
"""Share of the disturbed radiographs that get a second disturbance."""

_SHARES: Mapping[QualityLabel, float] = MappingProxyType(
    {"plaster": 0.29, "metal": 0.22, "fingertips_cut": 0.17, "altered_grey": 0.14, "photographed": 0.18}
)

_VISIBLE_CHANGE = 0.08
"""Smallest change of grey, of the radiograph's range, that counts as visible."""

_LEAST_VISIBLE: Mapping[QualityLabel, float] = MappingProxyType({"plaster": 0.03, "metal": 0.003})
"""Share of the hand that must be visibly changed; else the disturbance is drawn anew."""

_TRIES = 4

_FINGERS_DEGREES = (-28.0, -14.0, 0.0, 13.0, 48.0)
"""Directions of the fingers from the capitate in the frame, little finger to thumb, clockwise from upright."""


@dataclass(frozen=True)
class Scene:
    """A radiograph with its hand, as it is drawn on.

    Attributes:
        pixels: float32 (H, W), bone bright, 0 and 1 at the ends of the radiograph's range.
        points_xy: float64 (3, 2), key points as a finder would give them, in its pixels.
        mask: float32 (H, W), 0..1, the hand.
    """

    pixels: Image
    points_xy: NDArray[np.float64]
    mask: Image

    @property
    def frame_xy(self) -> tuple[Image, Image]:
        """The registered frame's coordinates of each pixel, two arrays (H, W)."""
        matrix = register(self.points_xy).matrix.astype(np.float32)
        rows, columns = (axis.astype(np.float32) + np.float32(0.5) for axis in np.indices(self.pixels.shape))
        x, y = (matrix[row, 0] * columns + matrix[row, 1] * rows + matrix[row, 2] for row in (0, 1))
        return x, y

    def to_pixels(self, frame_xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (..., 2) of the frame in this picture's pixels."""
        return register(self.points_xy).inverse().points(frame_xy)

    @property
    def zoom(self) -> float:
        """Pixels for one frame pixel."""
        return 1 / register(self.points_xy).zoom


def scene_of(pixels: Image, hand: Hand, mask_on: Callable[[Transform, tuple[int, int]], Image]) -> Scene:
    """Reduce a radiograph to the size that is drawn on, its range brought to 0..1, bone bright.

    Args:
        pixels: float32 (H, W), 0..1.
        hand: on it.
        mask_on: gives the hand's mask through a transform from the radiograph, on a picture of a shape.
    """
    small = downsample_area(pixels, DRAWN_LENGTH / hand.length_pixels)
    if hand.inverted:
        small = np.float32(1) - small
    low, high = (float(value) for value in np.percentile(small, (0.1, 99.9)))
    small = np.clip((small - low) / max(high - low, 1e-3), 0, 1).astype(np.float32)
    to_small = Transform.scale(small.shape[1] / pixels.shape[1], small.shape[0] / pixels.shape[0])
    return Scene(small, to_small.points(hand.points_xy), mask_on(to_small, (small.shape[0], small.shape[1])))


def draw_disturbed(generator: np.random.Generator, scene: Scene) -> tuple[Scene, frozenset[QualityLabel]]:
    """Draw what is harmless, and in most cases a disturbance.

    Returns:
        The changed scene, with what is to be noticed on it.
    """
    labels: list[QualityLabel] = []
    if generator.random() >= CLEAN_SHARE:
        count = 2 if generator.random() < _SECOND_SHARE else 1
        labels = list(
            generator.choice(QUALITY_LABELS, count, replace=False, p=[_SHARES[one] for one in QUALITY_LABELS])
        )
    # The hand and what lies on it come first, then the radiograph's edges and greys, then the photograph of it.
    seen: set[QualityLabel] = set(labels)
    for label in ("plaster", "metal"):
        if label in labels:
            scene, is_visible = _visibly(_DRAWN[label], generator, scene, _LEAST_VISIBLE[label])
            seen -= set() if is_visible else {label}
    scene = _harmless(generator, scene, mild_grey="altered_grey" not in labels)
    for label in ("fingertips_cut", "altered_grey", "photographed"):
        if label in labels:
            scene = _DRAWN[label](generator, scene)
    return scene, frozenset(seen)


def _visibly(
    draw: Callable[[np.random.Generator, Scene], Scene], generator: np.random.Generator, scene: Scene, share: float
) -> tuple[Scene, bool]:
    """Draw until so much of the hand is changed that a reader would see it; give up, drawing nothing, after a few."""
    hand = scene.mask > 0.5
    for _ in range(_TRIES):
        drawn = draw(generator, scene)
        if float((np.abs(drawn.pixels - scene.pixels)[hand] > _VISIBLE_CHANGE).mean()) >= share:
            return drawn, True
    return scene, False


# --- textures -------------------------------------------------------------------------------------------------------


def _clouds(generator: np.random.Generator, shape: tuple[int, int], cells: float) -> Image:
    """Smooth noise (H, W) of about unit size, with so many cells along the longer side."""
    rows, columns = (max(2, round(cells * side / max(shape))) for side in shape)
    small = generator.standard_normal((rows, columns)).astype(np.float32)
    return np.asarray(cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def _texture(generator: np.random.Generator, x: Image, y: Image) -> Image:
    """Thickness of plaster or bandage, mean about 1: layers, folds, weave, grain. Arguments are frame coordinates."""
    thickness = 1 + generator.uniform(0.03, 0.3) * _clouds(generator, (x.shape[0], x.shape[1]), generator.uniform(2, 9))
    angle = generator.uniform(0, math.pi)
    along = (x * math.cos(angle) + y * math.sin(angle)).astype(np.float32)
    across = (y * math.cos(angle) - x * math.sin(angle)).astype(np.float32)
    kind = generator.choice(["plain", "folds", "weave", "layers", "grain"])
    if kind == "folds":
        wander = generator.uniform(20, 120) * _clouds(generator, (x.shape[0], x.shape[1]), 5)
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


def _step(distance: Image, soft: float) -> Image:
    """From 0 to 1 where `distance` passes 0, over a width of about `soft`."""
    return np.asarray(np.clip(distance / np.float32(soft) + np.float32(0.5), 0, 1), np.float32)


# --- plaster --------------------------------------------------------------------------------------------------------


def _plaster(generator: np.random.Generator, scene: Scene) -> Scene:
    """A cast about the hand, a slab, a splint of one finger, or any other bright patch over a part of the hand."""
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
    if generator.random() < 0.3:  # the detector's range now reaches to the plaster
        pixels = pixels / max(float(np.percentile(pixels, 99.8)), 0.3)
    return replace(scene, pixels=np.clip(pixels, 0, 1).astype(np.float32))


def _along_hand(generator: np.random.Generator, x: Image, y: Image) -> Image:
    """Where along the hand the plaster reaches, 0..1: from wrist, palm, knuckles or fingers to the forearm or less."""
    reach = generator.choice(4, p=[0.25, 0.42, 0.22, 0.11])
    start = generator.uniform(*((1450, 1700), (950, 1450), (650, 950), (50, 650))[reach])
    end = start + generator.uniform(300, 900) if generator.random() < 0.3 else 1e6
    bend = generator.uniform(0, 50) * _clouds(generator, (x.shape[0], x.shape[1]), generator.uniform(2, 8))
    slope = generator.normal(0, 0.18)
    place = y - np.float32(slope) * (x - np.float32(CAPITATE_IN_FRAME_XY[0])) + bend
    soft = math.exp(generator.uniform(math.log(12), math.log(150)))
    return _step(place - np.float32(start), soft) * _step(np.float32(end) - place, soft)


def _shell(generator: np.random.Generator, scene: Scene, x: Image, y: Image) -> Image:
    """A cast all round: over the hand, its padding and its wall, which is brightest where it is seen edge on."""
    outside = cv2.distanceTransform((scene.mask < 0.5).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    distance = cv2.GaussianBlur(np.asarray(outside, np.float32) / np.float32(scene.zoom), (0, 0), 2.0)
    gap, wall = generator.uniform(0, 110), generator.uniform(25, 140)
    distance = distance + generator.uniform(0, 15) * _clouds(generator, (x.shape[0], x.shape[1]), 6)
    body = _step(np.float32(gap + wall) - distance, generator.uniform(10, 40))
    rim = _step(distance - np.float32(gap), 20.0) * body
    return (body + np.float32(generator.uniform(0.0, 1.5)) * rim) * _along_hand(generator, x, y)


def _slab(generator: np.random.Generator, scene: Scene, x: Image, y: Image) -> Image:
    """A slab or gutter: a straight strip along hand and forearm, over all of them or one side."""
    tilt = generator.normal(0, 0.12)
    centre = CAPITATE_IN_FRAME_XY[0] + generator.uniform(-350, 350)
    away = np.abs(x - np.float32(centre) - np.float32(tilt) * (y - np.float32(1500)))
    half = generator.uniform(130, 650)
    strip = _step(np.float32(half) - away, generator.uniform(8, 60))
    if generator.random() < 0.4:  # bent up at its edges
        strip = strip * (1 + generator.uniform(0.3, 1.2) * _step(away - np.float32(0.85 * half), 20.0))
    return strip * _along_hand(generator, x, y)


def _patch(generator: np.random.Generator, scene: Scene, x: Image, y: Image) -> Image:
    """An ellipse, a turned rectangle, or clouds: whatever else may cover a part of the hand."""
    centre = generator.uniform(450, 1150), generator.uniform(500, 1850)
    angle = generator.uniform(0, math.pi)
    along = ((x - centre[0]) * math.cos(angle) + (y - centre[1]) * math.sin(angle)) / generator.uniform(220, 800)
    across = ((y - centre[1]) * math.cos(angle) - (x - centre[0]) * math.sin(angle)) / generator.uniform(180, 500)
    soft = generator.uniform(0.04, 0.5)
    kind = generator.random()
    if kind < 0.4:
        return _step(1 - np.hypot(along, across).astype(np.float32), soft)
    edges = np.maximum(np.abs(along), np.abs(across)).astype(np.float32)
    if kind < 0.8:
        return _step(1 - edges, soft)
    return _step(1.2 - edges + 0.6 * _clouds(generator, (x.shape[0], x.shape[1]), 5), soft)


def _finger_splint(generator: np.random.Generator, scene: Scene, x: Image, y: Image) -> Image:
    """An aluminium splint along one finger or two, its edges turned up, with foam beside it."""
    angle = math.radians(generator.choice(_FINGERS_DEGREES) + generator.normal(0, 4))
    dx, dy = x - np.float32(CAPITATE_IN_FRAME_XY[0]), y - np.float32(CAPITATE_IN_FRAME_XY[1])
    out = (dx * math.sin(angle) - dy * math.cos(angle)).astype(np.float32)
    across = np.abs(dx * math.cos(angle) + dy * math.sin(angle) + generator.normal(0, 25)).astype(np.float32)
    half, start = generator.uniform(45, 150), generator.uniform(250, 950)
    strip = _step(np.float32(half) - across, 12.0) * (1 + generator.uniform(0, 1.5) * _step(across - half * 0.75, 12.0))
    ends = _step(out - np.float32(start), 25.0) * _step(np.float32(generator.uniform(1250, 1700)) - out, 25.0)
    return np.asarray(strip * ends, np.float32)


# --- metal ----------------------------------------------------------------------------------------------------------


def _metal(generator: np.random.Generator, scene: Scene) -> Scene:
    """Wires, screws, plates, an external fixator, fragments, or jewellery that lies over bones."""
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
    """A place in the hand, frame coordinates (2,), more often at wrist and palm than in the fingers."""
    rows, columns = np.nonzero(scene.mask > 0.5)
    if not len(rows):
        return np.array(CAPITATE_IN_FRAME_XY)
    places = generator.integers(len(rows), size=2 if generator.random() < 0.5 else 1)
    frame = register(scene.points_xy).points(np.stack([columns[places], rows[places]], axis=1) + 0.5)
    return np.asarray(frame[int(frame[:, 1].argmax())], np.float64)


def _line(scene: Scene, cover: Image, frame_xy: NDArray[np.float64], width: float) -> None:
    """A line through points (n, 2) of the frame, `width` in frame pixels."""
    points = np.rint(scene.to_pixels(frame_xy) * 16 - 8).astype(np.int32)
    pixels = width * scene.zoom
    thin = np.zeros_like(cover)
    cv2.polylines(thin, [points], False, min(1.0, max(0.45, pixels)), max(1, round(pixels)), cv2.LINE_AA, 4)
    np.maximum(cover, thin, out=cover)


def _direction(generator: np.random.Generator) -> NDArray[np.float64]:
    """Along the hand more often than across it, unit length."""
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
        _line(scene, cover, np.array(points), generator.uniform(9, 24))


def _plate(generator: np.random.Generator, scene: Scene, cover: Image) -> None:
    middle, along = _on_bone(generator, scene), _direction(generator)
    half, width = generator.uniform(80, 320), generator.uniform(35, 95)
    _line(scene, cover, np.array([middle - half * along, middle + half * along]), width)
    across = np.array([along[1], -along[0]])
    for share in np.linspace(-0.85, 0.85, int(generator.integers(3, 8))):
        hole = scene.to_pixels((middle + share * half * along)[None])[0]
        if generator.random() < 0.5:
            cv2.circle(cover, tuple(np.rint(hole).astype(int).tolist()), max(1, round(width * scene.zoom / 5)), 0.3, -1)
        if generator.random() < 0.7:
            reach = across * generator.uniform(-150, 150)
            start = middle + share * half * along
            _line(scene, cover, np.array([start, start + reach]), generator.uniform(14, 30))


def _fixator(generator: np.random.Generator, scene: Scene, cover: Image) -> None:
    middle, along = _on_bone(generator, scene), _direction(generator)
    across = np.array([along[1], -along[0]])
    rod = middle + across * generator.uniform(-550, 550)
    half = generator.uniform(250, 800)
    _line(scene, cover, np.array([rod - half * along, rod + half * along]), generator.uniform(45, 120))
    for share in generator.uniform(-0.9, 0.9, int(generator.integers(2, 6))):
        start = rod + share * half * along
        _line(scene, cover, np.array([start, middle + share * half * along]), generator.uniform(18, 40))
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
    """A chain, bangle or watch over wrist or palm."""
    height, half = generator.uniform(1000, 1850), generator.uniform(220, 420)
    angle = np.linspace(0, 2 * math.pi, 40)
    flat = generator.uniform(0.03, 0.4)
    ring = np.stack([half * np.cos(angle), flat * half * np.sin(angle)], axis=1)
    place = Transform.rotation(generator.normal(0, 12)).then(Transform.shift(CAPITATE_IN_FRAME_XY[0], height))
    ring = place.points(ring)
    _line(scene, cover, ring, generator.uniform(15, 90))


# --- what is harmless -----------------------------------------------------------------------------------------------


def _harmless(generator: np.random.Generator, scene: Scene, *, mild_grey: bool) -> Scene:
    """Rings, markers, borders, a collimator's edge, noise, blur and mild changes of grey: no label comes of these."""
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
    """A ring on a finger."""
    cover = np.zeros(scene.pixels.shape, np.float32)
    angle = math.radians(generator.choice(_FINGERS_DEGREES[:4]) + generator.normal(0, 2))
    out = np.array([math.sin(angle), -math.cos(angle)])
    centre = np.array(CAPITATE_IN_FRAME_XY) + generator.uniform(780, 980) * out
    across = np.array([out[1], -out[0]]) * generator.uniform(45, 70)
    _line(scene, cover, np.array([centre - across, centre + across]), generator.uniform(15, 45))
    pixels = scene.pixels + cover * (np.float32(1) - scene.pixels)
    return replace(scene, pixels=np.asarray(pixels, np.float32))


def _marked(generator: np.random.Generator, pixels: Image, mask: Image) -> Image:
    """A lead letter beside the hand."""
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
    """An even border of any grey, of other width on each side, with a bright or dark edge in some cases."""
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


# --- fingertips, greys, photographs ---------------------------------------------------------------------------------


def _fingertips_cut(generator: np.random.Generator, scene: Scene) -> Scene:
    """The radiograph ends below the middle finger's tip, and the finder takes the end for the tip."""
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
    """Gamma or a steep curve, far from what radiographs are shown with."""
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


def _photographed(generator: np.random.Generator, scene: Scene) -> Scene:
    """A photograph of a screen or of a light-box: askew, unevenly lit, with reflections, moiré and a dark room."""
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
    slope = _clouds(generator, shape, 2.2)
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
    """Beats of the screen's pixels and the camera's: wavy stripes of some direction, in one or two sets."""
    for _ in range(int(generator.integers(1, 3))):
        angle, period = generator.uniform(0, math.pi), math.exp(generator.uniform(math.log(2.2), math.log(40)))
        bend = generator.uniform(0, 12) * _clouds(generator, (seen.shape[0], seen.shape[1]), 3)
        phase = (rows * math.cos(angle) + columns * math.sin(angle) + bend) * (2 * math.pi / period)
        seen = seen * (1 + generator.uniform(0.02, 0.16) * np.sin(phase).astype(np.float32))
    return np.asarray(seen, np.float32)


def _with_reflection(generator: np.random.Generator, seen: Image, rows: Image, columns: Image) -> Image:
    """A lamp, or a bright window, mirrored by the screen."""
    height, width = seen.shape
    y, x = generator.uniform(0, height), generator.uniform(0, width)
    tall, wide = generator.uniform(0.04, 0.3, 2) * max(height, width)
    away = np.hypot((rows - y) / tall, (columns - x) / wide).astype(np.float32)
    glow = np.exp(-(away**2)) if generator.random() < 0.6 else _step(1 - away, 0.3)
    return np.asarray(seen + generator.uniform(0.1, 0.7) * glow, np.float32)


_DRAWN: Mapping[str, Callable[[np.random.Generator, Scene], Scene]] = MappingProxyType(
    {
        "plaster": _plaster,
        "metal": _metal,
        "fingertips_cut": _fingertips_cut,
        "altered_grey": _altered_grey,
        "photographed": _photographed,
    }
)
