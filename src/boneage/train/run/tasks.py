"""Training tasks: ages, the mask of the hand, its key points, and image quality.

A task defines its views, loss and measure. The training loop (`boneage.train.run.loop`) defines the epochs and writes
the record.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from boneage.bundle.quality import QUALITY_LABELS, QualityLimit
from boneage.evaluate.metrics import concordance, mean_absolute_difference
from boneage.hand.joints import JOINT_NAMES
from boneage.hand.mask import whole_hand
from boneage.hand.registration import HAND_LENGTH, POINT_NAMES
from boneage.hand.views import frame_to_view
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.data.annotations import read_joints, read_key_points, read_masks
from boneage.train.data.cache import RadiographCache
from boneage.train.data.epochs import batches_of, training_batches, validation_batches
from boneage.train.data.hand_views import HandViews, MaskViews, PointViews, hand_batches
from boneage.train.data.hands import HandTable
from boneage.train.data.joint_views import JointViews
from boneage.train.data.quality_views import VALIDATION_EPOCH, QualityViews, Scenes
from boneage.train.data.splits import draw_radiographs
from boneage.train.networks.layers import AgeNetwork, memory_format
from boneage.train.recipe import Recipe
from boneage.train.run.losses import label_distribution_loss, mask_loss, places_loss, points_loss

Batches = DataLoader[tuple[Tensor, ...]]

Watch = Callable[[Iterable[Any]], Iterable[Any]]

_LOSSES = {"mae": nn.functional.l1_loss, "mse": nn.functional.mse_loss}

_OLDEST_MONTHS = 240.0

BONE_SHARE = 0.5
"""Weight of the ages of single bones beside the age of the hand."""


@dataclass(frozen=True)
class AgeUnit:
    """Unit of ages in training: a number of spreads above the mean.

    Attributes:
        mean_months: mean, months.
        spread_months: spread, months.
    """

    mean_months: float
    spread_months: float

    @classmethod
    def of(cls, radiographs: Sequence[LabelledRadiograph]) -> AgeUnit:
        """Return the unit given by the mean and spread of the radiographs' ages."""
        ages = np.array([radiograph.boneage_months for radiograph in radiographs])
        return cls(float(ages.mean()), float(ages.std()) or 1.0)

    @classmethod
    def of_range(cls) -> AgeUnit:
        """Return the unit in which 0 to 240 months are -1 to 1 (Iglovikov et al., section 4.1)."""
        return cls(_OLDEST_MONTHS / 2, _OLDEST_MONTHS / 2)

    def to_months(self, ages: Tensor) -> Tensor:
        """Convert ages of this unit to months."""
        return ages * self.spread_months + self.mean_months

    def from_months(self, months: Tensor) -> Tensor:
        """Convert months to this unit."""
        return (months - self.mean_months) / self.spread_months


class Task(ABC):
    """Training task with its radiographs.

    Args:
        recipe: recipe of the run.
        training, validation: readable radiographs.
        cache: decoded radiographs.

    Attributes:
        measure: column by which epochs are compared, a key of `boneage.train.run.curve.MEASURES`.
    """

    measure: ClassVar[str]

    def __init__(
        self,
        recipe: Recipe,
        training: Sequence[LabelledRadiograph],
        validation: Sequence[LabelledRadiograph],
        cache: RadiographCache,
    ) -> None:
        self.recipe, self.training, self.validation, self.cache = recipe, training, validation, cache

    def record(self) -> dict[str, Any]:
        """Return the keys of ``recipe.json`` beyond the recipe and the radiographs' identifiers; none by default."""
        return {}

    @abstractmethod
    def batches(self, epoch: int, *, rank: int, world: int) -> Batches:
        """Return the training batches of an epoch."""

    @abstractmethod
    def loss(self, network: nn.Module, batch: Sequence[Tensor]) -> Tensor:
        """Return the loss of a batch on the network's device."""

    @abstractmethod
    def validate(self, network: nn.Module, epoch: int, device: torch.device, watch: Watch) -> dict[str, float]:
        """Return figures on unchanged views of the validation radiographs, with the measure among them.

        The network is in evaluation mode. It computes in single precision, as the exported network does, whatever the
        precision of training.

        Args:
            network: network to validate.
            epoch: number of the epoch, from 0.
            device: device of the network.
            watch: wraps the batches, so that Ctrl-C stops between two of them.
        """


