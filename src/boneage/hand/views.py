"""Views that networks read: a part of a radiograph at a size and with a grey scale.

Training and serving cut their views with the same functions. A view is sampled once from the radiograph's own pixels,
through one composed transform.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from boneage.errors import Rejection, RejectionCode
from boneage.geometry import Transform, downsample_area, fit_inside, sample
from boneage.hand.registration import BOXES, HAND_REGIONS, Hand, Region
from boneage.image_pyramid import ImageSource
from boneage.strict import Bounds

GreyRule = Literal["minmax", "percentile", "hand"]

ViewSide = Annotated[int, Bounds(at_least=16, at_most=4096)]
"""Height or width of a view, pixels, as files may state it."""

_OVERVIEW_SIDE = 256
"""Longest side of the reduced radiograph from which grey levels are measured, pixels."""

BLANKED: frozenset[Region] = frozenset(HAND_REGIONS)
"""Regions whose views show only the hand. Pixels outside its mask are blanked."""

_BOUNDS: dict[GreyRule, tuple[float, float]] = {
    "minmax": (0.0, 100.0),
    "percentile": (0.5, 99.5),
    "hand": (1.0, 99.8),
}
"""Percentiles that bound the grey scale. Bone is a small part of a hand, so that little is cut at the bright end."""


@dataclass(frozen=True)
class ViewSpec:
    """Input of a member of a bundle.

    Attributes:
        region: ``radiograph`` for the whole radiograph (Souza & Oliveira, section IV-A), or a part of the registered
            hand (`boneage.hand.registration.BOXES`). The aspect ratio is kept, and the view is padded.
        height, width: Size of the view, pixels.
        grey: Rule for the grey scale. ``minmax`` scales over the whole range, as in the paper. ``percentile`` scales
            over the 0.5th to 99.5th percentile, so that a lead marker does not set the scale. ``hand`` scales over the
            1st to 99.8th percentile inside the hand's mask, independent of markers, borders and the hand's share.
    """

    region: Region = "radiograph"
    height: ViewSide = 256
    width: ViewSide = 256
    grey: GreyRule = "minmax"

    @property
    def needs_hand(self) -> bool:
        """True if the view can be cut only on a radiograph whose hand was found."""
        return self.region != "radiograph" or self.grey == "hand"


@dataclass(frozen=True)
class CellGrid:
    """Positions of the cells of a network's last feature map on its view.

    They follow from the strides and paddings of the convolutions.

    Attributes:
        pixels: Distance between the centres of neighbouring cells, in pixels of the view.
        first: Centre of the first cell in the view's coordinates; half of `pixels` if cells divide the view evenly.
    """

    pixels: Annotated[float, Bounds(above=0, at_most=4096)]
    first: Annotated[float, Bounds(at_least=-4096, at_most=4096)]

    def to_view(self) -> Transform:
        """Return the transform from the map's own coordinates (first centre at 0.5) to the view's."""
        offset = self.first - self.pixels / 2
        return Transform(a=self.pixels, c=offset, e=self.pixels, f=offset)


@dataclass(frozen=True)
class GreyScale:
    """Grey scale of one radiograph.

    Attributes:
        low, high: Bounds of the scale.
        mean, spread: Mean and standard deviation of the levels clipped to the bounds.
    """

    low: float
    high: float
    mean: float
    spread: float

    def apply(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Clip to the bounds, and normalise to zero mean and unit variance over the radiograph."""
        clipped = np.clip(pixels, np.float32(self.low), np.float32(self.high))
        return (clipped - np.float32(self.mean)) / np.float32(self.spread)


def measure_grey(source: ImageSource, rule: GreyRule, hand: Hand | None = None) -> GreyScale:
    """Measure the grey scale of a radiograph on a copy reduced to 256 px, where single hot pixels do not count.

    Args:
        source: Radiograph, float32 (H, W), 0..1, or its pyramid.
        rule: Rule of the scale, see `ViewSpec.grey`.
        hand: Hand on the radiograph; only the rule ``hand`` needs it. The levels of an inverted radiograph are those
            of its negative.

    Raises:
        Rejection: ``no_contrast`` if the radiograph, or the hand on it, is uniformly grey.
        ValueError: If the rule needs a hand and none was given.
    """
    if rule == "hand":
        if hand is None:
            raise ValueError("the grey rule 'hand' needs a hand")
        return grey_scale(hand_levels(source, hand), rule)
    small = downsample_area(source, _OVERVIEW_SIDE / max(source.shape))
    return grey_scale(np.float32(1.0) - small if hand is not None and hand.inverted else small, rule)


