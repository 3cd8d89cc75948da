"""Views of registered hands with the places of their joints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from boneage.hand.views import cut_view, view_transform
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.data.augment import draw_change, draw_exponent, with_gamma
from boneage.train.data.cache import RadiographCache
from boneage.train.data.hands import HandTable
from boneage.train.recipe import Recipe


class JointViews(Dataset[tuple[Tensor, ...]]):
    """Views (1, H, W) with joints (J, 2) in pixels of the view, and their visibility (J,).

    Everything random follows from (seed, epoch, index), as for ages. Radiographs are drawn in proportion to the number
    of their annotated joints.

    Args:
        radiographs: annotated radiographs with a hand.
        cache: decoded radiographs.
        hands: hands on the radiographs.
        joints: joints by the radiograph's id, (J, 2), as fractions of width and height; NaN where one is missing.
        recipe: recipe with the view, and the augmentation of training.
        epoch: number that determines the augmentation; None for views of the unchanged radiographs, each once.
    """

    def __init__(
        self,
        radiographs: Sequence[LabelledRadiograph],
        cache: RadiographCache,
        hands: HandTable,
        joints: Mapping[str, NDArray[np.float64]],
        recipe: Recipe,
        *,
        epoch: int | None = None,
    ) -> None:
        self.radiographs, self.cache, self.hands, self.joints = radiographs, cache, hands, joints
        self.recipe, self.epoch = recipe, epoch
        drawn = 0 if epoch is None else recipe.train.views_per_epoch
        self.count = drawn or len(radiographs)
        annotated = np.array([np.isfinite(joints[one.id][:, 0]).sum() for one in radiographs], np.float64)
        self._shares = annotated / annotated.sum()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        """Return the view, its joints, and 1 for each joint that is annotated and lies on the view."""
        spec, generator = self.recipe.view, np.random.default_rng((self.recipe.train.seed, self.epoch or 0, index))
        drawn = self.count != len(self.radiographs)
        radiograph = self.radiographs[generator.choice(len(self.radiographs), p=self._shares) if drawn else index]
        pixels, hand = self.cache.pixels(radiograph.id), self.hands.hand(radiograph.id)
        grey = self.cache.grey(radiograph.id, spec.grey, hand)
        shape = (pixels.shape[0], pixels.shape[1])
        to_view = view_transform(shape, spec, hand)
        if self.epoch is None:
            view = cut_view(pixels, spec, hand=hand, grey=grey)
        else:
            change = draw_change(self.recipe.augment, spec.height, spec.width, generator)
            exponent = draw_exponent(self.recipe.augment, generator)
            view = with_gamma(cut_view(pixels, spec, hand=hand, grey=grey, jitter=change.jitter), grey, exponent)
            view = change.shade(view)
            to_view = to_view.then(change.jitter)
        points_xy = to_view.points(self.joints[radiograph.id] * (shape[1], shape[0]))
        with np.errstate(invalid="ignore"):  # missing joints are NaN, and are not on the view
            on_view = np.all((points_xy >= 0) & (points_xy < (spec.width, spec.height)), axis=1)
        points_xy = np.where(on_view[:, None], points_xy, 0.0)
        return (
            torch.from_numpy(view)[None],
            torch.from_numpy(points_xy.astype(np.float32)),
            torch.from_numpy(on_view.astype(np.float32)),
        )
