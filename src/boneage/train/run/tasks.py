"""What a network can learn: ages, the hand's mask, or its key points. A task knows its radiographs, its loss and its
measure; how epochs run and what is kept is the loop's.
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
from boneage.errors import TableError
from boneage.evaluate.metrics import concordance, mean_absolute_difference
from boneage.hand.mask import whole_hand
from boneage.hand.registration import POINT_NAMES
from boneage.tables.radiographs import LabelledRadiograph, split_radiographs
from boneage.train.data.annotations import read_key_points, read_masks
from boneage.train.data.cache import RadiographCache
from boneage.train.data.epochs import batches_of, training_batches, validation_batches
from boneage.train.data.hand_views import MaskViews, PointViews, hand_batches
from boneage.train.data.hands import HandTable
from boneage.train.data.quality_views import VALIDATION_EPOCH, QualityViews, Scenes
from boneage.train.networks.layers import AgeNetwork
from boneage.train.recipe import DataOptions, Recipe
from boneage.train.run.losses import label_distribution_loss, mask_loss, points_loss

Batches = DataLoader[tuple[Tensor, ...]]
Watched = Callable[[Iterable[Any]], Iterable[Any]]

_LOSSES = {"mae": nn.functional.l1_loss, "mse": nn.functional.mse_loss}

_OLDEST_MONTHS = 240.0


@dataclass(frozen=True)
class AgeUnit:
    """The unit in which networks are trained: an age is so many spreads above the mean, both in months."""

    mean_months: float
    spread_months: float

    @classmethod
    def of(cls, radiographs: Sequence[LabelledRadiograph]) -> AgeUnit:
        """Mean and spread of these radiographs' ages."""
        ages = np.array([radiograph.boneage_months for radiograph in radiographs])
        return cls(float(ages.mean()), float(ages.std()) or 1.0)

    @classmethod
    def of_range(cls) -> AgeUnit:
        """0 to 240 months as -1 to 1 (Iglovikov et al., section 4.1)."""
        return cls(_OLDEST_MONTHS / 2, _OLDEST_MONTHS / 2)

    def to_months(self, ages: Tensor) -> Tensor:
        """From the network's unit to months."""
        return ages * self.spread_months + self.mean_months

    def from_months(self, months: Tensor) -> Tensor:
        """From months to the network's unit."""
        return (months - self.mean_months) / self.spread_months


class Task(ABC):
    """What is learnt.

    Args:
        recipe: of the run.
        training, validation: radiographs that can be read.
        cache: of their pixels.

    Attributes:
        measure: a key of `boneage.train.run.curve.MEASURES`.
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

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What ``recipe.json`` says beyond the recipe and the radiographs' ids."""

    @abstractmethod
    def batches(self, epoch: int, *, rank: int, world: int) -> Batches:
        """Of one epoch of training."""

    @abstractmethod
    def loss(self, network: nn.Module, batch: Sequence[Tensor]) -> Tensor:
        """Of one batch, on the device of the network."""

    @abstractmethod
    def validate(self, network: nn.Module, epoch: int, device: torch.device, watched: Watched) -> dict[str, float]:
        """Figures on unchanged views of the validation radiographs; the measure among them. The network is in
        evaluation mode.

        In single precision whatever the training's, as the exported network computes.
        """


