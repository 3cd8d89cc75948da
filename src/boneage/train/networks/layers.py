"""Layers that the networks share: the age head with its closed-form gradient.

Grad-CAM (Selvaraju et al. 2017; Souza & Oliveira, section VI) weights each channel of the last feature map by the mean
gradient of the output over places. The layers after the last feature map are pooling and a small dense network, so that
gradient is a product of a few small matrices. `AgeHead.explain` computes it with plain tensor operations. An exported
graph therefore returns the activation map in the same forward pass as the age.
"""

from __future__ import annotations

import itertools
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from boneage.bundle.curve import AGES
from boneage.hand.views import CellGrid

Pooling = Literal["average", "flatten"]
Activation = Literal["relu", "elu"]
Answer = Literal["number", "distribution"]

RANGE_MEAN_MONTHS = 120.0
RANGE_SPREAD_MONTHS = 120.0
"""Unit of networks that return a distribution: months 0..240 become -1..1 (Iglovikov et al., section 4.1)."""


class Explained(NamedTuple):
    """Outputs of one pass.

    Attributes:
        age: (N,) in the unit of training.
        embedding: (N, E), the last hidden layer.
        activation: (N, h, w) in the unit of training.
        distribution: (N, 240), probability of each month; None for a network that returns a number.
        bones: (N, B, 240), the same of each bone; None for a network that does not read single bones.
        bone_weights: (N, B), weight of each bone in the age; None for such a network.
    """

    age: Tensor
    embedding: Tensor
    activation: Tensor
    distribution: Tensor | None = None
    bones: Tensor | None = None
    bone_weights: Tensor | None = None


