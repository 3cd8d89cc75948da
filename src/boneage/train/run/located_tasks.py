"""Tasks on located hands that estimate no ages: joints, outlines and image quality."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from boneage.bundle.quality import QUALITY_LABELS, QualityLimit
from boneage.hand.bones import BONES
from boneage.hand.joints import JOINT_NAMES
from boneage.hand.registration import HAND_LENGTH
from boneage.hand.views import frame_to_view
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.data.annotations import read_joints, read_masks
from boneage.train.data.epochs import batches_of
from boneage.train.data.joint_views import JointViews
from boneage.train.data.outline_views import OutlineViews
from boneage.train.data.quality_views import VALIDATION_EPOCH, QualityViews, Scenes
from boneage.train.data.splits import draw_radiographs
from boneage.train.networks.tiles import split_tiles
from boneage.train.run.losses import outline_loss, places_loss
from boneage.train.run.tasks import AnnotatedTask, Batches, LocatedTask, Watch


class JointsTask(LocatedTask, AnnotatedTask):
    """Task of the joints of registered hands."""

    measure = "error_percent"

    @cached_property
    def _joints(self) -> dict[str, NDArray[np.float64]]:
        return read_joints(Path(self.recipe.data.targets))

    def validation_views(self) -> JointViews:
        """Return views of the unchanged validation radiographs."""
        return JointViews(self.validation, self.cache, self.hands, self._joints, self.recipe)

    def batches(self, epoch: int, *, rank: int, world: int) -> Batches:
        """Return batches of views, joints and their visibility."""
        views = JointViews(self.training, self.cache, self.hands, self._joints, self.recipe, epoch=epoch)
        return batches_of(views, self.recipe, epoch=epoch, rank=rank, world=world)

    def loss(self, network: nn.Module, batch: Sequence[Tensor]) -> Tensor:
        """Return the loss of the heat maps."""
        view, points_xy, on_view = batch
        bare: Any = getattr(network, "module", network)
        located = network(view)
        half = points_xy.new_tensor([self.recipe.view.width / 2, self.recipe.view.height / 2])
        return places_loss(located.points, located.heat, points_xy, on_view, half_size=half, fold=bare.fold)

    def figures(self, predictions: Iterable[tuple[Any, Sequence[Tensor]]]) -> dict[str, float]:
        """Return the median and the 95th percentile of the errors of all joints and of each, in % of the hand's length.

        The measure is the median of all.
        """
        errors: list[NDArray[np.float64]] = []
        for located, (points_xy, on_view) in predictions:
            distances = (located.points.float().cpu() - points_xy).norm(dim=2)
            errors.append(torch.where(on_view > 0, distances, torch.nan).double().numpy())
        length = HAND_LENGTH * frame_to_view(self.recipe.view).zoom
        percent = 100 * np.concatenate(errors) / length
        figures = {
            "error_percent": float(np.nanmedian(percent)),
            "p95_percent": float(np.nanpercentile(percent, 95)),
        }
        for name, column in zip(JOINT_NAMES, percent.T, strict=True):
            measured = column[np.isfinite(column)]
            if len(measured):
                figures[f"{name}_median_percent"] = float(np.median(measured))
                figures[f"{name}_p95_percent"] = float(np.percentile(measured, 95))
        return figures


class OutlinesTask(LocatedTask, AnnotatedTask):
    """Task of the outlines of epiphyses and carpal bones, on views of single bones."""

    measure = "dice_distance"

    @cached_property
    def _masks(self) -> dict[str, Path]:
        return read_masks(Path(self.recipe.data.targets))

    def validation_views(self) -> OutlineViews:
        """Return views of the unchanged validation radiographs."""
        return OutlineViews(self.validation, self.cache, self.hands, self._masks, self.recipe)

    def batches(self, epoch: int, *, rank: int, world: int) -> Batches:
        """Return batches of views, masks and visible tiles."""
        views = OutlineViews(self.training, self.cache, self.hands, self._masks, self.recipe, epoch=epoch)
        return batches_of(views, self.recipe, epoch=epoch, rank=rank, world=world)

    def loss(self, network: nn.Module, batch: Sequence[Tensor]) -> Tensor:
        """Return the loss of the masks on the tiles that show their bones."""
        view, target, present = batch
        return outline_loss(network(view), target, present)

    def figures(self, predictions: Iterable[tuple[Any, Sequence[Tensor]]]) -> dict[str, float]:
        """Return the mean Dice coefficient of the radiographs, and for each bone that over all radiographs.

        Tiles count by the areas of the hand that they show. The measure is 1 - the mean.
        """
        common: list[Tensor] = []
        both: list[Tensor] = []
        sides = torch.tensor([bone.side for bone in BONES])
        for logits, (target, present) in predictions:
            mask, truth = split_tiles(logits.float().cpu()) > 0, split_tiles(target) > 0.5
            areas = present * (sides / mask.shape[2]) ** 2
            common.append((mask & truth).sum(dim=(2, 3)) * areas)
            both.append((mask.sum(dim=(2, 3)) + truth.sum(dim=(2, 3))) * areas)
        shared, total = torch.cat(common), torch.cat(both)
        dice = float((2 * shared.sum(dim=1) / total.sum(dim=1).clamp(min=1)).mean())
        by_bone = 2 * shared.sum(dim=0) / total.sum(dim=0).clamp(min=1)
        return {
            "dice_distance": 1 - dice,
            "dice": dice,
            **{f"{bone.name}_dice": float(one) for bone, one in zip(BONES, by_bone, strict=True)},
        }


class QualityTask(LocatedTask):
    """Task of image quality, with a label for each of `boneage.bundle.quality.QUALITY_LABELS`."""

    measure = "missed_percent"

    @cached_property
    def _scenes(self) -> Scenes:
        return Scenes(self.cache, self.hands)

    def batches(self, epoch: int, *, rank: int, world: int) -> Batches:
        """Return batches of views and labels."""
        count = self.recipe.train.views_per_epoch
        views = QualityViews(self.training, self._scenes, self.recipe, epoch=epoch, count=count)
        return batches_of(views, self.recipe, epoch=epoch, rank=rank, world=world)

    def loss(self, network: nn.Module, batch: Sequence[Tensor]) -> Tensor:
        """Return the binary cross entropy, averaged over labels."""
        view, labels = batch
        return nn.functional.binary_cross_entropy_with_logits(network(view).float(), labels)

    def validate(self, network: nn.Module, epoch: int, device: torch.device, watch: Watch) -> dict[str, float]:
        """Return the share of drawn disturbances that are missed, in %, by label and on average, and the limits.

        Limits are set on the unchanged validation radiographs (`boneage.bundle.quality.QualityLimit`). Disturbances are
        drawn on the same radiographs.
        """
        schedule = self.recipe.train
        watched_radiographs = schedule.watched_radiographs if epoch + 1 < schedule.epochs else 0
        radiographs = draw_radiographs(self.validation, watched_radiographs, schedule.seed)
        clean, _ = self._probabilities(network, radiographs, None, device, watch)
        drawn, labels = self._probabilities(network, radiographs, VALIDATION_EPOCH, device, watch)
        figures: dict[str, float] = {}
        for column, label in enumerate(QUALITY_LABELS):
            limit = QualityLimit.of(label, clean[:, column])
            shown = drawn[labels[:, column] > 0.5, column]
            missed = float((shown <= limit.caution).mean()) if len(shown) else 0.0
            figures |= {f"{label}_missed_percent": 100 * missed, f"{label}_caution": limit.caution}
            figures |= {} if limit.critical is None else {f"{label}_critical": limit.critical}
        missed_percent = float(np.mean([figures[f"{label}_missed_percent"] for label in QUALITY_LABELS]))
        return {"missed_percent": missed_percent, **figures}

    def _probabilities(
        self,
        network: nn.Module,
        radiographs: Sequence[LabelledRadiograph],
        epoch: int | None,
        device: torch.device,
        watch: Watch,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return probabilities and labels, (N, L) each, of unchanged (epoch None) or disturbed radiographs."""
        views = QualityViews(radiographs, self._scenes, self.recipe, epoch=epoch)
        rows: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
        with torch.no_grad():
            for view, labels in watch(batches_of(views, self.recipe, epoch=None)):
                probabilities = torch.sigmoid(network(view.to(device)).float())
                rows.append((probabilities.cpu().double().numpy(), labels.double().numpy()))
        return np.concatenate([row[0] for row in rows]), np.concatenate([row[1] for row in rows])
