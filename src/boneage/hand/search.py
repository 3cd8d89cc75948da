"""One search for the hand on a picture: mask, polarity, key points, registration; or a rejection with its reason.

The mask network and the first network for key points read the whole picture, in any orientation. The second network for
key points reads the hand after the first has registered it, upright and with the thumb on the right. It does so twice,
with a grey scale measured there, and the mask that counts is made there, too. Their views and all later steps then
hardly depend on the rotation, the mirroring or the framing of the radiograph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.arrays import Image
from boneage.errors import Rejection, RejectionCode
from boneage.geometry import Transform, lies_inside, sample
from boneage.hand.borders import Window
from boneage.hand.candidates import part_windows
from boneage.hand.mask import THRESHOLD, components, filled, widened
from boneage.hand.registration import Hand, hand_length
from boneage.hand.views import (
    GreyRule,
    GreyScale,
    ViewSpec,
    cut_view,
    grey_scale,
    measure_grey,
    view_transform,
)
from boneage.image_pyramid import ImagePyramid
from boneage.strict import NotNegative, Share

_REPEATED_DEGREES = (-5.0, 0.0, 5.0)
"""Angles by which the hand is turned for the last views. The mean counts, and the spread is its uncertainty."""

_LEAST_THUMB = 0.08
"""The thumb's tip lies at least this far beside the line from capitate to fingertip, as a share of the hand's length.
Of 1,785 annotated hands the least was 0.22."""

_NEAR_SIDE = 128
"""Side of the reduced view from which grey levels near the hand are measured, pixels."""

_RING_NEAR, _RING_FAR = 0.01, 0.05
"""Distances from the mask between which the air about the hand is measured, as shares of the view's side."""

_LEAST_OTHER = 0.05
"""Least area of a further part of a mask that is searched at close range, as a share of the largest part's area. None
of 400 validation radiographs has a larger one than 0.043. In 40 pictures with a second hand of half the height, 95 %
have."""

_POINTS_ALONG = 50
"""Number of points of the line from capitate to fingertip that are looked up in a mask."""


class LocatedPoints(NamedTuple):
    """Output of a network for key points for one view.

    Attributes:
        points_xy: (3, 2) in the view's coordinates, rows in the order of `boneage.hand.registration.POINT_NAMES`.
        spread: (3,) standard deviation of each point's heat map, pixels of the view.
        hands: (3,) probabilities of no hand, one, and several.
    """

    points_xy: NDArray[np.float32]
    spread: NDArray[np.float32]
    hands: NDArray[np.float32]


class HandNetworks(Protocol):
    """The three networks, and the views that they read."""

    @property
    def mask_spec(self) -> ViewSpec:
        """View of the network for the mask."""

    @property
    def locate_spec(self) -> ViewSpec:
        """View of the network that finds key points on the whole radiograph."""

    @property
    def refine_spec(self) -> ViewSpec:
        """View of the network that finds them again on the registered hand."""

    def mask(self, views: Image) -> Image:
        """Return the probabilities of lying in the hand (N, h, w) on views (N, h, w)."""

    def locate(self, views: Image) -> list[LocatedPoints]:
        """Return the key points on each of the views (N, h, w) of whole radiographs."""

    def refine(self, views: Image) -> list[LocatedPoints]:
        """Return the key points on each of the views (N, h, w) of registered hands."""


