"""The eight candidate networks of Souza & Oliveira, "End-to-end Bone Age Assessment with Residual Learning": Table I.

A network is a row of custom blocks, each twice as wide as the one before; then the flattened map, the one-hot sex and
dense layers. A custom block is a convolution and an activation, then building blocks (convolution, activation,
convolution, addition of the block's input, activation), then a pooling step.

The paper leaves some choices open. They are made as follows:

- Filter size. Table I's row was scanned with merged cells as ``3x3 | 5x5 | 5x5 | 5x5`` over eight columns. E and F
  agree in all other rows, so they differ in this one or are one experiment twice: the 3 x 3 cell ends at E, and the
  three cells of 5 x 5 are F, G and H. No other reading keeps all eight experiments apart.
- Padding keeps the size within a block (the addition in building blocks needs this), pooling is a 2 x 2 maximum, the
  activation is ReLU.
- Normalisation lies between convolution and activation; in a building block's second half, before the addition (He et
  al. 2015). The convolution then has no bias, which the normalisation would remove again. Instance normalisation is
  by channel (Ulyanov et al. 2016) and has a trainable scale and shift. Constants are those of Keras, in which the
  paper's networks were written: epsilon 0.001, batch momentum 0.99.
- Dropout follows the pooling of each custom block except the last, whose pooling lies in the head, and each hidden
  dense layer.
- The L2 penalty is "progressively higher as our neural network gets deeper" (section IV-A). The convolution kernels of
  the k-th of n custom blocks are charged k / n of Table I's 0.0001 for their sum of squares; dense layers, biases and
  normalisation nothing.
- Dense layers have 256 and 64 units. Weights are initialised as in Keras: Glorot uniform kernels, zero biases.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from boneage.errors import RecipeError
from boneage.hand.views import CellGrid
from boneage.train.networks.layers import AgeHead, AgeNetwork

Normalisation = Literal["none", "batch", "instance"]

_EPSILON = 1e-3
_BATCH_MOMENTUM = 0.01
"""Share of the new batch in the running statistics: torch's form of Keras's momentum 0.99."""


@dataclass(frozen=True)
class Column:
    """One experiment of Table I.

    Attributes:
        filters: kernels of every convolution of each custom block.
        building_blocks: number in each custom block.
        kernel: side of the convolutions' filters, pixels.
        normalisation: axes that are brought to zero mean and unit variance after each convolution, if any.
        dropout: share of outputs disregarded in training.
        l2: factor of the penalty on the deepest block's kernels; shallower ones have less.
        augment: True if the paper trained on augmented radiographs. The network itself does not use it; a recipe does.
        paper_mad_months: the paper's final validation MAD, on its own random fifth of the training radiographs.
        paper_epochs: number of epochs of the paper's training.
    """

    filters: tuple[int, ...]
    building_blocks: int
    kernel: int
    paper_mad_months: float
    paper_epochs: int
    normalisation: Normalisation = "none"
    dropout: float = 0.0
    l2: float = 0.0
    augment: bool = True

    @property
    def convolutions_per_block(self) -> int:
        """Table I's row "CL per CB": one, and two in each building block."""
        return 1 + 2 * self.building_blocks

    @property
    def convolutions(self) -> int:
        """Table I's row "Conv Layers"."""
        return self.convolutions_per_block * len(self.filters)

    @property
    def size_step(self) -> int:
        """Number of which height and width of the view must be multiples, so that every pooling halves them."""
        return 1 << len(self.filters)


_NARROW = (16, 32, 64)
_WIDE = (16, 32, 64, 128, 256)

TABLE_I: dict[str, Column] = {
    "A": Column(_NARROW, 1, 3, 20.47, 50, augment=False),
    "B": Column(_NARROW, 1, 3, 10.47, 50),
    "C": Column(_NARROW, 1, 3, 16.61, 50, "batch"),
    "D": Column(_NARROW, 1, 3, 12.0, 50, "instance"),
    "E": Column(_WIDE, 3, 3, 16.98, 50, "instance"),
    "F": Column(_WIDE, 3, 5, 10.73, 50, "instance"),
    "G": Column(_WIDE, 3, 5, 20.33, 150, "instance", dropout=0.15),
    "H": Column(_WIDE, 3, 5, 9.74, 150, "instance", dropout=0.15, l2=0.0001),
}
"""Table I: candidate architectures."""


