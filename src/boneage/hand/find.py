"""From a radiograph to its hand: mask, polarity, key points, registration; or a rejection that says why not.

The mask network and the first network for key points look at the whole radiograph, whichever way it is turned. The
second network for key points looks at the hand as the first registers it, upright and with the thumb on the right,
twice, with a grey scale measured there; and the mask that counts is made there too. What they see then hardly depends
on how the radiograph was turned, mirrored or framed, and so neither does what follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.arrays import Image
from boneage.errors import Rejection, RejectionCode
from boneage.geometry import Transform, lies_inside, sample
from boneage.hand.borders import InnerPicture, Window, content_windows, inner_window
from boneage.hand.candidates import hand_box, part_windows, strips_beside, tiles
from boneage.hand.mask import THRESHOLD, components, filled
from boneage.hand.registration import Hand, hand_length
from boneage.hand.views import (
    GreyRule,
    GreyScale,
    ViewSpec,
    cut_view,
    grey_scale,
    measure_grey,
    view_transform,
    widened,
)
from boneage.strict import NotNegative, Share

_LOOK_AGAIN_DEGREES = (-5.0, 0.0, 5.0)
"""The last look is at the hand turned by these angles; the mean counts, and how far they differ measures doubt."""

_LEAST_THUMB = 0.08
"""The thumb's tip lies at least this far beside the line from capitate to fingertip, as a share of the hand's length.
Of 1,785 annotated hands the least was 0.22."""

_NEAR_SIDE = 128
"""Side of the reduced view from which grey levels near the hand are measured, pixels."""

_RING_NEAR, _RING_FAR = 0.01, 0.05
"""The air about the hand is looked at this far from the mask, as shares of the view's side."""


_LEAST_OTHER = 0.05
"""A further part of a mask is looked at from near from this share of the largest part's area on. Of 400 validation
radiographs none has a larger one than 0.043; of 40 pictures with a second hand of half the height 95 % have."""

_LEAST_PART = 0.01
"""A part of a mask is looked at from near from this share of the area on of the view in which it was found."""

_MOST_WINDOWS = 6
"""At most so many windows are looked at from near."""

_SAME_WINDOW = 0.7
"""Two windows show the same if they share more than this of the area that they cover together."""

_LEAST_WINDOW = 24
"""A window with a shorter side, pixels, shows nothing."""

_LEAST_RANGE = 1e-3
"""A window whose greys differ less is empty."""

_MUCH_BESIDE = 0.5
"""What lies beside a hand is looked at from this share of the picture on, as on 4 % of 300 validation radiographs."""

_TILES_GROUP = 2
"""Place of the tiles among the groups of windows that are worth a look."""

_POINTS_ALONG = 50
"""So many points of the line from capitate to fingertip are looked up in a mask."""

_PIECE_INSIDE, _PIECE = 0.8, 0.5
"""A window shows a piece of a hand if this share of it lies in the box about the hand's mask, and its area is at most
this share of the box's."""

_SMOOTHING = 1 / 600
"""Standard deviation of the kernel that smooths a noisy picture, as a share of its longer side."""

_NOISY = 0.001
"""Standard deviation of the noise from which a picture is smoothed, as a share of its grey range. 10 % of 150
validation radiographs have more, and each of six drawn small children in noise in whom no hand was found."""

_SECOND_DIFFERENCE = np.array([1, -2, 1], dtype=np.float32)

_NORMAL_QUARTILE = 0.6745
"""Median of a normal deviate's absolute value, in standard deviations."""

_OTHER_PLACE = 0.5
"""Two hands whose middles are at least this far apart, in lengths of the shorter one, are two."""


