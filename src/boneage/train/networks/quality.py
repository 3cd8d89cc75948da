"""Quality network: a small residual network from one view to a logit for each label of `boneage.bundle.quality`."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from boneage.bundle.quality import QUALITY_LABELS
from boneage.train.networks.residual import ResidualBlock


class QualityNetwork(nn.Module):
    """A 5 x 5 stem of stride 2, then residual blocks of stride 2, pooled by mean and by maximum.

    The maximum detects small objects such as wires, the mean detects changes of the whole view such as altered greys.

    Args:
        height, width: size of the view, pixels; the network takes any size.
        widths: channels of the stem and of each block.
        dropout: dropout of the pooled features.
    """

    def __init__(
        self, height: int, width: int, *, widths: tuple[int, ...] = (16, 32, 64, 96), dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, widths[0], 5, 2, 2, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)
        )
        pairs = pairwise(widths)
        self.blocks = nn.Sequential(*(ResidualBlock(channels_in, channels, 2) for channels_in, channels in pairs))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * widths[-1], len(QUALITY_LABELS))

    def forward(self, view: Tensor) -> Tensor:
        """Map a view (N, 1, h, w) to logits (N, labels)."""
        features = self.blocks(self.stem(view))
        pooled = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)
        logits: Tensor = self.head(self.dropout(pooled))
        return logits