class AgeHead(nn.Module):
    """Head of a network: the last feature map and the sex to the age.

    Args:
        channels: channels of the feature map.
        grid: (h, w) of the feature map; only needed for ``flatten``.
        hidden: widths of the dense layers between.
        pooling: ``average`` over all places (He et al. 2015), or ``flatten`` after a 2 x 2 maximum (Souza & Oliveira,
            Fig. 5; Iglovikov et al., Fig. 5). An odd row or column at the map's end is pooled by itself.
        dropout: share, 0 to less than 1.
        dropout_of: dropout of each hidden layer's ``outputs``, or of its ``inputs`` except the sex (Iglovikov et al.,
            section 4.1).
        activation: activation after each hidden layer.
        answer: a ``number``, the age in the unit of training; or a ``distribution``, the softmax over the months 0 to
            239, whose expectation is the age (Iglovikov et al., section 4.2), in the unit of `RANGE_MEAN_MONTHS` and
            `RANGE_SPREAD_MONTHS`.
        sex_input: True to append the one-hot sex to the pooled map. Without it the network is blind to the sex.
    """

    months: Tensor

    def __init__(
        self,
        channels: int,
        *,
        grid: tuple[int, int],
        hidden: tuple[int, ...],
        pooling: Pooling,
        dropout: float = 0.0,
        dropout_of: Literal["outputs", "inputs"] = "outputs",
        activation: Activation = "relu",
        answer: Answer = "number",
        sex_input: bool = True,
    ) -> None:
        super().__init__()
        self.channels, self.pooling, self.activation = channels, pooling, activation
        self.answer, self.sex_input = answer, sex_input
        features = channels if pooling == "average" else channels * -(-grid[0] // 2) * -(-grid[1] // 2)
        widths = [features + 2 * sex_input, *hidden, 1 if answer == "number" else AGES]
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        shares = (dropout,) * len(hidden)
        self.dropouts = (*shares, 0.0) if dropout_of == "inputs" else (0.0, *shares)
        """Dropout of the inputs of each dense layer."""
        self.register_buffer("months", torch.arange(float(AGES)), persistent=False)

    def pool(self, features: Tensor) -> Tensor:
        """Pool the feature map (N, C, h, w) to a vector (N, F)."""
        if self.pooling == "average":
            return features.mean(dim=(2, 3))
        return nn.functional.max_pool2d(features, 2, ceil_mode=True).flatten(1)

    def forward(self, features: Tensor, sex: Tensor) -> Tensor:
        """Map the feature map (N, C, h, w) and one-hot sex (N, 2) to ages (N,)."""
        answered = self._answer(features, sex)
        return self._expectation(self._distribution(answered)) if self.answer == "distribution" else answered.squeeze(1)

    def log_distribution(self, features: Tensor, sex: Tensor) -> Tensor:
        """Return the logarithms of the months' probabilities (N, 240), for heads that return a distribution."""
        answered = self._answer(features, sex)
        return torch.log_softmax(answered, dim=1, dtype=torch.promote_types(answered.dtype, torch.float32))

    def expectation_of(self, log_distribution: Tensor) -> Tensor:
        """Return the ages (N,), in the unit of such heads, that `forward` would return for this `log_distribution`."""
        return self._expectation(log_distribution.exp())

    def _answer(self, features: Tensor, sex: Tensor) -> Tensor:
        """Return the output of the last layer: (N, 1), or logits (N, 240)."""
        *hidden, last = self._layers()
        x = self._with_sex(self._dropped(self.pool(features), self.dropouts[0]), sex)
        for layer, share in zip(hidden, self.dropouts[1:], strict=True):
            x = self._dropped(self._activated(layer(x)), share)
        answered: Tensor = last(x)
        return answered

    def explain(self, features: Tensor, sex: Tensor) -> Explained:
        """Return the outputs of `forward` without dropout, the embedding, and Grad-CAM's sum before its ReLU."""
        explained, gradient = self.explain_with_gradient(features, sex)
        weights = gradient / (features.shape[2] * features.shape[3])
        return explained._replace(activation=torch.einsum("nc,nchw->nhw", weights, features))

    def explain_with_gradient(self, features: Tensor, sex: Tensor) -> tuple[Explained, Tensor]:
        """Return the outputs without an activation map (zeros), and the age's gradient by each channel's sum, (N, C).

        The gradient is that by the mean over all places for ``average``.
        """
        *hidden, last = self._layers()
        x = self._with_sex(self.pool(features), sex)
        slopes: list[Tensor] = []
        for layer in hidden:
            x = self._activated(layer(x))
            slopes.append(self._slope(x))
        age, gradient, distribution = self._answered(last, x)
        # Backwards through the dense layers: each activation passes the gradient times its slope.
        for layer, slope in zip(reversed(hidden), reversed(slopes), strict=True):
            gradient = (gradient * slope) @ layer.weight
        if self.sex_input:
            gradient = gradient[:, :-2]
        if self.pooling == "flatten":
            # A maximum hands its gradient to one place only, so the sum over places stays what it was.
            gradient = gradient.reshape(features.shape[0], self.channels, -1).sum(dim=2)
        return Explained(age, x, torch.zeros_like(features[:, 0]), distribution), gradient

    def _answered(self, last: nn.Linear, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the age (N,), its gradient by the last hidden layer `x` (N, E), and the distribution or None."""
        if self.answer == "number":
            return last(x).squeeze(1), last.weight.expand(x.shape[0], -1), None
        distribution = self._distribution(last(x))
        age = self._expectation(distribution)
        # The slope of the expectation E by the k-th logit is p_k (k - E).
        by_logit = distribution * (self._in_unit(self.months) - age[:, None])
        return age, by_logit @ last.weight, distribution

    @staticmethod
    def _distribution(logits: Tensor) -> Tensor:
        """Return the softmax over months, never in half precision."""
        return torch.softmax(logits, dim=1, dtype=torch.promote_types(logits.dtype, torch.float32))

    def _expectation(self, distribution: Tensor) -> Tensor:
        """Return the expected age in the unit of training.

        This is not a matrix product, because autocast would round that to whole months.
        """
        return (distribution * self._in_unit(self.months)).sum(dim=1)

    @staticmethod
    def _in_unit(months: Tensor) -> Tensor:
        return (months - RANGE_MEAN_MONTHS) / RANGE_SPREAD_MONTHS

    def _activated(self, x: Tensor) -> Tensor:
        return torch.relu(x) if self.activation == "relu" else nn.functional.elu(x)

    def _slope(self, activated: Tensor) -> Tensor:
        """Return the activation's derivative, computed from its value: ELU's is 1, or exp(x) = ELU(x) + 1 below 0."""
        return (activated > 0).to(activated.dtype) if self.activation == "relu" else activated.clamp(max=0) + 1

    def _dropped(self, x: Tensor, share: float) -> Tensor:
        return nn.functional.dropout(x, share, self.training)

    def _with_sex(self, x: Tensor, sex: Tensor) -> Tensor:
        return torch.cat([x, sex], dim=1) if self.sex_input else x

    def _layers(self) -> list[nn.Linear]:
        return [cast("nn.Linear", layer) for layer in self.dense]


class AgeNetwork(nn.Module):
    """Network that reads a view and the sex: `features`, then `head`. All networks for ages have this class."""

    features: nn.Module
    head: AgeHead
    cells: CellGrid
    """Positions of the feature map's cells on the view."""

    @property
    def gives_bones(self) -> bool:
        """True if the network returns the distribution and the weight of each bone."""
        return False

    @property
    def last_layers(self) -> list[nn.Linear]:
        """Layers whose output is an age or the logits of a distribution over months."""
        return [cast("nn.Linear", self.head.dense[-1])]

    @property
    def row_tables(self) -> list[nn.Parameter]:
        """Matrices of which the network takes rows instead of multiplying by them, in the order of their use."""
        return []

    @property
    def gives_distribution(self) -> bool:
        """True if the network returns a distribution over months. Its unit is then months 0..240 as -1..1, no other."""
        return self.head.answer == "distribution"

    def forward(self, view: Tensor, sex: Tensor) -> Tensor:
        """Map a view (N, 1, H, W) and one-hot sex (N, 2) to ages (N,) in the unit of training."""
        age: Tensor = self.head(self.features(view), sex)
        return age

    def log_distribution(self, view: Tensor, sex: Tensor) -> Tensor:
        """Return the logarithms of the months' probabilities (N, 240), if the network `gives_distribution`."""
        return self.head.log_distribution(self.features(view), sex)

    def explain(self, view: Tensor, sex: Tensor) -> Explained:
        """Return the outputs of `forward` with embedding, activation map and, if there is one, the distribution."""
        return self.head.explain(self.features(view), sex)

    def penalty(self) -> Tensor:
        """Return the penalty on the weights (L2 that grows with depth), which the loss adds; 0 for most networks."""
        return next(self.parameters()).new_zeros(())


def memory_format(network: nn.Module, device: torch.device) -> torch.memory_format:
    """Return the layout of weights and views with which a network trains fastest on a device.

    It is ``channels_last``, except for networks with instance normalisation on a CPU. At 128 px with bf16 on one core,
    the columns D, E and H of Table I train 55, 18 and 11 views a second with it, and 82, 26 and 14 with the contiguous
    layout. Column A, without normalisation, trains 136 and 94.
    """
    has_instance_norm = any(isinstance(module, nn.InstanceNorm2d) for module in network.modules())
    return torch.contiguous_format if has_instance_norm and device.type == "cpu" else torch.channels_last