class LocatedPoints(NamedTuple):
    """What a network for key points says of one view.

    Attributes:
        points_xy: (3, 2) in the view's coordinates, rows as `boneage.hand.registration.POINT_NAMES`.
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
        """Views (N, h, w) to probabilities of lying in the hand (N, h, w)."""

    def locate(self, views: Image) -> list[LocatedPoints]:
        """Of each of the views (N, h, w)."""

    def refine(self, views: Image) -> list[LocatedPoints]:
        """Of each of the views (N, h, w)."""


@dataclass(frozen=True)
class HandLimits:
    """What makes a radiograph be rejected.

    Attributes:
        least_mask_share: the mask covers at least this share of the radiograph.
        least_one_hand: the least probability, 0..1, of there being one hand, by either network for points.
        largest_second_part: a second part of the mask has at most this share of the largest part's area, if the first
            network for points thinks several hands possible.
        largest_spread: of the points over repeated looks, as a share of the hand's length.
        least_inside: the share of the line from capitate to fingertip that must lie in the mask.
        mask_areas: (least, largest) area of the mask, as far as it reaches about the registered hand, in squares of the
            hand's length.
    """

    least_mask_share: Share = 0.01
    least_one_hand: Share = 0.5
    largest_second_part: Share = 0.4
    largest_spread: Share = 0.12
    least_inside: Share = 0.8
    mask_areas: tuple[NotNegative, float] = (0.25, 1.6)

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of values that do not go together (`boneage.strict`)."""
        if self.mask_areas[0] >= self.mask_areas[1]:
            yield "mask_areas", "must rise from the least to the largest area"


@dataclass(frozen=True)
class _Look:
    """What one look at a picture found: the hand, and what else its mask shows.

    Attributes:
        hand: on the picture.
        others: area and window of each further part of the first mask, the largest first.
    """

    hand: Hand
    others: Sequence[tuple[float, Window]] = ()


def find_hand(pixels: Image, networks: HandNetworks, limits: HandLimits, inner: InnerPicture | None = None) -> Hand:
    """Find the one hand on a radiograph.

    Even borders are cut off first. If the rest would be rejected, parts of it that may be a hand are looked at from
    near, each with its surroundings and by the same checks; and so is what lies beside a hand that was found.

    Args:
        pixels: float32 (H, W), 0..1, bone bright or, if the radiograph's grey is inverted, dark.
        networks: that look for it; their views have one grey rule.
        limits: beyond which the radiograph is rejected.
        inner: what the radiograph shows within its even borders, if that is known already.

    Raises:
        Rejection: ``no_hand``, ``several_hands``, ``points_uncertain``; ``no_contrast``.
    """
    inner = inner or InnerPicture.of(pixels)
    picture = inner.pixels
    try:
        hand = _only_hand(picture, networks, limits)
    except Rejection as rejection:
        if rejection.code not in {RejectionCode.NO_HAND, RejectionCode.POINTS_UNCERTAIN} or not _is_noisy(picture):
            raise
        hand = _only_hand_of_smoothed(picture, rejection, networks, limits)
    return _on_source(hand, inner.to_picture)


def _only_hand(pixels: Image, networks: HandNetworks, limits: HandLimits, *, tiled: bool = True) -> Hand:
    """Find the one hand on a picture without borders; raises as `find_hand`."""
    try:
        look = _look(pixels, networks, limits)
    except Rejection as rejection:
        if rejection.code == RejectionCode.NO_CONTRAST:
            raise
        look = _second_look(pixels, rejection, networks, limits, tiled=tiled)
    _reject_second_hand(pixels, look, networks, limits)
    return look.hand


def _only_hand_of_smoothed(pixels: Image, first: Rejection, networks: HandNetworks, limits: HandLimits) -> Hand:
    """Look for the hand on a smoothed copy of a picture that was to be rejected, without tiles, which cost most.

    Raises:
        Rejection: `first`, or ``several_hands`` if the copy shows them.
    """
    smoothed = cv2.GaussianBlur(pixels, (0, 0), _SMOOTHING * max(pixels.shape))
    try:
        return _only_hand(np.asarray(smoothed, dtype=np.float32), networks, limits, tiled=False)
    except Rejection as again:
        raise again if again.code == RejectionCode.SEVERAL_HANDS else first from None