class AgeTask(Task):
    """Task of ages, estimated on radiographs or on the registered hands on them."""

    measure = "mad_months"

    def __init__(
        self,
        recipe: Recipe,
        training: Sequence[LabelledRadiograph],
        validation: Sequence[LabelledRadiograph],
        cache: RadiographCache,
        hands: HandTable | None = None,
    ) -> None:
        super().__init__(recipe, training, validation, cache)
        self.hands = hands
        self.unit = AgeUnit.of_range() if recipe.train.age_unit == "range" else AgeUnit.of(training)

    def record(self) -> dict[str, Any]:
        """Return the unit, the labels, and the fingerprint of the networks that located the hands."""
        hands = {} if self.hands is None else {"hands": self.hands.fingerprint}
        return {"age_unit": asdict(self.unit), "labels": radiograph_labels([*self.training, *self.validation]), **hands}

    def batches(self, epoch: int, *, rank: int, world: int) -> Batches:
        """Return batches of views, sexes and ages in months."""
        return training_batches(self.training, self.cache, self.recipe, epoch, hands=self.hands, rank=rank, world=world)

    def loss(self, network: nn.Module, batch: Sequence[Tensor]) -> Tensor:
        """Return the absolute or squared difference of ages plus the network's own penalty.

        The loss ``label-distribution`` is the divergence of the distributions plus the absolute difference of their
        expectation.
        """
        views, sexes, months = batch
        schedule = self.recipe.train
        bare: Any = getattr(network, "module", network)
        penalty: Tensor = bare.penalty()
        target = self.unit.from_months(months)
        if schedule.loss != "label-distribution":
            return _LOSSES[schedule.loss](network(views, sexes).float(), target) + penalty
        log_distribution: Tensor = cast("Any", network).log_distribution(views, sexes)
        expected = bare.head.expectation_of(log_distribution)
        divergence = label_distribution_loss(log_distribution, months, schedule.label_spread)
        return divergence + nn.functional.l1_loss(expected, target) + penalty

    def validate(self, network: nn.Module, epoch: int, device: torch.device, watch: Watch) -> dict[str, float]:
        """Return MAD (months) and CCC on views of this epoch's size.

        The last epoch of the recipe uses all validation radiographs. Others use ``watched_radiographs`` of them.
        """
        height, width = self.recipe.size_at(epoch)
        spec = replace(self.recipe.view, height=height, width=width)
        schedule = self.recipe.train
        watched_radiographs = schedule.watched_radiographs if epoch + 1 < schedule.epochs else 0
        radiographs = draw_radiographs(self.validation, watched_radiographs, schedule.seed)
        batches = validation_batches(
            radiographs, self.cache, spec, hands=self.hands, batch_size=64, workers=schedule.workers
        )
        assert isinstance(network, AgeNetwork)  # noqa: S101 - built by `build_network`; for the type checker
        months = predict(network, watch(batches), self.unit, device)
        labels = np.array([radiograph.boneage_months for radiograph in radiographs])
        return {
            "mad_months": float(mean_absolute_difference(labels, months)),
            "ccc": float(concordance(labels, months)),
        }


class BoneAgeTask(AgeTask):
    """Task of ages on views of single bones: the age of the hand, and the age of each bone."""

    def loss(self, network: nn.Module, batch: Sequence[Tensor]) -> Tensor:
        """Return the loss of the hand's distribution plus the mean loss of those of the bones that are shown."""
        views, sexes, months = batch
        bare: Any = getattr(network, "module", network)
        hand, bones, present = cast("Any", network).log_distributions(views, sexes)
        by_bone = months[:, None].expand(present.shape)[present]
        of_bones = self._loss_of(bare, bones[present], by_bone)
        return self._loss_of(bare, hand, months) + BONE_SHARE * of_bones

    def _loss_of(self, network: Any, log_distribution: Tensor, months: Tensor) -> Tensor:
        """Return divergence and absolute difference of the expectation, for distributions (M, 240) and labels (M,)."""
        divergence = label_distribution_loss(log_distribution, months, self.recipe.train.label_spread)
        expected = network.head.expectation_of(log_distribution)
        return divergence + nn.functional.l1_loss(expected, self.unit.from_months(months))


class HandTask(Task):
    """Task of a hand network, which reads the annotations that the recipe names."""

    @abstractmethod
    def views(self, radiographs: Sequence[LabelledRadiograph], *, training: bool, epoch: int = 0) -> HandViews:
        """Return the views of annotated radiographs; for the arguments see `HandViews`."""

    @abstractmethod
    def figures(self, predictions: Iterable[tuple[Any, Sequence[Tensor]]]) -> dict[str, float]:
        """Return the figures of a validation.

        Args:
            predictions: outputs of the network and targets, by batch. They are consumed once.
        """

    def batches(self, epoch: int, *, rank: int, world: int) -> Batches:
        """Return batches of views and their targets."""
        return hand_batches(self.views(self.training, training=True, epoch=epoch), self.recipe, rank=rank, world=world)

    @torch.no_grad()
    def validate(self, network: nn.Module, epoch: int, device: torch.device, watch: Watch) -> dict[str, float]:
        """Return the figures on all validation radiographs."""
        batches = hand_batches(self.views(self.validation, training=False), self.recipe)
        return self.figures((network(view.to(device)), targets) for view, *targets in watch(batches))


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


