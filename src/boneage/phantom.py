"""Drawn phantom of a hand, for samples, self-tests and tests.

The phantom is not a patient, and its bone age has no meaning. It is a left hand in the pose of the RSNA challenge's
radiographs: fingers up, the thumb on the right, bright bone. The order in which carpal bones and epiphyses appear, and
the age at which growth plates close, roughly follow radiographic atlases; nothing is measured. The default picture is
part of the self-test of every bundle, so that a change of the drawing invalidates the expected values.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from boneage.files import atomic_write
from boneage.geometry import Transform, fit_inside, sample

CANVAS_HEIGHT, CANVAS_WIDTH = 1000, 750
"""Size of the canvas, pixels. It is sampled into the radiograph, so that the hand is the same at every size."""

POINT_NAMES = ("tip of the middle finger", "tip of the thumb", "capitate")
"""Key points of registration in the order of the rows of `phantom_points` (Iglovikov et al., section 3.3)."""

_AIR, _FLESH, _BONE, _LEAD = 0.03, 0.33, 0.46, 0.95
_ADULT_YEARS = 16.5
_SUBPIXEL_BITS = 4
_NOISE_TILE = 512
SAMPLE_GAMMA = 0.7


class _Bone(NamedTuple):
    """Tubular bone on the canvas: proximal and distal joint (x, y), half of its width, and the end that grows."""

    proximal: tuple[float, float]
    distal: tuple[float, float]
    half_width: float
    grows_at_head: bool = False
    tuft: bool = False


class _Carpal(NamedTuple):
    """Carpal bone: centre (x, y), half axes, rotation in degrees, and the age at which it appears."""

    centre: tuple[float, float]
    half_axes: tuple[float, float]
    degrees: float
    years: float


FINGERS: tuple[tuple[_Bone, ...], ...] = (
    (  # thumb, whose metacarpal grows at the base
        _Bone((478, 694), (566, 592), 19),
        _Bone((572, 584), (624, 502), 16),
        _Bone((629, 493), (664, 428), 13, tuft=True),
    ),
    (
        _Bone((430, 652), (455, 474), 18, grows_at_head=True),
        _Bone((457, 463), (477, 346), 16),
        _Bone((479, 336), (492, 261), 13.5),
        _Bone((494, 252), (503, 198), 11, tuft=True),
    ),
    (
        _Bone((381, 654), (384, 468), 18, grows_at_head=True),
        _Bone((384, 457), (386, 326), 16.5),
        _Bone((386, 316), (388, 230), 14),
        _Bone((388, 221), (389, 163), 11.5, tuft=True),
    ),
    (
        _Bone((336, 662), (316, 490), 16, grows_at_head=True),
        _Bone((314, 479), (299, 358), 15),
        _Bone((297, 348), (287, 266), 13),
        _Bone((286, 257), (280, 202), 10.5, tuft=True),
    ),
    (
        _Bone((297, 678), (252, 530), 15, grows_at_head=True),
        _Bone((248, 519), (220, 428), 13),
        _Bone((217, 418), (202, 361), 11),
        _Bone((200, 353), (188, 308), 9.5, tuft=True),
    ),
)
_CAPITATE = _Carpal((384, 700), (22, 33), 2, 0.2)
CARPALS = (
    _CAPITATE,
    _Carpal((338, 706), (23, 27), 25, 0.3),  # hamate
    _Carpal((312, 745), (16, 19), 40, 2.5),  # triquetrum
    _Carpal((362, 757), (23, 17), -5, 3.5),  # lunate
    _Carpal((421, 748), (19, 29), 55, 5.0),  # scaphoid
    _Carpal((462, 706), (20, 18), 30, 5.2),  # trapezium
    _Carpal((428, 686), (15, 17), 0, 5.8),  # trapezoid
    _Carpal((296, 735), (11, 13), 10, 9.5),  # pisiform
)
RADIUS = _Bone((424, 1075), (398, 788), 39, grows_at_head=True)
ULNA = _Bone((306, 1075), (322, 796), 22, grows_at_head=True)
_PALM = (
    (236, 560),
    (262, 520),
    (318, 482),
    (384, 462),
    (455, 470),
    (492, 540),
    (560, 600),
    (520, 690),
    (478, 760),
    (462, 850),
    (472, 1010),
    (268, 1010),
    (272, 850),
    (262, 760),
    (240, 660),
)

_STROKES = {
    "P": "0 6 0 0 3 0 4 1 4 2 3 3 0 3",
    "H": "0 0 0 6|4 0 4 6|0 3 4 3",
    "A": "0 6 2 0 4 6|1 4 3 4",
    "N": "0 6 0 0 4 6 4 0",
    "T": "0 0 4 0|2 0 2 6",
    "O": "1 0 3 0 4 1 4 5 3 6 1 6 0 5 0 1 1 0",
    "M": "0 6 0 0 2 3 4 0 4 6",
}
"""Letters as polylines on a grid of 4 x 6. They make the picture independent of a library's fonts."""