def _is_noisy(pixels: Image) -> bool:
    """Return whether noise may hide a small hand, by the median of the second differences (Immerkaer 1996)."""
    differences = cv2.filter2D(pixels, -1, np.outer(_SECOND_DIFFERENCE, _SECOND_DIFFERENCE))
    deviation = float(np.median(np.abs(differences))) / (_NORMAL_QUARTILE * float((_SECOND_DIFFERENCE**2).sum()))
    low, high = np.percentile(pixels, (0.5, 99.5))
    return deviation > _NOISY * float(high - low)


def _on_source(hand: Hand, to_picture: Transform) -> Hand:
    """A hand found on a part or a smaller copy of a picture, on the picture itself."""
    points_xy = to_picture.inverse().points(hand.points_xy)
    return replace(hand, points_xy=points_xy, radiograph_to_mask=to_picture.then(hand.radiograph_to_mask))


def _look(pixels: Image, networks: HandNetworks, limits: HandLimits) -> _Look:
    """Look for the one hand on a picture as it is; raises as `find_hand`."""
    height, width = pixels.shape
    grey, view, parts = _whole_radiograph(pixels, networks, limits)
    inverted = bone_is_dark(view, parts[0])
    if inverted:
        pixels = np.float32(1.0) - pixels
        grey, view, parts = _whole_radiograph(pixels, networks, limits)
        if bone_is_dark(view, parts[0]):
            raise _PolarityUncertain
    (located,) = networks.locate(cut_view(pixels, networks.locate_spec, grey=grey)[None])
    _reject_other_counts(located, parts, limits)
    guess_xy = view_transform((height, width), networks.locate_spec).inverse().points(located.points_xy)
    points_xy, spread, side_certain = _refined(pixels, guess_xy, networks, limits)
    mask, to_mask = _mask_near(pixels, points_xy, networks)
    hand = Hand(points_xy, mask, to_mask, inverted=inverted, spread=spread, side_certain=side_certain)
    _reject_implausible(hand, limits)
    rest = np.asarray(parts[1:].any(axis=0))
    to_view = view_transform((height, width), networks.mask_spec)
    others = part_windows(rest, to_view, Window.of(pixels.shape), _LEAST_OTHER * float(parts[0].sum()))
    return _Look(hand, others)


# --- looks from near ------------------------------------------------------------------------------------------------


def _second_look(pixels: Image, first: Rejection, networks: HandNetworks, limits: HandLimits, *, tiled: bool) -> _Look:
    """Look from near at the parts of a picture that was to be rejected.

    Args:
        pixels: of the picture.
        first: why it was to be rejected.
        networks: as for `find_hand`.
        limits: as for `find_hand`.
        tiled: parts of the masks of its tiles are looked at too.

    Raises:
        Rejection: `first` if no part is surely a hand, ``several_hands`` if several may be.
    """
    seen: list[_NearLook] = []
    parts: list[_NearLook] = []  # and pieces of the picture; tiles show pieces of one hand
    hands: list[Hand] = []
    groups = _worth_a_look(pixels, networks)
    for group, windows in enumerate(groups if tiled else islice(groups, _TILES_GROUP)):
        looks = _from_near(pixels, windows, networks, limits)
        seen += looks
        parts += looks if group != _TILES_GROUP else []
        hands = [look.outcome for look in seen if isinstance(look.outcome, Hand)]
        _reject_several(hands)
        whole = [look for look in seen if not any(look.is_piece_of(hand) for hand in hands)]
        codes = {look.outcome.code for look in whole if isinstance(look.outcome, Rejection)}
        # Pieces of one hand, as tiles show them and where the first look saw one, may look like several.
        pieces = group == _TILES_GROUP or first.code == RejectionCode.POINTS_UNCERTAIN
        if RejectionCode.SEVERAL_HANDS in codes and not pieces:
            raise _several()
        if codes - {RejectionCode.NO_HAND, RejectionCode.NO_CONTRAST} or (
            hands and first.code != RejectionCode.SEVERAL_HANDS
        ):
            break
    if not hands:
        raise first
    _reject_hand_without_points(parts, hands[0])
    return _Look(hands[0])


