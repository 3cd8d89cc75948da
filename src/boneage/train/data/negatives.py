"""Negative examples: images without a hand, drawn or made from radiographs of hands.

The networks of Iglovikov et al. were trained on images of hands only. Users also submit other files, and such a network
returns confident results for them. No collection of such files is assumed to exist, so negatives are drawn, or made
from the radiographs of the training: with the hand erased, or with the forearm only.

The generator determines everything: equal generators give equal images.
"""

from __future__ import annotations

from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.arrays import FloatArray, Image
from boneage.evaluate.perturbations import border_grey
from boneage.geometry import Transform, sample
from boneage.hand.registration import hand_length
from boneage.train.data.drawings import LEAST_GRAIN, DrawnKind, draw_picture
from boneage.train.data.pairs import MaskedRadiograph, reduce_radiograph

MadeKind = Literal["erased", "forearm"]

Kind = Literal[DrawnKind, MadeKind]

KINDS: tuple[Kind, ...] = (*get_args(DrawnKind), *get_args(MadeKind))
"""All kinds of negatives; the last two are made from a radiograph."""

FOREARM_START = 0.35
"""Distance from the capitate to a crop of the forearm, away from the fingers, as a share of the hand's length.

The growth plates of radius and ulna lie at about 0.15 to 0.25, so the crop holds nothing that is read for bone age.
"""

_SHORTEST_FOREARM = 0.1
"""Shortest forearm that is cropped, as a share of the hand's length."""

_LEAST_CONTRAST = 0.02
"""Smallest standard deviation of a forearm's greys; below it the radiograph is blank there."""

_MADE_SHARE = 0.4
"""Share of negatives that are made from the radiograph, if it is suitable."""


def draw_negative(
    generator: np.random.Generator,
    radiograph: Image | None = None,
    mask: NDArray[np.uint8] | None = None,
    *,
    points_xy: FloatArray | None = None,
    kind: Kind | None = None,
    longest_side: int = 256,
) -> Image:
    """Draw an image without a hand.

    Args:
        generator: random generator, which determines everything.
        radiograph: float32 (H, W), 0..1, radiograph of one hand from which negatives may be made; None for drawn ones
            only.
        mask: uint8 (h, w), 0 / non-zero, the hand on `radiograph`, aligned by fractions of width and height; needed for
            ``erased``.
        points_xy: (3, 2), key points on `radiograph`, its pixels, rows as `boneage.hand.registration.POINT_NAMES`;
            needed for ``forearm``.
        kind: kind of negative; chosen by the generator if None.
        longest_side: longer side of the image, pixels, at least 32.

    Returns:
        float32 (H, W), 0..1, contiguous; the longer side is `longest_side`.

    Raises:
        ValueError: The kind needs a radiograph, mask or key points that are missing or not suitable (a forearm shorter
            than a tenth of the hand, without contrast, an empty mask, or no background), or the side is under 32 px.
    """
    if longest_side < 32:
        raise ValueError(f"An image has at least 32 px a side, not {longest_side}.")
    if kind is None:
        return _any_kind(generator, radiograph, mask, points_xy, longest_side)
    if kind == "erased" or kind == "forearm":  # noqa: PLR1714 - the type checker narrows this form only
        made = _made(generator, kind, radiograph, mask, points_xy, longest_side)
        if made is None:
            raise ValueError(f"The radiograph is not suitable for the kind {kind}.")
        return made
    return draw_picture(generator, kind, longest_side)


def _any_kind(
    generator: np.random.Generator,
    radiograph: Image | None,
    mask: NDArray[np.uint8] | None,
    points_xy: FloatArray | None,
    longest_side: int,
) -> Image:
    if radiograph is not None and generator.random() < _MADE_SHARE:
        order = generator.permutation(len(get_args(MadeKind)))
        for kind in (get_args(MadeKind)[place] for place in order):
            made = _made(generator, kind, radiograph, mask, points_xy, longest_side)
            if made is not None:
                return made
    return draw_picture(generator, get_args(DrawnKind)[generator.integers(len(get_args(DrawnKind)))], longest_side)


def _made(
    generator: np.random.Generator,
    kind: MadeKind,
    radiograph: Image | None,
    mask: NDArray[np.uint8] | None,
    points_xy: FloatArray | None,
    longest_side: int,
) -> Image | None:
    """Make a negative from the radiograph; None if it is not suitable."""
    if radiograph is None:
        return None
    if kind == "forearm":
        return None if points_xy is None else _forearm(generator, radiograph, points_xy, longest_side)
    return None if mask is None else _erased(generator, MaskedRadiograph(radiograph, mask), longest_side)


