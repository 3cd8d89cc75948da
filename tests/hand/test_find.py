"""Hands are located in any orientation and polarity, and images without a certain hand are rejected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from boneage.errors import Rejection
from boneage.geometry import Transform, sample
from boneage.hand.find import find_hand
from boneage.hand.registration import Hand
from boneage.hand.search import HandLimits, LocatedPoints
from boneage.hand.views import ViewSpec, cut_view, view_transform
from tests.hand.network_views import LOCATE_VIEW, MASK_VIEW, NONE, ONE, REFINE_VIEW, USUAL
from tests.hand.spotted import HEIGHT, POINTS_XY, WIDTH, hand_mask, spots_on, spotted_radiograph, turned, turning

REGION_A = ViewSpec("A", 128, 96, "hand")


@dataclass(frozen=True, eq=False)
class KnowingNetworks:
    """Networks with fixed outputs for the hand of one radiograph. Only the refining one reads its view.

    Attributes:
        mask_on_radiograph: Output of the mask network, (H, W).
        points_xy: Output of the locating network, on the radiograph.
        truth_xy: True points. After the refining network has run, the mask network gets a magnified view of the hand.
        spread: Spread that both point networks report, pixels of the view.
        located, refined: Probabilities of no hand, one hand and several hands.
        astray: Offset of the refining network's points, pixels of its view, times the number of the view.
    """

    mask_on_radiograph: NDArray[np.uint8]
    points_xy: NDArray[np.float64]
    truth_xy: NDArray[np.float64]
    spread: float = 0.5
    located: tuple[float, float, float] = ONE
    refined: tuple[float, float, float] = ONE
    astray: float = 0.0
    seen: list[NDArray[np.float32]] = field(default_factory=list)
    seen_from_near: list[NDArray[np.float32]] = field(default_factory=list)
    mask_spec: ViewSpec = MASK_VIEW
    locate_spec: ViewSpec = LOCATE_VIEW
    refine_spec: ViewSpec = REFINE_VIEW

    @property
    def shape(self) -> tuple[int, int]:
        return self.mask_on_radiograph.shape[0], self.mask_on_radiograph.shape[1]

    def mask(self, views: NDArray[np.float32]) -> NDArray[np.float32]:
        self.seen.append(views[0])
        to_view = view_transform(self.shape, self.mask_spec)
        if self.seen_from_near:
            near = replace(self.mask_spec, region="surroundings")
            to_view = view_transform(self.shape, near, Hand(self.truth_xy, np.ones((1, 1), np.uint8), Transform()))
        height, width = views.shape[1:]
        return np.stack([sample(self.mask_on_radiograph.astype(np.float32), to_view, height, width)] * len(views))

    def locate(self, views: NDArray[np.float32]) -> list[LocatedPoints]:
        points_xy = view_transform(self.shape, self.locate_spec).points(self.points_xy)
        return [self._answer(points_xy, self.located) for _ in views]

    def refine(self, views: NDArray[np.float32]) -> list[LocatedPoints]:
        self.seen_from_near.extend(views)
        return [self._refined(view, row) for row, view in enumerate(views)]

    def _refined(self, view: NDArray[np.float32], row: int) -> LocatedPoints:
        """Report no hand unless the view shows all three points."""
        seen = spots_on(view)
        if seen is None:
            return self._answer(np.zeros((3, 2)), NONE)
        return self._answer(seen + self.astray * row, self.refined)

    def _answer(self, points_xy: NDArray[np.float64], hands: tuple[float, float, float]) -> LocatedPoints:
        spread = np.full(3, self.spread, np.float32)
        return LocatedPoints(points_xy.astype(np.float32), spread, np.array(hands, np.float32))


def networks_for(quarters: int = 0, *, mirrored: bool = False) -> KnowingNetworks:
    """Return networks for a rotated radiograph, with a first guess that is off by some 8 % of the hand's length."""
    change = turning(HEIGHT, WIDTH, quarters, mirrored=mirrored)
    guess_xy = POINTS_XY + np.array([[12.0, -14.0], [-10.0, 8.0], [-6.0, 12.0]])
    mask = turned(hand_mask(), quarters, mirrored=mirrored).astype(np.uint8)
    return KnowingNetworks(mask, change.points(guess_xy), change.points(POINTS_XY))


def afresh(networks: KnowingNetworks) -> KnowingNetworks:
    """Return copies of the networks without recorded views."""
    return replace(networks, seen=[], seen_from_near=[])


