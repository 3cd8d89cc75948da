"""Views for the quality network: radiographs as they are, or disturbed (`boneage.train.data.disturbances`).

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
from boneage.train.data.disturbances import Scene, draw_disturbed, scene_of
from boneage.train.data.hand_views import off_guess
from boneage.train.data.hands import HandTable
from boneage.train.recipe import Recipe

VALIDATION_EPOCH = 2**31
"""Stands for the epoch where disturbed validation views are drawn: the same ones each time."""

_MOST_KEPT = 5000
"""Reduced radiographs that are kept in memory, about 80 kB each."""


class Scenes:
    """Reduced radiographs with their hands, each made once and kept in 8 bits.

    Args:
        cache: of the radiographs' pixels.
        hands: on them.
    """

    def __init__(self, cache: RadiographCache, hands: HandTable) -> None:
        self.cache, self.hands = cache, hands
        self._kept: dict[str, tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float64]]] = {}

    def scene(self, radiograph_id: str) -> Scene:
        """Return the radiograph as it is drawn on."""
        if radiograph_id not in self._kept:
            hand = self.hands.hand(radiograph_id)

            def mask_on(to_target: Transform, shape: tuple[int, int]) -> NDArray[np.float32]:
                return mask_through(hand, to_target, shape)

            made = scene_of(self.cache.pixels(radiograph_id), hand, mask_on)
            if len(self._kept) >= _MOST_KEPT:
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
        radiographs: on which a hand was found.
        scenes: of these radiographs.
        recipe: its view and schedule.
        epoch: decides what is drawn on which radiograph; None for all of them as they are, as serving sees them.
        count: how many views are drawn from the radiographs; 0 for one of each.
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
        """Cut a view, drawn on unless there is no epoch."""
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
        """A disturbed radiograph's view, cut where a finder misled by the disturbance may have found the hand."""
        scene, labels = draw_disturbed(generator, self.scenes.scene(radiograph.id))
        try:
            guess = Hand.at(off_guess(scene.points_xy, generator))
            return quality_view(scene.pixels, guess, self.height, self.width), labels
        except Rejection:  # drawn over until one grey was left
            return self.scenes.view(radiograph.id, self.height, self.width), frozenset()