def _worth_a_look(pixels: Image, networks: HandNetworks) -> Iterator[list[Window]]:
    """Windows of a picture, one group after another: about the parts of its mask, its pieces, parts on its tiles."""
    yield _parts_of(pixels, [Window.of(pixels.shape)], networks)
    whole = Window.of(pixels.shape)
    pieces = [window for window in content_windows(pixels) if _overlap(window, whole) <= _SAME_WINDOW]
    yield [*pieces, *_parts_of(pixels, pieces, networks)]
    yield _parts_of(pixels, tiles(pixels.shape), networks)


def _parts_of(pixels: Image, windows: Sequence[Window], networks: HandNetworks) -> list[Window]:
    """Windows about the parts of the masks of several windows of a picture, the largest parts first."""
    spec = networks.mask_spec
    shown = [window for window in windows if _has_contrast(window.cut(pixels))]
    if not shown:
        return []
    masks = networks.mask(np.stack([cut_view(window.cut(pixels), spec) for window in shown])) > THRESHOLD
    found: list[tuple[float, Window]] = []
    for window, mask in zip(shown, masks, strict=True):
        to_view = window.to_window().then(view_transform((window.height, window.width), spec))
        found += part_windows(mask, to_view, window, _LEAST_PART * mask.size)
    return [window for _, window in sorted(found, key=lambda one: -one[0])]


class _PolarityUncertain(Rejection):
    """Nothing tells whether bone is bright or dark, so that the networks for points are not asked."""

    def __init__(self) -> None:
        message = _uncertain("whether bone is bright or dark on this radiograph cannot be told").message
        super().__init__(RejectionCode.POINTS_UNCERTAIN, message)


class _NearLook(NamedTuple):
    """A look from near at a window of a picture: the hand on the picture, or why it was rejected."""

    window: Window
    outcome: Hand | Rejection

    @property
    def is_hand_without_points(self) -> bool:
        """True if the networks for points see one whole hand and disagree about its points."""
        return (
            isinstance(self.outcome, Rejection)
            and self.outcome.code == RejectionCode.POINTS_UNCERTAIN
            and not isinstance(self.outcome, _PolarityUncertain)
        )

    def is_apart_from(self, hand: Hand) -> bool:
        """Return whether the middle of the hand lies outside the window."""
        x, y = _middle(hand)
        return not (self.window.left < x < self.window.right and self.window.top < y < self.window.bottom)

    def is_piece_of(self, hand: Hand) -> bool:
        """Return whether the window shows only a small part of the hand."""
        box, area = hand_box(hand), self.window.area
        return self.window.within(box).area >= _PIECE_INSIDE * area and area <= _PIECE * box.area


def _from_near(pixels: Image, windows: Sequence[Window], networks: HandNetworks, limits: HandLimits) -> list[_NearLook]:
    """Look at each of the windows, without their own borders; windows that show the same count once."""
    looks: list[_NearLook] = []
    for window in windows:
        if len(looks) == _MOST_WINDOWS:
            break
        inner = _window_of_part(pixels, window)
        if any(_overlap(inner, look.window) > _SAME_WINDOW for look in looks) or not _has_contrast(inner.cut(pixels)):
            continue
        try:
            hand = _on_source(_look(inner.cut(pixels), networks, limits).hand, inner.to_window())
            looks.append(_NearLook(inner, hand))
        except Rejection as rejection:
            looks.append(_NearLook(inner, rejection))
    return looks


def _window_of_part(pixels: Image, window: Window) -> Window:
    """A window without what reaches beyond the picture, and without its own even borders."""
    window = window.within(Window.of(pixels.shape))
    inner = inner_window(window.cut(pixels)) if window.area else Window.of((0, 0))
    left, top = window.left, window.top
    return Window(inner.left + left, inner.top + top, inner.right + left, inner.bottom + top)


