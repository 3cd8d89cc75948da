"""The age networks of Iglovikov et al., "Pediatric Bone Age Assessment Using Deep Convolutional Neural Networks".

Sections 4.1 and 4.2, Fig. 5: six blocks of two 3 x 3 convolutions, each with ELU and batch normalisation, and 2 x 2 max
pooling; two dense layers of 2,048; a single output, or a softmax over 240 months whose expectation is the age.

The paper leaves some choices open. They are made as follows:

- Normalisation follows the activation, as the text lists them (section 3).
- Pooling rounds up, so that views of any size pass through six of them.
- Dense layers have ELU too. Dropout of 0.5 precedes each of the two.
- The sex is one-hot at the first dense layer, as in the other networks. The paper's networks are blind to it. It has no
  effect on networks of one sex here either, and ``sex_input`` turns it off for mixed ones.
- Weights have torch's default initialisation, which matters little with normalisation.
"""

from __future__ import annotations

import itertools

from torch import nn

from boneage.hand.views import CellGrid
from boneage.train.networks.layers import AgeHead, AgeNetwork, Answer

WIDTHS = (32, 64, 128, 128, 256, 384)
"""Filters of the six blocks (section 4.1)."""


def vgg_blocks(widths: tuple[int, ...], *, channels_in: int = 1) -> nn.Sequential:
    """Build blocks of two convolutions, with max pooling between them and none after the last.

    They map (N, channels_in, H, W) to (N, widths[-1], h, w): with n blocks, h is H / 2 ** (n - 1) rounded up, w
    likewise.

    Args:
        widths: filters of both convolutions of each block.
        channels_in: channels of the view.
    """
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise((channels_in, *widths)):
        if layers:
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        layers += [*_convolution(before, after), *_convolution(after, after)]
    return nn.Sequential(*layers)


def _convolution(channels_in: int, channels: int) -> list[nn.Module]:
    # In place: the normalisation needs the activation's output only, and so does its own slope.
    return [nn.Conv2d(channels_in, channels, 3, padding=1), nn.ELU(inplace=True), nn.BatchNorm2d(channels)]


class VggNetwork(AgeNetwork):
    """Network of Fig. 5. Its features are the last block's before the pooling, which belongs to the head.

    Args:
        answer: ``number`` for the regression, ``distribution`` for the classification.
        height, width: size of the view, pixels, without limits. The size of the dense layer depends on it.
        widths: filters of each block.
        hidden: widths of the dense layers.
        dropout: dropout before each of these.
        sex_input: True if the network reads the sex.
    """

    def __init__(
        self,
        answer: Answer,
        height: int,
        width: int,
        *,
        widths: tuple[int, ...] = WIDTHS,
        hidden: tuple[int, ...] = (2048, 2048),
        dropout: float = 0.5,
        sex_input: bool = True,
    ) -> None:
        super().__init__()
        self.features = vgg_blocks(widths)
        reduction = 2 ** (len(widths) - 1)
        self.cells = CellGrid(float(reduction), reduction / 2)  # an odd row's pool of its own begins where it would
        self.head = AgeHead(
            widths[-1],
            grid=(-(-height // reduction), -(-width // reduction)),
            hidden=hidden,
            pooling="flatten",
            dropout=dropout,
            dropout_of="inputs",
            activation="elu",
            answer=answer,
            sex_input=sex_input,
        )