class AgeTask(Task):
    """Ages of radiographs, or of the registered hands on them."""

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

    def facts(self) -> dict[str, Any]:
        """Unit, labels, and by what the hands were found."""
        found = {} if self.hands is None else {"hands": self.hands.found_by}
        return {"age_unit": asdict(self.unit), "labels": radiograph_labels([*self.training, *self.validation]), **found}

    def batches(self, epoch: int, *, rank: int, world: int) -> Batches:
        """Views, sexes, ages in months."""
        return training_batches(self.training, self.cache, self.recipe, epoch, hands=self.hands, rank=rank, world=world)

    def loss(self, network: nn.Module, batch: Sequence[Tensor]) -> Tensor:
        """Absolute or squared difference of ages, and the network's own penalty.

        With ``label-distribution`` the divergence of distributions and the absolute difference of their expectation.
        """
        views, sexes, months = batch
        schedule = self.recipe.train
        bare: Any = getattr(network, "module", network)
        penalty: Tensor = bare.penalty()
        asked = self.unit.from_months(months)
        if schedule.loss != "label-distribution":
            return _LOSSES[schedule.loss](network(views, sexes).float(), asked) + penalty
        said: Tensor = cast("Any", network).log_distribution(views, sexes)
        expected = bare.head.expectation_of(said)
        divergence = label_distribution_loss(said, months, schedule.label_spread)
        return divergence + nn.functional.l1_loss(expected, asked) + penalty

    def validate(self, network: nn.Module, epoch: int, device: torch.device, watched: Watched) -> dict[str, float]:
        """MAD, months, and CCC, on views of this epoch's size; of all radiographs after the last epoch the recipe
        has.
        """
        height, width = self.recipe.size_at(epoch)
        spec = replace(self.recipe.view, height=height, width=width)
        schedule = self.recipe.train
        watched_radiographs = schedule.watched_radiographs if epoch + 1 < schedule.epochs else 0
        radiographs = _limited(self.validation, watched_radiographs, schedule.seed)
        batches = validation_batches(
            radiographs, self.cache, spec, hands=self.hands, batch_size=64, workers=schedule.workers
        )
        assert isinstance(network, AgeNetwork)  # noqa: S101 - built by `build_network`; for the type checker
        months = predict(network, watched(batches), self.unit, device)
        labels = np.array([radiograph.boneage_months for radiograph in radiographs])
        return {
            "mad_months": float(mean_absolute_difference(labels, months)),
            "ccc": float(concordance(labels, months)),
        }


class MaskTask(Task):
    """The hand's mask, with the loss of Iglovikov et al., Eqs. 1-3."""

    measure = "jaccard_distance"

    @cached_property
    def _masks(self) -> dict[str, Path]:
        return read_masks(Path(self.recipe.data.targets))

    def facts(self) -> dict[str, Any]:
        """Nothing more."""
        return {}

    def batches(self, epoch: int, *, rank: int, world: int) -> Batches:
        """Views and masks."""
        views = MaskViews(self.training, self.cache, self.recipe, training=True, epoch=epoch, masks=self._masks)
        return hand_batches(views, self.recipe, rank=rank, world=world)

    def loss(self, network: nn.Module, batch: Sequence[Tensor]) -> Tensor:
        """L = H - log J."""
        return mask_loss(network(batch[0]), batch[1])

    def validate(self, network: nn.Module, epoch: int, device: torch.device, watched: Watched) -> dict[str, float]:
        """IoU (mean, least) of the masks as they are used, the outlines' mean distance in % of the view's side."""
        views = MaskViews(self.validation, self.cache, self.recipe, training=False, masks=self._masks)
        unions: list[float] = []
        distances: list[float] = []
        with torch.no_grad():
            for view, label in watched(hand_batches(views, self.recipe)):
                probabilities = torch.sigmoid(network(view.to(device)).float())[:, 0].cpu().numpy()
                for probability, truth in zip(probabilities, label[:, 0].numpy() > 0.5, strict=True):
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


class PointsTask(Task):
    """The three key points, and whether there is one hand."""

    measure = "error_percent"

    @cached_property
    def _points(self) -> dict[str, NDArray[np.float64]]:
        return read_key_points(Path(self.recipe.data.targets))

    def facts(self) -> dict[str, Any]:
        """Nothing more."""
        return {}

    def batches(self, epoch: int, *, rank: int, world: int) -> Batches:
        """Views, points, which of them are there, number of hands."""
        views = PointViews(self.training, self.cache, self.recipe, training=True, epoch=epoch, points=self._points)
        return hand_batches(views, self.recipe, rank=rank, world=world)

    def loss(self, network: nn.Module, batch: Sequence[Tensor]) -> Tensor:
        """See `boneage.train.run.losses.points_loss`."""
        view, points_xy, on_view, hands = batch
        bare: Any = getattr(network, "module", network)
        half = points_xy.new_tensor([self.recipe.view.width / 2, self.recipe.view.height / 2])
        return points_loss(network(view), points_xy, on_view, hands, half_size=half, fold=getattr(bare, "fold", 1))

    def validate(self, network: nn.Module, epoch: int, device: torch.device, watched: Watched) -> dict[str, float]:
        """Median and 95th percentile of each point's error, in % of the hand's length; `measure` is the medians' mean.

        Views of the registered hand start from a guess that is off as in training, the same each time.
        """
        views = PointViews(self.validation, self.cache, self.recipe, training=False, points=self._points)
        errors: list[NDArray[np.float64]] = []
        with torch.no_grad():
            for view, points_xy, _, _ in watched(hand_batches(views, self.recipe)):
                found = network(view.to(device)).points.float().cpu()
                lengths = (points_xy[:, 0] - points_xy[:, 2]).norm(dim=1, keepdim=True)
                errors.append((100 * (found - points_xy).norm(dim=2) / lengths).double().numpy())
        each = np.concatenate(errors)
        figures = {"error_percent": float(np.median(each, axis=0).mean())}
        for index, name in enumerate(POINT_NAMES):
            figures[f"{name}_median_percent"] = float(np.median(each[:, index]))
            figures[f"{name}_p95_percent"] = float(np.percentile(each[:, index], 95))
        return figures