def _has_contrast(pixels: Image) -> bool:
    """Whether a part of a picture is large enough and shows more than one grey, stray pixels aside."""
    if min(pixels.shape) < _LEAST_WINDOW:
        return False
    low, high = np.percentile(pixels, (0.5, 99.5))
    return bool(high - low > _LEAST_RANGE)


def _overlap(first: Window, second: Window) -> float:
    """The area that two windows share, as a share of what they cover together."""
    common = first.within(second).area
    return common / max(1, first.area + second.area - common)


def _reject_second_hand(pixels: Image, look: _Look, networks: HandNetworks, limits: HandLimits) -> None:
    """Look from near at what else may be a hand: further parts of the mask, and parts of what lies beside the hand."""
    windows = [window for _, window in look.others]
    strips = strips_beside(pixels.shape, look.hand)
    if sum(strip.area for strip in strips) > _MUCH_BESIDE * pixels.size:
        windows += _parts_of(pixels, strips, networks)
    looks = _from_near(pixels, windows, networks, limits)
    _reject_several([look.hand, *(one.outcome for one in looks if isinstance(one.outcome, Hand))])
    _reject_hand_without_points(looks, look.hand)


def _reject_hand_without_points(looks: Sequence[_NearLook], hand: Hand) -> None:
    """Reject a picture that shows, apart from a hand, another one whose points are uncertain."""
    if any(look.is_hand_without_points and look.is_apart_from(hand) for look in looks):
        raise _several()


def _reject_several(hands: Sequence[Hand]) -> None:
    """Reject a picture with hands in different places."""
    for hand in hands[1:]:
        apart = float(np.linalg.norm(_middle(hand) - _middle(hands[0])))
        if apart > _OTHER_PLACE * min(hand.length_pixels, hands[0].length_pixels):
            raise _several()


def _middle(hand: Hand) -> NDArray[np.float64]:
    """Halfway from capitate to middle fingertip, (x, y) on the picture."""
    return np.asarray((hand.points_xy[0] + hand.points_xy[2]) / 2)


# --- parts of one look ----------------------------------------------------------------------------------------------


def _whole_radiograph(
    pixels: Image, networks: HandNetworks, limits: HandLimits
) -> tuple[GreyScale, Image, NDArray[np.uint8]]:
    """The radiograph's grey levels, the mask network's view of it, and the mask's parts there, the largest first."""
    height, width = pixels.shape
    grey = measure_grey(pixels, networks.mask_spec.grey)
    view = cut_view(pixels, networks.mask_spec, grey=grey)
    parts = components(networks.mask(view[None])[0] > THRESHOLD)
    to_mask = view_transform((height, width), networks.mask_spec)
    _reject_no_mask(parts, height * width * abs(to_mask.determinant), limits)
    return grey, view, parts


def _mask_near(
    pixels: Image, points_xy: NDArray[np.float64], networks: HandNetworks
) -> tuple[NDArray[np.uint8], Transform]:
    """The mask of the registered hand, on a view of its surroundings, and the way from the picture to that view.

    Of several parts the one counts that holds most of the line from capitate to fingertip.
    """
    place = Hand.at(points_xy)
    spec = replace(networks.mask_spec, region="surroundings")
    view = cut_view(pixels, spec, hand=place, grey=_grey_near(pixels, place, spec.grey))
    parts = components(networks.mask(view[None])[0] > THRESHOLD)
    if not len(parts):
        raise _uncertain("seen from near there is no hand")
    to_view = view_transform((pixels.shape[0], pixels.shape[1]), spec, place)
    along = to_view.points(np.linspace(points_xy[2], points_xy[0], _POINTS_ALONG))
    held = [_share_inside(part, along) for part in parts]
    return filled(parts[int(np.argmax(held))]), to_view


def _share_inside(mask: NDArray[np.uint8], points_xy: NDArray[np.float64]) -> float:
    """The share of points (N, 2), in a mask's coordinates, that lie in the mask (h, w)."""
    height, width = mask.shape
    columns = np.clip(points_xy[:, 0].astype(int), 0, width - 1)
    rows = np.clip(points_xy[:, 1].astype(int), 0, height - 1)
    return float(mask[rows, columns].mean())


