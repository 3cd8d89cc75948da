"""Measures of lost detail: blur, and the blocks of a strongly compressed JPEG file.

Both change an estimate by a year and more, although the hand is located and every bone seems to be there.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.hand.registration import Hand
from boneage.hand.views import GreyScale, ViewSpec, cut_view, mask_through, view_transform
from boneage.image_pyramid import ImagePyramid, ImageSource

_VIEW = ViewSpec("A", 256, 192, "hand")
"""The whole hand, at about the size at which the networks read it."""

_SCALES = (0.7, 1.4, 2.8)
"""Standard deviations of the smoothing kernels, pixels of the view, between which detail is measured."""

_LEAST_DETAIL = 1e-4
"""Least detail, in units of the view, which has a spread of 1."""

_KERNEL = 19
"""Length of the smoothing kernels, pixels of the view."""

_EDGE = 10
"""Width of the kernel that narrows the mask, pixels of the view, since the edge of the skin is no detail of bones."""

_JPEG_BLOCK = 8
"""Side of a block of a JPEG file, pixels (ISO/IEC 10918-1)."""

_STRONGEST_STEP = 0.05
"""Step between neighbouring pixels that counts at most, as a share of the hand's grey range. Edges of bones and
collimators are steeper, and do not lie on a grid."""


_HAND_OF_BLOCKS = 60
"""Largest length of a hand, in blocks of a JPEG file, at which blocks matter. In a larger hand, a block is hardly more
than one pixel of a view."""

_LOST_BLUR, _LOST_BLOCKS = 0.71, 3.0
"""Limits from which detail is lost. Of 997 validation radiographs, 5 lie above the first, and 2 above the second. They
are lower than those of the warnings, since the networks that then read the radiograph are hardly less accurate."""

_LEAST_STEP = 5e-5
"""Mean step that is added on and off the grid, as a share of the grey range, so that an even image has no blocks."""


@dataclass(frozen=True)
class Detail:
    """Measures of lost detail of a radiograph.

    Attributes:
        blur: see `blur`.
        blockiness: see `blockiness`; 1 for a hand so large that blocks do not matter.
    """

    blur: float
    blockiness: float

    @classmethod
    def of(cls, source: ImageSource, hand: Hand, grey: GreyScale) -> Detail:
        """Measure the detail of a hand on a radiograph.

        Args:
            source: radiograph, float32 (H, W), 0..1, or its pyramid.
            hand: hand on the radiograph.
            grey: grey scale of the hand (rule ``hand``).
        """
        small = hand.length_pixels < _HAND_OF_BLOCKS * _JPEG_BLOCK
        return cls(blur(source, hand, grey), blockiness(ImagePyramid.of(source).pixels, grey) if small else 1.0)

    @property
    def is_lost(self) -> bool:
        """True if networks that were trained on lost detail read the radiograph better than the others."""
        return self.blur > _LOST_BLUR or self.blockiness > _LOST_BLOCKS


def blur(source: ImageSource, hand: Hand, grey: GreyScale) -> float:
    """Return how much of the hand's detail is lost, as a natural logarithm.

    It is the detail of 3 to 6 pixels of the view (1.4 to 2.8 pixels of standard deviation) over that of half the size,
    along the fingers or across them, whichever lost more: a movement blurs along its path only. Noise lowers it, so
    that a blurred radiograph with strong noise on it is not detected.

    Args:
        source: radiograph, float32 (H, W), 0..1, or its pyramid.
        hand: hand on the radiograph.
        grey: grey scale of the hand (rule ``hand``).

    Returns:
        About 0.5 for a sharp radiograph, up to 1.3 for a blurred one; 0 if the hand shows no detail at all.
    """
    view = cut_view(source, _VIEW, hand=hand, grey=grey)
    mask = mask_through(hand, view_transform((source.shape[0], source.shape[1]), _VIEW, hand), view.shape)
    inside = cv2.erode((mask > 0.5).astype(np.uint8), np.ones((_EDGE, _EDGE), np.uint8)) > 0
    if not inside.any():
        return 0.0
    return max(_blur_along(one, part) for one, part in ((view, inside), (view.T, inside.T)))


def _blur_along(view: NDArray[np.float32], inside: NDArray[np.bool_]) -> float:
    """Return the logarithm for detail within rows."""
    rows = np.ascontiguousarray(view)
    fine, middle, coarse = (cv2.GaussianBlur(rows, (_KERNEL, 1), scale) for scale in _SCALES)
    small, large = (float(np.abs(part[inside]).mean()) for part in (fine - middle, middle - coarse))
    return float(np.log(large / small)) if min(small, large) > _LEAST_DETAIL else 0.0


def blockiness(pixels: NDArray[np.float32], grey: GreyScale) -> float:
    """Return how much stronger steps between pixels are on a grid of 8 pixels than elsewhere, in both directions.

    A step is measured against the steps beside it. The grid may begin anywhere, as on a radiograph that was cut.

    Args:
        pixels: radiograph, float32 (H, W), 0..1.
        grey: grey scale of the hand (rule ``hand``).

    Returns:
        The ratio in the direction in which it is lower, at least 1; 1 for a radiograph of fewer than two blocks.
    """
    return min(_blockiness_across(one, grey.high - grey.low) for one in (pixels, pixels.T))


def _blockiness_across(pixels: NDArray[np.float32], grey_range: float) -> float:
    """Return the ratio for steps between neighbouring rows."""
    steps = np.abs(np.diff(pixels, axis=0)) / np.float32(grey_range)
    if len(steps) < 2 * _JPEG_BLOCK:
        return 1.0
    alone = np.clip(steps[1:-1] - (steps[:-2] + steps[2:]) / 2, 0, _STRONGEST_STEP).mean(axis=1)
    by_phase = np.array([alone[phase::_JPEG_BLOCK].mean() for phase in range(_JPEG_BLOCK)])
    return float((by_phase.max() + _LEAST_STEP) / (np.median(by_phase) + _LEAST_STEP))