@dataclass(frozen=True)
class HandLimits:
    """Limits beyond which a radiograph is rejected.

    Attributes:
        least_mask_share: least share of the radiograph that the mask covers.
        least_one_hand: least probability, 0..1, of one hand, by either network for points.
        largest_second_part: largest share of the largest part's area that a second part of the mask may have, if the
            first network for points finds several hands possible.
        largest_spread: largest spread of the points over repeated views, as a share of the hand's length.
        least_inside: least share of the line from capitate to fingertip that lies in the mask. Where the middle finger
            is bent sideways, as on 2 of 999 validation radiographs, it is 0.78.
        mask_areas: (least, largest) area of the mask, as far as it reaches about the registered hand, in squares of the
            hand's length.
    """

    least_mask_share: Share = 0.01
    least_one_hand: Share = 0.5
    largest_second_part: Share = 0.4
    largest_spread: Share = 0.12
    least_inside: Share = 0.7
    mask_areas: tuple[NotNegative, float] = (0.25, 1.6)

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of values that do not go together (`boneage.strict`)."""
        if self.mask_areas[0] >= self.mask_areas[1]:
            yield "mask_areas", "must rise from the least to the largest area"


@dataclass(frozen=True)
class Sighting:
    """Result of one search of a picture: the hand, and further parts of its mask.

    Attributes:
        hand: hand on the picture.
        others: area and window of each further part of the first mask, the largest first.
    """

    hand: Hand
    others: Sequence[tuple[float, Window]] = ()


def search_once(picture: ImagePyramid, networks: HandNetworks, limits: HandLimits) -> Sighting:
    """Find the one hand on a picture in a single search, with the rejections of `boneage.hand.find.find_hand`."""
    height, width = picture.shape
    grey, view, parts = _whole_radiograph(picture, networks, limits)
    inverted = bone_is_dark(view, parts[0])
    if inverted:
        picture = ImagePyramid(np.float32(1.0) - picture.pixels)
        grey, view, parts = _whole_radiograph(picture, networks, limits)
        if bone_is_dark(view, parts[0]):
            raise PolarityUncertain
    (located,) = networks.locate(cut_view(picture, networks.locate_spec, grey=grey)[None])
    _reject_other_counts(located, parts, limits)
    guess_xy = view_transform((height, width), networks.locate_spec).inverse().points(located.points_xy)
    points_xy, spread, side_certain = _refined(picture, guess_xy, networks, limits)
    mask, to_mask = _mask_near(picture, points_xy, networks)
    hand = Hand(points_xy, mask, to_mask, inverted=inverted, spread=spread, side_certain=side_certain)
    _reject_implausible(hand, limits)
    rest = np.asarray(parts[1:].any(axis=0))
    to_view = view_transform((height, width), networks.mask_spec)
    others = part_windows(rest, to_view, Window.of(picture.shape), _LEAST_OTHER * float(parts[0].sum()))
    return Sighting(hand, others)


# --- parts of one search --------------------------------------------------------------------------------------------


def _whole_radiograph(
    picture: ImagePyramid, networks: HandNetworks, limits: HandLimits
) -> tuple[GreyScale, Image, NDArray[np.uint8]]:
    """Return the radiograph's grey levels, the mask network's view of it, and the mask's parts, the largest first."""
    height, width = picture.shape
    grey = measure_grey(picture, networks.mask_spec.grey)
    view = cut_view(picture, networks.mask_spec, grey=grey)
    parts = components(networks.mask(view[None])[0] > THRESHOLD)
    to_mask = view_transform((height, width), networks.mask_spec)
    _reject_no_mask(parts, height * width * abs(to_mask.determinant), limits)
    return grey, view, parts


def _mask_near(
    picture: ImagePyramid, points_xy: NDArray[np.float64], networks: HandNetworks
) -> tuple[NDArray[np.uint8], Transform]:
    """Return the mask of the registered hand on a view of its surroundings, and the transform to that view.

    If there are several parts, the one counts that holds most of the line from capitate to fingertip.
    """
    place = Hand.at(points_xy)
    spec = replace(networks.mask_spec, region="surroundings")
    view = cut_view(picture, spec, hand=place, grey=_grey_near(picture, place, spec.grey))
    parts = components(networks.mask(view[None])[0] > THRESHOLD)
    if not len(parts):
        raise _uncertain("at close range there is no hand")
    to_view = view_transform(picture.shape, spec, place)
    along = to_view.points(np.linspace(points_xy[2], points_xy[0], _POINTS_ALONG))
    held = [_share_inside(part, along) for part in parts]
    return filled(parts[int(np.argmax(held))]), to_view


def _share_inside(mask: NDArray[np.uint8], points_xy: NDArray[np.float64]) -> float:
    """Return the share of points (N, 2), in a mask's coordinates, that lie in the mask (h, w)."""
    height, width = mask.shape
    columns = np.clip(points_xy[:, 0].astype(int), 0, width - 1)
    rows = np.clip(points_xy[:, 1].astype(int), 0, height - 1)
    return float(mask[rows, columns].mean())


