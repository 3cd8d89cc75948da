"""Views for the quality network: unchanged radiographs, or disturbed ones (`boneage.train.data.disturbances`).

Everything random follows from (seed, epoch, index), as for ages.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from boneage.bundle.quality import QUALITY_LABELS, QualityLabel, quality_view
from boneage.errors import Rejection
from boneage.geometry import Transform
from boneage.hand.registration import Hand
from boneage.hand.views import mask_through
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.data.cache import RadiographCache
from boneage.train.data.disturbances import draw_disturbed
from boneage.train.data.hand_views import displaced_points
from boneage.train.data.hands import HandTable
from boneage.train.data.scene import Scene, scene_of
from boneage.train.recipe import Recipe

VALIDATION_EPOCH = 2**31
"""Number that replaces the epoch for disturbed validation views, which are therefore the same each time."""

_MOST_STORED = 5000
"""Largest number of reduced radiographs in memory, about 80 kB each."""


class Scenes:
    """Reduced radiographs with their hands, each made once and stored in 8 bits.

    Args:
        cache: decoded radiographs.
        hands: hands on them.
    """

    def __init__(self, cache: RadiographCache, hands: HandTable) -> None:
        self.cache, self.hands = cache, hands
        self._kept: dict[str, tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float64]]] = {}

    def scene(self, radiograph_id: str) -> Scene:
        """Return the reduced radiograph on which disturbances are drawn."""
        if radiograph_id not in self._kept:
            hand = self.hands.hand(radiograph_id)

            def mask_on(to_target: Transform, shape: tuple[int, int]) -> NDArray[np.float32]:
                return mask_through(hand, to_target, shape)

            made = scene_of(self.cache.pixels(radiograph_id), hand, mask_on)
            if len(self._kept) >= _MOST_STORED:
                self._kept.pop(next(iter(self._kept)))
            self._kept[radiograph_id] = (_short(made.pixels), _short(made.mask), made.points_xy)
        pixels, mask, points_xy = self._kept[radiograph_id]
        return Scene(pixels.astype(np.float32) / np.float32(255), points_xy, mask.astype(np.float32) / np.float32(255))

    def view(self, radiograph_id: str, height: int, width: int) -> NDArray[np.float32]:
        """Cut the view of the whole radiograph, as serving does."""
        return quality_view(self.cache.pixels(radiograph_id), self.hands.hand(radiograph_id), height, width)


def _short(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(values * 255).astype(np.uint8)


class QualityViews(Dataset[tuple[Tensor, Tensor]]):
    """Views (1, H, W) with labels (L,), 0 or 1.

    Args:
        radiographs: radiographs with a hand.
        scenes: scenes of these radiographs.
        recipe: recipe with the view and the schedule.
        epoch: number that determines the disturbances; None for unchanged views, as in serving.
        count: number of views to draw from the radiographs; 0 for one of each.
    """

    def __init__(
        self,
        radiographs: Sequence[LabelledRadiograph],
        scenes: Scenes,
        recipe: Recipe,
        *,
        epoch: int | None,
        count: int = 0,
    ) -> None:
        self.radiographs, self.scenes, self.epoch = radiographs, scenes, epoch
        self.height, self.width, self.seed = recipe.view.height, recipe.view.width, recipe.train.seed
        self.count = count or len(radiographs)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return a view, disturbed unless there is no epoch, and its labels."""
        radiograph = self.radiographs[index % len(self.radiographs)]
        labels: frozenset[QualityLabel] = frozenset()
        if self.epoch is None:
            view = self.scenes.view(radiograph.id, self.height, self.width)
        else:
            generator = np.random.default_rng((self.seed, self.epoch, index))
            if self.count != len(self.radiographs):
                radiograph = self.radiographs[int(generator.integers(len(self.radiographs)))]
            view, labels = self._drawn(radiograph, generator)
        targets = [float(label in labels) for label in QUALITY_LABELS]
        return torch.from_numpy(view)[None], torch.tensor(targets)

    def _drawn(
        self, radiograph: LabelledRadiograph, generator: np.random.Generator
    ) -> tuple[NDArray[np.float32], frozenset[QualityLabel]]:
        """Return the view of a disturbed radiograph, cut where a misled network may locate the hand."""
        scene, labels = draw_disturbed(generator, self.scenes.scene(radiograph.id))
        try:
            guess = Hand.at(displaced_points(scene.points_xy, generator))
            return quality_view(scene.pixels, guess, self.height, self.width), labels
        except Rejection:  # a cover may leave a single grey level
            return self.scenes.view(radiograph.id, self.height, self.width), frozenset()