def shown(quarters: int = 0, *, mirrored: bool = False, inverted: bool = False) -> NDArray[np.float32]:
    radiograph = turned(spotted_radiograph(), quarters, mirrored=mirrored).astype(np.float32)
    return 1 - radiograph if inverted else radiograph


def find(pixels: NDArray[np.float32], networks: KnowingNetworks, limits: HandLimits = USUAL) -> Hand:
    return find_hand(pixels, networks, limits)


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarters", range(4))
def test_find_hand_rotated_mirrored_and_inverted(quarters: int, mirrored: bool, inverted: bool) -> None:
    radiograph = shown(quarters, mirrored=mirrored, inverted=inverted)
    hand = find(radiograph, networks_for(quarters, mirrored=mirrored))
    truth_xy = turning(HEIGHT, WIDTH, quarters, mirrored=mirrored).points(POINTS_XY)
    np.testing.assert_allclose(hand.points_xy, truth_xy, atol=0.5)  # the hand has 220 pixels
    assert (hand.mirrored, hand.inverted) == (mirrored, inverted)
    assert hand.spread < 0.01
    upright = find(shown(), networks_for())
    view, expected = cut_view(radiograph, REGION_A, hand=hand), cut_view(shown(), REGION_A, hand=upright)
    assert expected.std() > 0.3
    assert np.abs(view - expected).mean() < 0.03


@pytest.mark.parametrize("zoom", [2.0, 5.3, 9.0])
def test_find_hand_on_enlarged_radiograph(zoom: float) -> None:
    radiograph = shown()
    height, width = round(zoom * HEIGHT), round(zoom * WIDTH)
    large = sample(
        radiograph, Transform.scale(width / WIDTH, height / HEIGHT), height, width, fill=float(radiograph[0, 0])
    )
    hand, other = find(radiograph, networks_for()), find(large, networks_for())
    enlarge = Transform.scale(width / WIDTH, height / HEIGHT)
    np.testing.assert_allclose(other.points_xy, enlarge.points(hand.points_xy), atol=0.01 * other.length_pixels)
    corners = np.array([[0.0, 0.0], [WIDTH, HEIGHT]])
    near = 0.01 * hand.mask.shape[0]
    on_mask = other.radiograph_to_mask.points(enlarge.points(corners))
    np.testing.assert_allclose(on_mask, hand.radiograph_to_mask.points(corners), atol=2 * near)
    shapes = (view_transform((HEIGHT, WIDTH), REGION_A, hand), view_transform((height, width), REGION_A, other))
    np.testing.assert_allclose(shapes[1].points(enlarge.points(corners)), shapes[0].points(corners), atol=2.0)


def test_find_hand_mask_covers_the_hand() -> None:
    hand = find(shown(), networks_for())
    on_radiograph = sample(hand.mask.astype(np.float32), hand.radiograph_to_mask.inverse(), HEIGHT, WIDTH) > 0.5
    truth = hand_mask() > 0
    assert (on_radiograph & truth).sum() / (on_radiograph | truth).sum() > 0.97


def test_find_hand_mask_is_largest_part_without_holes() -> None:
    holed = hand_mask()
    holed[300:320, 180:200] = 0
    holed[10:40, 10:40] = 1
    hand = find(shown(), replace(networks_for(), mask_on_radiograph=holed))
    assert np.array_equal(hand.mask, find(shown(), networks_for()).mask)


def test_find_hand_inverted_runs_again_on_negative() -> None:
    networks = networks_for()
    find(shown(inverted=True), networks)
    first, second, *_ = networks.seen
    np.testing.assert_allclose(second, -first, atol=1e-4)  # the second view is the negative of the first


def test_find_hand_refined_points_count() -> None:
    """The first guess is off by 18 pixels, but the refining network sees the hand magnified and corrects it."""
    off = np.linalg.norm(networks_for().points_xy - POINTS_XY, axis=1)
    assert off.max() > 15
    assert np.linalg.norm(find(shown(), networks_for()).points_xy - POINTS_XY, axis=1).max() < 0.5


def test_find_hand_spread_from_uncertainty_and_disagreement() -> None:
    zoom = 240 / 2400 * 1500 / np.linalg.norm(POINTS_XY[0] - POINTS_XY[2])  # magnification of the refining view
    wide = find(shown(), replace(networks_for(), spread=6.0))
    assert wide.spread == pytest.approx(6.0 / (zoom * wide.length_pixels), rel=0.01)
    apart = find(shown(), replace(networks_for(), astray=3.0))  # by -3, 0 and 3 pixels, both ways, from the mean
    assert apart.spread == pytest.approx(3.0 * np.sqrt(2) / (zoom * apart.length_pixels), rel=0.1)


