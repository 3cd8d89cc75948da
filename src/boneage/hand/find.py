"""The hand on a radiograph, or a rejection with its reason.

The picture within even borders is searched first (`boneage.hand.search`), then parts of it at close range.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.arrays import Image
from boneage.errors import Rejection, RejectionCode
from boneage.hand.borders import InnerPicture, Window, content_windows, inner_window
from boneage.hand.candidates import hand_box, part_windows, strips_beside, tiles
from boneage.hand.mask import THRESHOLD
from boneage.hand.registration import Hand
from boneage.hand.search import (
    HandLimits,
    HandNetworks,
    PolarityUncertain,
    Sighting,
    search_once,
    several_hands,
)
from boneage.hand.views import cut_view, view_transform
from boneage.image_pyramid import ImagePyramid, ImageSource

_LEAST_PART = 0.01
"""Least area of a part of a mask that is searched at close range, as a share of the view in which it was found."""

_MOST_WINDOWS = 6
"""Largest number of windows that are searched at close range."""

_SAME_WINDOW = 0.7
"""Two windows show the same if they share more than this of the area that they cover together."""

_LEAST_WINDOW = 24
"""A window with a shorter side, pixels, shows nothing."""

_LEAST_RANGE = 1e-3
"""A window whose greys differ less is empty."""

_MUCH_BESIDE = 0.5
"""Least share of the picture beside a hand from which on it is searched, as on 4 % of 300 validation radiographs."""

_TILES_GROUP = 2
"""Place of the tiles among the groups of windows to search."""

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


def find_hand(
    source: ImageSource, networks: HandNetworks, limits: HandLimits, inner: InnerPicture | None = None
) -> Hand:
    """Find the one hand on a radiograph.

    Even borders are cut off first. If the rest would be rejected, parts of it that may be a hand are searched at close
    range, each with its surroundings and by the same checks. So is the area beside a hand that was found.

    Args:
        source: radiograph, float32 (H, W), 0..1, bone bright or, if its grey is inverted, dark; or its pyramid.
        networks: networks that search for it; their views have one grey rule.
        limits: limits beyond which the radiograph is rejected.
        inner: picture within the even borders of the radiograph, if it is known already.

    Raises:
        Rejection: ``no_hand``, ``several_hands``, ``points_uncertain``; ``no_contrast``.
    """
    inner = inner or InnerPicture.of(source)
    picture = inner.picture
    try:
        hand = _only_hand(picture, networks, limits)
    except Rejection as rejection:
        may_be_hidden = rejection.code in {RejectionCode.NO_HAND, RejectionCode.POINTS_UNCERTAIN}
        if not may_be_hidden or not _is_noisy(picture.pixels):
            raise
        hand = _only_hand_of_smoothed(picture.pixels, rejection, networks, limits)
    return hand.on(inner.to_picture)


def _only_hand(picture: ImagePyramid, networks: HandNetworks, limits: HandLimits, *, tiled: bool = True) -> Hand:
    """Find the one hand on a picture without borders, with the rejections of `find_hand`."""
    try:
        sighting = search_once(picture, networks, limits)
    except Rejection as rejection:
        if rejection.code == RejectionCode.NO_CONTRAST:
            raise
        sighting = _search_again(picture.pixels, rejection, networks, limits, tiled=tiled)
    _reject_second_hand(picture.pixels, sighting, networks, limits)
    return sighting.hand


def _only_hand_of_smoothed(pixels: Image, first: Rejection, networks: HandNetworks, limits: HandLimits) -> Hand:
    """Find the hand on a smoothed copy of a picture that was to be rejected, without tiles, which cost most.

    Raises:
        Rejection: `first`, or ``several_hands`` if the copy shows them.
    """
    smoothed = cv2.GaussianBlur(pixels, (0, 0), _SMOOTHING * max(pixels.shape))
    try:
        return _only_hand(ImagePyramid(np.asarray(smoothed, dtype=np.float32)), networks, limits, tiled=False)
    except Rejection as again:
        raise again if again.code == RejectionCode.SEVERAL_HANDS else first from None


def _is_noisy(pixels: Image) -> bool:
    """Return True if noise may hide a small hand, by the median of the second differences (Immerkaer 1996)."""
    differences = cv2.filter2D(pixels, -1, np.outer(_SECOND_DIFFERENCE, _SECOND_DIFFERENCE))
    deviation = float(np.median(np.abs(differences))) / (_NORMAL_QUARTILE * float((_SECOND_DIFFERENCE**2).sum()))
    low, high = np.percentile(pixels, (0.5, 99.5))
    return deviation > _NOISY * float(high - low)


# --- searches at close range ----------------------------------------------------------------------------------------


def _search_again(
    pixels: Image, first: Rejection, networks: HandNetworks, limits: HandLimits, *, tiled: bool
) -> Sighting:
    """Search the parts of a picture that was to be rejected at close range.

    Args:
        pixels: grey levels of the picture.
        first: reason to reject it.
        networks: same as in `find_hand`.
        limits: same as in `find_hand`.
        tiled: True to search parts of the masks of its tiles, too.

    Raises:
        Rejection: `first` if no part is surely a hand, ``several_hands`` if several may be.
    """
    seen: list[_WindowSearch] = []
    parts: list[_WindowSearch] = []  # and pieces of the picture; tiles show pieces of one hand
    hands: list[Hand] = []
    groups = _windows_to_search(pixels, networks)
    for group, windows in enumerate(groups if tiled else islice(groups, _TILES_GROUP)):
        searches = _search_windows(pixels, windows, networks, limits)
        seen += searches
        parts += searches if group != _TILES_GROUP else []
        hands = [one.outcome for one in seen if isinstance(one.outcome, Hand)]
        _reject_several(hands)
        whole = [one for one in seen if not any(one.is_piece_of(hand) for hand in hands)]
        codes = {one.outcome.code for one in whole if isinstance(one.outcome, Rejection)}
        # Pieces of one hand, on tiles and where the first search saw one hand, may look like several hands.
        pieces = group == _TILES_GROUP or first.code == RejectionCode.POINTS_UNCERTAIN
        if RejectionCode.SEVERAL_HANDS in codes and not pieces:
            raise several_hands()
        if codes - {RejectionCode.NO_HAND, RejectionCode.NO_CONTRAST} or (
            hands and first.code != RejectionCode.SEVERAL_HANDS
        ):
            break
    if not hands:
        raise first
    _reject_hand_without_points(parts, hands[0])
    return Sighting(hands[0])


def _windows_to_search(pixels: Image, networks: HandNetworks) -> Iterator[list[Window]]:
    """Yield windows of a picture in groups: about the parts of its mask, its pieces, parts on its tiles."""
    yield _parts_of(pixels, [Window.of(pixels.shape)], networks)
    whole = Window.of(pixels.shape)
    pieces = [window for window in content_windows(pixels) if _overlap(window, whole) <= _SAME_WINDOW]
    yield [*pieces, *_parts_of(pixels, pieces, networks)]
    yield _parts_of(pixels, tiles(pixels.shape), networks)


def _parts_of(pixels: Image, windows: Sequence[Window], networks: HandNetworks) -> list[Window]:
    """Return windows about the parts of the masks of several windows of a picture, the largest parts first."""
    spec = networks.mask_spec
    shown = [window for window in windows if _has_contrast(window.cut(pixels))]
    if not shown:
        return []
    masks = networks.mask(np.stack([cut_view(window.cut(pixels), spec) for window in shown])) > THRESHOLD
    parts: list[tuple[float, Window]] = []
    for window, mask in zip(shown, masks, strict=True):
        to_view = window.to_window().then(view_transform((window.height, window.width), spec))
        parts += part_windows(mask, to_view, window, _LEAST_PART * mask.size)
    return [window for _, window in sorted(parts, key=lambda one: -one[0])]


class _WindowSearch(NamedTuple):
    """A search of a window at close range: the hand on the picture, or the reason to reject it."""

    window: Window
    outcome: Hand | Rejection

    @property
    def is_hand_without_points(self) -> bool:
        """True if the networks for points see one whole hand and disagree about its points."""
        return (
            isinstance(self.outcome, Rejection)
            and self.outcome.code == RejectionCode.POINTS_UNCERTAIN
            and not isinstance(self.outcome, PolarityUncertain)
        )

    def is_apart_from(self, hand: Hand) -> bool:
        """Return True if the middle of the hand lies outside the window."""
        x, y = _middle(hand)
        return not (self.window.left < x < self.window.right and self.window.top < y < self.window.bottom)

    def is_piece_of(self, hand: Hand) -> bool:
        """Return True if the window shows only a small part of the hand."""
        box, area = hand_box(hand), self.window.area
        return self.window.within(box).area >= _PIECE_INSIDE * area and area <= _PIECE * box.area


def _search_windows(
    pixels: Image, windows: Sequence[Window], networks: HandNetworks, limits: HandLimits
) -> list[_WindowSearch]:
    """Search each of the windows at close range, without their own borders; windows that show the same count once."""
    searches: list[_WindowSearch] = []
    for window in windows:
        if len(searches) == _MOST_WINDOWS:
            break
        inner = _window_of_part(pixels, window)
        if any(_overlap(inner, one.window) > _SAME_WINDOW for one in searches) or not _has_contrast(inner.cut(pixels)):
            continue
        try:
            hand = search_once(ImagePyramid(inner.cut(pixels)), networks, limits).hand.on(inner.to_window())
            searches.append(_WindowSearch(inner, hand))
        except Rejection as rejection:
            searches.append(_WindowSearch(inner, rejection))
    return searches


def _window_of_part(pixels: Image, window: Window) -> Window:
    """Cut off the parts of a window beyond the picture, and its own even borders."""
    window = window.within(Window.of(pixels.shape))
    inner = inner_window(window.cut(pixels)) if window.area else Window.of((0, 0))
    left, top = window.left, window.top
    return Window(inner.left + left, inner.top + top, inner.right + left, inner.bottom + top)


def _has_contrast(pixels: Image) -> bool:
    """Return True if a part of a picture is large enough and shows more than one grey, stray pixels aside."""
    if min(pixels.shape) < _LEAST_WINDOW:
        return False
    low, high = np.percentile(pixels, (0.5, 99.5))
    return bool(high - low > _LEAST_RANGE)


def _overlap(first: Window, second: Window) -> float:
    """Return the area that two windows share, as a share of the area that they cover together."""
    common = first.within(second).area
    return common / max(1, first.area + second.area - common)


def _reject_second_hand(pixels: Image, sighting: Sighting, networks: HandNetworks, limits: HandLimits) -> None:
    """Search further parts of the mask and parts of the area beside the hand at close range for another hand."""
    windows = [window for _, window in sighting.others]
    strips = strips_beside(pixels.shape, sighting.hand)
    if sum(strip.area for strip in strips) > _MUCH_BESIDE * pixels.size:
        windows += _parts_of(pixels, strips, networks)
    searches = _search_windows(pixels, windows, networks, limits)
    _reject_several([sighting.hand, *(one.outcome for one in searches if isinstance(one.outcome, Hand))])
    _reject_hand_without_points(searches, sighting.hand)


def _reject_hand_without_points(searches: Sequence[_WindowSearch], hand: Hand) -> None:
    """Reject a picture that shows, apart from a hand, another one whose points are uncertain."""
    if any(one.is_hand_without_points and one.is_apart_from(hand) for one in searches):
        raise several_hands()


def _reject_several(hands: Sequence[Hand]) -> None:
    """Reject a picture with hands in different places."""
    for hand in hands[1:]:
        apart = float(np.linalg.norm(_middle(hand) - _middle(hands[0])))
        if apart > _OTHER_PLACE * min(hand.length_pixels, hands[0].length_pixels):
            raise several_hands()


def _middle(hand: Hand) -> NDArray[np.float64]:
    """Return the point halfway from capitate to middle fingertip, (x, y) on the picture."""
    return np.asarray((hand.points_xy[0] + hand.points_xy[2]) / 2)
