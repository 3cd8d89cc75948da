"""Tasks of the hand networks: the mask of the hand and its key points, with their measures."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from boneage.hand.mask import whole_hand
from boneage.hand.registration import POINT_NAMES
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.data.annotations import read_key_points, read_masks
from boneage.train.data.hand_views import HandViews, MaskViews, PointViews, hand_batches
from boneage.train.run.losses import mask_loss, points_loss
from boneage.train.run.tasks import AnnotatedTask, Batches


class HandTask(AnnotatedTask):
    """Task of a hand network, which reads the annotations that the recipe names."""

    @abstractmethod
    def views(self, radiographs: Sequence[LabelledRadiograph], *, training: bool, epoch: int = 0) -> HandViews:
        """Return the views of annotated radiographs; for the arguments see `HandViews`."""

    def batches(self, epoch: int, *, rank: int, world: int) -> Batches:
        """Return batches of views and their targets."""
        return hand_batches(self.views(self.training, training=True, epoch=epoch), self.recipe, rank=rank, world=world)

    def validation_views(self) -> HandViews:
        """Return views of the unchanged validation radiographs."""
        return self.views(self.validation, training=False)


class MaskTask(HandTask):
    """Task of the hand's mask, with the loss of Iglovikov et al., Eqs. 1-3."""

    measure = "jaccard_distance"

    @cached_property
    def _masks(self) -> dict[str, Path]:
        return read_masks(Path(self.recipe.data.targets))

    def views(self, radiographs: Sequence[LabelledRadiograph], *, training: bool, epoch: int = 0) -> MaskViews:
        """Return views with masks."""
        return MaskViews(radiographs, self.cache, self.recipe, training=training, epoch=epoch, masks=self._masks)

    def loss(self, network: nn.Module, batch: Sequence[Tensor]) -> Tensor:
        """Return L = H - log J."""
        return mask_loss(network(batch[0]), batch[1])

    def figures(self, predictions: Iterable[tuple[Any, Sequence[Tensor]]]) -> dict[str, float]:
        """Return the mean and lowest IoU of the post-processed masks, and the mean distance of outlines.

        The distance is given in % of the view's longer side.
        """
        unions: list[float] = []
        distances: list[float] = []
        for logits, (labels,) in predictions:
            probabilities = torch.sigmoid(logits.float())[:, 0].cpu().numpy()
            for probability, truth in zip(probabilities, labels[:, 0].numpy() > 0.5, strict=True):
                mask = whole_hand(probability)
                unions.append(intersection_over_union(mask, truth))
                distances.append(100 * outline_distance(mask, truth) / max(mask.shape))
        iou = float(np.mean(unions))
        return {
            "jaccard_distance": 1 - iou,
            "iou": iou,
            "least_iou": min(unions),
            "outline_distance_percent": float(np.mean(distances)),
        }


class PointsTask(HandTask):
    """Task of the three key points and the number of hands."""

    measure = "error_percent"

    @cached_property
    def _points(self) -> dict[str, NDArray[np.float64]]:
        return read_key_points(Path(self.recipe.data.targets))

    def views(self, radiographs: Sequence[LabelledRadiograph], *, training: bool, epoch: int = 0) -> PointViews:
        """Return views with points, their visibility and the class of the number of hands.

        In validation, views of the registered hand start from a guess that is displaced as in training, and equally in
        each epoch.
        """
        return PointViews(radiographs, self.cache, self.recipe, training=training, epoch=epoch, points=self._points)

    def loss(self, network: nn.Module, batch: Sequence[Tensor]) -> Tensor:
        """Return the loss of `boneage.train.run.losses.points_loss`."""
        view, points_xy, on_view, hands = batch
        bare: Any = getattr(network, "module", network)
        half = points_xy.new_tensor([self.recipe.view.width / 2, self.recipe.view.height / 2])
        return points_loss(network(view), points_xy, on_view, hands, half_size=half, fold=getattr(bare, "fold", 1))

    def figures(self, predictions: Iterable[tuple[Any, Sequence[Tensor]]]) -> dict[str, float]:
        """Return the median and 95th percentile of each point's error, in % of the hand's length.

        The measure is the mean of the medians.
        """
        errors: list[NDArray[np.float64]] = []
        for located, (points_xy, _, _) in predictions:
            lengths = (points_xy[:, 0] - points_xy[:, 2]).norm(dim=1, keepdim=True)
            distances = (located.points.float().cpu() - points_xy).norm(dim=2)
            errors.append((100 * distances / lengths).double().numpy())
        all_errors = np.concatenate(errors)
        figures = {"error_percent": float(np.median(all_errors, axis=0).mean())}
        for index, name in enumerate(POINT_NAMES):
            figures[f"{name}_median_percent"] = float(np.median(all_errors[:, index]))
            figures[f"{name}_p95_percent"] = float(np.percentile(all_errors[:, index], 95))
        return figures


HAND_TASKS: Mapping[str, type[HandTask]] = {"mask": MaskTask, "points": PointsTask}
"""Tasks of the hand networks, by the recipe's name.

The tasks ``age`` and ``quality`` take the hands that these networks locate.
"""


def intersection_over_union(mask: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the Jaccard index of two masks of one shape, 0..1; 1 if both are empty."""
    mask, truth = mask.astype(bool), truth.astype(bool)
    union = int((mask | truth).sum())
    return int((mask & truth).sum()) / union if union else 1.0


def outline_distance(mask: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the mean distance, pixels, from each pixel of one mask's outline to the other outline, in both directions.

    If a mask is empty, this is the longer side of the masks.
    """
    edges = [_outline(one) for one in (mask, truth)]
    if not all(edge.any() for edge in edges):
        return float(max(mask.shape))
    away = [cv2.distanceTransform((~edge).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for edge in edges]
    return float((away[1][edges[0]].mean() + away[0][edges[1]].mean()) / 2)


def _outline(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the mask's pixels that touch its outside."""
    inside = mask.astype(np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    return (inside - cv2.erode(inside, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=1)) > 0
