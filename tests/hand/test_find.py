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
from boneage.hand.mask import components
from boneage.hand.registration import Hand
from boneage.hand.search import HandLimits, LocatedPoints, bone_is_dark
from boneage.hand.views import ViewSpec, cut_view, view_transform
from tests.hand.spotted import HEIGHT, POINTS_XY, WIDTH, hand_mask, spots_on, spotted_radiograph, turned, turning

ONE, NONE = (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)
MASK_VIEW = ViewSpec("radiograph", 120, 100)
LOCATE_VIEW = ViewSpec("radiograph", 96, 96)
REFINE_VIEW = ViewSpec("surroundings", 240, 220)
REGION_A = ViewSpec("A", 128, 96, "hand")
USUAL = HandLimits()


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


# --- borders and magnified views ---


@dataclass(frozen=True, eq=False)
class SeeingNetworks:
    """Networks that see spotted hands on any view, if these are large enough there.

    Attributes:
        least: Area of the smallest part that the mask network sees, pixels of its view.
        near: Least distance of the middle finger's tip and the capitate, pixels of the view, for the point networks to
            see a hand.
    """

    least: int = 150
    near: float = 20.0
    masks: list[int] = field(default_factory=list)
    mask_spec: ViewSpec = MASK_VIEW
    locate_spec: ViewSpec = LOCATE_VIEW
    refine_spec: ViewSpec = REFINE_VIEW

    def mask(self, views: NDArray[np.float32]) -> NDArray[np.float32]:
        self.masks.append(len(views))
        return np.stack([self._hands(view).any(axis=0) for view in views]).astype(np.float32)

    def locate(self, views: NDArray[np.float32]) -> list[LocatedPoints]:
        return [self._points(view) for view in views]

    refine = locate

    def _hands(self, view: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the masks of the bright parts with three spots."""
        level = view.min() + 0.25 * (view.max() - view.min())
        parts = [part for part in components(view > level) if part.sum() >= self.least]
        hands = [part for part in parts if spots_on(np.where(part > 0, view, view.min())) is not None]
        return np.stack(hands) if hands else np.zeros((1, *view.shape), np.uint8)

    def _points(self, view: NDArray[np.float32]) -> LocatedPoints:
        hands = self._hands(view)
        spread = np.full(3, 0.5, np.float32)
        seen = spots_on(np.where(hands[0] > 0, view, view.min())) if hands[0].any() else None
        if seen is None or np.linalg.norm(seen[0] - seen[2]) < self.near:
            return LocatedPoints(np.zeros((3, 2), np.float32), spread, np.array(NONE, np.float32))
        count = ONE if len(hands) == 1 else (0.0, 0.2, 0.8)
        return LocatedPoints(seen.astype(np.float32), spread, np.array(count, np.float32))


def placed(times: float, grey: float, *corners: tuple[float, float]) -> NDArray[np.float32]:
    """Return spotted radiographs on a uniform square canvas.

    Args:
        times: Side of the canvas, in heights of the radiograph.
        grey: Grey level of the canvas.
        corners: Positions of the radiographs, as shares of the free space.
    """
    side = round(times * HEIGHT)
    canvas = np.full((side, side), grey, np.float32)
    for x, y in corners:
        left, top = round(x * (side - WIDTH)), round(y * (side - HEIGHT))
        canvas[top : top + HEIGHT, left : left + WIDTH] = spotted_radiograph()
    return canvas


@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("times", [1.5, 3.0])
def test_find_hand_canvas_is_cut_off(times: float, grey: float) -> None:
    """The networks run once, same as without the canvas, and the points refer to the whole image."""
    networks = SeeingNetworks()
    canvas = placed(times, grey, (0.3, 0.8))
    hand = find_hand(canvas, networks, USUAL)
    side = canvas.shape[0]
    corner = np.array([round(0.3 * (side - WIDTH)), round(0.8 * (side - HEIGHT))])
    np.testing.assert_allclose(hand.points_xy, POINTS_XY + corner, atol=1.0)
    assert networks.masks[:2] == [1, 1]  # a third run covers the surroundings of the hand
    on_canvas = sample(hand.mask.astype(np.float32), hand.radiograph_to_mask.inverse(), side, side) > 0.5
    truth = np.zeros(canvas.shape, bool)
    truth[corner[1] : corner[1] + HEIGHT, corner[0] : corner[0] + WIDTH] = hand_mask() > 0
    assert (on_canvas & truth).sum() / (on_canvas | truth).sum() > 0.9


def uneven(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the image with a speckled strip along its edges, which leaves no uniform border."""
    picture = picture.copy()
    specks = 0.08 * np.random.default_rng(0).integers(0, 2, picture.shape).astype(np.float32)
    specks[8:-8, 8:-8] = 0
    return np.clip(picture + specks, 0, 1)


@pytest.mark.parametrize("least", [150, 900])
def test_find_hand_small_hand_is_magnified(least: int) -> None:
    """The mask of the whole image shows the hand (150) or does not (900)."""
    networks = SeeingNetworks(near=45.0, least=least)
    hand = find_hand(uneven(placed(2.0, 0.02, (0.9, 0.2))), networks, USUAL)
    corner = np.array([round(0.9 * (2 * HEIGHT - WIDTH)), round(0.2 * HEIGHT)])
    np.testing.assert_allclose(hand.points_xy, POINTS_XY + corner, atol=1.5)


@pytest.mark.parametrize("near", [5.0, 35.0])
def test_find_hand_two_on_a_canvas_are_several(near: float) -> None:
    """The point networks see both hands at once (5), or each only on a magnified view (35)."""
    canvas = uneven(placed(2.5, 0.02, (0.0, 0.1), (1.0, 0.9)))
    with pytest.raises(Rejection) as rejection:
        find_hand(canvas, SeeingNetworks(near=near), USUAL)
    assert rejection.value.code == "several_hands"


def test_find_hand_second_smaller_hand_is_several() -> None:
    """The point networks see only one hand at first."""
    radiograph = np.pad(spotted_radiograph(), ((0, 0), (0, 260)), constant_values=0.05)
    radiograph[20 : 20 + HEIGHT // 2, WIDTH : WIDTH + WIDTH // 2] = spotted_radiograph()[::2, ::2]
    networks = SeeingNetworks(near=30.0)
    with pytest.raises(Rejection) as rejection:
        find_hand(uneven(radiograph), networks, USUAL)
    assert rejection.value.code == "several_hands"


SEVERAL = (0.0, 0.2, 0.8)


def beside(right: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the spotted radiograph with another image of its height to the right of it."""
    return uneven(np.concatenate([spotted_radiograph(), right], axis=1))


class DarkParts(SeeingNetworks):
    """Networks whose mask covers the dark middle of a view on which they see no hand."""

    def mask(self, views: NDArray[np.float32]) -> NDArray[np.float32]:
        masks = super().mask(views)
        for mask, view in zip(masks, views, strict=True):
            if not mask.any():
                mask[20:-20, 20:-20] = view[20:-20, 20:-20] < (view.min() + view.max()) / 2
        return masks


def test_find_hand_strip_of_uncertain_polarity_is_ignored() -> None:
    """Both the strip and its negative show a dark blot, and the point networks do not count it."""
    strip = np.full((HEIGHT, 2 * WIDTH), 0.2, np.float32)
    cv2.rectangle(strip, (250, 120), (550, 360), 0.05, -1)
    cv2.rectangle(strip, (330, 180), (470, 300), 0.35, -1)
    hand = find_hand(beside(strip), DarkParts(), USUAL)
    np.testing.assert_allclose(hand.points_xy, POINTS_XY, atol=3.0)


class UnsureOfDim(SeeingNetworks):
    """Networks that are uncertain of the points of a dim hand."""

    def locate(self, views: NDArray[np.float32]) -> list[LocatedPoints]:
        answers = super().locate(views)
        for answer, view in zip(answers, views, strict=True):
            level = (np.median(view[self._hands(view).any(axis=0)]) - view.min()) / np.ptp(view)
            answer.spread[:] = 60.0 if level < 0.33 else 0.5
        return answers

    refine = locate


@pytest.mark.parametrize("near", [5.0, 35.0])
def test_find_hand_other_hand_with_uncertain_points_is_several(near: float) -> None:
    """The other hand is seen at once (5), or both are seen only on magnified views (35)."""
    dim = np.where(spotted_radiograph() < 0.4, 0.75 * spotted_radiograph(), spotted_radiograph())
    canvas = placed(2.5, 0.02, (0.0, 0.1))
    canvas[-HEIGHT - 20 : -20, -WIDTH - 20 : -20] = dim
    with pytest.raises(Rejection) as rejection:
        find_hand(uneven(canvas), UnsureOfDim(near=near), USUAL)
    assert rejection.value.code == "several_hands"


class SeveralFromFar(SeeingNetworks):
    """Networks that report several hands for a small hand or a piece of one."""

    def _points(self, view: NDArray[np.float32]) -> LocatedPoints:
        answer = super()._points(view)
        return answer if answer.hands[1] > 0.5 else answer._replace(hands=np.array(SEVERAL, np.float32))


def test_find_hand_frame_as_large_as_the_picture_is_no_piece() -> None:
    """A viewer's window on a screen shows the same as the first view."""
    screen = placed(2.0, 0.02, (0.5, 0.5))
    cv2.rectangle(screen, (30, 30), (screen.shape[1] - 30, screen.shape[0] - 30), 0.3, 4)
    hand = find_hand(uneven(screen), SeveralFromFar(near=38.0), USUAL)
    corner = np.array([round(0.5 * (2 * HEIGHT - WIDTH)), round(0.5 * HEIGHT)])
    np.testing.assert_allclose(hand.points_xy, POINTS_XY + corner, atol=1.5)


class InTwoParts(SeveralFromFar):
    """Networks whose mask splits a small hand into two parts near its lower end."""

    def mask(self, views: NDArray[np.float32]) -> NDArray[np.float32]:
        masks = super().mask(views)
        for mask in masks:
            rows = np.flatnonzero(mask.any(axis=1))
            if rows.size and rows.size < 0.5 * mask.shape[0]:
                cut = rows[round(0.8 * rows.size)]
                mask[cut : cut + 2] = 0
        return masks


def test_find_hand_piece_of_a_found_hand_is_not_several() -> None:
    canvas = uneven(placed(2.0, 0.02, (0.5, 0.5)))
    hand = find_hand(canvas, InTwoParts(near=38.0, least=30), USUAL)
    corner = np.array([round(0.5 * (2 * HEIGHT - WIDTH)), round(0.5 * HEIGHT)])
    np.testing.assert_allclose(hand.points_xy, POINTS_XY + corner, atol=1.5)


class ShyOfNoise(SeeingNetworks):
    """Networks that see nothing on a noisy view."""

    def _hands(self, view: NDArray[np.float32]) -> NDArray[np.uint8]:
        rough = np.median(np.abs(cv2.Laplacian(view, cv2.CV_32F))) / np.ptp(view)
        return super()._hands(view) if rough < 0.04 else np.zeros((1, *view.shape), np.uint8)


@pytest.mark.parametrize("shown", [True, False])
def test_find_hand_noisy_picture_is_smoothed(shown: bool) -> None:
    """An image without a hand is rejected with and without smoothing."""
    canvas = placed(1.5, 0.05, *([(0.5, 0.5)] if shown else []))
    noise = np.random.default_rng(0).standard_normal(canvas.shape, dtype=np.float32)
    noisy = np.clip(canvas + np.float32(0.05) * noise, 0, 1)
    if shown:
        hand = find_hand(noisy, ShyOfNoise(), USUAL)
        corner = np.array([round(0.5 * (1.5 * HEIGHT - WIDTH)), round(0.25 * HEIGHT)])
        np.testing.assert_allclose(hand.points_xy, POINTS_XY + corner, atol=3.0)
    else:
        with pytest.raises(Rejection) as rejection:
            find_hand(noisy, ShyOfNoise(), USUAL)
        assert rejection.value.code == "no_hand"


# --- grey ---


@pytest.mark.parametrize("border", [None, 0.0, 1.0])
@pytest.mark.parametrize("inverted", [False, True])
def test_bone_is_dark_compares_hand_with_air(inverted: bool, border: float | None) -> None:
    view = spotted_radiograph()[::4, ::4].copy()
    if inverted:
        view = 1 - view
    if border is not None:
        view[:8], view[-8:], view[:, :8], view[:, -8:] = border, border, border, border
    assert bone_is_dark(view, hand_mask()[::4, ::4]) is inverted


def test_bone_is_dark_false_without_air() -> None:
    view = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    assert not bone_is_dark(view, np.ones((20, 20), np.uint8))
    thin = np.zeros((20, 20), np.uint8)
    thin[10] = 1  # erosion removes it
    assert not bone_is_dark(1 - view, thin)


def test_spots_on_rotated_images_match_turning() -> None:
    """The helpers of these tests agree with each other."""
    for quarters in range(4):
        for mirrored in (False, True):
            seen = spots_on(shown(quarters, mirrored=mirrored))
            assert seen is not None
            truth = turning(HEIGHT, WIDTH, quarters, mirrored=mirrored).points(POINTS_XY)
            np.testing.assert_allclose(seen, truth, atol=0.05)
    assert turning(HEIGHT, WIDTH, 0, mirrored=False) == Transform()
