"""A plain modern relative of Souza & Oliveira's networks: strided stem, residual stages, global average pooling.

Early downsampling and wide 3 x 3 convolutions suit the matrix units of a CPU: at 256 x 192 it trains ten times as fast
as Table I's H at 256 x 256 (see docs/results.md). The features before pooling lie on a grid of 1/32 of the view.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from boneage.hand.views import CellGrid
from boneage.train.networks.layers import AgeHead, AgeNetwork, Answer


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with batch normalisation around a skip connection (He et al. 2015, Fig. 2)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.second_norm.weight)  # each block begins as the identity: steadier at high learning rates
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.skip = nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, channels, h / stride, w / stride)."""
        y = torch.relu(self.first_norm(self.first(x)))
        return torch.relu(self.second_norm(self.second(y)) + self.skip(x))


class ResidualNetwork(AgeNetwork):
    """7 x 7 stem of stride 4, then stages of residual blocks, each but the first of stride 2.

    Args:
        answer: a ``number``, or a ``distribution`` over 240 months (`boneage.train.networks.layers.AgeHead`).
        height, width: size of the view; the network takes any size, and the grid of its map depends on it.
        widths: channels of each stage; the stem has those of the first.
        depths: blocks of each stage.
        hidden: width of the dense layer between pooling and output.
        dropout: dropout of that layer.
    """

    def __init__(
        self,
        answer: Answer,
        height: int,
        width: int,
        *,
        widths: tuple[int, ...] = (64, 128, 256, 512),
        depths: tuple[int, ...] = (2, 2, 2, 1),
        hidden: int = 256,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(1, widths[0], 7, 4, 3, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        ]
        channels = widths[0]
        for stage, (stage_width, depth) in enumerate(zip(widths, depths, strict=True)):
            for block in range(depth):
                layers.append(ResidualBlock(channels, stage_width, 2 if stage > 0 and block == 0 else 1))
                channels = stage_width
        self.features = nn.Sequential(*layers)
        reduction = 4 * 2 ** (len(widths) - 1)
        self.cells = CellGrid(reduction, 0.5)  # each strided convolution is centred on a pixel, the first on the first
        self.head = AgeHead(
            channels,
            grid=(height // reduction, width // reduction),
            hidden=(hidden,),
            pooling="average",
            dropout=dropout,
            answer=answer,
        )
