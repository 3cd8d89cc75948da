"""Networks that locate the three key points of a hand (Iglovikov et al., section 3), or its joints.

`KeyPointNetwork` is the default: heat maps with soft-argmax (Nibali et al. 2018) on a small U-Net. `VGGKeyPointNetwork`
is the paper's (Fig. 5), available as a recipe. Both also return the number of hands (none, one, several) and the
certainty of each point, so that a radiograph without a hand is rejected instead of registered. `JointNetwork` has the
same heat maps for the joints of a hand that was found.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from boneage.hand.joints import JOINT_NAMES
from boneage.hand.registration import POINT_NAMES
from boneage.train.networks.unet import UNetworkTrunk

POINTS = len(POINT_NAMES)

HAND_COUNTS = 3
"""Number of classes: no hand, one, several."""


class LocatedPoints(NamedTuple):
    """Outputs of a pass.

    Attributes:
        points: (N, 3, 2), pixels of the view.
        spread: (N, 3), pixels of the view.
        hands: (N, 3), probabilities of no hand, one, several; logits in training.
        heat: in training, the logarithms of the heat maps (N, 3, h, w), each with sum 1; None for a network without.
    """

    points: Tensor
    spread: Tensor
    hands: Tensor
    heat: Tensor | None = None


class Places(NamedTuple):
    """Places of P points by their heat maps.

    Attributes:
        points: (N, P, 2), pixels of the view.
        spread: (N, P), pixels of the view.
        heat: logarithms of the heat maps (N, P, h, w), each with sum 1.
        deepest: features of the trunk's deepest level (N, C, h', w').
    """

    points: Tensor
    spread: Tensor
    heat: Tensor
    deepest: Tensor


class HeatMapNetwork(nn.Module):
    """Heat maps on a U-Net. A point is the mean place of its heat map, its spread the map's standard deviation.

    Args:
        points: number of points.
        height, width: size of the view, pixels; see `UNetworkTrunk`.
        widths: channels of each level, the finest first.
        fold: side of the squares of pixels that are one place of a heat map.
    """

    def __init__(self, points: int, height: int, width: int, *, widths: tuple[int, ...], fold: int) -> None:
        super().__init__()
        self.trunk = UNetworkTrunk(height, width, widths=widths, fold=fold)
        self.fold = fold
        self.heat = nn.Conv2d(self.trunk.channels, points, 1)

    def places(self, view: Tensor) -> Places:
        """Map a view (N, 1, H, W) to the places of the points."""
        features, deepest = self.trunk(view)
        heat = self.heat(features).float()
        log_heat = torch.log_softmax(heat.flatten(2), dim=2).reshape(heat.shape)
        shares = log_heat.exp()
        rows, columns = shares.sum(dim=3), shares.sum(dim=2)
        y, y_variance = self._mean_and_variance(rows)
        x, x_variance = self._mean_and_variance(columns)
        spread = torch.sqrt(x_variance + y_variance + 1e-6)
        return Places(torch.stack([x, y], dim=2), spread, log_heat, deepest)

    def _mean_and_variance(self, along: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance (N, P) of a distribution (N, P, n) over places, in pixels of the view."""
        centres = (torch.arange(along.shape[2], device=along.device, dtype=along.dtype) + 0.5) * self.fold
        mean = (along * centres).sum(dim=2)
        return mean, (along * (centres - mean.unsqueeze(2)) ** 2).sum(dim=2)


class KeyPointNetwork(HeatMapNetwork):
    """Heat maps of the three key points, and the number of hands. For the arguments see `HeatMapNetwork`."""

    def __init__(self, height: int, width: int, *, widths: tuple[int, ...] = (24, 48, 96, 128), fold: int = 2) -> None:
        super().__init__(POINTS, height, width, widths=widths, fold=fold)
        self.count = nn.Linear(2 * self.trunk.deepest_channels, HAND_COUNTS)

    def forward(self, view: Tensor) -> LocatedPoints:
        """Map a view (N, 1, H, W) to points, spreads, logits of the number of hands, and heat maps."""
        points, spread, heat, deepest = self.places(view)
        pooled = torch.cat([deepest.mean(dim=(2, 3)), deepest.amax(dim=(2, 3))], dim=1)
        return LocatedPoints(points, spread, self.count(pooled), heat)

    def explain(self, view: Tensor) -> LocatedPoints:
        """Return the outputs of `forward`, with probabilities of the number of hands and without the heat maps."""
        located = self.forward(view)
        return LocatedPoints(located.points, located.spread, torch.softmax(located.hands.float(), dim=1))


class JointNetwork(HeatMapNetwork):
    """Heat maps of the joints of a registered hand. For the arguments see `HeatMapNetwork`."""

    def __init__(self, height: int, width: int, *, widths: tuple[int, ...] = (24, 48, 96, 128), fold: int = 2) -> None:
        super().__init__(len(JOINT_NAMES), height, width, widths=widths, fold=fold)

    def forward(self, view: Tensor) -> Places:
        """Map a view (N, 1, H, W) to the places of the joints."""
        return self.places(view)


class VGGKeyPointNetwork(nn.Module):
    """The paper's network (section 3, Fig. 5).

    It has three blocks of two 3 x 3 convolutions with ELU and batch normalisation, each before a maximum pooling, then
    three dense layers with dropout between. Coordinates are regressed in -1..1 over the view.

    The paper does not give the widths of the first two dense layers. Two further outputs of the last layer are not from
    the paper: the number of hands, and each point's spread, trained as the scale of a Laplace distribution of errors.

    Args:
        height, width: size of the view, pixels; the paper's is 130 x 100.
        widths: channels of the blocks.
        hidden: widths of the dense layers except the last.
        dropout: dropout before each dense layer except the first.
    """

    def __init__(
        self,
        height: int,
        width: int,
        *,
        widths: tuple[int, ...] = (64, 128, 256),
        hidden: tuple[int, ...] = (512, 256),
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        self.register_buffer("half_size", torch.tensor([width / 2, height / 2]))
        layers: list[nn.Module] = []
        channels, rows, columns = 1, height, width
        for block in widths:
            for _ in range(2):
                layers += [nn.Conv2d(channels, block, 3, padding=1), nn.ELU(), nn.BatchNorm2d(block)]
                channels = block
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
            rows, columns = math.ceil(rows / 2), math.ceil(columns / 2)
        layers.append(nn.Flatten())
        features = channels * rows * columns
        for index, size in enumerate(hidden):
            layers += [nn.Dropout(dropout)] if index else []
            layers += [nn.Linear(features, size), nn.ELU()]
            features = size
        self.layers = nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(features, 3 * POINTS + HAND_COUNTS))

    half_size: Tensor

    def forward(self, view: Tensor) -> LocatedPoints:
        """Map a view (N, 1, H, W) to points, spreads and logits of the number of hands."""
        values = self.layers(view).float()
        points, scales, hands = values.split([2 * POINTS, POINTS, HAND_COUNTS], dim=1)
        points_xy = (points.reshape(-1, POINTS, 2) + 1) * self.half_size
        return LocatedPoints(points_xy, torch.nn.functional.softplus(scales) * self.half_size.mean(), hands)

    def explain(self, view: Tensor) -> LocatedPoints:
        """Return the outputs of `forward`, with probabilities of the number of hands."""
        located = self.forward(view)
        return located._replace(hands=torch.softmax(located.hands, dim=1))
