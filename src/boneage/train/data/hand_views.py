"""Views for the hand networks: radiographs with masks or key points, negatives, and radiographs with two hands.

Everything random follows from (seed, epoch, index), as for ages. The geometric change is composed with the view's own
transform, and mask or points go through the same transform.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from boneage.geometry import Transform, sample
from boneage.hand.registration import HAND_LENGTH, Hand, register
from boneage.hand.views import GreyScale, ViewSpec, cut_view, view_transform
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.data.annotations import load_mask
from boneage.train.data.augment import draw_change
from boneage.train.data.cache import RadiographCache
from boneage.train.data.epochs import batches_of
from boneage.train.data.negatives import draw_negative
from boneage.train.data.pairs import MaskedRadiograph, pair_radiographs
from boneage.train.recipe import Augmentation, Recipe

NO_HAND, ONE_HAND, SEVERAL_HANDS = range(3)
"""Classes of the output ``hands`` of a network for key points."""

GUESS_DEGREES, GUESS_ZOOM, GUESS_SHIFT = 15.0, 0.15, 0.07
"""Largest displacement of the first guess from which the refining network starts.

The values are rotation, factor of size, and shift as a share of the hand's length.
"""

_WRONG_SIDE = 0.08
"""Probability that this first guess has the thumb on the wrong side."""

_LARGEST_FRAME = 0.15
"""Widest border around a radiograph, as a share of its side."""


@dataclass(frozen=True)
class _Picture:
    """Radiograph as it is presented to a network once.

    Attributes:
        pixels: float32 (H, W).
        grey: its grey levels, or None if they are not measured yet.
        mask: uint8 (H', W') over the whole image, or None.
        points_xy: (3, 2) in its pixels, or None.
        hands: class of the number of hands, one of the constants above.
    """

    pixels: NDArray[np.float32]
    grey: GreyScale | None
    mask: NDArray[np.uint8] | None
    points_xy: NDArray[np.float64] | None
    hands: int


class HandViews(Dataset[tuple[Tensor, ...]]):
    """Views of annotated radiographs. Subclasses define the target.

    Args:
        radiographs: annotated radiographs.
        cache: decoded radiographs.
        recipe: recipe with the view, and the augmentation of training.
        training: True for augmented views and negatives, False for views of the unchanged radiographs.
        epoch: number that determines the augmentation.
    """

    def __init__(
        self,
        radiographs: Sequence[LabelledRadiograph],
        cache: RadiographCache,
        recipe: Recipe,
        *,
        training: bool,
        epoch: int = 0,
    ) -> None:
        self.radiographs, self.cache, self.spec = radiographs, cache, recipe.view
        self.augment = recipe.augment if training else Augmentation()
        self.training, self.seed, self.epoch = training, recipe.train.seed, epoch
        self.count = (recipe.train.views_per_epoch if training else 0) or len(radiographs)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        """Return the view (1, H, W) and the target's tensors."""
        generator = np.random.default_rng((self.seed, self.epoch, index) if self.training else (0, index))
        radiograph = self.radiographs[index % len(self.radiographs)]
        if self.count != len(self.radiographs):
            radiograph = self.radiographs[int(generator.integers(len(self.radiographs)))]
        picture = self._picture(radiograph, generator)
        hand = self._guess(picture, generator)
        change = draw_change(self.augment, self.spec.height, self.spec.width, generator)
        jitter = change.jitter
        if generator.random() < self.augment.any_rotation:
            turn = Transform.rotation(float(generator.uniform(0, 360)))
            jitter = turn.about(self.spec.width / 2, self.spec.height / 2).then(jitter)
        view = cut_view(picture.pixels, self.spec, hand=hand, grey=picture.grey, jitter=jitter)
        view = change.shade(view)
        if generator.random() < self.augment.inversion:
            view = -view
        shape = (picture.pixels.shape[0], picture.pixels.shape[1])
        to_view = view_transform(shape, self.spec, hand).then(jitter)
        return torch.from_numpy(view)[None], *self.target(picture, to_view)

    def target(self, picture: _Picture, to_view: Transform) -> tuple[Tensor, ...]:
        """Return the target of the network."""
        raise NotImplementedError

    def annotated(self, radiograph: LabelledRadiograph) -> tuple[NDArray[np.uint8] | None, NDArray[np.float64] | None]:
        """Return the radiograph's mask, and its points as fractions of width and height; None for a missing one."""
        raise NotImplementedError

    def _picture(self, radiograph: LabelledRadiograph, generator: np.random.Generator) -> _Picture:
        pixels = self.cache.pixels(radiograph.id)
        mask, fractions = self.annotated(radiograph)
        points_xy = None if fractions is None else fractions * (pixels.shape[1], pixels.shape[0])
        kind = generator.random()
        if kind < self.augment.negative:
            drawn = draw_negative(generator, pixels, mask, points_xy=points_xy)
            return _Picture(drawn, None, np.zeros((1, 1), np.uint8), None, NO_HAND)
        other = self.radiographs[int(generator.integers(len(self.radiographs)))]
        if kind < self.augment.negative + self.augment.pair and self._can_pair(radiograph, other):
            return self._pair(radiograph, other, generator)
        grey: GreyScale | None = self.cache.grey(radiograph.id, self.spec.grey)
        if generator.random() < self.augment.frame:
            pixels, mask, points_xy = _framed(pixels, mask, points_xy, generator)
            grey = None
        return _Picture(pixels, grey, mask, points_xy, ONE_HAND)

    def _can_pair(self, *radiographs: LabelledRadiograph) -> bool:
        """Return True if each radiograph has a hand: an accepted mask may be empty."""
        return all(mask is None or mask.any() for mask, _ in map(self.annotated, radiographs))

    def _pair(
        self, radiograph: LabelledRadiograph, other: LabelledRadiograph, generator: np.random.Generator
    ) -> _Picture:
        both = [(self.cache.pixels(one.id), self.annotated(one)[0]) for one in (radiograph, other)]
        (first, first_mask), (second, second_mask) = (
            (pixels, np.ones((1, 1), np.uint8) if mask is None else mask) for pixels, mask in both
        )
        pixels, mask = pair_radiographs(
            generator, MaskedRadiograph(first, first_mask), MaskedRadiograph(second, second_mask)
        )
        return _Picture(pixels, None, mask, None, SEVERAL_HANDS)

    def _guess(self, picture: _Picture, generator: np.random.Generator) -> Hand | None:
        """Return the first guess for the refining network: near the hand, or anywhere on a radiograph without one."""
        if self.spec.region == "radiograph":
            return None
        points_xy = picture.points_xy
        if points_xy is None:
            height, width = picture.pixels.shape
            centre = np.array([width, height]) * generator.uniform(0.35, 0.65, 2)
            shape = np.array([[0.0, -0.6], [0.4, -0.1], [0.0, 0.4]]) * max(height, width) * generator.uniform(0.4, 0.9)
            points_xy = Transform.rotation(float(generator.uniform(0, 360))).points(shape) + centre
        return Hand.at(displaced_points(points_xy, generator))