def _grey_near(pixels: Image, place: Hand, rule: GreyRule) -> GreyScale:
    """Measure the grey levels of the radiograph's part about a hand, so that borders and frames farther away do not
    count; those of its negative if the hand is inverted.
    """
    shape = (pixels.shape[0], pixels.shape[1])
    spec = ViewSpec("surroundings", _NEAR_SIDE, _NEAR_SIDE)
    to_view = view_transform(shape, spec, place)
    seen = sample(pixels, to_view, _NEAR_SIDE, _NEAR_SIDE)
    return grey_scale(seen[lies_inside(to_view, shape, _NEAR_SIDE, _NEAR_SIDE)], rule)


def bone_is_dark(view: Image, mask: NDArray[np.uint8]) -> bool:
    """Whether the hand is darker than the air about it: then the grey is inverted, whatever borders the radiograph has.

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


class _Refined(NamedTuple):
    """Key points as the refining network finds them in repeated looks.

    Attributes:
        points_xy: (3, 2) on the picture.
        spread: of the middle finger's tip and the capitate, as a share of the hand's length.
        side_certain: whether the thumb's tip was found, and lay clearly on one side in every look.
    """

    points_xy: NDArray[np.float64]
    spread: float
    side_certain: bool


def _refined(pixels: Image, guess_xy: NDArray[np.float64], networks: HandNetworks, limits: HandLimits) -> _Refined:
    """Look for the points again where they were guessed."""
    once_xy, _ = _looked(pixels, guess_xy, (0.0,), networks, limits)
    looks_xy, heat_spread = _looked(pixels, once_xy[0], _LOOK_AGAIN_DEGREES, networks, limits)
    mean_xy = looks_xy.mean(axis=0)
    apart = np.linalg.norm(looks_xy - mean_xy, axis=2).max(axis=0)
    spreads = np.maximum(apart, heat_spread) / max(hand_length(mean_xy), 1e-9)
    tip, thumb, capitate = (float(spread) for spread in spreads)
    certain = thumb <= limits.largest_spread and _is_side_clear([once_xy[0], *looks_xy, mean_xy])
    if not certain and max(tip, capitate) <= limits.largest_spread:
        mean_xy = _with_thumb_of_both_sides(pixels, mean_xy, networks, limits)
    return _Refined(mean_xy, max(tip, capitate), certain)


def _looked(
    pixels: Image,
    guess_xy: NDArray[np.float64],
    degrees: tuple[float, ...],
    networks: HandNetworks,
    limits: HandLimits,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (n, 3, 2) on the picture by the refining network, and each point's widest heat map (3,) in its pixels."""
    if not hand_length(guess_xy) > 1.0:
        raise _uncertain("fingertip and wrist fall together")
    spec = networks.refine_spec
    place = Hand.at(guess_xy)
    grey = _grey_near(pixels, place, spec.grey)
    turns = [Transform.rotation(angle).about(spec.width / 2, spec.height / 2) for angle in degrees]
    views = np.stack([cut_view(pixels, spec, hand=place, grey=grey, jitter=turn) for turn in turns])
    to_view = view_transform((pixels.shape[0], pixels.shape[1]), spec, place)
    answers = networks.refine(views)
    if min(answer.hands[1] for answer in answers) < limits.least_one_hand:
        raise Rejection(RejectionCode.NO_HAND, "What was taken for a hand does not look like a whole one from near.")
    points_xy = [
        to_view.then(turn).inverse().points(answer.points_xy) for turn, answer in zip(turns, answers, strict=True)
    ]
    return np.stack(points_xy), np.max([answer.spread for answer in answers], axis=0) / to_view.zoom


def _is_side_clear(looks_xy: Sequence[NDArray[np.float64]]) -> bool:
    """Whether the thumb lies clearly beside the middle finger, on the same side in every look (3, 2).

    Read as its mirror image a hand would be read wrongly, and nothing else would show it.
    """
    beside = [_thumb_beside(points_xy) for points_xy in looks_xy]
    return len({share < 0 for share in beside}) == 1 and abs(beside[-1]) >= _LEAST_THUMB