# --- rejections ---


def cut_off(rows: int) -> NDArray[np.uint8]:
    mask = hand_mask()
    mask[:rows] = 0
    return mask


def two_hands() -> NDArray[np.uint8]:
    mask = hand_mask()
    cv2.ellipse(mask, (350, 240), (45, 170), 0, 0, 360, 1, -1)
    return mask


REJECTED: dict[str, tuple[str, Callable[[KnowingNetworks], KnowingNetworks]]] = {
    "no mask": ("no_hand", lambda networks: replace(networks, mask_on_radiograph=np.zeros((HEIGHT, WIDTH), np.uint8))),
    "next to no mask": ("no_hand", lambda networks: replace(networks, mask_on_radiograph=cut_off(390))),
    "no hand, from far": ("no_hand", lambda networks: replace(networks, located=(0.9, 0.1, 0.0))),
    "perhaps one hand": ("no_hand", lambda networks: replace(networks, located=(0.35, 0.4, 0.25))),
    "no hand, from near": ("no_hand", lambda networks: replace(networks, refined=(0.6, 0.4, 0.0))),
    "several hands": ("several_hands", lambda networks: replace(networks, located=(0.0, 0.2, 0.8))),
    "several hands and two parts": (
        "several_hands",
        lambda networks: replace(networks, located=(0.05, 0.65, 0.3), mask_on_radiograph=two_hands()),
    ),
    "points in one place": ("points_uncertain", lambda networks: replace(networks, points_xy=np.full((3, 2), 200.0))),
    "points everywhere": ("points_uncertain", lambda networks: replace(networks, spread=20.0)),
    "points that do not stay": ("points_uncertain", lambda networks: replace(networks, astray=14.0)),
    "points off the mask": ("points_uncertain", lambda networks: replace(networks, mask_on_radiograph=cut_off(230))),
    "a mask too large for the points": (
        "points_uncertain",
        lambda networks: replace(networks, mask_on_radiograph=np.ones((HEIGHT, WIDTH), np.uint8)),
    ),
}


@pytest.mark.parametrize("name", REJECTED)
def test_find_hand_rejects_uncertain_hand(name: str) -> None:
    code, change = REJECTED[name]
    with pytest.raises(Rejection) as rejection:
        find(shown(), change(networks_for()))
    assert rejection.value.code == code


def with_blot() -> NDArray[np.uint8]:
    mask = hand_mask()
    mask[20:40, 20:40] = 1
    return mask


LIMITS: dict[str, tuple[HandLimits, KnowingNetworks]] = {
    "least_mask_share": (HandLimits(least_mask_share=0.9), networks_for()),
    "least_one_hand": (HandLimits(least_one_hand=0.9), replace(networks_for(), located=(0.2, 0.8, 0.0))),
    "least_one_hand, from near": (HandLimits(least_one_hand=0.9), replace(networks_for(), refined=(0.2, 0.8, 0.0))),
    "largest_spread": (HandLimits(largest_spread=0.001), networks_for()),
    "least_inside": (HandLimits(least_inside=0.95), replace(networks_for(), mask_on_radiograph=cut_off(140))),
    "mask_areas, least": (HandLimits(mask_areas=(1.2, 2.5)), networks_for()),
    "mask_areas, largest": (HandLimits(mask_areas=(0.3, 0.7)), networks_for()),
    "largest_second_part": (
        HandLimits(largest_second_part=0.001),
        replace(
            networks_for(),
            located=(0.0, 0.7, 0.3),
            mask_on_radiograph=with_blot(),
        ),
    ),
}


@pytest.mark.parametrize("name", LIMITS)
def test_find_hand_applies_each_limit(name: str) -> None:
    limits, networks = LIMITS[name]
    assert find(shown(), afresh(networks)).spread < 0.01  # the usual limits accept it
    with pytest.raises(Rejection):
        find(shown(), afresh(networks), limits)


@dataclass(frozen=True, eq=False)
class ThumbElsewhere(KnowingNetworks):
    """Networks whose refining one places the thumb to the right of the line from wrist to fingertip.

    Attributes:
        places: Distance from the line by the number of the view, as a share of the hand's length.
        for_views: Number of views after which the thumb is placed correctly.
    """

    places: tuple[float, float, float] = (0.0, 0.0, 0.0)
    for_views: int = 4

    def refine(self, views: NDArray[np.float32]) -> list[LocatedPoints]:
        answers = super().refine(views)
        if len(self.seen_from_near) > self.for_views:
            return answers
        for answer, place in zip(answers, self.places, strict=False):
            tip, capitate = answer.points_xy[0], answer.points_xy[2]
            along = tip - capitate
            answer.points_xy[1] = (tip + capitate) / 2 + place * np.array([-along[1], along[0]])
        return answers


