"""Layers that the nets share: the age head with its closed-form gradient.

Grad-CAM (Selvaraju et al. 2017; Souza & Oliveira, section VI) weights each channel of the last feature map by the mean
over places of the gradient of the output. Everything behind the last feature map is pooling and a small dense net, so
that gradient is a product of a few small matrices. `AgeHead.explain` writes it out with plain tensor operations, so
that an exported graph yields the activation map in the same forward pass as the age.
"""

from __future__ import annotations

import itertools
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from boneage.views import CellGrid

Pooling = Literal["average", "flatten"]


class Explained(NamedTuple):
    """What one pass gives: `age` (N,) in the unit of training, `embedding` (N, E), `activation` (N, h, w)."""

    age: Tensor
    embedding: Tensor
    activation: Tensor


class AgeHead(nn.Module):
    """From the last feature map and the sex to one number.

    Args:
        channels: of the feature map.
        grid: (h, w) of the feature map; only needed to flatten.
        hidden: widths of the dense layers between, each followed by ReLU.
        pooling: ``average`` over all places (He et al. 2015), or ``flatten`` after a 2 x 2 maximum (Souza & Oliveira,
            Fig. 5).
        dropout: of each hidden layer's output.
    """

    def __init__(
        self,
        channels: int,
        *,
        grid: tuple[int, int],
        hidden: tuple[int, ...],
        pooling: Pooling,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.channels, self.pooling = channels, pooling
        features = channels if pooling == "average" else channels * (grid[0] // 2) * (grid[1] // 2)
        widths = [features + 2, *hidden, 1]
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.dropout = dropout

    def pool(self, features: Tensor) -> Tensor:
        """Feature map (N, C, h, w) to a vector (N, F)."""
        if self.pooling == "average":
            return features.mean(dim=(2, 3))
        return nn.functional.max_pool2d(features, 2).flatten(1)

    def forward(self, features: Tensor, sex: Tensor) -> Tensor:
        """Feature map (N, C, h, w) and one-hot sex (N, 2) to (N,)."""
        x = torch.cat([self.pool(features), sex], dim=1)
        *hidden, last = self._layers()
        for layer in hidden:
            x = nn.functional.dropout(torch.relu(layer(x)), self.dropout, self.training)
        age: Tensor = last(x).squeeze(1)
        return age

    def explain(self, features: Tensor, sex: Tensor) -> Explained:
        """As `forward` without dropout, with the last hidden layer as embedding and Grad-CAM's sum before its ReLU."""
        x = torch.cat([self.pool(features), sex], dim=1)
        *hidden, last = self._layers()
        open_gates: list[Tensor] = []
        for layer in hidden:
            x = torch.relu(layer(x))
            open_gates.append((x > 0).to(x.dtype))
        # Backwards through the dense layers: a ReLU passes the gradient where it was open.
        gradient = last.weight.expand(x.shape[0], -1)
        for layer, gate in zip(reversed(hidden), reversed(open_gates), strict=True):
            gradient = (gradient * gate) @ layer.weight
        gradient = gradient[:, :-2]  # what leads to the sex
        if self.pooling == "flatten":
            # A maximum hands its gradient to one place only, so the sum over places stays what it was.
            gradient = gradient.reshape(features.shape[0], self.channels, -1).sum(dim=2)
        weights = gradient / (features.shape[2] * features.shape[3])
        return Explained(last(x).squeeze(1), x, torch.einsum("nc,nchw->nhw", weights, features))

    def _layers(self) -> list[nn.Linear]:
        return [cast("nn.Linear", layer) for layer in self.dense]


class AgeNet(nn.Module):
    """A net that reads one view and the sex: `features`, then `head`. All nets of this package are of this kind."""

    features: nn.Module
    head: AgeHead
    cells: CellGrid
    """Where the cells of the feature map lie on the view."""

    def forward(self, view: Tensor, sex: Tensor) -> Tensor:
        """View (N, 1, H, W) and one-hot sex (N, 2) to ages (N,), as spreads of the training ages about their mean."""
        age: Tensor = self.head(self.features(view), sex)
        return age

    def explain(self, view: Tensor, sex: Tensor) -> Explained:
        """As `forward`, with embedding and activation map."""
        return self.head.explain(self.features(view), sex)

    def penalty(self) -> Tensor:
        """What the net adds to the loss for its weights (L2 that grows with depth); 0 for most nets."""
        return next(self.parameters()).new_zeros(())
