"""U-Net (Ronneberger et al. 2015) with batch normalisation, for the hand's mask (Iglovikov et al., section 2, Fig. 3).

The view is first folded: each `fold` x `fold` square of pixels becomes one place with as many channels, and the output
is unfolded again. Most of a U-Net's time is spent at its finest level. Folded by 2, that level costs a quarter, and the
mask still has a value for every pixel.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from boneage.errors import RecipeError


class ConvolutionPair(nn.Sequential):
    """Two 3 x 3 convolutions, each with batch normalisation and ReLU."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )


class UNetworkTrunk(nn.Module):
    """Contracting and expanding path.

    Args:
        height, width: size of the view, pixels; multiples of ``fold * 2 ** (len(widths) - 1)``.
        widths: channels of each level, the finest first.
        fold: side of the squares that become one place.

    Raises:
        RecipeError: ``recipe_invalid`` for a view that does not divide evenly.
    """

    def __init__(self, height: int, width: int, *, widths: tuple[int, ...], fold: int) -> None:
        super().__init__()
        step = fold * 2 ** (len(widths) - 1)
        if height % step or width % step:
            raise RecipeError("recipe_invalid", f"This U-Net takes views of multiples of {step}, not {height}x{width}.")
        self.fold = fold
        self.channels = widths[0]
        self.deepest_channels = widths[-1]
        self.down = nn.ModuleList(ConvolutionPair(a, b) for a, b in itertools.pairwise((fold * fold, *widths)))
        self.up = nn.ModuleList(
            ConvolutionPair(deep + shallow, shallow) for shallow, deep in reversed([*itertools.pairwise(widths)])
        )

    def forward(self, view: Tensor, prior: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map a view to features (N, widths[0], H / fold, W / fold) and the deepest ones (N, widths[-1], h, w).

        Args:
            view: (N, 1, H, W).
            prior: features that are added to the deepest ones, of their shape.
        """
        x = nn.functional.pixel_unshuffle(view, self.fold)
        passed: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else nn.functional.max_pool2d(x, 2))
            passed.append(x)
        deepest = passed.pop()
        x = deepest if prior is None else deepest + prior
        for block in self.up:
            x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, passed.pop()], dim=1))
        return x, deepest


class UNetwork(nn.Module):
    """U-Net from a view to each pixel's logit of belonging to the hand.

    Args:
        height, width: size of the view, pixels; see `UNetworkTrunk`.
        widths: channels of each level, the finest first.
        fold: side of the folded squares (see the module); 1 for the plain U-Net.
    """

    def __init__(
        self, height: int, width: int, *, widths: tuple[int, ...] = (16, 32, 64, 128, 128), fold: int = 2
    ) -> None:
        super().__init__()
        self.trunk = UNetworkTrunk(height, width, widths=widths, fold=fold)
        self.last = nn.Conv2d(self.trunk.channels, fold * fold, 1)

    def forward(self, view: Tensor) -> Tensor:
        """Map a view (N, 1, H, W) to logits (N, 1, H, W)."""
        features, _ = self.trunk(view)
        return nn.functional.pixel_shuffle(self.last(features), self.trunk.fold)
