"""The mean of hands: deformations can be undone, and bent hands come to lie on one another, in their mean shape."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from boneage.geometry import sample
from boneage.hand.registration import Hand
from boneage.hand.views import measure_grey
from boneage.phantom import draw_hand, phantom_points
from boneage.train.atlas.mean_hand import (
    PLATE_BOX,
    PLATE_HEIGHT,
    PLATE_WIDTH,
    MeanHand,
    RegisteredRadiograph,
    _after,
    _inverse,
    _unfolded,
    frame_to_plate,
    mean_hand,
)
from tests.train.bent_hands import HEIGHT, WIDTH, bent_hand

SHAPE = (64, 56)


def deformation(seed: int, pixels: float) -> NDArray[np.float32]:
    coarse = np.random.default_rng(seed).normal(size=(*(side // 12 for side in SHAPE), 2)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, SHAPE[::-1], interpolation=cv2.INTER_CUBIC) * np.float32(pixels))


def least_area(moved: NDArray[np.float32]) -> float:
    by_x, by_y = np.diff(moved, axis=1)[1:], np.diff(moved, axis=0)[:, 1:]
    return float(((1 + by_x[..., 0]) * (1 + by_y[..., 1]) - by_x[..., 1] * by_y[..., 0]).min())


@settings(max_examples=30)
@given(st.integers(0, 1000), st.floats(0, 1.0))
def test_inverse_undoes_smooth_deformation(seed: int, pixels: float) -> None:
    """At 1 pixel the largest error of all seeds is 0.07. At 1.5 pixels some deformations nearly fold, and reach 0.9."""
    moved = deformation(seed, pixels)
    for undone in (_after(moved, _inverse(moved)), _after(_inverse(moved), moved)):
        assert np.abs(undone[6:-6, 6:-6]).max() < 0.12  # sampling between pixels


@settings(max_examples=30)
@given(st.integers(0, 1000), st.floats(0, 12))
def test_unfolded_smooths_until_invertible(seed: int, pixels: float) -> None:
    """A folded deformation is smoothed until it can be undone."""
    moved = deformation(seed, pixels)
    mended = _unfolded(moved)
    if least_area(moved) >= 0.3:
        assert mended is moved
    else:
        assert least_area(mended) > max(0.1, least_area(moved))


def hand_on(radiograph: NDArray[np.float32]) -> Hand:
    """Where a hand is, as far as it was not bent."""
    points_xy = phantom_points(height=HEIGHT, width=WIDTH)
    flesh = cv2.GaussianBlur(radiograph, (0, 0), 2) > 0.15
    return Hand.at(points_xy) if not flesh.any() else _with_mask(points_xy, flesh)


def _with_mask(points_xy: NDArray[np.float64], flesh: NDArray[np.bool_]) -> Hand:
    from boneage.geometry import Transform
    from boneage.hand.mask import whole_hand

    return Hand(points_xy=points_xy, mask=whole_hand(flesh.astype(np.float32)), radiograph_to_mask=Transform())


def registered(radiograph: NDArray[np.float32]) -> RegisteredRadiograph:
    hand = hand_on(radiograph)
    return RegisteredRadiograph(radiograph, hand, measure_grey(radiograph, "hand", hand))


def even(agreement: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.full(len(agreement), 1 / len(agreement))


def on_plate(radiograph: NDArray[np.float32]) -> NDArray[np.float32]:
    return registered(radiograph).on_plate(np.zeros((PLATE_HEIGHT, PLATE_WIDTH, 2), np.float32), 1)[0]


def similarity(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Correlation of fine detail, of bones rather than of the hand as a whole."""
    return float(np.corrcoef(fine(one).ravel(), fine(other).ravel())[0, 1])


def fine(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Detail, without the uneven end of the forearm."""
    return np.asarray((picture - cv2.GaussianBlur(picture, (0, 0), 6))[:480])


@pytest.fixture(scope="module")
def radiographs() -> list[NDArray[np.float32]]:
    return [bent_hand(96, seed) for seed in range(12)]


@pytest.fixture(scope="module")
def mean(radiographs: list[NDArray[np.float32]]) -> MeanHand:
    return mean_hand([registered(radiograph) for radiograph in radiographs], even)


def test_frame_to_plate_shows_box() -> None:
    left, top, width, height = PLATE_BOX
    corners = frame_to_plate().points(np.array([[left, top], [left + width, top + height]]))
    np.testing.assert_allclose(corners, [[0, 0], [PLATE_WIDTH, PLATE_HEIGHT]], atol=0.5)
    np.testing.assert_allclose(frame_to_plate(2).points(np.array([800.0, 100.0])) * 2, [205.8, 15.06], atol=0.1)


def test_registered_radiograph_unmoved_lies_as_registered() -> None:
    """A radiograph that is not moved lies on the plate as it is registered."""
    radiograph = draw_hand(8.0, height=HEIGHT, width=WIDTH)
    seen = on_plate(radiograph)
    hand = hand_on(radiograph)
    plain = sample(radiograph, hand.radiograph_to_frame.then(frame_to_plate()), PLATE_HEIGHT, PLATE_WIDTH)
    inside = seen > 0.1
    assert np.corrcoef(seen[inside], plain[inside])[0, 1] > 0.98


def test_mean_hand_aligns_bent_hands(radiographs: list[NDArray[np.float32]], mean: MeanHand) -> None:
    straight = on_plate(draw_hand(8.0, height=HEIGHT, width=WIDTH))
    views = [on_plate(radiograph) for radiograph in radiographs]
    plain = np.mean(views, axis=0)
    assert similarity(mean.grey, straight) > similarity(plain, straight) + 0.1
    assert similarity(mean.grey, straight) > max(similarity(view, straight) for view in views) + 0.2
    of_radiographs = float(np.mean([fine(view).std() for view in views]))
    assert fine(plain).std() < 0.5 * of_radiographs
    assert fine(mean.grey).std() > 0.85 * of_radiographs


def test_mean_hand_has_mean_shape(radiographs: list[NDArray[np.float32]], mean: MeanHand) -> None:
    """It lies nearer to all radiographs than any of them does, whichever was typical."""
    outlines = np.stack([on_plate(radiograph) > 0.05 for radiograph in radiographs])[:, :480]
    of_mean = float((outlines != (mean.grey > 0.05)[:480]).mean())
    assert of_mean < 0.9 * min(float((outlines != one).mean()) * 12 / 11 for one in outlines)


def test_mean_hand_without_weight_has_no_effect(radiographs: list[NDArray[np.float32]]) -> None:
    some = [registered(radiograph) for radiograph in radiographs[:4]]
    other = registered(np.ascontiguousarray(bent_hand(200, 99, 14.0)))

    def without_last(agreement: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([0.25, 0.25, 0.25, 0.25, 0.0])

    alone, beside = mean_hand(some, even), mean_hand([*some, other], without_last)
    assert similarity(alone.grey, beside.grey) > 0.9
    assert beside.weights[-1] == 0
    assert beside.local_count <= 4.001


def test_mean_hand_surroundings_black_and_forearm_ends(mean: MeanHand) -> None:
    """Black surrounds the hand and the forearm ends where radiographs do."""
    assert mean.grey.shape == (PLATE_HEIGHT, PLATE_WIDTH)
    assert mean.grey[:120, :40].max() < 0.02
    assert mean.grey.min() >= 0
    assert mean.grey.max() <= 1.3
    assert 1 <= mean.local_count <= 12.001