UNCLEAR = [(0.05, 0.05, 0.05), (0.25, -0.05, 0.25), (0.3, 0.1, -0.1)]


@pytest.mark.parametrize("places", UNCLEAR)
@pytest.mark.parametrize("mirrored", [False, True])
def test_find_hand_unclear_thumb_is_uncertain(places: tuple[float, float, float], mirrored: bool) -> None:
    """The views of the hand and of its mirror image decide, and the side is marked as uncertain."""
    networks = ThumbElsewhere(**networks_for(mirrored=mirrored).__dict__, places=places)
    hand = find(shown(mirrored=mirrored), networks)
    assert not hand.side_certain
    assert hand.mirrored is mirrored


@pytest.mark.parametrize("places", [(0.0, 0.0, 0.0), (0.05, 0.05, 0.05)])
def test_find_hand_thumb_on_neither_side_is_rejected(places: tuple[float, float, float]) -> None:
    """A thumb in the middle, or on the right of every view and of its mirror image, does not show the side."""
    with pytest.raises(Rejection, match="which side the thumb lies") as rejection:
        find(shown(), ThumbElsewhere(**networks_for().__dict__, places=places, for_views=99))
    assert rejection.value.code == "points_uncertain"


def test_find_hand_clear_thumb_is_certain() -> None:
    hand = find(shown(), ThumbElsewhere(**networks_for().__dict__, places=(0.25, 0.25, 0.25)))
    assert hand.side_certain
    assert not hand.mirrored


@dataclass(frozen=True, eq=False)
class WideThumb(KnowingNetworks):
    """Networks whose refining one is uncertain of the thumb."""

    def refine(self, views: NDArray[np.float32]) -> list[LocatedPoints]:
        answers = super().refine(views)
        for answer in answers:
            answer.spread[1] = 60.0
        return answers


@pytest.mark.parametrize("mirrored", [False, True])
def test_find_hand_hidden_thumb_is_no_rejection(mirrored: bool) -> None:
    hand = find(shown(mirrored=mirrored), WideThumb(**networks_for(mirrored=mirrored).__dict__))
    assert not hand.side_certain
    assert hand.mirrored is mirrored
    assert hand.spread < 0.01  # spread of fingertip and capitate only


class ContraryMask(KnowingNetworks):
    """Networks whose mask is of the air as soon as the radiograph is inverted."""

    def mask(self, views: NDArray[np.float32]) -> NDArray[np.float32]:
        masks = super().mask(views)
        return masks if len(self.seen) == 1 else 1 - masks


def test_find_hand_rejects_contradictory_polarity() -> None:
    with pytest.raises(Rejection, match="bright or dark") as rejection:
        find(shown(inverted=True), ContraryMask(**networks_for().__dict__))
    assert rejection.value.code == "points_uncertain"


def test_find_hand_second_part_is_ignored() -> None:
    """A second part of the mask, such as a splint, is ignored if the locating network sees one hand."""
    networks = replace(networks_for(), mask_on_radiograph=two_hands(), located=(0.05, 0.9, 0.05))
    hand = find(shown(), networks)
    np.testing.assert_allclose(hand.points_xy, POINTS_XY, atol=0.5)
    assert np.array_equal(hand.mask, find(shown(), networks_for()).mask)


def test_find_hand_rejects_uniform_radiograph() -> None:
    with pytest.raises(Rejection) as rejection:
        find(np.full((HEIGHT, WIDTH), 0.5, np.float32), networks_for())
    assert rejection.value.code == "no_contrast"


# --- helpers ---


def test_spots_on_rotated_images_match_turning() -> None:
    """The helpers of these tests agree with each other."""
    for quarters in range(4):
        for mirrored in (False, True):
            seen = spots_on(shown(quarters, mirrored=mirrored))
            assert seen is not None
            truth = turning(HEIGHT, WIDTH, quarters, mirrored=mirrored).points(POINTS_XY)
            np.testing.assert_allclose(seen, truth, atol=0.05)
    assert turning(HEIGHT, WIDTH, 0, mirrored=False) == Transform()
