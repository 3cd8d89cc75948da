from __future__ import annotations

from functools import lru_cache
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.hand.views import measure_grey
from boneage.phantom import draw_hand, phantom_points
from boneage.train.data.drawings import DrawnKind
from boneage.train.data.negatives import FOREARM_START, KINDS, Kind, draw_negative
from boneage.train.data.pairs import MaskedRadiograph, pair_radiographs

HEIGHT, WIDTH = 400, 300
seeds = st.integers(0, 2**32 - 1)


@lru_cache
def _radiograph() -> MaskedRadiograph:
    """A phantom, and the part of the radiograph that is brighter than its air, letters left out, as its hand."""
    pixels = draw_hand(10.0, height=HEIGHT, width=WIDTH)
    mask = (pixels > 0.2).astype(np.uint8)
    mask[: HEIGHT // 8] = 0
    return MaskedRadiograph(pixels, mask)


def _points() -> np.ndarray:
    return phantom_points(height=HEIGHT, width=WIDTH)


def _draw(seed: int, kind: Kind | None, longest_side: int = 64) -> np.ndarray:
    radiograph = _radiograph()
    generator = np.random.default_rng(seed)
    return draw_negative(
        generator, radiograph.pixels, radiograph.mask, points_xy=_points(), kind=kind, longest_side=longest_side
    )


@settings(max_examples=100, deadline=None)
@given(seed=seeds, kind=st.sampled_from([*KINDS, None]), longest_side=st.integers(32, 100))
def test_draw_negative_size_of_every_kind(seed: int, kind: Kind | None, longest_side: int) -> None:
    picture = _draw(seed, kind, longest_side)
    assert picture.dtype == np.float32
    assert picture.ndim == 2
    assert picture.flags.c_contiguous
    assert max(picture.shape) == longest_side
    assert np.isfinite(picture).all()
    assert picture.min() >= 0
    assert picture.max() <= 1
    assert measure_grey(picture, "percentile").high > 0  # and no rejection: a network can be shown it


@pytest.mark.parametrize("kind", [*KINDS, None])
def test_draw_negative_follows_generator(kind: Kind | None) -> None:
    assert np.array_equal(_draw(5, kind), _draw(5, kind))
    others = [_draw(seed, kind) for seed in range(6, 10)]
    assert any(other.shape != _draw(5, kind).shape or (other != _draw(5, kind)).any() for other in others)


def test_draw_negative_erases_hand() -> None:
    """Whatever the hand's pixels say, the picture is the same: they are not used."""
    radiograph = _radiograph()
    other = np.where(radiograph.mask > 0, np.float32(1.0) - radiograph.pixels, radiograph.pixels).astype(np.float32)
    side = max(radiograph.pixels.shape)
    erased = [
        draw_negative(np.random.default_rng(1), pixels, radiograph.mask, kind="erased", longest_side=side)
        for pixels in (radiograph.pixels, other)
    ]
    np.testing.assert_allclose(erased[0], erased[1], atol=0.01)
    untouched = np.abs(erased[0] - radiograph.pixels) < 1e-3
    assert untouched[: HEIGHT // 16].mean() > 0.9  # the background stays


@settings(max_examples=30, deadline=None)
@given(seed=seeds, degrees=st.sampled_from([0, 1, 2, 3]))
def test_draw_negative_forearm_begins_at_start(seed: int, degrees: int) -> None:
    """All that lies on the hand's side of the start is made white: no white may be seen."""
    points_xy = _points()
    tip, _, capitate = points_xy
    length = np.linalg.norm(capitate - tip)
    down = (capitate - tip) / length
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    beyond = (x - capitate[0]) * down[0] + (y - capitate[1]) * down[1]
    pixels = np.where(beyond < (FOREARM_START - 0.03) * length, 1.0, 0.1 + 0.3 * (x > WIDTH / 2)).astype(np.float32)
    pixels[:, 0] = pixels[:, -1] = 0.1  # the border, which fills what lies outside the radiograph
    turned, turned_points = np.ascontiguousarray(np.rot90(pixels, degrees)), points_xy
    for number in range(degrees):  # counter-clockwise: (x, y) goes to (y, W - x)
        width = WIDTH if number % 2 == 0 else HEIGHT
        turned_points = np.column_stack([turned_points[:, 1], width - turned_points[:, 0]])
    crop = draw_negative(np.random.default_rng(seed), turned, points_xy=turned_points, kind="forearm")
    assert crop.max() < 0.5
    assert crop.std() > 0.02


def test_draw_negative_rejects_unsuitable() -> None:
    radiograph, generator = _radiograph(), np.random.default_rng(0)
    with pytest.raises(ValueError, match="not suitable"):
        draw_negative(generator, kind="erased")
    with pytest.raises(ValueError, match="not suitable"):
        draw_negative(generator, radiograph.pixels, np.zeros_like(radiograph.mask), kind="erased")
    with pytest.raises(ValueError, match="not suitable"):
        draw_negative(generator, radiograph.pixels, np.ones_like(radiograph.mask), kind="erased")
    with pytest.raises(ValueError, match="not suitable"):  # no forearm under the capitate
        cut = radiograph.pixels[: int(_points()[2, 1]) + 20]
        draw_negative(generator, cut, points_xy=_points(), kind="forearm")
    with pytest.raises(ValueError, match="not suitable"):  # a blank one
        draw_negative(generator, np.zeros_like(radiograph.pixels), points_xy=_points(), kind="forearm")
    with pytest.raises(ValueError, match="32 px"):
        draw_negative(generator, longest_side=31)
    with pytest.raises(ValueError, match="32 px"):
        pair_radiographs(generator, radiograph, longest_side=31)
    with pytest.raises(ValueError, match="empty"):
        pair_radiographs(generator, radiograph, (radiograph.pixels, np.zeros_like(radiograph.mask)))


def test_draw_negative_uses_suitable_radiographs() -> None:
    """Radiographs are used where they serve and drawn pictures else."""
    radiograph = MaskedRadiograph(np.full((64, 48), 0.5, np.float32), np.zeros((64, 48), np.uint8))
    for seed in range(20):  # an empty mask, points without forearm: every picture is a drawn one
        picture = draw_negative(
            np.random.default_rng(seed), *radiograph, points_xy=np.array([[24, 4], [40, 20], [24, 62]]), longest_side=64
        )
        assert max(picture.shape) == 64
    radiograph = _radiograph()
    background = float(np.median(radiograph.pixels[0]))
    made = [
        np.isclose(_draw(seed, None, 64), background, atol=0.02).mean() > 0.3 for seed in range(60)
    ]  # the radiograph's own air
    assert 5 < sum(made) < 40


@settings(max_examples=40, deadline=None)
@given(seed=seeds, second=st.booleans(), longest_side=st.integers(64, 256))
def test_pair_radiographs_shows_both_hands(seed: int, second: bool, longest_side: int) -> None:
    radiograph = _radiograph()
    other = MaskedRadiograph(radiograph.pixels[:, ::-1], radiograph.mask[:, ::-1]) if second else None
    pair = pair_radiographs(np.random.default_rng(seed), radiograph, other, longest_side=longest_side)
    assert pair.pixels.dtype == np.float32
    assert pair.mask.dtype == np.uint8
    assert pair.pixels.shape == pair.mask.shape
    assert max(pair.pixels.shape) == longest_side
    assert 0 <= pair.pixels.min() <= pair.pixels.max() <= 1
    assert set(np.unique(pair.mask)) == {0, 1}
    along = int(pair.mask.shape[1] > pair.mask.shape[0])
    halves = np.array_split(pair.mask, 2, axis=along)
    areas = [half.sum() for half in halves]
    assert min(areas) > 0.2 * max(areas)


def test_pair_radiographs_mask_lies_on_hands() -> None:
    """On radiographs whose hand is white on black, the mask is where the pair is white."""
    mask = _radiograph().mask
    radiograph = MaskedRadiograph(mask.astype(np.float32), mask)
    for seed in range(20):
        pair = pair_radiographs(np.random.default_rng(seed), radiograph, longest_side=200)
        if pair.pixels[pair.mask == 0].mean() > 0.5:  # a white canvas or border
            continue
        assert pair.pixels[pair.mask == 1].mean() > 0.85


def test_kinds_are_drawn_and_made() -> None:
    assert set(get_args(DrawnKind)) < set(KINDS)
    assert set(KINDS) - set(get_args(DrawnKind)) == {"erased", "forearm"}