class JointsTask(Task):
    """Task of the joints of registered hands."""

    measure = "error_percent"

    def __init__(
        self,
        recipe: Recipe,
        training: Sequence[LabelledRadiograph],
        validation: Sequence[LabelledRadiograph],
        cache: RadiographCache,
        hands: HandTable,
    ) -> None:
        super().__init__(recipe, training, validation, cache)
        self.hands = hands
        self.joints = read_joints(Path(recipe.data.targets))

    def record(self) -> dict[str, Any]:
        """Return the fingerprint of the networks that located the hands."""
        return {"hands": self.hands.fingerprint}

    def batches(self, epoch: int, *, rank: int, world: int) -> Batches:
        """Return batches of views, joints and their visibility."""
        views = JointViews(self.training, self.cache, self.hands, self.joints, self.recipe, epoch=epoch)
        return batches_of(views, self.recipe, epoch=epoch, rank=rank, world=world)

    def loss(self, network: nn.Module, batch: Sequence[Tensor]) -> Tensor:
        """Return the loss of the heat maps."""
        view, points_xy, on_view = batch
        bare: Any = getattr(network, "module", network)
        located = network(view)
        half = points_xy.new_tensor([self.recipe.view.width / 2, self.recipe.view.height / 2])
        return places_loss(located.points, located.heat, points_xy, on_view, half_size=half, fold=bare.fold)

    @torch.no_grad()
    def validate(self, network: nn.Module, epoch: int, device: torch.device, watch: Watch) -> dict[str, float]:
        """Return the median and the 95th percentile of the errors of all joints and of each, in % of the hand's length.

        The measure is the median of all.
        """
        views = JointViews(self.validation, self.cache, self.hands, self.joints, self.recipe)
        errors: list[NDArray[np.float64]] = []
        for view, points_xy, on_view in watch(batches_of(views, self.recipe, epoch=None)):
            distances = (network(view.to(device)).points.float().cpu() - points_xy).norm(dim=2)
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


class QualityTask(Task):
    """Task of image quality, with a label for each of `boneage.bundle.quality.QUALITY_LABELS`."""

    measure = "missed_percent"

    def __init__(
        self,
        recipe: Recipe,
        training: Sequence[LabelledRadiograph],
        validation: Sequence[LabelledRadiograph],
        cache: RadiographCache,
        hands: HandTable,
    ) -> None:
        super().__init__(recipe, training, validation, cache)
        self.scenes = Scenes(cache, hands)

    def record(self) -> dict[str, Any]:
        """Return the fingerprint of the networks that located the hands."""
        return {"hands": self.scenes.hands.fingerprint}

    def batches(self, epoch: int, *, rank: int, world: int) -> Batches:
        """Return batches of views and labels."""
        count = self.recipe.train.views_per_epoch
        views = QualityViews(self.training, self.scenes, self.recipe, epoch=epoch, count=count)
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
        views = QualityViews(radiographs, self.scenes, self.recipe, epoch=epoch)
        rows: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
        with torch.no_grad():
            for view, labels in watch(batches_of(views, self.recipe, epoch=None)):
                probabilities = torch.sigmoid(network(view.to(device)).float())
                rows.append((probabilities.cpu().double().numpy(), labels.double().numpy()))
        return np.concatenate([row[0] for row in rows]), np.concatenate([row[1] for row in rows])


HAND_TASKS: Mapping[str, type[HandTask]] = {"mask": MaskTask, "points": PointsTask}
"""Tasks of the hand networks, by the recipe's name.

The tasks ``age`` and ``quality`` take the hands that these networks locate.
"""


def radiograph_labels(radiographs: Sequence[LabelledRadiograph]) -> dict[str, list[float | str]]:
    """Return bone age (months) and sex by the radiograph's id, as ``recipe.json`` stores them."""
    return {radiograph.id: [float(radiograph.boneage_months), radiograph.sex.value] for radiograph in radiographs}


@torch.no_grad()
def predict(
    network: AgeNetwork, batches: Iterable[Sequence[Tensor]], unit: AgeUnit, device: torch.device | str = "cpu"
) -> NDArray[np.float64]:
    """Return the ages (N,), months, of the views in all batches. The network stays in its mode."""
    layout = memory_format(network, torch.device(device))
    ages = [
        network(views.to(device, memory_format=layout), sexes.to(device)).float().cpu() for views, sexes, _ in batches
    ]
    return unit.to_months(torch.cat(ages)).double().numpy()


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