def draw_hand(age_years: float = 8.0, *, height: int = 2000, width: int = 1500, seed: int = 0) -> NDArray[np.float32]:
    """Draw the phantom, with the word PHANTOM in lead letters.

    Args:
        age_years: Age, 0 to 20 years; determines the carpal bones, the epiphyses and the width of the growth plates.
        height: Height of the radiograph, at least 16 pixels; the hand is fitted into it.
        width: Width of the radiograph, at least 16 pixels.
        seed: Seed of the noise; equal arguments give equal pictures.

    Returns:
        Radiograph, float32 (height, width), 0..1, with bright bone.

    Raises:
        ValueError: If an argument is out of range.
    """
    if not 0 <= age_years <= 20:
        raise ValueError(f"age_years must lie in 0..20, not {age_years}")
    noise = np.random.default_rng(seed)
    bone = _draw_bones(age_years)
    grain = cv2.resize(noise.standard_normal((250, 188), dtype=np.float32), (CANVAS_WIDTH, CANVAS_HEIGHT))
    canvas = _AIR + _FLESH * _draw_flesh() + _BONE * bone * (1 + 0.07 * grain)
    canvas = np.maximum(canvas, _LEAD * _draw_letters())
    radiograph = sample(canvas, _to_radiograph(height, width), height, width, fill=_AIR)
    radiograph += _tiled(
        np.float32(0.008) * noise.standard_normal((_NOISE_TILE, _NOISE_TILE), dtype=np.float32), radiograph.shape
    )
    return np.clip(radiograph, 0, 1, out=radiograph)


def phantom_points(*, height: int = 2000, width: int = 1500) -> NDArray[np.float64]:
    """Return the key points of registration on the drawn radiograph, the same at every age.

    Returns:
        Continuous (x, y) in pixels of the radiograph, float64 (3, 2), with the rows of `POINT_NAMES`.
    """
    points_xy = np.array([FINGERS[2][-1].distal, FINGERS[0][-1].distal, _CAPITATE.centre])
    return _to_radiograph(height, width).points(points_xy)


@cache
def sample_png() -> bytes:
    """Return the default phantom as an 8-bit grey PNG with brightened soft tissue. It is drawn once.

    Without brightening, soft tissue is so dark beside the bones that networks trained on radiographs see only pieces of
    a hand.
    """
    brightened = draw_hand() ** np.float32(SAMPLE_GAMMA)
    done, encoded = cv2.imencode(".png", np.rint(brightened * 255).astype(np.uint8))
    if not done:
        raise OSError("the phantom could not be encoded as PNG")
    return encoded.tobytes()


def write_sample(path: str | Path) -> Path:
    """Write `sample_png` to a file atomically, and return the path.

    Raises:
        OSError: If the file cannot be written.
    """
    path = Path(path)
    with atomic_write(path) as temporary:
        temporary.write_bytes(sample_png())
    return path


