"""Inception-V3 (Szegedy et al. 2015, "Rethinking the Inception Architecture") with the sex as a second input.

Souza & Oliveira fine-tuned it beside their own networks (section IV-A, Fig. 6). The trunk's modules have the names and
compute the functions of torchvision's `inception_v3`, so that the standard file ``inception_v3_google-*.pth`` fits; see
`load_imagenet_weights`. The auxiliary classifier is left out. The average pooling is followed by one dense layer with
dropout and the age, in place of the 1,000 classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from boneage.errors import RecipeError
from boneage.hand.views import CellGrid
from boneage.train.networks.layers import AgeHead, AgeNetwork

SMALLEST_SIDE = 75
"""Smallest side of a view, pixels; the unpadded convolutions reduce smaller ones to nothing."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_SPREAD = (0.229, 0.224, 0.225)
"""Mean and spread of ImageNet's red, green and blue, for grey levels 0..1, which torchvision's models normalise."""

_FIRST_KERNELS = "Conv2d_1a_3x3.conv.weight"
_FIRST_MEAN = "Conv2d_1a_3x3.bn.running_mean"
_LEFT_OUT = ("AuxLogits.", "fc.")
_COUNTER = ".num_batches_tracked"


class Convolution(nn.Module):
    """Convolution without bias, batch normalisation, ReLU."""

    def __init__(
        self,
        channels_in: int,
        channels: int,
        kernel: int | tuple[int, int],
        *,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels_in, h, w) to (N, channels, h', w')."""
        return torch.relu(self.bn(self.conv(x)))


def _averaged(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, kernel_size=3, stride=1, padding=1)


class InceptionA(nn.Module):
    """Module of Fig. 5: a 5 x 5 beside two stacked 3 x 3, with 224 channels and those of the pooled branch."""

    def __init__(self, channels_in: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(channels_in, 64, 1)
        self.branch5x5_1 = Convolution(channels_in, 48, 1)
        self.branch5x5_2 = Convolution(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Convolution(channels_in, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, padding=1)
        self.branch_pool = Convolution(channels_in, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels_in, h, w) to (N, 224 + pooled, h, w)."""
        return torch.cat(
            [
                self.branch1x1(x),
                self.branch5x5_2(self.branch5x5_1(x)),
                self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x))),
                self.branch_pool(_averaged(x)),
            ],
            dim=1,
        )


class InceptionB(nn.Module):
    """Module of Fig. 10: strided convolutions beside a maximum, which halves the grid and adds 480 channels."""

    def __init__(self, channels_in: int) -> None:
        super().__init__()
        self.branch3x3 = Convolution(channels_in, 384, 3, stride=2)
        self.branch3x3dbl_1 = Convolution(channels_in, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels_in, h, w) to (N, channels_in + 480, (h - 1) // 2, (w - 1) // 2)."""
        return torch.cat(
            [
                self.branch3x3(x),
                self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x))),
                functional.max_pool2d(x, kernel_size=3, stride=2),
            ],
            dim=1,
        )


class InceptionC(nn.Module):
    """Module of Fig. 6: 7 x 7 as 1 x 7 and 7 x 1, which keeps 768 channels."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        row: dict[str, Any] = {"kernel": (1, 7), "padding": (0, 3)}
        column: dict[str, Any] = {"kernel": (7, 1), "padding": (3, 0)}
        self.branch1x1 = Convolution(768, 192, 1)
        self.branch7x7_1 = Convolution(768, inner, 1)
        self.branch7x7_2 = Convolution(inner, inner, **row)
        self.branch7x7_3 = Convolution(inner, 192, **column)
        self.branch7x7dbl_1 = Convolution(768, inner, 1)
        self.branch7x7dbl_2 = Convolution(inner, inner, **column)
        self.branch7x7dbl_3 = Convolution(inner, inner, **row)
        self.branch7x7dbl_4 = Convolution(inner, inner, **column)
        self.branch7x7dbl_5 = Convolution(inner, 192, **row)
        self.branch_pool = Convolution(768, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 768, h, w) to the same shape."""
        doubled = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        return torch.cat(
            [
                self.branch1x1(x),
                self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x))),
                self.branch7x7dbl_5(self.branch7x7dbl_4(doubled)),
                self.branch_pool(_averaged(x)),
            ],
            dim=1,
        )


