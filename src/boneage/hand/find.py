"""From a film to its hand: mask, polarity, key points, registration; or a refusal that says why not.

The mask net and the first net for key points look at the whole film, whichever way it is turned. The second net for key
points looks at the hand as the first registers it, upright and with the thumb on the right, twice, with a grey scale
measured there; and the mask that counts is made there too. What they see then hardly depends on how the film was
turned, mirrored or framed, and so neither does what follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.errors import Refusal, RefusalCode
from boneage.geometry import Transform, averaged_down, sample
from boneage.hand.mask import THRESHOLD, components, filled
from boneage.registration import CAPITATE_IN_FRAME_XY, HAND_LENGTH, Hand, hand_length, register
from boneage.views import GreyRule, GreyScale, ViewSpec, cut_view, grey_scale, measure_grey, view_transform, widened

Pixels = NDArray[np.float32]

_LOOK_AGAIN_DEGREES = (-5.0, 0.0, 5.0)
"""The last look is at the hand turned by these angles; the mean counts, and how far they differ measures doubt."""

_LEAST_THUMB = 0.08
"""The thumb's tip lies at least this far beside the line from capitate to fingertip, as a share of the hand's length.
Of 1,785 annotated hands the least was 0.22."""

_ENOUGH = 768
"""Longer side, pixels, of a film on which no net here would see more of the hand if it were larger."""

_NEAR_SIDE = 128
"""Side of the reduced view from which grey levels near the hand are measured, pixels."""

_RING_NEAR, _RING_FAR = 0.01, 0.05
"""The air about the hand is looked at this far from the mask, as shares of the view's side."""


class LocatedPoints(NamedTuple):
    """What a net for key points says of one view.

    Attributes:
        points_xy: (3, 2) in the view's coordinates, rows as `boneage.registration.POINT_NAMES`.
        spread: (3,) standard deviation of each point's heat map, pixels of the view.
        hands: (3,) probabilities of no hand, one, and several.
    """

    points_xy: NDArray[np.float32]
    spread: NDArray[np.float32]
    hands: NDArray[np.float32]


class HandNets(Protocol):
    """The three nets, and the views that they read."""

    @property
    def mask_spec(self) -> ViewSpec:
        """View of the net for the mask."""

    @property
    def locate_spec(self) -> ViewSpec:
        """View of the net that finds key points on the whole film."""

    @property
    def refine_spec(self) -> ViewSpec:
        """View of the net that finds them again on the registered hand."""

    def mask(self, views: Pixels) -> Pixels:
        """Views (N, h, w) to probabilities of lying in the hand (N, h, w)."""

    def locate(self, views: Pixels) -> list[LocatedPoints]:
        """Of each of the views (N, h, w)."""

    def refine(self, views: Pixels) -> list[LocatedPoints]:
        """Of each of the views (N, h, w)."""


@dataclass(frozen=True)
class HandLimits:
    """What makes a film be refused.

    Attributes:
        least_mask_share: the mask covers at least this share of the film.
        least_one_hand: the least probability, 0..1, of there being one hand, by either net for points.
        largest_second_part: a second part of the mask has at most this share of the largest part's area, if the first
            net for points thinks several hands possible.
        largest_spread: of the points over repeated looks, as a share of the hand's length.
        least_inside: the share of the line from capitate to fingertip that must lie in the mask.
        mask_areas: (least, largest) area of the mask, as far as it reaches about the registered hand, in squares of the
            hand's length.
    """

    least_mask_share: float = 0.01
    least_one_hand: float = 0.5
    largest_second_part: float = 0.4
    largest_spread: float = 0.12
    least_inside: float = 0.8
    mask_areas: tuple[float, float] = (0.25, 1.6)


