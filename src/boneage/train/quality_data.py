"""Views for the quality network: radiographs as they are, or disturbed (`boneage.train.disturbances`).

Everything random follows from (seed, epoch, index), as for ages.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from boneage.errors import Refusal
from boneage.films import LabelledFilm
from boneage.geometry import Transform
from boneage.quality import QUALITY_LABELS, QualityLabel, quality_view
from boneage.registration import Hand
from boneage.train.cache import FilmCache
from boneage.train.data import EpochOrder, single_threaded
from boneage.train.disturbances import draw_disturbed, scene_of
from boneage.train.hand_data import off_guess
from boneage.train.hands import HandTable
from boneage.train.recipe import Recipe
from boneage.views import mask_through

VALIDATION_EPOCH = 2**31
"""Stands for the epoch where disturbed validation views are drawn: the same ones each time."""


class QualityViews(Dataset[tuple[Tensor, Tensor]]):
    """Views (1, H, W) with labels (L,), 0 or 1.

    Args:
        films: on which a hand was found.
        cache: of their pixels.
        hands: on them.
        recipe: its view and schedule.
        epoch: decides what is drawn on which radiograph; None for all of them as they are, as serving sees them.
        count: how many views are drawn from the films; 0 for one of each.
    """

    def __init__(
        self,
        films: Sequence[LabelledFilm],
        cache: FilmCache,
        hands: HandTable,
        recipe: Recipe,
        *,
        epoch: int | None,
        count: int = 0,
    ) -> None:
        self.films, self.cache, self.hands, self.epoch = films, cache, hands, epoch
        self.height, self.width, self.seed = recipe.view.height, recipe.view.width, recipe.train.seed
        self.count = count or len(films)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Cut a view, drawn on unless there is no epoch."""
        film = self.films[index % len(self.films)]
        labels: frozenset[QualityLabel] = frozenset()
        if self.epoch is None:
            pixels, hand = self.cache.pixels(film.id), self.hands.hand(film.id)
            view = quality_view(pixels, hand, self.height, self.width)
        else:
            generator = np.random.default_rng((self.seed, self.epoch, index))
            if self.count != len(self.films):
                film = self.films[int(generator.integers(len(self.films)))]
            view, labels = self._drawn(film, generator)
        targets = [float(label in labels) for label in QUALITY_LABELS]
        return torch.from_numpy(view)[None], torch.tensor(targets)

    def _drawn(
        self, film: LabelledFilm, generator: np.random.Generator
    ) -> tuple[NDArray[np.float32], frozenset[QualityLabel]]:
        """A disturbed radiograph's view, cut where a finder misled by the disturbance may have found the hand."""
        pixels, hand = self.cache.pixels(film.id), self.hands.hand(film.id)

        def mask_on(to_target: Transform, shape: tuple[int, int]) -> NDArray[np.float32]:
            return mask_through(hand, to_target, shape)

        scene, labels = draw_disturbed(generator, scene_of(pixels, hand, mask_on))
        try:
            guess = Hand.at(off_guess(scene.points_xy, generator))
            return quality_view(scene.pixels, guess, self.height, self.width), labels
        except Refusal:  # drawn over until one grey was left
            return quality_view(pixels, hand, self.height, self.width), frozenset()


def quality_batches(
    views: QualityViews, recipe: Recipe, *, shuffled: bool, rank: int = 0, world: int = 1
) -> DataLoader[tuple[Tensor, ...]]:
    """Make the batches of some views: of one epoch of training, shuffled and shared, or in the films' order."""
    size, workers = recipe.train.batch_size, recipe.train.workers
    if not shuffled:
        return DataLoader(views, batch_size=size, num_workers=workers, worker_init_fn=single_threaded)
    order = EpochOrder(len(views), seed=recipe.train.seed, epoch=views.epoch or 0, rank=rank, world=world)
    return DataLoader(
        views,
        batch_size=size,
        sampler=order,
        drop_last=len(order) > size,
        num_workers=workers,
        worker_init_fn=single_threaded,
    )
