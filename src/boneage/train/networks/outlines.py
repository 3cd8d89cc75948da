"""Network for the outlines of epiphyses and carpal bones on a view of single bones (`boneage.hand.bones`).

A small U-Net reads each tile by itself, and gives each pixel's logit of belonging to an epiphysis or carpal bone of the
tile's own bone. A tile also shows parts of neighbouring bones, which look alike. Therefore each bone has a map of
trained features, which is added at the deepest level: the network knows which bone a tile shows, and where it usually
lies.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from boneage.hand.bones import BONES, TILE_COLUMNS, TILE_ROWS
from boneage.train.networks.tiles import join_tiles, split_tiles, standardised
from boneage.train.networks.unet import UNetworkTrunk


class OutlineNetwork(nn.Module):
    """U-Net from a view of single bones to each pixel's logit of belonging to an epiphysis or carpal bone.

    Args:
        height, width: size of the view, pixels; 3 x 6 even tiles, whose size is limited as in `UNetworkTrunk`.
        widths: channels of each level, the finest first.
        fold: side of the squares of pixels that become one place.
    """

    def __init__(self, height: int, width: int, *, widths: tuple[int, ...] = (20, 40, 64), fold: int = 3) -> None:
        super().__init__()
        rows, columns = height // TILE_ROWS, width // TILE_COLUMNS
        self.trunk = UNetworkTrunk(rows, columns, widths=widths, fold=fold)
        step = fold * 2 ** (len(widths) - 1)
        self.priors = nn.Parameter(torch.zeros(len(BONES), widths[-1], rows // step, columns // step))
        self.last = nn.Conv2d(self.trunk.channels, fold * fold, 1)

    def forward(self, view: Tensor) -> Tensor:
        """Map a view (N, 1, H, W) to logits (N, 1, H, W)."""
        tiles = standardised(split_tiles(view))
        count, bones, height, width = tiles.shape
        features, _ = self.trunk(tiles.reshape(-1, 1, height, width), self.priors.repeat(count, 1, 1, 1))
        logits = nn.functional.pixel_shuffle(self.last(features), self.trunk.fold)
        return join_tiles(logits.reshape(-1, bones, height, width))[:, None]
