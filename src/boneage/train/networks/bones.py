"""Network for single bones: one trunk for all of them, each bone's own age distribution, and the age of the hand.

The view has a tile for each bone (`boneage.hand.bones`). The trunk reads each tile by itself. The bone's name scales
and shifts the channels after each stage (Perez et al., feature-wise linear
modulation, AAAI 2018). Pooled features, name and sex give the bone's
age distribution. Attention pooling (Ilse et al., ICML 2018) combines the bones that are present. Their weights follow
from what they show, and so depend on the stage of maturity. Even tiles are left out.

Each tile has zero mean and unit variance, so that the network sees the thin bones of the fingers with as much contrast
as those of the wrist, whatever the exposure.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from boneage.bundle.curve import AGES
from boneage.hand.bones import BONES
from boneage.hand.views import CellGrid
from boneage.train.networks.layers import AgeHead, AgeNetwork, Explained
from boneage.train.networks.residual import ResidualBlock
from boneage.train.networks.tiles import join_tiles, present_tiles, split_tiles, standardised

_LEFT_OUT = -1e4
"""Score of a tile that does not count."""


class BoneDistributions(NamedTuple):
    """Logarithms of the probabilities of the months.

    Attributes:
        hand: (N, 240), of the hand.
        bones: (N, B, 240), of each bone; any numbers for an absent one.
        present: bool (N, B), True for the bones that the view shows.
    """

    hand: Tensor
    bones: Tensor
    present: Tensor


class _Read(NamedTuple):
    """Intermediate results of a batch.

    Attributes:
        features: last feature maps of all tiles, (N, B, C, h, w); None if only those that are present were computed.
        pooled: their means, (N, B, C).
        hidden: hidden layer of each bone, (N, B, F).
        shares: weight of each bone by head, (N, K, B), summing to 1.
        present: bool (N, B).
    """

    features: Tensor | None
    pooled: Tensor
    hidden: Tensor
    shares: Tensor
    present: Tensor


class ConditionedTrunk(nn.Module):
    """Stem of stride 2 and residual stages of stride 2, each scaled and shifted by the bone.

    Args:
        stem: channels of the stem.
        widths: channels of each stage.
        depths: blocks of each stage.
    """

    def __init__(self, stem: int, widths: tuple[int, ...], depths: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, stem, 5, 2, 2, bias=False), nn.BatchNorm2d(stem), nn.ReLU())
        self.stages = nn.ModuleList()
        self.scales, self.shifts = nn.ParameterList(), nn.ParameterList()
        channels = stem
        for width, depth in zip(widths, depths, strict=True):
            further = (ResidualBlock(width, width, 1) for _ in range(depth - 1))
            self.stages.append(nn.Sequential(ResidualBlock(channels, width, 2), *further))
            self.scales.append(nn.Parameter(torch.zeros(len(BONES), width)))
            self.shifts.append(nn.Parameter(torch.zeros(len(BONES), width)))
            channels = width
        self.channels = channels

    def forward(self, tiles: Tensor, bones: Tensor) -> Tensor:
        """Map tiles (M, 1, h, w) of bones (M,), by their places in `BONES`, to features (M, C, h', w')."""
        x: Tensor = self.stem(tiles)
        for stage, scale, shift in zip(self.stages, self.scales, self.shifts, strict=True):
            x = stage(x)
            x = torch.relu(x * (1 + scale[bones])[:, :, None, None] + shift[bones][:, :, None, None])
        return x


class BoneNetwork(AgeNetwork):
    """Network for a view of single bones. Its age is the expectation of the hand's distribution.

    Args:
        height, width: size of the view, pixels; 3 x 6 even tiles.
        stem: channels of the stem.
        widths: channels of each stage.
        depths: blocks of each stage.
        hidden: width of each bone's hidden layer, and of the hand's.
        heads: number of sets of weights of the bones.
        dropout: dropout of each bone's hidden layer.
    """

    features: ConditionedTrunk
    months: Tensor

    def __init__(
        self,
        height: int,
        width: int,
        *,
        stem: int = 16,
        widths: tuple[int, ...] = (32, 64, 128),
        depths: tuple[int, ...] = (2, 2, 2),
        hidden: int = 128,
        heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.features = ConditionedTrunk(stem, widths, depths)
        self.cells = CellGrid(2 * 2 ** len(depths), 0.5)
        channels = self.features.channels
        self.of_bone = nn.Linear(channels + len(BONES) + 2, hidden)
        self.bone_months = nn.Linear(hidden, AGES)
        self.score = nn.Linear(hidden, heads)
        self.dropout = nn.Dropout(dropout)
        self.head = AgeHead(
            heads * hidden, grid=(1, 1), hidden=(hidden,), pooling="average", answer="distribution", sex_input=True
        )
        self.register_buffer("bone_codes", torch.eye(len(BONES)), persistent=False)

    bone_codes: Tensor

    def forward(self, view: Tensor, sex: Tensor) -> Tensor:
        """Map a view (N, 1, H, W) and one-hot sex (N, 2) to ages (N,) in the unit of training."""
        age: Tensor = self.head(self._combined(self._read(view, sex)), sex)
        return age

    def log_distribution(self, view: Tensor, sex: Tensor) -> Tensor:
        """Return the logarithms of the months' probabilities (N, 240)."""
        return self.log_distributions(view, sex).hand

    def log_distributions(self, view: Tensor, sex: Tensor) -> BoneDistributions:
        """Return the logarithms of the months' probabilities, of the hand and of each bone."""
        read = self._read(view, sex)
        hand = self.head.log_distribution(self._combined(read), sex)
        bones = torch.log_softmax(self.bone_months(read.hidden), dim=2, dtype=torch.float32)
        return BoneDistributions(hand, bones, read.present)

    @property
    def gives_bones(self) -> bool:
        """True: the network returns the distribution and the weight of each bone."""
        return True

    @property
    def last_layers(self) -> list[nn.Linear]:
        """Layers whose output is the distribution of the hand, and that of each bone."""
        return [*super().last_layers, self.bone_months]

    @property
    def row_tables(self) -> list[nn.Parameter]:
        """Scales and shifts by bone of each stage, in the order of their use."""
        pairs = zip(self.features.scales, self.features.shifts, strict=True)
        return [table for pair in pairs for table in pair]

    def explain(self, view: Tensor, sex: Tensor) -> Explained:
        """Return the outputs of `forward` with embedding, activation map, distributions, and the weights of the bones.

        The weight of a bone is the mean over the heads. The map is Grad-CAM's weighted sum for the weights of the bones
        as they are: their own slope is left out.
        """
        read = self._read(view, sex, all_tiles=True)
        combined = self._combined(read)
        explained, gradient = self.head.explain_with_gradient(combined, sex)
        count, heads = read.shares.shape[:2]
        by_head = gradient.reshape(count, heads, -1)
        by_hidden = torch.einsum("nkf,nkb->nbf", by_head, read.shares) * (read.hidden > 0).to(read.hidden.dtype)
        channels = read.pooled.shape[2]
        by_pooled = by_hidden @ self.of_bone.weight[:, :channels]
        assert read.features is not None  # noqa: S101 - all tiles were computed; for the type checker
        rows, columns = read.features.shape[3:]
        cells = torch.einsum("nbc,nbchw->nbhw", by_pooled, read.features) / (rows * columns)
        activation = join_tiles(cells)
        bones = torch.softmax(self.bone_months(read.hidden), dim=2)
        return explained._replace(activation=activation, bones=bones, bone_weights=read.shares.mean(dim=1))

    def ages_by(self, view: Tensor, sex: Tensor, subsets: Tensor) -> Tensor:
        """Return the ages of the hand by K subsets of its bones alone, (N, K), in the unit of training.

        Args:
            view: (N, 1, H, W).
            sex: one-hot, (N, 2).
            subsets: bool (K, B), True for the bones that count. A subset without any bone of a view gives NaN.
        """
        read = self._read(view, sex)
        scores = self.score(read.hidden).float().transpose(1, 2)
        ages: list[Tensor] = []
        for subset in subsets:
            counts = read.present & subset
            shares = torch.softmax(scores.masked_fill(~counts[:, None], _LEFT_OUT), dim=2)
            age: Tensor = self.head(self._combined(read._replace(shares=shares)), sex)
            ages.append(age.masked_fill(~counts.any(dim=1), torch.nan))
        return torch.stack(ages, dim=1)

    def _read(self, view: Tensor, sex: Tensor, *, all_tiles: bool = False) -> _Read:
        """Compute the tiles that are present, or all of them, whose number a graph needs to be fixed."""
        tiles = split_tiles(view)
        present = present_tiles(tiles)
        tiles = standardised(tiles)
        features, pooled = self._features_of_all(tiles) if all_tiles else (None, self._pooled(tiles, present))
        codes = self.bone_codes.expand(pooled.shape[0], -1, -1).to(pooled.dtype)
        sexes = sex[:, None].expand(-1, len(BONES), -1).to(pooled.dtype)
        hidden = torch.relu(self.of_bone(torch.cat([pooled, codes, sexes], dim=2)))
        hidden = self.dropout(hidden)
        scores = self.score(hidden).float().transpose(1, 2)
        scores = torch.where(present[:, None], scores, torch.full_like(scores, _LEFT_OUT))
        return _Read(features, pooled, hidden, torch.softmax(scores, dim=2), present)

    def _features_of_all(self, tiles: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of all tiles (N, B, C, h, w), and their means (N, B, C)."""
        count, bones, height, width = tiles.shape
        indices = torch.arange(bones, device=tiles.device).repeat(count)
        features = self.features(tiles.reshape(-1, 1, height, width), indices)
        features = features.reshape(count, bones, *features.shape[1:])
        return features, features.mean(dim=(3, 4))

    def _pooled(self, tiles: Tensor, present: Tensor) -> Tensor:
        """Return the pooled features (N, B, C) of the tiles that are present, which are the only ones computed."""
        places = present.nonzero()
        features = self.features(tiles[present][:, None].contiguous(memory_format=torch.channels_last), places[:, 1])
        pooled = features.new_zeros(*present.shape, features.shape[1])
        filled: Tensor = pooled.index_put((places[:, 0], places[:, 1]), features.mean(dim=(2, 3)))
        return filled

    @staticmethod
    def _combined(read: _Read) -> Tensor:
        """Return the weighted means of the bones' hidden layers as one place of a feature map, (N, K F, 1, 1)."""
        means = torch.einsum("nkb,nbf->nkf", read.shares.to(read.hidden.dtype), read.hidden)
        return means.reshape(means.shape[0], -1, 1, 1)
