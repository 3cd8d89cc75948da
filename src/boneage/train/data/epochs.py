"""Batches of views: the views of an epoch, in an order and with changes that follow from seed and epoch only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from boneage.arrays import Image
from boneage.hand.bones import BONES, cut_bones, tile_sides
from boneage.hand.registration import Hand
from boneage.hand.views import GreyScale, ViewSpec, cut_view
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.data.augment import draw_change, draw_exponent, with_gamma
from boneage.train.data.cache import RadiographCache
from boneage.train.data.hands import HandTable
from boneage.train.data.lost_detail import with_lost_detail
from boneage.train.recipe import Augmentation, Recipe

Batch = tuple[Tensor, Tensor, Tensor]
"""Batch: views (N, 1, H, W) float32, one-hot sexes (N, 2), ages in months (N,)."""


class EpochViews(Dataset[tuple[Tensor, ...]]):
    """Views of one epoch.

    Args:
        radiographs: radiographs of the split.
        cache: decoded radiographs.
        spec: the view.
        augment: augmentation of training; None to cut as in serving.
        seed, epoch: numbers that determine the augmentation.
        hands: hands on the radiographs; needed for views of the registered frame.
    """

    def __init__(
        self,
        radiographs: Sequence[LabelledRadiograph],
        cache: RadiographCache,
        spec: ViewSpec,
        augment: Augmentation | None = None,
        *,
        seed: int = 0,
        epoch: int = 0,
        hands: HandTable | None = None,
    ) -> None:
        self.hands = hands
        self.radiographs, self.cache, self.spec, self.augment = radiographs, cache, spec, augment
        self.seed, self.epoch = seed, epoch

    def __len__(self) -> int:
        return len(self.radiographs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the view (1, H, W), the sex (2,) and the age in months ()."""
        radiograph = self.radiographs[index]
        hand = None if self.hands is None else self.hands.hand(radiograph.id)
        pixels, grey = self.cache.pixels(radiograph.id), self.cache.grey(radiograph.id, self.spec.grey, hand)
        if self.spec.region == "bones" and hand is not None:
            view = self._bones(pixels, hand, grey, index)
        elif self.augment is None:
            view = cut_view(pixels, self.spec, hand=hand, grey=grey)
        else:
            generator = np.random.default_rng((self.seed, self.epoch, index))
            change = draw_change(self.augment, self.spec.height, self.spec.width, generator)
            view = change.shade(cut_view(pixels, self.spec, hand=hand, grey=grey, jitter=change.jitter))
        age = torch.tensor(radiograph.boneage_months, dtype=torch.float32)
        return torch.from_numpy(view)[None], torch.from_numpy(radiograph.sex.one_hot()), age

    def _bones(self, pixels: Image, hand: Hand, grey: GreyScale, index: int) -> Image:
        """Return the view of all bones, or of some, each changed by itself."""
        if self.augment is None:
            return cut_bones(pixels, self.spec, hand, grey).view
        generator = np.random.default_rng((self.seed, self.epoch, index))
        height, width = tile_sides(self.spec)
        changes = [draw_change(self.augment, height, width, generator) for _ in BONES]
        shown = np.ones(len(BONES), np.bool_)
        if self.augment.most_bones:
            count = int(generator.integers(self.augment.fewest_bones, self.augment.most_bones + 1))
            shown = generator.permutation(len(BONES)) < count
        exponent = draw_exponent(self.augment, generator)
        jitters = [change.jitter for change in changes]
        if self.augment.lost_detail and generator.random() < self.augment.lost_detail:
            pixels = with_lost_detail(pixels, hand.length_pixels, grey.high - grey.low, generator)
        view = cut_bones(pixels, self.spec, hand, grey, jitters=jitters, shown=shown).view
        return changes[0].shade(with_gamma(view, grey, exponent) if self.augment.gamma else view)


class EpochOrder(Sampler[int]):
    """Random order of an epoch, cut into equal shares for the processes of a run; the remainder is dropped."""

    def __init__(self, count: int, *, seed: int, epoch: int, rank: int = 0, world: int = 1) -> None:
        order = np.random.default_rng((seed, epoch)).permutation(count)
        self.indices: list[int] = order[: count - count % world][rank::world].tolist()

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)


def training_batches(
    radiographs: Sequence[LabelledRadiograph],
    cache: RadiographCache,
    recipe: Recipe,
    epoch: int,
    *,
    hands: HandTable | None = None,
    rank: int = 0,
    world: int = 1,
) -> DataLoader[tuple[Tensor, ...]]:
    """Return the batches of a training epoch, reshuffled (section IV-B); an incomplete last one is dropped."""
    height, width = recipe.size_at(epoch)
    spec = replace(recipe.view, height=height, width=width)
    views = EpochViews(radiographs, cache, spec, recipe.augment, seed=recipe.train.seed, epoch=epoch, hands=hands)
    return batches_of(views, recipe, epoch=epoch, rank=rank, world=world)


def batches_of(
    views: Dataset[tuple[Tensor, ...]], recipe: Recipe, *, epoch: int | None, rank: int = 0, world: int = 1
) -> DataLoader[tuple[Tensor, ...]]:
    """Return the batches of views whose number is fixed.

    Args:
        views: views to batch.
        recipe: recipe with the batch size, the seed and the number of processes that cut views.
        epoch: epoch of training, whose batches are reshuffled and shared, without an incomplete last one; None for the
            views in their order.
        rank: rank of this process.
        world: number of processes.
    """
    size, workers = recipe.train.batch_size, recipe.train.workers
    if epoch is None:
        return DataLoader(views, batch_size=size, num_workers=workers, worker_init_fn=single_threaded)
    count = len(views)  # type: ignore[arg-type]  # torch's class declares no length
    order = EpochOrder(count, seed=recipe.train.seed, epoch=epoch, rank=rank, world=world)
    return DataLoader(
        views,
        batch_size=size,
        sampler=order,
        drop_last=len(order) > size,
        num_workers=workers,
        worker_init_fn=single_threaded,
    )


def validation_batches(
    radiographs: Sequence[LabelledRadiograph],
    cache: RadiographCache,
    spec: ViewSpec,
    *,
    hands: HandTable | None = None,
    batch_size: int,
    workers: int,
) -> DataLoader[tuple[Tensor, ...]]:
    """Return batches of unchanged views, in the radiographs' order."""
    views = EpochViews(radiographs, cache, spec, hands=hands)
    return DataLoader(views, batch_size=batch_size, num_workers=workers, worker_init_fn=single_threaded)


def single_threaded(_worker: int) -> None:
    """Disable OpenCV's threads in a process that cuts views; they would slow down the other processes."""
    cv2.setNumThreads(0)