def _erased(generator: np.random.Generator, radiograph: MaskedRadiograph, longest_side: int) -> Image | None:
    """Fill the hand from the background around it, which keeps borders and markers."""
    pixels, mask = reduce_radiograph(radiograph, longest_side)
    reach = 2 * max(1, round(generator.uniform(0.025, 0.05) * longest_side)) + 1
    hole = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))) > 0
    if not 0.03 < hole.mean() < 0.9:  # no hand, or no background
        return None
    filled = _filled_from_around(pixels, hole)
    rough = np.abs(pixels - cv2.GaussianBlur(pixels, (0, 0), 2.0))[~hole]
    grain = np.float32(max(1.48 * np.median(rough), LEAST_GRAIN))  # background without letters and borders
    filled += grain * generator.standard_normal(pixels.shape, dtype=np.float32)
    share = cv2.GaussianBlur(hole.astype(np.float32), (0, 0), reach / 6)  # a sharp edge would show the hand's shape
    return np.asarray(np.clip(pixels + share * (filled - pixels), 0, 1), dtype=np.float32)


def _filled_from_around(pixels: Image, hole: NDArray[np.bool_]) -> Image:
    """Fill holes with ever wider means of the known pixels (an image pyramid down, and up again)."""
    background = (~hole).astype(np.float32)
    levels = [(pixels * background, background)]
    while min(levels[-1][0].shape) > 1 and not levels[-1][1].all():
        levels.append((_halved(levels[-1][0]), _halved(levels[-1][1])))
    total, weight = levels[-1]
    filled = total / np.maximum(weight, 1e-6)
    for total, weight in reversed(levels[:-1]):
        wide = cv2.resize(filled, (total.shape[1], total.shape[0]), interpolation=cv2.INTER_LINEAR)
        share = np.minimum(1.0, 4.0 * weight)  # nearly unknown pixels take the wider mean
        filled = share * total / np.maximum(weight, 1e-6) + (1 - share) * wide
    return np.asarray(filled, dtype=np.float32)


def _halved(pixels: Image) -> Image:
    return np.asarray(cv2.pyrDown(pixels), dtype=np.float32)


def _forearm(
    generator: np.random.Generator, radiograph: Image, points_xy: FloatArray, longest_side: int
) -> Image | None:
    """Cut the radiograph from `FOREARM_START` beyond the capitate on, and turn it upright."""
    length = hand_length(points_xy)
    tip, _, capitate = np.asarray(points_xy, dtype=np.float64)
    if not length > 1.0:
        return None
    down = (capitate - tip) / length
    reach = _reach(capitate, down, radiograph.shape) / length
    start = FOREARM_START + generator.uniform(0, 0.5) * max(0.0, reach - FOREARM_START - 2 * _SHORTEST_FOREARM)
    if reach - start < _SHORTEST_FOREARM:
        return None
    height = (reach - start) * length
    width = min(max(height / generator.uniform(0.4, 1.6), 0.45 * length), 1.5 * length)
    across = np.array([down[1], -down[0]])
    corner = capitate + start * length * down - across * width * generator.uniform(0.4, 0.6)
    zoom = longest_side / max(height, width)
    turn = zoom * np.stack([across, down])
    upright = Transform.from_matrix(np.column_stack([turn, -turn @ corner]))
    fill = border_grey(radiograph)
    crop = sample(radiograph, upright, max(1, round(zoom * height)), max(1, round(zoom * width)), fill=fill)
    if float(crop.std()) < _LEAST_CONTRAST:
        return None
    if generator.random() < 0.5:  # on a longer radiograph, as if the hand were missing
        free = int(generator.integers(longest_side - crop.shape[0] + 1))
        above = int(generator.integers(free + 1))
        crop = np.pad(crop, ((above, free - above), (0, 0)), constant_values=fill)
    return np.clip(crop, 0, 1)


def _reach(origin_xy: NDArray[np.float64], direction: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """Return the length of a ray from a point to the radiograph's border, pixels; 0 if the point lies outside."""
    sides = np.array([shape[1], shape[0]], dtype=np.float64)
    if (origin_xy < 0).any() or (origin_xy > sides).any():
        return 0.0
    ends = np.where(direction > 0, sides - origin_xy, -origin_xy)
    turned = np.abs(direction) > 1e-9
    return float((ends[turned] / direction[turned]).min())