def hand_levels(source: ImageSource, hand: Hand) -> NDArray[np.float32]:
    """Return the grey levels (n,) inside the hand's mask, bone bright, from a copy reduced to 256 px.

    Args:
        source: Radiograph, float32 (H, W), 0..1, or its pyramid.
        hand: Hand on the radiograph.
    """
    small = downsample_area(source, _OVERVIEW_SIDE / max(source.shape))
    radiograph_to_small = Transform.scale(small.shape[1] / source.shape[1], small.shape[0] / source.shape[0])
    levels = small[mask_through(hand, radiograph_to_small, small.shape) > 0.5]
    return np.float32(1.0) - levels if hand.inverted else levels


def grey_scale(levels: NDArray[np.float32], rule: GreyRule) -> GreyScale:
    """Return the grey scale of levels of any shape by a rule's percentiles.

    Raises:
        Rejection: ``no_contrast`` if all levels are equal.
    """
    low, high = (float(value) for value in np.percentile(levels, _BOUNDS[rule])) if levels.size else (0.0, 0.0)
    if not high - low > 1e-4:
        raise Rejection(
            RejectionCode.NO_CONTRAST, "The radiograph shows one even grey: there is nothing to read on it."
        )
    clipped = np.clip(levels, low, high)
    return GreyScale(low, high, float(clipped.mean()), float(clipped.std()))


def view_transform(radiograph_shape: tuple[int, int], spec: ViewSpec, hand: Hand | None = None) -> Transform:
    """Return the transform from the coordinates of a radiograph of shape (H, W) to those of the view.

    Args:
        radiograph_shape: Shape of the radiograph, pixels.
        spec: Specification of the view.
        hand: Hand on that radiograph; only regions of the registered frame need it.

    Raises:
        ValueError: If the region needs a hand and none was given.
    """
    if spec.region == "radiograph":
        return fit_inside(*radiograph_shape, spec.height, spec.width)
    if spec.region == "bones":
        raise ValueError("a view of bones has a transform for each of its tiles (boneage.hand.bones)")
    if hand is None:
        raise ValueError(f"the region {spec.region} needs a hand")
    return hand.radiograph_to_frame.then(frame_to_view(spec))


def frame_to_view(spec: ViewSpec) -> Transform:
    """Return the transform from the registered frame to the view of a region: its box fitted into the view, centred."""
    box = BOXES[spec.region]
    to_box = Transform.shift(-box.left, -box.top)
    zoom = min(spec.height / box.height, spec.width / box.width)
    centring = Transform.shift((spec.width - zoom * box.width) / 2, (spec.height - zoom * box.height) / 2)
    return to_box.then(Transform.scale(zoom)).then(centring)


def cut_view(
    source: ImageSource,
    spec: ViewSpec,
    *,
    hand: Hand | None = None,
    grey: GreyScale | None = None,
    jitter: Transform | None = None,
) -> NDArray[np.float32]:
    """Cut a view from a radiograph.

    Args:
        source: Radiograph, float32 (H, W), 0..1, with bright bone (dark bone if `hand.inverted` is true); or its
            pyramid.
        spec: Specification of the view.
        hand: Hand on the radiograph; needed for regions of the registered frame.
        grey: Grey scale of the radiograph; measured by `spec.grey` if not given.
        jitter: Change of the view in its own coordinates (augmentation); none in serving.

    Returns:
        View, float32 (spec.height, spec.width), with bright bone, zero mean and unit variance over the radiograph (over
        the hand for the grey rule ``hand``). Pixels outside the radiograph, and in regions of the hand those outside
        the hand, have the darkest level.

    Raises:
        Rejection: ``no_contrast``, as in `measure_grey`.
        ValueError: If the view needs a hand and none was given.
    """
    grey = grey or measure_grey(source, spec.grey, hand)
    height, width = source.shape
    transform = view_transform((height, width), spec, hand)
    if jitter is not None:
        transform = transform.then(jitter)
    inverted = hand is not None and hand.inverted
    fill = 1.0 - grey.low if inverted else grey.low
    view = sample(source, transform, spec.height, spec.width, fill=fill)
    if inverted:
        view = np.float32(1.0) - view
    if hand is not None and spec.region in BLANKED:
        inside = mask_through(hand, transform, (spec.height, spec.width), widened=True)
        view = np.float32(grey.low) + (view - np.float32(grey.low)) * inside
    return grey.apply(view)


def mask_through(
    hand: Hand, radiograph_to_target: Transform, shape: tuple[int, int], *, widened: bool = False
) -> NDArray[np.float32]:
    """Sample the hand's mask on a view or picture of the radiograph.

    Args:
        hand: Hand on the radiograph.
        radiograph_to_target: Transform from the radiograph's coordinates to the target's.
        shape: Shape of the target (h, w), pixels.
        widened: True for `Hand.widened_mask`.

    Returns:
        Share of each pixel that lies in the hand, float32 (h, w), 0..1.
    """
    mask = hand.widened_mask if widened else hand.mask.astype(np.float32)
    mask_to_target = hand.radiograph_to_mask.inverse().then(radiograph_to_target)
    return sample(mask, mask_to_target, *shape)
