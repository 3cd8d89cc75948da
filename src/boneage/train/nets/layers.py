"""Layers that the nets share: the age head with its closed-form gradient.

Grad-CAM (Selvaraju et al. 2017; Souza & Oliveira, section VI) weights each channel of the last feature map by the mean over
places of the gradient of the output. Everything behind the last feature map is pooling and a small dense net, so that
gradient is a product of a few small matrices. `AgeHead.explain` writes it out with plain tensor operations, so that an exported
graph yields the activation map in the same forward pass as the age.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

Pooling = Literal["average", "flatten"]


class Explained(NamedTuple):
    """What one pass gives: `age` (N,) in the unit the net was trained in, `embedding` (N, E), `activation` (N, h, w)."""

    age: Tensor
    embedding: Tensor
    activation: Tensor


class AgeHead(nn.Module):
    """From the last feature map and the sex to one number.

    Args:
        channels: of the feature map.
        grid: (h, w) of the feature map; only needed to flatten.
        hidden: widths of the dense layers between, each followed by ReLU.
        pooling: ``average`` over all places (He et al. 2015), or ``flatten`` after a 2 x 2 maximum (Souza & Oliveira, Fig. 5).
        dropout: before each hidden layer's output goes on.
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
        self.maximum = nn.MaxPool2d(2)
        features = channels if pooling == "average" else channels * (grid[0] // 2) * (grid[1] // 2)
        widths = [features + 2, *hidden, 1]
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False))
        self.dropout = nn.Dropout(dropout)

    def pool(self, features: Tensor) -> Tensor:
        """Feature map (N, C, h, w) to a vector (N, F), the embedding."""
        if self.pooling == "average":
            return features.mean(dim=(2, 3))
        return self.maximum(features).flatten(1)

    def forward(self, features: Tensor, sex: Tensor) -> Tensor:
        """Feature map (N, C, h, w) and one-hot sex (N, 2) to (N,)."""
        x = torch.cat([self.pool(features), sex], dim=1)
        for layer in self.dense[:-1]:
            x = self.dropout(torch.relu(layer(x)))
        return self.dense[-1](x).squeeze(1)

    def explain(self, features: Tensor, sex: Tensor) -> Explained:
        """As `forward` without dropout, with the last hidden layer as embedding and the signed Grad-CAM sum before its ReLU."""
        x = torch.cat([self.pool(features), sex], dim=1)
        open_gates: list[Tensor] = []
        for layer in self.dense[:-1]:
            x = torch.relu(layer(x))
            open_gates.append((x > 0).to(x.dtype))
        age = self.dense[-1](x).squeeze(1)
        # Backwards through the dense layers: a ReLU passes the gradient where it was open.
        gradient = self.dense[-1].weight.expand(x.shape[0], -1)
        for layer, gate in zip(reversed(self.dense[:-1]), reversed(open_gates), strict=True):
            gradient = (gradient * gate) @ layer.weight
        gradient = gradient[:, :-2]
        places = features.shape[2] * features.shape[3]
        if self.pooling == "flatten":
            # A maximum hands its gradient to one place only, so the sum over places stays what it was.
            gradient = gradient.reshape(features.shape[0], self.channels, -1).sum(dim=2)
        weights = gradient / places
        return Explained(age, x, torch.einsum("nc,nchw->nhw", weights, features))


class AgeNet(nn.Module):
    """A net that reads one view and the sex: `features`, then `head`. All nets of `boneage.train.nets` are of this kind."""

    features: nn.Module
    head: AgeHead

    def forward(self, view: Tensor, sex: Tensor) -> Tensor:
        """View (N, 1, H, W) and one-hot sex (N, 2) to ages (N,), in units of the training ages' spread about their mean."""
        return self.head(self.features(view), sex)

    def explain(self, view: Tensor, sex: Tensor) -> Explained:
        """As `forward`, with embedding and activation map."""
        return self.head.explain(self.features(view), sex)

    def penalty(self) -> Tensor:
        """What the net adds to the loss for its weights (L2 that grows with depth); 0 for most nets."""
        return next(self.parameters()).new_zeros(())
