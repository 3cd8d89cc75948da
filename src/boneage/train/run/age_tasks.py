"""Tasks of ages: of the hand, and of its single bones, with their unit and estimates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from boneage.evaluate.metrics import concordance, mean_absolute_difference
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.data.cache import RadiographCache
from boneage.train.data.epochs import training_batches, validation_batches
from boneage.train.data.hands import HandTable
from boneage.train.data.splits import draw_radiographs
from boneage.train.networks.layers import AgeNetwork, memory_format
from boneage.train.recipe import Recipe
from boneage.train.run.losses import label_distribution_loss
from boneage.train.run.tasks import Batches, Task, Watch

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