def _to_radiograph(height: int, width: int) -> Transform:
    if height < 16 or width < 16:
        raise ValueError(f"a radiograph of {height} x {width} pixels is too small to draw on")
    return fit_inside(CANVAS_HEIGHT, CANVAS_WIDTH, height, width)


def _tiled(tile: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the tile repeated over an array of this shape: as good as new noise everywhere, and ten times as fast."""
    repeats = [-(-size // _NOISE_TILE) for size in shape]
    return np.tile(tile, repeats)[: shape[0], : shape[1]]


def _fill(mask: NDArray[np.uint8], outline_xy: NDArray[np.float64], level: int = 255) -> None:
    """Fill a polygon given in continuous coordinates."""
    fixed = np.rint((outline_xy - 0.5) * 2**_SUBPIXEL_BITS).astype(np.int32)
    cv2.fillPoly(mask, [fixed], level, cv2.LINE_AA, _SUBPIXEL_BITS)


def _stroke(mask: NDArray[np.uint8], line_xy: NDArray[np.float64], thickness: int) -> None:
    """Draw an open line of this thickness, in continuous coordinates."""
    fixed = np.rint((line_xy - 0.5) * 2**_SUBPIXEL_BITS).astype(np.int32)
    cv2.polylines(mask, [fixed], False, 255, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)


def _empty() -> NDArray[np.uint8]:
    return np.zeros((CANVAS_HEIGHT, CANVAS_WIDTH), np.uint8)


def _soft(mask: MatLike, sigma: float) -> NDArray[np.float32]:
    """Return a mask as float32 0..1 with blurred edges."""
    return cv2.GaussianBlur(mask, (0, 0), sigma).astype(np.float32) / np.float32(255)


@cache
def _draw_flesh() -> NDArray[np.float32]:
    """Return soft tissue, 0..1, thicker in its middle, with the faint halo of scattered radiation.

    It is the same at every age and is drawn once: callers must not change it.
    """
    mask = _empty()
    _fill(mask, np.array(_PALM, dtype=np.float64))
    for finger in FINGERS:
        joints = np.array([finger[0].proximal, *(bone.distal for bone in finger)], dtype=np.float64)
        thickness = round(3.5 * finger[1].half_width)
        _stroke(mask, joints, thickness)
    smooth = cv2.medianBlur(mask, 25)  # rounds the webs between the fingers
    depth = cv2.distanceTransform((smooth > 127).astype(np.uint8), cv2.DIST_L2, 3)
    thickness_map = np.sqrt(np.minimum(depth, 60) / np.float32(60))
    return cv2.GaussianBlur(thickness_map, (0, 0), 2.5) * np.float32(0.9) + _halo(smooth)


def _halo(mask: MatLike) -> NDArray[np.float32]:
    small = cv2.resize(mask, (CANVAS_WIDTH // 8, CANVAS_HEIGHT // 8), interpolation=cv2.INTER_AREA)
    return cv2.resize(_soft(small, 8), (CANVAS_WIDTH, CANVAS_HEIGHT)) * np.float32(0.1)


def _draw_bones(age_years: float) -> NDArray[np.float32]:
    """Return all bones, 0..1: a spongy inside within a denser cortex."""
    mask, cortex = _empty(), _empty()
    for outline_xy in _outlines(age_years):
        _fill(mask, outline_xy)
        _stroke(cortex, np.concatenate([outline_xy, outline_xy[:1]]), 5)
    cortex = np.minimum(cortex, mask)
    return np.float32(0.62) * _soft(mask, 1.3) + np.float32(0.38) * _soft(cortex, 1.3)


def _outlines(age_years: float) -> Iterator[NDArray[np.float64]]:
    """Yield the outlines (P, 2) of every piece of bone at this age, in continuous canvas coordinates."""
    for carpal in CARPALS:
        grown = _grown(age_years, carpal.years, 12.0)
        if grown > 0:
            yield _ellipse(carpal, 0.3 + 0.7 * grown)
    for bone in (*(bone for finger in FINGERS for bone in finger), RADIUS, ULNA):
        yield from _tubular(bone, age_years, appears_years=5.5 if bone is ULNA else 1.2)


def _grown(age_years: float, start_years: float, end_years: float) -> float:
    """Return the share of growth: 0 before `start_years`, 1 from `end_years` on."""
    return float(np.clip((age_years - start_years) / (end_years - start_years), 0, 1))


def _ellipse(carpal: _Carpal, size: float) -> NDArray[np.float64]:
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    # Carpal bones are a little squarer than an ellipse.
    unit = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    unit = np.sign(unit) * np.abs(unit) ** 0.85
    turned = Transform.rotation(carpal.degrees).points(unit * np.array(carpal.half_axes) * size)
    return turned + np.array(carpal.centre, dtype=np.float64)


def _tubular(bone: _Bone, age_years: float, *, appears_years: float) -> Iterator[NDArray[np.float64]]:
    """Yield the shaft and, while its growth plate is open, the epiphysis as a separate piece."""
    start, end = np.array(bone.proximal, dtype=np.float64), np.array(bone.distal, dtype=np.float64)
    if bone.grows_at_head:
        start, end = end, start  # the growth plate is at `start` now
    length = float(np.linalg.norm(end - start))
    axis = (end - start) / length
    closed = _grown(age_years, 13.0, _ADULT_YEARS)
    thickness, plate = 0.52 * bone.half_width, (3.0 + 3.5 * (1 - _grown(age_years, 1.0, 13.0))) * (1 - closed)
    if closed == 1:
        yield _shaft(start, axis, length, bone)
        return
    offset = thickness + plate
    yield _shaft(start + axis * offset, axis, length - offset, bone)
    grown = _grown(age_years, appears_years, 13.0)
    if grown > 0:
        half = bone.half_width * (0.35 + 0.65 * grown)
        yield _plate(start + axis * thickness / 2, axis, half, thickness / 2 * (0.6 + 0.4 * grown))


def _shaft(start: NDArray[np.float64], axis: NDArray[np.float64], length: float, bone: _Bone) -> NDArray[np.float64]:
    """Return a tube with flared, rounded ends, wide at `start` and narrow in the middle."""
    t = (1 - np.cos(np.linspace(0, np.pi, 33))) / 2
    far = 0.62 if bone.tuft else 0.86
    waist = 0.42 if bone.tuft else 0.58
    profile = waist + (1 - waist) * np.exp(-((t / 0.2) ** 2)) + (far - waist) * np.exp(-(((1 - t) / 0.17) ** 2))
    # The end at the growth plate is flat, the far end round.
    ends = np.sqrt(1 - np.maximum(1 - t / 0.05, 0) ** 2) * np.sqrt(1 - np.maximum(1 - (1 - t) / 0.1, 0) ** 2)
    across = np.array([-axis[1], axis[0]])
    middle = start + np.outer(t * length, axis)
    side = np.outer(bone.half_width * profile * ends, across)
    return np.concatenate([middle + side, (middle - side)[::-1]])


def _plate(
    centre: NDArray[np.float64], axis: NDArray[np.float64], half_width: float, half_thickness: float
) -> NDArray[np.float64]:
    """Return an epiphysis: a flat rounded plate across the bone's axis."""
    angles = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    unit = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    unit = np.sign(unit) * np.abs(unit) ** 0.6
    across = np.array([-axis[1], axis[0]])
    return centre + np.outer(unit[:, 0] * half_width, across) + np.outer(unit[:, 1] * half_thickness, axis)


@cache
def _draw_letters() -> NDArray[np.float32]:
    """Return the word PHANTOM, 0..1, in the upper left corner. It is drawn once: callers must not change it."""
    mask = _empty()
    for place, letter in enumerate("PHANTOM"):
        for stroke in _STROKES[letter].split("|"):
            grid_xy = np.array(stroke.split(), dtype=np.float64).reshape(-1, 2)
            _stroke(mask, grid_xy * 4.0 + np.array([36 + 26 * place, 40]), 4)
    return _soft(mask, 0.8)