def find_hand(pixels: Pixels, nets: HandNets, limits: HandLimits) -> Hand:
    """Find the one hand on a film.

    Args:
        pixels: float32 (H, W), 0..1, bone bright or, if the film's grey is inverted, dark.
        nets: that look for it; their views have one grey rule.
        limits: beyond which the film is refused.

    Raises:
        Refusal: ``no_hand``, ``several_hands``, ``points_uncertain``; ``no_contrast``.
    """
    # A large film is averaged down once by a whole number: each of a dozen looks at it would do so again.
    small = averaged_down(pixels, 1 / max(1, max(pixels.shape) // _ENOUGH))
    to_small = Transform.scale(small.shape[1] / pixels.shape[1], small.shape[0] / pixels.shape[0])
    return _on_film(_find(small, nets, limits), to_small)


def _on_film(hand: Hand, to_small: Transform) -> Hand:
    """A hand found on a smaller copy of a film, on the film."""
    points_xy = to_small.inverse().points(hand.points_xy)
    return replace(hand, points_xy=points_xy, film_to_mask=to_small.then(hand.film_to_mask))


def _find(pixels: Pixels, nets: HandNets, limits: HandLimits) -> Hand:
    """As `find_hand`, on a film as it is."""
    height, width = pixels.shape
    grey, view, parts = _whole_film(pixels, nets, limits)
    inverted = bone_is_dark(view, parts[0])
    if inverted:
        pixels = np.float32(1.0) - pixels
        grey, view, parts = _whole_film(pixels, nets, limits)
        if bone_is_dark(view, parts[0]):
            raise _uncertain("whether bone is bright or dark on this film cannot be told")
    (located,) = nets.locate(cut_view(pixels, nets.locate_spec, grey=grey)[None])
    _refuse_other_counts(located, parts, limits)
    guess_xy = view_transform((height, width), nets.locate_spec).inverse().points(located.points_xy)
    points_xy, spread = _refined(pixels, guess_xy, nets, limits)
    mask, to_mask = _mask_near(pixels, points_xy, nets)
    hand = Hand(points_xy=points_xy, mask=mask, film_to_mask=to_mask, inverted=inverted, spread=spread)
    _refuse_implausible(hand, limits)
    return hand


def _whole_film(pixels: Pixels, nets: HandNets, limits: HandLimits) -> tuple[GreyScale, Pixels, NDArray[np.uint8]]:
    """The film's grey levels, the mask net's view of it, and the mask's parts there, the largest first."""
    height, width = pixels.shape
    grey = measure_grey(pixels, nets.mask_spec.grey)
    view = cut_view(pixels, nets.mask_spec, grey=grey)
    parts = components(nets.mask(view[None])[0] > THRESHOLD)
    to_mask = view_transform((height, width), nets.mask_spec)
    _refuse_no_mask(parts, height * width * abs(to_mask.determinant), limits)
    return grey, view, parts


def _mask_near(pixels: Pixels, points_xy: NDArray[np.float64], nets: HandNets) -> tuple[NDArray[np.uint8], Transform]:
    """The mask of the registered hand, on a view of its surroundings, and the way from the film to that view."""
    place = Hand.at(points_xy)
    spec = replace(nets.mask_spec, region="surroundings")
    view = cut_view(pixels, spec, hand=place, grey=_grey_near(pixels, place, spec.grey))
    parts = components(nets.mask(view[None])[0] > THRESHOLD)
    if not len(parts):
        raise _uncertain("seen from near there is no hand")
    return filled(parts[0]), view_transform((pixels.shape[0], pixels.shape[1]), spec, place)


def _grey_near(pixels: Pixels, place: Hand, rule: GreyRule) -> GreyScale:
    """Measure the grey levels of the radiograph's part about a hand, so that borders and frames farther away do not
    count; those of its negative if the hand is inverted.
    """
    shape = (pixels.shape[0], pixels.shape[1])
    spec = ViewSpec("surroundings", _NEAR_SIDE, _NEAR_SIDE)
    to_view = view_transform(shape, spec, place)
    seen = sample(pixels, to_view, _NEAR_SIDE, _NEAR_SIDE)
    rows, columns = np.indices(seen.shape) + 0.5
    on_film = to_view.inverse().points(np.stack([columns, rows], axis=2))
    inside = ((on_film > 0) & (on_film < (shape[1], shape[0]))).all(axis=2)
    return grey_scale(seen[inside], rule)


def bone_is_dark(view: Pixels, mask: NDArray[np.uint8]) -> bool:
    """Whether the hand is darker than the air about it: then the grey is inverted, whatever borders the film has.

    Args:
        view: float32 (h, w).
        mask: uint8 (h, w) of the hand, not empty.
    """
    side = max(mask.shape)
    near, far = widened(mask, _RING_NEAR * side), widened(mask, _RING_FAR * side)
    ring = view[(far - near).astype(bool)]
    inside = view[cv2.erode(mask, np.ones((3, 3), np.uint8)).astype(bool)]
    if not ring.size or not inside.size:
        return False
    return float(np.median(inside)) < float(np.median(ring))


def _refined(
    pixels: Pixels, guess_xy: NDArray[np.float64], nets: HandNets, limits: HandLimits
) -> tuple[NDArray[np.float64], float]:
    """The points looked for again where they were guessed, and how much they still move, in lengths of the hand."""
    once_xy, _ = _looked(pixels, guess_xy, (0.0,), nets, limits)
    looks_xy, heat_spread = _looked(pixels, once_xy[0], _LOOK_AGAIN_DEGREES, nets, limits)
    mean_xy = looks_xy.mean(axis=0)
    _refuse_unclear_side([once_xy[0], *looks_xy, mean_xy])
    apart = np.linalg.norm(looks_xy - mean_xy, axis=2).max()
    return mean_xy, float(max(apart, heat_spread) / max(hand_length(mean_xy), 1e-9))


def _looked(
    pixels: Pixels,
    guess_xy: NDArray[np.float64],
    degrees: tuple[float, ...],
    nets: HandNets,
    limits: HandLimits,
) -> tuple[NDArray[np.float64], float]:
    """Points (n, 3, 2) on the film by the refining net, and the widest heat map in pixels of the film."""
    if not hand_length(guess_xy) > 1.0:
        raise _uncertain("fingertip and wrist fall together")
    spec = nets.refine_spec
    place = Hand.at(guess_xy)
    grey = _grey_near(pixels, place, spec.grey)
    turns = [Transform.rotation(angle).about(spec.width / 2, spec.height / 2) for angle in degrees]
    views = np.stack([cut_view(pixels, spec, hand=place, grey=grey, jitter=turn) for turn in turns])
    to_view = view_transform((pixels.shape[0], pixels.shape[1]), spec, place)
    answers = nets.refine(views)
    if min(answer.hands[1] for answer in answers) < limits.least_one_hand:
        raise Refusal(RefusalCode.NO_HAND, "What was taken for a hand does not look like a whole one from near.")
    points_xy = [
        to_view.then(turn).inverse().points(answer.points_xy) for turn, answer in zip(turns, answers, strict=True)
    ]
    return np.stack(points_xy), max(float(answer.spread.max()) for answer in answers) / to_view.zoom


def _refuse_unclear_side(looks_xy: Sequence[NDArray[np.float64]]) -> None:
    """A thumb that lies now on one side of the middle finger and now on the other, or hardly on either.

    Read as its mirror image a hand would be read wrongly, and nothing else would show it.
    """
    transforms = [register(points_xy) for points_xy in looks_xy]
    sides = {transform.determinant < 0 for transform in transforms}
    thumb_x, _ = transforms[-1].points(looks_xy[-1])[1]
    if len(sides) > 1 or thumb_x - CAPITATE_IN_FRAME_XY[0] < _LEAST_THUMB * HAND_LENGTH:
        raise _uncertain("on which side the thumb lies cannot be told")


# --- refusals -------------------------------------------------------------------------------------------------------


def _refuse_no_mask(parts: NDArray[np.uint8], film_area: float, limits: HandLimits) -> None:
    if not len(parts) or parts[0].sum() < limits.least_mask_share * film_area:
        raise Refusal(RefusalCode.NO_HAND, "There is no hand on this film, or next to nothing of one.")


def _refuse_other_counts(located: LocatedPoints, parts: NDArray[np.uint8], limits: HandLimits) -> None:
    none, one, several = (float(probability) for probability in located.hands)
    second = float(parts[1].sum() / parts[0].sum()) if len(parts) > 1 else 0.0
    if several > max(one, none) or (second > limits.largest_second_part and several > 0.5 * limits.least_one_hand):
        raise Refusal(RefusalCode.SEVERAL_HANDS, "There seems to be more than one hand: cut the film to the one meant.")
    if one < limits.least_one_hand:
        raise Refusal(RefusalCode.NO_HAND, "There is no whole hand on this film, from the wrist to the fingertips.")


def _refuse_implausible(hand: Hand, limits: HandLimits) -> None:
    """Points that contradict the mask, or one another."""
    if hand.spread > limits.largest_spread:
        raise _uncertain(f"they are known to {100 * hand.spread:.0f} % of the hand's length only")
    line = hand.film_to_mask.points(np.linspace(hand.points_xy[2], hand.points_xy[0], 50))
    height, width = hand.mask.shape
    columns = np.clip(line[:, 0].astype(int), 0, width - 1)
    rows = np.clip(line[:, 1].astype(int), 0, height - 1)
    if float(hand.mask[rows, columns].mean()) < limits.least_inside:
        raise _uncertain("they do not lie on the hand's mask")
    area = float(hand.mask.sum()) / (hand.length_pixels * hand.film_to_mask.zoom) ** 2
    if not limits.mask_areas[0] <= area <= limits.mask_areas[1]:
        raise _uncertain("they do not go with the size of the hand's mask")


def _uncertain(reason: str) -> Refusal:
    return Refusal(
        RefusalCode.POINTS_UNCERTAIN,
        f"A hand, but its fingertips and wrist were not found for certain: {reason}. Is it whole, and flat?",
    )