class NormalisedConvolution(nn.Module):
    """Convolution that keeps the size, followed by normalisation.

    Args:
        channels_in: channels of the input.
        channels: number of kernels.
        column: filter size and kind of normalisation.
    """

    def __init__(self, channels_in: int, channels: int, column: Column) -> None:
        super().__init__()
        normalised = column.normalisation != "none"
        self.convolution = nn.Conv2d(
            channels_in, channels, column.kernel, padding=column.kernel // 2, bias=not normalised
        )
        self.normalisation: nn.Module = nn.Identity()
        if column.normalisation == "batch":
            self.normalisation = nn.BatchNorm2d(channels, eps=_EPSILON, momentum=_BATCH_MOMENTUM)
        elif column.normalisation == "instance":
            self.normalisation = nn.InstanceNorm2d(channels, eps=_EPSILON, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels_in, h, w) to (N, channels, h, w)."""
        y: Tensor = self.normalisation(self.convolution(x))
        return y


class BuildingBlock(nn.Module):
    """Two convolutions with an activation between, the input added, and another activation (Fig. 4)."""

    def __init__(self, channels: int, column: Column) -> None:
        super().__init__()
        self.first = NormalisedConvolution(channels, channels, column)
        self.second = NormalisedConvolution(channels, channels, column)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to the same shape."""
        return torch.relu(self.second(torch.relu(self.first(x))) + x)


class CustomBlock(nn.Module):
    """Convolution and activation, then building blocks (Fig. 5, top). The pooling that ends it is separate."""

    def __init__(self, channels_in: int, channels: int, column: Column) -> None:
        super().__init__()
        self.widen = NormalisedConvolution(channels_in, channels, column)
        self.building_blocks = nn.Sequential(*(BuildingBlock(channels, column) for _ in range(column.building_blocks)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels_in, h, w) to (N, channels, h, w)."""
        y: Tensor = self.building_blocks(torch.relu(self.widen(x)))
        return y


class SouzaNetwork(AgeNetwork):
    """Network of Table I. Its features are the last building block's output; the head begins with the last pooling.

    Args:
        column: column of Table I, as in `TABLE_I`.
        height, width: size of the view, pixels; multiples of 2 to the number of custom blocks (8 for A-D, 32 for E-H).
        hidden: widths of the dense layers between the flattened map and the age.

    Raises:
        RecipeError: ``recipe_invalid`` if height or width does not fit.
    """

    def __init__(self, column: Column, height: int, width: int, *, hidden: tuple[int, ...] = (256, 64)) -> None:
        super().__init__()
        step = column.size_step
        if height < step or width < step or height % step or width % step:
            raise RecipeError(
                "recipe_invalid",
                f"A network with {len(column.filters)} custom blocks takes views whose"
                f" height and width are multiples of {step}, not {height} x {width}.",
            )
        self.column = column
        blocks = [
            CustomBlock(before, channels, column)
            for before, channels in zip((1, *column.filters), column.filters, strict=False)
        ]
        self.features = nn.Sequential()
        for block in blocks[:-1]:
            self.features.extend([block, nn.MaxPool2d(2), nn.Dropout(column.dropout)])
        self.features.append(blocks[-1])
        reduction = step // 2
        side = 2.0 ** (len(blocks) - 1)
        self.cells = CellGrid(side, side / 2)
        self.head = AgeHead(
            column.filters[-1],
            grid=(height // reduction, width // reduction),
            hidden=hidden,
            pooling="flatten",
            dropout=column.dropout,
        )
        _initialise_as_keras(self)

    @property
    def custom_blocks(self) -> list[CustomBlock]:
        """Custom blocks in order from the view to the head."""
        return [module for module in self.features.children() if isinstance(module, CustomBlock)]

    def penalty(self) -> Tensor:
        """Return H's L2 penalty, a scalar to add to the loss; 0 for the other columns."""
        total = super().penalty()
        if self.column.l2 == 0.0:
            return total
        blocks = self.custom_blocks
        for depth, block in enumerate(blocks, start=1):
            kernels = [module.weight for module in block.modules() if isinstance(module, nn.Conv2d)]
            charge = self.column.l2 * depth / len(blocks)
            total = total + charge * torch.stack([kernel.square().sum() for kernel in kernels]).sum()
        return total


def _initialise_as_keras(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
