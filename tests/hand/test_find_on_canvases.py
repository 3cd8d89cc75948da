"""Hands on canvases: borders are cut off, small hands are magnified, and a second hand is a rejection."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from boneage.errors import Rejection
from boneage.geometry import sample
from boneage.hand.find import find_hand
from boneage.hand.mask import components
from boneage.hand.search import LocatedPoints
from boneage.hand.views import ViewSpec
from tests.hand.network_views import LOCATE_VIEW, MASK_VIEW, NONE, ONE, REFINE_VIEW, USUAL
from tests.hand.spotted import HEIGHT, POINTS_XY, WIDTH, hand_mask, spots_on, spotted_radiograph


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
