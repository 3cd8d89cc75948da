"""Drawn disturbances: each label is visible on the radiograph, and all other changes are harmless."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.arrays import Image
from boneage.bundle.quality import QUALITY_LABELS
from boneage.geometry import Transform
from boneage.hand.registration import Hand
from boneage.phantom import draw_hand, phantom_points
from boneage.train.data import disturbances
from boneage.train.data.disturbances import CLEAN_SHARE, cut_fingertips, draw_disturbed
from boneage.train.data.photographs import photograph
from boneage.train.data.scene import Scene, scene_of

HEIGHT, WIDTH = 400, 300


def mask_on(to_target: Transform, shape: tuple[int, int]) -> Image:
    """The phantom's hand on a reduced copy of it."""
    import cv2

    mask = (draw_hand(9.0, height=HEIGHT, width=WIDTH) > 0.12).astype(np.float32)
    return np.asarray(cv2.resize(mask, (shape[1], shape[0]), interpolation=cv2.INTER_AREA), np.float32)


@lru_cache(maxsize=1)
def scene() -> Scene:
    drawn = draw_hand(9.0, height=HEIGHT, width=WIDTH)
    return scene_of(drawn, Hand.at(phantom_points(height=HEIGHT, width=WIDTH)), mask_on)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_draw_disturbed_follows_seed(seed: int) -> None:
    before = scene().pixels.copy()
    drawn, labels = draw_disturbed(np.random.default_rng(seed), scene())
    again, same = draw_disturbed(np.random.default_rng(seed), scene())
    assert labels == same <= set(QUALITY_LABELS)
    assert drawn.pixels.dtype == np.float32
    assert drawn.pixels.shape == drawn.mask.shape
    assert np.isfinite(drawn.pixels).all()
    assert -1e-4 <= drawn.pixels.min() <= drawn.pixels.max() <= 1 + 1e-4
    assert drawn.points_xy.shape == (3, 2)
    assert np.array_equal(drawn.pixels, again.pixels)
    assert np.array_equal(drawn.points_xy, again.points_xy)
    assert np.array_equal(scene().pixels, before)


def test_draw_disturbed_draws_every_label() -> None:
    """Every label is drawn and many radiographs stay clean."""
    drawn = [draw_disturbed(np.random.default_rng(seed), scene())[1] for seed in range(300)]
    for label in QUALITY_LABELS:
        assert sum(label in labels for labels in drawn) >= 10
    clean = sum(not labels for labels in drawn) / len(drawn)
    assert CLEAN_SHARE - 0.1 < clean < CLEAN_SHARE + 0.15


@pytest.mark.parametrize(("label", "share"), [("plaster", 0.03), ("metal", 0.003)])
def test_draw_disturbed_label_is_visible(label: str, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disturbances, "_harmless", lambda _generator, scene, **_: scene)
    hand = scene().mask > 0.5
    labelled = 0
    for seed in range(150):
        drawn, labels = draw_disturbed(np.random.default_rng(seed), scene())
        if labels == {label}:
            labelled += 1
            assert (np.abs(drawn.pixels - scene().pixels)[hand] > 0.05).mean() >= share
        elif not labels:
            assert np.array_equal(drawn.pixels, scene().pixels)
    assert labelled >= 5


def test_photograph_moves_key_points() -> None:
    """The middle finger's tip stays bright at its new place, where a hand is all that is bright."""
    spot = np.zeros_like(scene().pixels)
    x, y = np.round(scene().points_xy[0]).astype(int)
    spot[y - 6 : y + 7, x - 6 : x + 7] = 1
    for seed in range(12):
        drawn = photograph(np.random.default_rng(seed), Scene(spot, scene().points_xy, spot))
        rows, columns = np.nonzero(drawn.mask > 0.5)
        np.testing.assert_allclose([columns.mean() + 0.5, rows.mean() + 0.5], drawn.points_xy[0], atol=2.5)


def test_cut_fingertips_moves_tip() -> None:
    """Cut fingertips are gone and the tip lies where they end."""
    for seed in range(10):
        cut = cut_fingertips(np.random.default_rng(seed), scene())
        tip_before, tip_after = scene().points_xy[0], cut.points_xy[0]
        assert tip_after[1] > tip_before[1]
        assert cut.mask.sum() < scene().mask.sum()
        assert cut.mask[: int(tip_before[1]) + 2].max() == 0
