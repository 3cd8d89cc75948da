"""The drawn phantom is known however it lies and shines, and nothing else is taken for it."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from boneage.checks.phantom_similarity import SIMILARITY_LIMIT, phantom_similarity
from boneage.evaluate.perturbations import compressed, framed, on_canvas, rotated, with_gamma
from boneage.geometry import Transform
from boneage.hand.registration import Hand
from boneage.phantom import draw_hand, phantom_points

Picture = NDArray[np.float32]
HEIGHT, WIDTH = 600, 450
SAMPLE: Picture = draw_hand(height=HEIGHT, width=WIDTH) ** np.float32(0.7)


def cut(radiograph: Picture) -> Picture:
    """Without 5 % on each side."""
    height, width = radiograph.shape
    return np.ascontiguousarray(radiograph[height // 20 : -height // 20, width // 20 : -width // 20])


CHANGES: dict[str, Callable[[Picture], Picture]] = {
    "as drawn": lambda radiograph: radiograph,
    "turned by 10": lambda radiograph: rotated(radiograph, 10.0),
    "turned by 130": lambda radiograph: rotated(radiograph, 130.0),
    "mirrored and turned": lambda radiograph: rotated(np.ascontiguousarray(radiograph[:, ::-1]), -40.0),
    "white frame": lambda radiograph: framed(radiograph, 1.0),
    "grey frame": lambda radiograph: framed(radiograph, 0.5),
    "black canvas": lambda radiograph: on_canvas(radiograph, 2.0, 0.0),
    "turned and cut": lambda radiograph: cut(rotated(radiograph, 10.0)),
    "gamma 0.5": lambda radiograph: with_gamma(radiograph, 0.5),
    "gamma 2": lambda radiograph: with_gamma(radiograph, 2.0),
    "JPEG": lambda radiograph: compressed(radiograph, 25),
    "inverted": lambda radiograph: 1 - radiograph,
    "smaller": lambda radiograph: np.asarray(cv2.resize(radiograph, (200, 267), interpolation=cv2.INTER_AREA)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_phantom_similarity_of_the_changed_drawing_without_a_hand(name: str) -> None:
    assert phantom_similarity(CHANGES[name](SAMPLE), None) > SIMILARITY_LIMIT


def hand_on(transform: Transform, *, inverted: bool = False, stretch: float = 1.07) -> Hand:
    """The drawing's hand after a transform, its fingertip too far up, as networks find it."""
    points = phantom_points(height=HEIGHT, width=WIDTH)
    points[0] = points[2] + stretch * (points[0] - points[2])
    return Hand(transform.points(points), np.ones((1, 1), np.uint8), Transform(), inverted=inverted)


@pytest.mark.parametrize("age_years", [1.0, 8.0, 19.0])
def test_phantom_similarity_of_a_drawing_whose_hand_was_found(age_years: float) -> None:
    drawn = draw_hand(age_years, height=HEIGHT, width=WIDTH) ** np.float32(0.7)
    assert phantom_similarity(drawn, hand_on(Transform())) > SIMILARITY_LIMIT
    assert phantom_similarity(cut(drawn), hand_on(Transform.shift(-WIDTH // 20, -HEIGHT // 20))) > SIMILARITY_LIMIT
    mirrored = np.ascontiguousarray(1 - drawn[:, ::-1])
    assert phantom_similarity(mirrored, hand_on(Transform.mirror(WIDTH), inverted=True)) > SIMILARITY_LIMIT


def another_hand() -> Picture:
    """A hand of the very same outline, with a pattern in the place of its bones."""
    soft = cv2.GaussianBlur(SAMPLE, (0, 0), 9)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    bars = 0.15 * (np.sin(rows / 7.0) * np.sin(columns / 11.0) > 0.3)
    return np.asarray(np.clip(soft + bars * (soft > 0.3), 0, 1), dtype=np.float32)


@pytest.mark.parametrize("hand", [None, hand_on(Transform())])
def test_phantom_similarity_of_another_hand(hand: Hand | None) -> None:
    assert phantom_similarity(another_hand(), hand) < SIMILARITY_LIMIT


@pytest.mark.parametrize("picture", [np.zeros((64, 64)), np.random.default_rng(0).random((90, 70))])
def test_phantom_similarity_of_nothing(picture: NDArray[np.float64]) -> None:
    assert phantom_similarity(picture.astype(np.float32), None) < 0.5
