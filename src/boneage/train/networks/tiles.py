"""Tiles of a view of single bones (`boneage.hand.bones`), as networks read them."""

from __future__ import annotations

import torch
from torch import Tensor

from boneage.hand.bones import BONES, TILE_COLUMNS, TILE_ROWS

LEAST_RANGE = 1e-3
"""Least difference of greys of a tile that shows a bone."""


def split_tiles(view: Tensor) -> Tensor:
    """Return the tiles (N, B, h, w) of a view (N, 1, H, W), in the order of `boneage.hand.bones.BONES`."""
    height, width = view.shape[2] // TILE_ROWS, view.shape[3] // TILE_COLUMNS
    tiles = view.reshape(-1, TILE_ROWS, height, TILE_COLUMNS, width).permute(0, 1, 3, 2, 4)
    return tiles.reshape(-1, len(BONES), height, width)


def join_tiles(tiles: Tensor) -> Tensor:
    """Return the view (N, H, W) of tiles (N, B, h, w)."""
    height, width = tiles.shape[2:]
    rows = tiles.reshape(-1, TILE_ROWS, TILE_COLUMNS, height, width).permute(0, 1, 3, 2, 4)
    return rows.reshape(-1, TILE_ROWS * height, TILE_COLUMNS * width)


def present_tiles(tiles: Tensor) -> Tensor:
    """Return bool (N, B): True for the tiles (N, B, h, w) that show a bone. The others are even."""
    flat = tiles.flatten(2)
    return (flat.amax(dim=2) - flat.amin(dim=2)) > LEAST_RANGE


def standardised(tiles: Tensor) -> Tensor:
    """Return tiles (N, B, h, w), each with zero mean and unit variance."""
    flat = tiles.flatten(2)
    centred = flat - flat.mean(dim=2, keepdim=True)
    spread = torch.sqrt((centred * centred).mean(dim=2, keepdim=True) + LEAST_RANGE**2)
    return (centred / spread).reshape(tiles.shape)
