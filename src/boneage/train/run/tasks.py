"""Training tasks: what a task is, and the parts that several tasks share.

A task defines its views, loss and measure. The training loop (`boneage.train.run.loop`) defines the epochs and writes
the record. The tasks are in `boneage.train.run.age_tasks`, `boneage.train.run.hand_tasks` and
`boneage.train.run.located_tasks`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.data.cache import RadiographCache
from boneage.train.data.epochs import batches_of
from boneage.train.data.hands import HandTable
from boneage.train.recipe import Recipe

Batches = DataLoader[tuple[Tensor, ...]]

Watch = Callable[[Iterable[Any]], Iterable[Any]]


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


class LocatedTask(Task):
    """Task on the hands that hand networks located.

    Args:
        recipe: recipe of the run.
        training, validation: readable radiographs with a hand.
        cache: decoded radiographs.
        hands: hands on the radiographs.
    """

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

    def record(self) -> dict[str, Any]:
        """Return the fingerprint of the networks that located the hands."""
        return {"hands": self.hands.fingerprint}


class AnnotatedTask(Task):
    """Task whose network is compared with annotations, on each validation radiograph once."""

    @abstractmethod
    def validation_views(self) -> Dataset[tuple[Tensor, ...]]:
        """Return the views of all validation radiographs, each followed by its targets."""

    @abstractmethod
    def figures(self, predictions: Iterable[tuple[Any, Sequence[Tensor]]]) -> dict[str, float]:
        """Return the figures of a validation.

        Args:
            predictions: outputs of the network and targets, by batch. They are consumed once.
        """

    @torch.no_grad()
    def validate(self, network: nn.Module, epoch: int, device: torch.device, watch: Watch) -> dict[str, float]:
        """Return the figures on all validation radiographs."""
        batches = batches_of(self.validation_views(), self.recipe, epoch=None)
        return self.figures((network(view.to(device)), targets) for view, *targets in watch(batches))