class QualityTask(Task):
    """What disturbs a radiograph: a label for each of `boneage.bundle.quality.QUALITY_LABELS`."""

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

    def facts(self) -> dict[str, Any]:
        """By what the hands were found."""
        return {"hands": self.scenes.hands.found_by}

    def batches(self, epoch: int, *, rank: int, world: int) -> Batches:
        """Views and labels."""
        count = self.recipe.train.views_per_epoch
        views = QualityViews(self.training, self.scenes, self.recipe, epoch=epoch, count=count)
        return batches_of(views, self.recipe, epoch=epoch, rank=rank, world=world)

    def loss(self, network: nn.Module, batch: Sequence[Tensor]) -> Tensor:
        """Binary cross entropy, the mean over labels."""
        view, labels = batch
        return nn.functional.binary_cross_entropy_with_logits(network(view).float(), labels)

    def validate(self, network: nn.Module, epoch: int, device: torch.device, watched: Watched) -> dict[str, float]:
        """Share of drawn disturbances that are missed, %, by label and in the mean, beside the limits.

        Limits are set on the validation radiographs as they are (`boneage.bundle.quality.QualityLimit`), the
        disturbances are drawn on the same ones.
        """
        schedule = self.recipe.train
        watched_radiographs = schedule.watched_radiographs if epoch + 1 < schedule.epochs else 0
        radiographs = _limited(self.validation, watched_radiographs, schedule.seed)
        clean, _ = self._probabilities(network, radiographs, None, device, watched)
        drawn, labels = self._probabilities(network, radiographs, VALIDATION_EPOCH, device, watched)
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
        watched: Watched,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Probabilities and labels, (N, L) each, of radiographs as they are or drawn on."""
        views = QualityViews(radiographs, self.scenes, self.recipe, epoch=epoch)
        rows: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
        with torch.no_grad():
            for view, labels in watched(batches_of(views, self.recipe, epoch=None)):
                said = torch.sigmoid(network(view.to(device)).float())
                rows.append((said.cpu().double().numpy(), labels.double().numpy()))
        return np.concatenate([row[0] for row in rows]), np.concatenate([row[1] for row in rows])


HAND_TASKS: Mapping[str, type[Task]] = {"mask": MaskTask, "points": PointsTask}
"""By the recipe's name; ``age`` and ``quality`` are tasks of their own, which take the hands that these find."""


def choose_radiographs(
    recipe: Recipe, radiographs: Sequence[LabelledRadiograph]
) -> tuple[list[LabelledRadiograph], list[LabelledRadiograph]]:
    """Training and validation radiographs by the table's split, or by a random draw where it has none.

    With folds, the radiographs that would train are parted into those of one fold, which validate, and the others.

    For the hand networks only radiographs with targets count, and `DataOptions.held_out` of them validate.

    Raises:
        TableError: ``table_split`` if either part is empty.
    """
    data = recipe.data
    if recipe.task in HAND_TASKS:
        targets = (read_masks if recipe.task == "mask" else read_key_points)(Path(data.targets))
        return _hold_out([radiograph for radiograph in radiographs if radiograph.id in targets], recipe)
    if data.sexes != "both":
        radiographs = [radiograph for radiograph in radiographs if radiograph.sex == data.sexes]
    training, validation = split_radiographs(radiographs, data.validation_share, data.split_seed)
    if data.folds:
        training, validation = _part(training, data)
    training = _limited(training, data.train_limit, data.split_seed)
    validation = _limited(validation, data.validation_limit, data.split_seed)
    return training, validation