def _grey_near(picture: ImagePyramid, place: Hand, rule: GreyRule) -> GreyScale:
    """Measure the grey levels of the radiograph's part about a hand, so that borders and frames farther away do not
    count; those of its negative if the hand is inverted.
    """
    shape = picture.shape
    spec = ViewSpec("surroundings", _NEAR_SIDE, _NEAR_SIDE)
    to_view = view_transform(shape, spec, place)
    seen = sample(picture, to_view, _NEAR_SIDE, _NEAR_SIDE)
    return grey_scale(seen[lies_inside(to_view, shape, _NEAR_SIDE, _NEAR_SIDE)], rule)


def bone_is_dark(view: Image, mask: NDArray[np.uint8]) -> bool:
    """Return True if the hand is darker than the air about it.

    Then the grey is inverted, whatever borders the radiograph has.

    Args:
        view: float32 (h, w) of the hand and its surroundings.
        mask: uint8 (h, w) of the hand, not empty.
    """
    side = max(mask.shape)
    near, far = widened(mask, _RING_NEAR * side), widened(mask, _RING_FAR * side)
    ring = view[(far - near).astype(bool)]
    inside = view[cv2.erode(mask, np.ones((3, 3), np.uint8)).astype(bool)]
    if not ring.size or not inside.size:
        return False
    return float(np.median(inside)) < float(np.median(ring))


class _Refined(NamedTuple):
    """Key points by the refining network on repeated views.

    Attributes:
        points_xy: (3, 2) on the picture.
        spread: spread of the middle finger's tip and the capitate, as a share of the hand's length.
        side_certain: True if the thumb's tip was found, and lay clearly on one side in every view.
    """

    points_xy: NDArray[np.float64]
    spread: float
    side_certain: bool


def _refined(
    picture: ImagePyramid, guess_xy: NDArray[np.float64], networks: HandNetworks, limits: HandLimits
) -> _Refined:
    """Find the points again where they were guessed."""
    once_xy, _ = _refine_at(picture, guess_xy, (0.0,), networks, limits)
    views_xy, heat_spread = _refine_at(picture, once_xy[0], _REPEATED_DEGREES, networks, limits)
    mean_xy = views_xy.mean(axis=0)
    apart = np.linalg.norm(views_xy - mean_xy, axis=2).max(axis=0)
    spreads = np.maximum(apart, heat_spread) / max(hand_length(mean_xy), 1e-9)
    tip, thumb, capitate = (float(spread) for spread in spreads)
    certain = thumb <= limits.largest_spread and _is_side_clear([once_xy[0], *views_xy, mean_xy])
    if not certain and max(tip, capitate) <= limits.largest_spread:
        mean_xy = _with_thumb_of_both_sides(picture, mean_xy, networks, limits)
    return _Refined(mean_xy, max(tip, capitate), certain)


