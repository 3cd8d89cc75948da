"""Correlation of radiographs with plates, which shows that no plate reproduces one radiograph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boneage.geometry import downsample_area
from boneage.hand.mask import components, filled
from boneage.hand.registration import Hand
from boneage.hand.views import measure_grey
from boneage.train.atlas.mean_hand import (
    PLATE_HEIGHT,
    PLATE_WIDTH,
    RegisteredRadiograph,
)

_HAND_LEVEL = 8
"""Grey level (of 255) above which a plate's pixel belongs to the hand."""

_CHECKED_FACTOR = 2
"""Reduction of plates for the comparison, which is then at about the radiographs' own resolution."""


def radiograph_correlations(
    pictures: Sequence[NDArray[np.uint8]], pixels: NDArray[np.float32], hand: Hand
) -> NDArray[np.float64]:
    """Return the correlation of a radiograph's registered view with plates, over the pixels of each plate's hand.

    The radiograph is registered by its key points, like plates, without deformation. Pixels outside its own hand's mask
    or outside the radiograph are black. Both are compared at half of the plates' size.

    Args:
        pictures: plates, uint8 (PLATE_HEIGHT, PLATE_WIDTH) each.
        pixels: the radiograph, float32 (H, W), 0..1.
        hand: hand on it.

    Returns:
        (number of plates,), -1..1.
    """
    return PlateStack.of(pictures).correlations(pixels, hand)


@dataclass(frozen=True)
class PlateStack:
    """Plates for comparison with radiographs.

    Attributes:
        inside: float32 (plates, pixels), 1 on each plate's hand, else 0.
        unit: float32 (plates, pixels), grey levels on the hand with mean 0 and length 1, 0 elsewhere.
    """

    inside: NDArray[np.float32]
    unit: NDArray[np.float32]

    @classmethod
    def of(cls, pictures: Sequence[NDArray[np.uint8]]) -> PlateStack:
        """Prepare plates, uint8 (PLATE_HEIGHT, PLATE_WIDTH) each, for comparison."""
        inside, units = [], []
        for picture in pictures:
            small = downsample_area(picture.astype(np.float32), 1 / _CHECKED_FACTOR)
            bright = components(small > _HAND_LEVEL)
            mask = (filled(bright[0]) if len(bright) else np.zeros(small.shape, np.uint8)).ravel() > 0
            unit = np.where(mask, small.ravel() - (small.ravel()[mask].mean() if mask.any() else 0), 0)
            inside.append(mask.astype(np.float32))
            units.append(unit / max(float(np.linalg.norm(unit)), 1e-6))
        return cls(np.stack(inside), np.stack(units).astype(np.float32))

    def correlations(self, pixels: NDArray[np.float32], hand: Hand) -> NDArray[np.float64]:
        """Return the correlations of one radiograph; see `radiograph_correlations`."""
        radiograph = RegisteredRadiograph(pixels, hand, measure_grey(pixels, "hand", hand))
        still = np.zeros((PLATE_HEIGHT // _CHECKED_FACTOR, PLATE_WIDTH // _CHECKED_FACTOR, 2), np.float32)
        view = radiograph.on_plate(still, _CHECKED_FACTOR)[0].ravel()
        view = view - view.mean()
        count = np.maximum(self.inside.sum(axis=1), 1)
        squares = self.inside @ view**2 - (self.inside @ view) ** 2 / count
        return np.asarray(self.unit @ view / np.sqrt(np.maximum(squares, 1e-6)), np.float64)