def _part(
    radiographs: Sequence[LabelledRadiograph], data: DataOptions
) -> tuple[list[LabelledRadiograph], list[LabelledRadiograph]]:
    """Radiographs outside and inside of a fold. Which radiograph is in which fold depends on the ids and the seed
    alone.
    """
    ids = sorted(radiograph.id for radiograph in radiographs)
    if len(ids) < data.folds:
        raise TableError("table_split", f"{len(ids)} radiographs cannot be parted into {data.folds} folds.")
    order = np.random.default_rng(data.split_seed).permutation(len(ids))
    inside = {ids[place] for place in order[data.fold - 1 :: data.folds]}
    return [radiograph for radiograph in radiographs if radiograph.id not in inside], [
        radiograph for radiograph in radiographs if radiograph.id in inside
    ]


def _hold_out(
    radiographs: Sequence[LabelledRadiograph], recipe: Recipe
) -> tuple[list[LabelledRadiograph], list[LabelledRadiograph]]:
    """Radiographs of the split ``validation`` validate, and as many others, drawn with the seed, as are wanted."""
    data = recipe.data
    radiographs = [radiograph for radiograph in radiographs if radiograph.split in (None, "train", "validation")]
    order = [radiographs[index] for index in np.random.default_rng(data.split_seed).permutation(len(radiographs))]
    order.sort(key=lambda radiograph: radiograph.split != "validation")  # stable: the draw decides within each
    fixed = sum(radiograph.split == "validation" for radiograph in radiographs)
    count = max(fixed, data.held_out) or round(len(radiographs) * data.validation_share)
    validation, training = order[:count], order[count:]
    if not validation or not training:
        raise TableError(
            "table_split", f"{len(radiographs)} radiographs with targets leave none to train on or to validate with."
        )
    return training, validation


def radiograph_labels(radiographs: Sequence[LabelledRadiograph]) -> dict[str, list[float | str]]:
    """Bone age, months, and sex by the radiograph's id, as ``recipe.json`` holds them."""
    return {radiograph.id: [float(radiograph.boneage_months), radiograph.sex.value] for radiograph in radiographs}


@torch.no_grad()
def predict(
    network: AgeNetwork, batches: Iterable[Sequence[Tensor]], unit: AgeUnit, device: torch.device | str = "cpu"
) -> NDArray[np.float64]:
    """Ages in months, (N,), for the views of all batches; the network in the mode it is in."""
    ages = [
        network(views.to(device, memory_format=torch.channels_last), sexes.to(device)).float().cpu()
        for views, sexes, _ in batches
    ]
    return unit.to_months(torch.cat(ages)).double().numpy()


def intersection_over_union(mask: NDArray[Any], truth: NDArray[Any]) -> float:
    """The Jaccard index of two masks of one shape, 0..1; 1 if both are empty."""
    mask, truth = mask.astype(bool), truth.astype(bool)
    union = int((mask | truth).sum())
    return int((mask & truth).sum()) / union if union else 1.0


def outline_distance(mask: NDArray[Any], truth: NDArray[Any]) -> float:
    """Mean distance, pixels, from each pixel of either mask's outline to the other's outline, both ways.

    The longer side of the masks if one is empty.
    """
    edges = [_outline(one) for one in (mask, truth)]
    if not all(edge.any() for edge in edges):
        return float(max(mask.shape))
    away = [cv2.distanceTransform((~edge).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for edge in edges]
    return float((away[1][edges[0]].mean() + away[0][edges[1]].mean()) / 2)


def _outline(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """The mask's pixels that touch what lies outside it."""
    inside = mask.astype(np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    return (inside - cv2.erode(inside, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=1)) > 0


def _limited(radiographs: Sequence[LabelledRadiograph], limit: int, seed: int) -> list[LabelledRadiograph]:
    """At most `limit` radiographs, drawn with the seed; all if it is 0."""
    if not 0 < limit < len(radiographs):
        return list(radiographs)
    return [radiographs[index] for index in sorted(np.random.default_rng(seed).permutation(len(radiographs))[:limit])]