class MaskViews(HandViews):
    """Views with the mask of the hand, float32 (1, H, W) of 0 and 1; of all hands on radiographs with several."""

    def __init__(self, *args: object, masks: Mapping[str, Path], **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]  # arguments of HandViews
        self.masks = masks

    def annotated(self, radiograph: LabelledRadiograph) -> tuple[NDArray[np.uint8] | None, NDArray[np.float64] | None]:
        """Return the radiograph's mask."""
        return _cached_mask(self.masks[radiograph.id]), None

    def target(self, picture: _Picture, to_view: Transform) -> tuple[Tensor, ...]:
        """Return the mask through the view's own transform."""
        assert picture.mask is not None  # noqa: S101 - every picture of this class has one; for the type checker
        rows, columns = picture.mask.shape
        height, width = picture.pixels.shape
        to_view = Transform.scale(width / columns, height / rows).then(to_view)
        drawn = sample(picture.mask.astype(np.float32), to_view, self.spec.height, self.spec.width)
        return (torch.from_numpy((drawn > 0.5).astype(np.float32))[None],)


class PointViews(HandViews):
    """Views with the points (3, 2) in pixels of the view, their visibility (3,), and the class of hands ()."""

    def __init__(self, *args: object, points: Mapping[str, NDArray[np.float64]], **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]  # arguments of HandViews
        self.points = points

    def annotated(self, radiograph: LabelledRadiograph) -> tuple[NDArray[np.uint8] | None, NDArray[np.float64] | None]:
        """Return the radiograph's points."""
        return None, self.points[radiograph.id]

    def target(self, picture: _Picture, to_view: Transform) -> tuple[Tensor, ...]:
        """Return the points through the view's own transform; a radiograph without points has none on the view."""
        hands = torch.tensor(picture.hands)
        if picture.points_xy is None:
            return torch.zeros(3, 2), torch.zeros(3), hands
        points_xy = to_view.points(picture.points_xy)
        size = (self.spec.width, self.spec.height)
        on_view = ((points_xy >= 0) & (points_xy < size)).all(axis=1)
        return torch.from_numpy(points_xy.astype(np.float32)), torch.from_numpy(on_view.astype(np.float32)), hands