def _thumb_beside(points_xy: NDArray[np.float64]) -> float:
    """How far the thumb's tip lies from the line from capitate to fingertip, in hand lengths; to its right positive."""
    tip, thumb, capitate = points_xy
    along = tip - capitate
    across = np.array([-along[1], along[0]])
    return float((thumb - capitate) @ across / max(along @ along, 1e-9))


def _with_thumb_of_both_sides(
    pixels: Image, points_xy: NDArray[np.float64], networks: HandNetworks, limits: HandLimits
) -> NDArray[np.float64]:
    """Points (3, 2) whose thumb is the mean of two looks: at the hand as it was registered, and at its mirror image.

    Where the tip itself is hidden, the network guesses it from the rest of the hand. The two looks' errors towards the
    side on which it usually lies cancel out.

    Raises:
        Rejection: ``points_uncertain`` if that thumb lies on neither side.
    """
    both_xy = [_looked(pixels, one_xy, (0.0,), networks, limits)[0][0] for one_xy in (points_xy, _reflected(points_xy))]
    points_xy = np.array([points_xy[0], np.mean([one_xy[1] for one_xy in both_xy], axis=0), points_xy[2]])
    if abs(_thumb_beside(points_xy)) < _LEAST_THUMB / 2:
        raise _uncertain("on which side the thumb lies cannot be told")
    return points_xy


def _reflected(points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """The points (3, 2) with the thumb on the other side of the line from capitate to fingertip."""
    tip, thumb, capitate = points_xy
    along = tip - capitate
    across = np.array([-along[1], along[0]])
    return np.array([tip, thumb - 2 * _thumb_beside(points_xy) * across, capitate])


# --- rejections -------------------------------------------------------------------------------------------------------


def _reject_no_mask(parts: NDArray[np.uint8], radiograph_area: float, limits: HandLimits) -> None:
    if not len(parts) or parts[0].sum() < limits.least_mask_share * radiograph_area:
        raise Rejection(RejectionCode.NO_HAND, "There is no hand on this radiograph, or next to nothing of one.")


def _reject_other_counts(located: LocatedPoints, parts: NDArray[np.uint8], limits: HandLimits) -> None:
    none, one, several = (float(probability) for probability in located.hands)
    second = float(parts[1].sum() / parts[0].sum()) if len(parts) > 1 else 0.0
    if several > max(one, none) or (second > limits.largest_second_part and several > 0.5 * limits.least_one_hand):
        raise _several()
    if one < limits.least_one_hand:
        raise Rejection(
            RejectionCode.NO_HAND, "There is no whole hand on this radiograph, from the wrist to the fingertips."
        )


def _reject_implausible(hand: Hand, limits: HandLimits) -> None:
    """Points that contradict the mask, or one another."""
    if hand.spread > limits.largest_spread:
        raise _uncertain(f"they are known to {100 * hand.spread:.0f} % of the hand's length only")
    line = hand.radiograph_to_mask.points(np.linspace(hand.points_xy[2], hand.points_xy[0], _POINTS_ALONG))
    if _share_inside(hand.mask, line) < limits.least_inside:
        raise _uncertain("they do not lie on the hand's mask")
    area = float(hand.mask.sum()) / (hand.length_pixels * hand.radiograph_to_mask.zoom) ** 2
    if not limits.mask_areas[0] <= area <= limits.mask_areas[1]:
        raise _uncertain("they do not go with the size of the hand's mask")


def _several() -> Rejection:
    return Rejection(
        RejectionCode.SEVERAL_HANDS, "There seems to be more than one hand: cut the radiograph to the one meant."
    )


def _uncertain(reason: str) -> Rejection:
    return Rejection(
        RejectionCode.POINTS_UNCERTAIN,
        f"A hand, but its fingertips and wrist were not found for certain: {reason}. Is it whole, and flat?",
    )