class InceptionD(nn.Module):
    """Module of Fig. 10 after the 7 x 7 stage: 768 to 1,280 channels, with the grid halved."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1 = Convolution(768, 192, 1)
        self.branch3x3_2 = Convolution(192, 320, 3, stride=2)
        self.branch7x7x3_1 = Convolution(768, 192, 1)
        self.branch7x7x3_2 = Convolution(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = Convolution(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = Convolution(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 768, h, w) to (N, 1280, (h - 1) // 2, (w - 1) // 2)."""
        return torch.cat(
            [
                self.branch3x3_2(self.branch3x3_1(x)),
                self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))),
                functional.max_pool2d(x, kernel_size=3, stride=2),
            ],
            dim=1,
        )


class InceptionE(nn.Module):
    """Module of Fig. 7: 3 x 3 split into 1 x 3 beside 3 x 1, with 2,048 channels."""

    def __init__(self, channels_in: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(channels_in, 320, 1)
        self.branch3x3_1 = Convolution(channels_in, 384, 1)
        self.branch3x3_2a = Convolution(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = Convolution(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = Convolution(channels_in, 448, 1)
        self.branch3x3dbl_2 = Convolution(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = Convolution(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = Convolution(384, 384, (3, 1), padding=(1, 0))
        self.branch_pool = Convolution(channels_in, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels_in, h, w) to (N, 2048, h, w)."""
        single = self.branch3x3_1(x)
        doubled = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        return torch.cat(
            [
                self.branch1x1(x),
                self.branch3x3_2a(single),
                self.branch3x3_2b(single),
                self.branch3x3dbl_3a(doubled),
                self.branch3x3dbl_3b(doubled),
                self.branch_pool(_averaged(x)),
            ],
            dim=1,
        )


class InceptionTrunk(nn.Sequential):
    """Trunk of Table 1 with torchvision's names: a grey view (N, 1, H, W) to the map of Mixed_7c (N, 2048, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        stages: dict[str, nn.Module] = {
            "Conv2d_1a_3x3": Convolution(1, 32, 3, stride=2),
            "Conv2d_2a_3x3": Convolution(32, 32, 3),
            "Conv2d_2b_3x3": Convolution(32, 64, 3, padding=1),
            "maxpool1": nn.MaxPool2d(3, stride=2),
            "Conv2d_3b_1x1": Convolution(64, 80, 1),
            "Conv2d_4a_3x3": Convolution(80, 192, 3),
            "maxpool2": nn.MaxPool2d(3, stride=2),
            "Mixed_5b": InceptionA(192, pooled=32),
            "Mixed_5c": InceptionA(256, pooled=64),
            "Mixed_5d": InceptionA(288, pooled=64),
            "Mixed_6a": InceptionB(288),
            "Mixed_6b": InceptionC(inner=128),
            "Mixed_6c": InceptionC(inner=160),
            "Mixed_6d": InceptionC(inner=160),
            "Mixed_6e": InceptionC(inner=192),
            "Mixed_7a": InceptionD(),
            "Mixed_7b": InceptionE(1280),
            "Mixed_7c": InceptionE(2048),
        }
        for name, stage in stages.items():
            self.add_module(name, stage)


class InceptionNetwork(AgeNetwork):
    """Inception-V3 on one grey channel, with the sex at the dense layers.

    The stem is not padded, so the map's cells do not tile the view: their centres lie 32 px apart, the first at 37.5.

    Args:
        height, width: size of the view, pixels; at least 75.
        hidden: widths of the dense layers between the pooled map and the age.
        dropout: dropout of those layers.

    Raises:
        RecipeError: ``recipe_invalid`` for a view that is too small.
    """

    def __init__(self, height: int, width: int, *, hidden: tuple[int, ...] = (256,), dropout: float = 0.5) -> None:
        super().__init__()
        if min(height, width) < SMALLEST_SIDE:
            raise RecipeError(
                "recipe_invalid",
                f"Inception-V3 takes views of at least {SMALLEST_SIDE} x {SMALLEST_SIDE}, not {height} x {width}.",
            )
        self.features = InceptionTrunk()
        # The grid serves to flatten only; an average takes any.
        self.cells = CellGrid(32.0, 37.5)  # five strides of 2, their paddings added up
        self.head = AgeHead(2048, grid=(1, 1), hidden=hidden, pooling="average", dropout=dropout)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)  # Keras's beginning, as for the paper's own networks
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)


def load_imagenet_weights(network: AgeNetwork, path: str | Path) -> None:
    """Initialise the trunk of `network` with torchvision's ImageNet weights; the head stays as it is.

    The trunk then computes on a view v what torchvision's pretrained model computes on the three channels (v, v, v). A
    view has zero mean and unit variance, like the colour channels that the model takes. The model first replaces
    ImageNet's normalisation by -1..1 (its ``transform_input``): channel c becomes a_c v + b_c, where
    a_c = spread_c / 0.5 and b_c = (mean_c - 0.5) / 0.5. Its first convolution is linear, without bias and without
    padding, so with kernels K_c

        sum_c K_c * (a_c v + b_c)  =  (sum_c a_c K_c) * v  +  sum_c b_c sum(K_c).

    The first factor is the kernel of the single channel. The second term is a constant for each output channel: the
    batch normalisation that follows has the same result if its running mean is smaller by that constant.

    Args:
        network: an `InceptionNetwork`, as built.
        path: file ``inception_v3_google-*.pth`` (a state dict), which the user provides. It is read without running any
            code in it. Its auxiliary classifier and final classes (``AuxLogits.*``, ``fc.*``) and counters of batches
            are ignored.

    Raises:
        RecipeError: ``recipe_invalid`` if the network is another one, the file cannot be read, or its names and shapes
            differ from the trunk's; the message lists the differences. The network is then unchanged.
    """
    if not isinstance(network, InceptionNetwork):
        raise RecipeError(
            "recipe_invalid", f"ImageNet's weights are for Inception-V3, not for a {type(network).__name__}."
        )
    state = _read_state(Path(path))
    expected = network.features.state_dict()
    shapes = {name: tuple(value.shape) for name, value in expected.items() if not name.endswith(_COUNTER)}
    shapes[_FIRST_KERNELS] = (32, 3, 3, 3)
    _check_names_and_shapes(state, shapes)
    kernels = state[_FIRST_KERNELS]
    scale = kernels.new_tensor(IMAGENET_SPREAD) / 0.5
    shift = (kernels.new_tensor(IMAGENET_MEAN) - 0.5) / 0.5
    state[_FIRST_MEAN] = state[_FIRST_MEAN] - torch.einsum("ocij,c->o", kernels, shift)
    state[_FIRST_KERNELS] = torch.einsum("ocij,c->oij", kernels, scale).unsqueeze(1)
    network.features.load_state_dict({**expected, **state})


def _read_state(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (
        Exception
    ) as error:  # a damaged file makes torch's reader raise a dozen kinds, IndexError and struct.error too
        raise RecipeError("recipe_invalid", f"The weights file {path} cannot be read: {error}") from error
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise RecipeError("recipe_invalid", f"The weights file {path} is not a dictionary of names and tensors.")
    return {
        name: value.float()
        for name, value in content.items()
        if not name.startswith(_LEFT_OUT) and not name.endswith(_COUNTER)
    }


def _check_names_and_shapes(state: dict[str, Tensor], shapes: dict[str, tuple[int, ...]]) -> None:
    faults = [f"{name} is missing" for name in shapes if name not in state]
    faults += [f"{name} does not belong to Inception-V3" for name in state if name not in shapes]
    for name, shape in shapes.items():
        if name not in state:
            continue
        if tuple(state[name].shape) != shape:
            faults.append(f"{name} has shape {tuple(state[name].shape)}, not {shape}")
        elif not bool(torch.isfinite(state[name]).all()):
            faults.append(f"{name} has values that are not finite")
    if faults:
        raise RecipeError("recipe_invalid", "The weights file does not fit Inception-V3: " + "; ".join(faults) + ".")
