"""Mask of one hand from a network's probabilities (Iglovikov et al., section 2)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

THRESHOLD = 0.85
"""Network output above which a pixel lies in the hand.

The networks are trained with L = H - log J (Eqs. 1-3). For a pixel that lies in the hand with probability q, the output
p of least loss solves q (1 / p + 1 / J) = (1 - q) / (1 - p): the second term raises outputs. J is at most the share of
a batch's pixels that lie in hands. It ended near 0.2 (a training loss of 1.66), and q = 1/2 then gives p = 0.84. At a
threshold of 0.5, masks were 4 % too large, and each round of mining would add to that.
"""


def whole_hand(probability: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return the largest connected component above the threshold, with its holes filled.

    Args:
        probability: Output of the mask network (h, w), 0..1.

    Returns:
        Mask, uint8 (h, w) of 0 and 1; all 0 if no pixel exceeds the threshold.
    """
    return filled(components(probability > THRESHOLD)[:1].sum(axis=0, dtype=np.uint8))


def components(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the connected components (8 neighbours) of a mask (h, w), uint8 (n, h, w) of 0 and 1, largest first."""
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    order = 1 + np.argsort(-statistics[1:, cv2.CC_STAT_AREA], kind="stable")
    if count == 1:
        return np.zeros((0, *mask.shape), np.uint8)
    return np.stack([labels == label for label in order]).astype(np.uint8)


def filled(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a mask (h, w) with its holes filled: pixels that are not connected to the picture's border."""
    around = np.pad(1 - mask, 1, constant_values=1)
    cv2.floodFill(around, None, (0, 0), 2, flags=4)
    return np.asarray(around[1:-1, 1:-1] != 2, dtype=np.uint8)


def widened(mask: NDArray[np.uint8], pixels: float) -> NDArray[np.uint8]:
    """Return a mask (h, w) of 0 and 1 with its border moved outwards by this number of its own pixels."""
    outside = np.asarray(cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_5))
    return (outside <= pixels).astype(np.uint8)
