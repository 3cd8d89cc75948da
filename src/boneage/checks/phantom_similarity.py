"""Similarity of a radiograph to the drawn phantom, even if it was rotated, framed, cut or changed in grey.

A note in the file would be lost when the file is converted, so the pixels decide. The image is aligned with the
drawing, and the fine structure of the bones is compared. That structure depends neither on exposure nor on the
surroundings of the hand.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.arrays import Image
from boneage.geometry import Transform, downsample_area, lies_inside, sample
from boneage.hand.borders import without_borders
from boneage.hand.mask import components
from boneage.hand.registration import Hand, register
from boneage.image_pyramid import ImagePyramid, ImageSource
from boneage.phantom import draw_hand

HEIGHT, WIDTH = 160, 120
"""Size at which images are compared, pixels."""

_POINTS_FOUND = ((0.515, 0.129), (0.907, 0.402), (0.501, 0.711))
"""Key points that the bundle `standard` 2 finds on the drawing, as shares of its width and height. Its networks were
not trained on drawings and place the fingertip some 5 % of the hand's length too far up."""

SIMILARITY_LIMIT = 0.75
"""Similarity from which a radiograph counts as the drawn phantom. With the hand located, 994 validation radiographs
reach at most 0.696. The drawing at 1, 8, 15 and 20 years, under 30 changes, reaches at least 0.84."""

_OVERVIEW_SIDE = 400
"""Longest side of the reduced image that is aligned with the drawing where no hand was located, pixels."""

_INSIDE = 0.12
"""Grey level, 0..1, above which a pixel of the drawing belongs to its hand."""

_SURROUNDINGS = 5
"""Width of the margin around the drawing's hand within which images are compared, pixels."""

_FINE = 3.0
"""Standard deviation, in pixels, of the Gaussian whose coarser structure is removed before bones are compared."""

_ROUGH = 0.5
"""Share of their size at which images are first aligned roughly."""

_ROUGH_BLUR, _BLUR = 13, 5
"""Side lengths, in pixels, of the blurring kernels of the rough and the fine alignment."""

_ROUNDS, _EPSILON = 30, 1e-4
"""Largest number of iterations of an alignment, and the change of correlation below which it ends."""

_WORTH_FINE_ALIGNING = 0.4
"""Correlation of structure after rough alignment below which an image does not resemble the drawing."""

_WORTH_ALIGNING, _WORTH_ALIGNING_HANDS = 0.5, 0.78
"""Correlation of grey levels before alignment below which an image does not resemble the drawing, without and with a
located hand. With one, the drawing reaches at least 0.87 (as above), and 93 % of 150 validation radiographs have less
than this limit."""

_LEVELS = 1024
"""Number of grey levels that are distinguished when they are ranked."""


class _Drawing(NamedTuple):
    """The phantom's grey levels, its fine structure and the mask of compared pixels; each (HEIGHT, WIDTH)."""

    greys: Image
    structure: Image
    inside: NDArray[np.bool_]


def phantom_similarity(source: ImageSource, hand: Hand | None) -> float:
    """Measure how closely a radiograph's fine structure matches the drawn phantom's.

    Args:
        source: Radiograph, float32 (H, W), 0..1, or its pyramid.
        hand: Hand that was located on it; None from a bundle that does not locate hands.

    Returns:
        The correlation, -1..1, of the structure of the bones after alignment.
    """
    if hand is not None:
        pyramid = ImagePyramid.of(source)
        bright = ImagePyramid(np.float32(1.0) - pyramid.pixels) if hand.inverted else pyramid
        to_drawing = register(np.array(_POINTS_FOUND) * (WIDTH, HEIGHT)).inverse()
        return _similarity(bright, hand.radiograph_to_frame.then(to_drawing), _WORTH_ALIGNING_HANDS)
    small = downsample_area(source, min(1.0, _OVERVIEW_SIDE / max(source.shape)))
    window = without_borders(small)
    inner = window.cut(small)
    dark_air = float(np.median(np.concatenate([inner[0], inner[-1], inner[:, 0], inner[:, -1]]))) < 0.5
    bone_bright = inner if dark_air else np.float32(1.0) - inner
    return max(_similarity(ImagePyramid(bone_bright), pose, _WORTH_ALIGNING) for pose in _poses(bone_bright))


def _similarity(picture: ImagePyramid, to_drawing: Transform, worth_aligning: float) -> float:
    """Return the correlation, starting from a pose that need not be exact."""
    drawing = _drawing()
    shown = _shown(picture.shape, to_drawing)
    greys = _evened(sample(picture, to_drawing, HEIGHT, WIDTH), shown)
    first = _correlation(greys, drawing.greys, drawing.inside & shown)
    if first < worth_aligning:
        return min(first, 0.0)
    where = drawing.inside & shown
    rough = Transform.scale(_ROUGH)
    small = [downsample_area(one, _ROUGH) for one in (drawing.greys, greys, where.astype(np.float32))]
    warp = rough.then(_alignment(small[0], small[1], small[2] > 0.5, _ROUGH_BLUR, Transform())).then(rough.inverse())
    best, warp = max(
        ((_structure_correlation(picture, to_drawing.then(one.inverse())), one) for one in (Transform(), warp)),
        key=lambda pair: pair[0],
    )
    if best < _WORTH_FINE_ALIGNING:
        return best
    warp = _alignment(drawing.greys, greys, where, _BLUR, warp)
    return max(best, _structure_correlation(picture, to_drawing.then(warp.inverse())))