def hand_batches(views: HandViews, recipe: Recipe, *, rank: int = 0, world: int = 1) -> DataLoader[tuple[Tensor, ...]]:
    """Return the batches of an epoch: reshuffled for training, else in the radiographs' order."""
    return batches_of(views, recipe, epoch=views.epoch if views.training else None, rank=rank, world=world)


@torch.no_grad()
def predict_masks(
    network: nn.Module,
    radiographs: Iterable[NDArray[np.float32]],
    spec: ViewSpec,
    *,
    batch_size: int = 64,
    half_precision: bool = True,
) -> Iterator[NDArray[np.float32]]:
    """Return the probabilities of belonging to the hand, float32 (h, w) on the view of each radiograph, in order.

    Args:
        network: a `boneage.train.networks.unet.UNetwork`.
        radiographs: pixels, float32 (H, W) each.
        spec: view of the network.
        batch_size: number of radiographs at once.
        half_precision: True for bfloat16, which is faster and changes a probability by about 0.01.
    """
    network.eval()
    views: list[NDArray[np.float32]] = []

    def batch_probabilities() -> Iterator[NDArray[np.float32]]:
        batch = torch.from_numpy(np.stack(views))[:, None].contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=half_precision):
            logits = network(batch)
        yield from torch.sigmoid(logits.float())[:, 0].numpy()

    for pixels in radiographs:
        views.append(cut_view(pixels, spec))
        if len(views) == batch_size:
            yield from batch_probabilities()
            views.clear()
    if views:
        yield from batch_probabilities()


def displaced_points(points_xy: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """Return points as a first guess might have them."""
    frame_xy = register(points_xy).points(points_xy)
    turn, zoom, *shift = generator.uniform(-1, 1, 4)
    change = Transform.rotation(turn * GUESS_DEGREES).then(Transform.scale((1 + GUESS_ZOOM) ** zoom))
    change = change.about(*frame_xy.mean(axis=0))
    change = change.then(Transform.shift(*(share * GUESS_SHIFT * HAND_LENGTH for share in shift)))
    moved = change.points(frame_xy)
    if generator.random() < _WRONG_SIDE:
        moved[1, 0] = 2 * moved[2, 0] - moved[1, 0]
    return register(points_xy).inverse().points(moved)


def _framed(
    pixels: NDArray[np.float32],
    mask: NDArray[np.uint8] | None,
    points_xy: NDArray[np.float64] | None,
    generator: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.uint8] | None, NDArray[np.float64] | None]:
    """Add a border around a radiograph, of any grey and with a different width on each side."""
    top, bottom, left, right = (
        int(share * side)
        for share, side in zip(
            generator.uniform(0, _LARGEST_FRAME, 4) * (generator.random(4) < 0.7),
            (pixels.shape[0], pixels.shape[0], pixels.shape[1], pixels.shape[1]),
            strict=True,
        )
    )
    level = float(generator.choice([0.0, 1.0, generator.random()]))
    whole = None if mask is None else _on_radiograph(mask, pixels)
    sides = ((top, bottom), (left, right))
    return (
        np.pad(pixels, sides, constant_values=np.float32(level)),
        None if whole is None else np.pad(whole, sides),
        None if points_xy is None else points_xy + np.array([left, top]),
    )


def _on_radiograph(mask: NDArray[np.uint8], pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a mask at the radiograph's own size."""
    size = (pixels.shape[1], pixels.shape[0])
    return np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), dtype=np.uint8)


def _cached_mask(path: Path) -> NDArray[np.uint8]:
    """Return a mask, which is decoded once."""
    bits, shape = _packed_mask(path)
    return np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape)


@lru_cache(maxsize=20_000)
def _packed_mask(path: Path) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Return a mask's bits, eight per byte, and its shape."""
    mask = load_mask(path)
    return np.packbits(mask), (mask.shape[0], mask.shape[1])