def _refine_at(
    picture: ImagePyramid,
    guess_xy: NDArray[np.float64],
    degrees: tuple[float, ...],
    networks: HandNetworks,
    limits: HandLimits,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return points (n, 3, 2) on the picture by the refining network, and each one's widest heat map (3,), pixels."""
    if not hand_length(guess_xy) > 1.0:
        raise _uncertain("fingertip and wrist fall together")
    spec = networks.refine_spec
    place = Hand.at(guess_xy)
    grey = _grey_near(picture, place, spec.grey)
    turns = [Transform.rotation(angle).about(spec.width / 2, spec.height / 2) for angle in degrees]
    views = np.stack([cut_view(picture, spec, hand=place, grey=grey, jitter=turn) for turn in turns])
    to_view = view_transform(picture.shape, spec, place)
    answers = networks.refine(views)
    if min(answer.hands[1] for answer in answers) < limits.least_one_hand:
        raise Rejection(
            RejectionCode.NO_HAND, "What was taken for a hand does not look like a whole one at close range."
        )
    points_xy = [
        to_view.then(turn).inverse().points(answer.points_xy) for turn, answer in zip(turns, answers, strict=True)
    ]
    return np.stack(points_xy), np.max([answer.spread for answer in answers], axis=0) / to_view.zoom


def _is_side_clear(views_xy: Sequence[NDArray[np.float64]]) -> bool:
    """Return True if the thumb lies clearly beside the middle finger, on the same side in every view (3, 2).

    A hand that is read as its mirror image gives a wrong estimate, and no other check would find it.
    """
    beside = [_thumb_beside(points_xy) for points_xy in views_xy]
    return len({share < 0 for share in beside}) == 1 and abs(beside[-1]) >= _LEAST_THUMB


def _thumb_beside(points_xy: NDArray[np.float64]) -> float:
    """Return the distance of the thumb's tip from the line from capitate to fingertip, hand lengths; right positive."""
    tip, thumb, capitate = points_xy
    along = tip - capitate
    across = np.array([-along[1], along[0]])
    return float((thumb - capitate) @ across / max(along @ along, 1e-9))


def _with_thumb_of_both_sides(
    picture: ImagePyramid, points_xy: NDArray[np.float64], networks: HandNetworks, limits: HandLimits
) -> NDArray[np.float64]:
    """Return points (3, 2) whose thumb is the mean of two views: of the registered hand, and of its mirror image.

    Where the tip itself is hidden, the network guesses it from the rest of the hand. The two views' errors towards the
    side on which it usually lies cancel out.

    Raises:
        Rejection: ``points_uncertain`` if that thumb lies on neither side.
    """
    both_xy = [
        _refine_at(picture, one_xy, (0.0,), networks, limits)[0][0] for one_xy in (points_xy, _reflected(points_xy))
    ]
    points_xy = np.array([points_xy[0], np.mean([one_xy[1] for one_xy in both_xy], axis=0), points_xy[2]])
    if abs(_thumb_beside(points_xy)) < _LEAST_THUMB / 2:
        raise _uncertain("it is not clear on which side the thumb lies")
    return points_xy


def _reflected(points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the points (3, 2) with the thumb on the other side of the line from capitate to fingertip."""
    tip, thumb, capitate = points_xy
    along = tip - capitate
    across = np.array([-along[1], along[0]])
    return np.array([tip, thumb - 2 * _thumb_beside(points_xy) * across, capitate])


# --- rejections -------------------------------------------------------------------------------------------------------


class PolarityUncertain(Rejection):
    """A picture on which bone may be bright or dark, so that the networks for points do not run."""

    def __init__(self) -> None:
        message = _uncertain("it is not clear whether bone is bright or dark on this radiograph").message
        super().__init__(RejectionCode.POINTS_UNCERTAIN, message)


def _reject_no_mask(parts: NDArray[np.uint8], radiograph_area: float, limits: HandLimits) -> None:
    if not len(parts) or parts[0].sum() < limits.least_mask_share * radiograph_area:
        raise Rejection(RejectionCode.NO_HAND, "There is no hand on this radiograph, or next to nothing of one.")


def _reject_other_counts(located: LocatedPoints, parts: NDArray[np.uint8], limits: HandLimits) -> None:
    none, one, several = (float(probability) for probability in located.hands)
    second = float(parts[1].sum() / parts[0].sum()) if len(parts) > 1 else 0.0
    if several > max(one, none) or (second > limits.largest_second_part and several > 0.5 * limits.least_one_hand):
        raise several_hands()
    if one < limits.least_one_hand:
        raise Rejection(
            RejectionCode.NO_HAND, "There is no whole hand on this radiograph, from the wrist to the fingertips."
        )


def _reject_implausible(hand: Hand, limits: HandLimits) -> None:
    """Reject points that contradict the mask, or one another."""
    if hand.spread > limits.largest_spread:
        raise _uncertain(f"they are known to {100 * hand.spread:.0f} % of the hand's length only")
    line = hand.radiograph_to_mask.points(np.linspace(hand.points_xy[2], hand.points_xy[0], _POINTS_ALONG))
    if _share_inside(hand.mask, line) < limits.least_inside:
        raise _uncertain("they do not lie on the hand's mask")
    area = float(hand.mask.sum()) / (hand.length_pixels * hand.radiograph_to_mask.zoom) ** 2
    if not limits.mask_areas[0] <= area <= limits.mask_areas[1]:
        raise _uncertain("they do not go with the size of the hand's mask")


def several_hands() -> Rejection:
    """Return the rejection of a picture with several hands."""
    return Rejection(
        RejectionCode.SEVERAL_HANDS, "There seems to be more than one hand: cut the radiograph to the one meant."
    )


def _uncertain(reason: str) -> Rejection:
    return Rejection(
        RejectionCode.POINTS_UNCERTAIN,
        f"A hand, but its fingertips and wrist were not found for certain: {reason}. Is it whole, and flat?",
    )