def _alignment(drawn: Image, seen: Image, where: NDArray[np.bool_], blur: int, start: Transform) -> Transform:
    """Align two images of the same size by their enhanced correlation (Evangelidis & Psarakis 2008).

    Returns:
        The transform from the coordinates of `drawn` to those of `seen`, or `start` if the alignment does not
        converge.
    """
    to_index = Transform.shift(0.5, 0.5).then(start).then(Transform.shift(-0.5, -0.5))  # OpenCV: first centre at 0
    warp = np.asarray(to_index.matrix[:2], dtype=np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _ROUNDS, _EPSILON)
    try:
        _, aligned = cv2.findTransformECC(drawn, seen, warp, cv2.MOTION_AFFINE, stop, where.astype(np.uint8), blur)
    except cv2.error:
        return start
    matrix = Transform.from_matrix(np.asarray(aligned, dtype=np.float64))
    return Transform.shift(-0.5, -0.5).then(matrix).then(Transform.shift(0.5, 0.5))


def _structure_correlation(picture: ImagePyramid, to_drawing: Transform) -> float:
    """Return the correlation of the fine structure at a pose."""
    drawing = _drawing()
    where = drawing.inside & _shown(picture.shape, to_drawing)
    return _correlation(_structure(sample(picture, to_drawing, HEIGHT, WIDTH)), drawing.structure, where)


def _shown(shape: tuple[int, int], to_drawing: Transform) -> NDArray[np.bool_]:
    """Return the mask of the drawing's pixels that the image shows."""
    return lies_inside(to_drawing, shape, HEIGHT, WIDTH)


def _poses(bright: Image) -> list[Transform]:
    """Return poses that align an image with the drawing.

    The first scales the image to the drawing's size, the second its mirror image. The others align the moments of the
    bright pixels in four orientations.
    """
    whole = Transform.scale(WIDTH / bright.shape[1], HEIGHT / bright.shape[0])
    poses = [whole, Transform.mirror(bright.shape[1]).then(whole)]
    place, of_drawing = _moments(bright), _moments(_drawn())
    if place is None or of_drawing is None:
        return poses
    for turn in (0.0, 180.0):
        for mirrored in (1.0, -1.0):
            change = Transform.rotation(turn).then(Transform.scale(mirrored, 1.0))
            poses.append(place.then(change).then(of_drawing.inverse()))
    return poses


def _moments(bright: Image) -> Transform | None:
    """Return the transform to the principal axes of the bright pixels: centre at 0, longer axis along y, unit spread.

    Too few bright pixels give None.
    """
    level = np.percentile(bright, 20)
    weight = np.clip(bright.astype(np.float64) - level - 0.1 * float(np.ptp(bright)), 0, None) > 0
    rows, columns = np.nonzero(weight)
    if rows.size < 20:
        return None
    points = np.stack([columns + 0.5, rows + 0.5])
    centre = points.mean(axis=1)
    values, vectors = np.linalg.eigh(np.cov(points))
    if values[0] <= 0:
        return None
    angle = float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])))
    upright = Transform.shift(*(-centre)).then(Transform.rotation(90 - angle))
    return upright.then(Transform.scale(float(values.prod() ** -0.25)))


@lru_cache(maxsize=1)
def _drawing() -> _Drawing:
    drawn = _drawn()
    hand = components(drawn > _INSIDE)[0]  # without the letters, which may be cut off
    around = cv2.dilate(hand, np.ones((2 * _SURROUNDINGS + 1,) * 2, np.uint8)).astype(bool)
    around[: HEIGHT // 16] = around[-HEIGHT // 16 :] = False
    return _Drawing(_evened(drawn, np.ones(drawn.shape, bool)), _structure(drawn), around)


@lru_cache(maxsize=1)
def _drawn() -> Image:
    large = draw_hand(height=4 * HEIGHT, width=4 * WIDTH)
    return downsample_area(large, 0.25)


def _evened(picture: Image, where: NDArray[np.bool_]) -> Image:
    """Return each grey level's rank among those of `where`, 0..1, slightly blurred.

    Ranks are independent of gamma and exposure.
    """
    low, high = (float(picture[where].min()), float(picture[where].max())) if where.any() else (0.0, 1.0)
    scaled = (picture - low) * ((_LEVELS - 1) / max(high - low, 1e-6))
    levels = np.clip(scaled, 0, _LEVELS - 1).astype(np.intp)
    counts = np.cumsum(np.bincount(levels[where], minlength=_LEVELS))
    ranks = (counts[levels] / max(int(counts[-1]), 1)).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(ranks, (0, 0), 1.0), dtype=np.float32)


def _structure(picture: Image) -> Image:
    """Return the fine structure: grey levels minus their surroundings, divided by the local contrast."""
    fine = cv2.GaussianBlur(picture, (0, 0), 0.7) - cv2.GaussianBlur(picture, (0, 0), _FINE)
    contrast = np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), 2 * _FINE))
    return np.asarray(fine / (contrast + 0.02 * float(np.ptp(picture)) + 1e-6), dtype=np.float32)


def _correlation(first: Image, second: Image, where: NDArray[np.bool_]) -> float:
    """Return Pearson's correlation over the pixels of `where`; 0 if they are few or uniform."""
    if where.mean() < 0.1:
        return 0.0
    one, other = first[where] - first[where].mean(), second[where] - second[where].mean()
    norm = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / norm if norm > 0 else 0.0
