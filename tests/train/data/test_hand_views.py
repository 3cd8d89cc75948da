"""Views for the hand networks: masks and points go the way that the picture goes; what is drawn follows from the
seed."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from boneage.hand.mask import components
from boneage.hand.registration import HAND_LENGTH, register
from boneage.hand.views import ViewSpec, cut_view
from boneage.sex import Sex
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.data.cache import RadiographCache, build_cache
from boneage.train.data.hand_views import (
    GUESS_DEGREES,
    GUESS_SHIFT,
    GUESS_ZOOM,
    NO_HAND,
    ONE_HAND,
    SEVERAL_HANDS,
    HandViews,
    MaskViews,
    PointViews,
    displaced_points,
    hand_batches,
    predict_masks,
)
from boneage.train.recipe import Recipe, parse_recipe

HEIGHT, WIDTH = 300, 260
SHAPE = np.array([[0.45, 0.2], [0.72, 0.45], [0.52, 0.75]])
"""Key points on the first radiograph; those of the others lie a little elsewhere. Fractions of the radiograph."""

WILD: dict[str, Any] = {
    **{"rotation_degrees": 20.0, "any_rotation": 0.5, "zoom": 0.25, "shift": 0.1, "flip": 0.5},
    **{"gain": 0.5, "offset": 0.4, "inversion": 0.4, "frame": 0.6},
}
CALM: dict[str, Any] = {"rotation_degrees": 3.0, "zoom": 0.03, "shift": 0.02, "inversion": 0.3, "frame": 0.5}

SIZES = {"radiograph": (144, 128), "surroundings": (192, 176)}


def recipe_for(task: str, region: str = "radiograph", augment: dict[str, Any] | None = None, **train: Any) -> Recipe:
    height, width = SIZES[region]
    return parse_recipe(
        {
            "title": "x",
            "task": task,
            "view": {"region": region, "height": height, "width": width},
            "data": {"targets": "not read here"},
            "augment": augment or {},
            "train": {"seed": 3, "views_per_epoch": 40, "batch_size": 4, "workers": 0, **train},
        }
    )


@pytest.fixture(scope="module")
def points() -> dict[str, NDArray[np.float64]]:
    return {str(number): SHAPE + 0.03 * number * np.array([1.0, -1.0]) for number in range(3)}


@pytest.fixture(scope="module")
def radiographs(
    points: dict[str, NDArray[np.float64]], tmp_path_factory: pytest.TempPathFactory
) -> list[LabelledRadiograph]:
    """Three radiographs with a spot at each key point, the tip's the brightest and the capitate's the faintest."""
    folder = tmp_path_factory.mktemp("spots")
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    for radiograph_id, fractions in points.items():
        radiograph = np.full((HEIGHT, WIDTH), 0.3)
        for (at_x, at_y), height in zip(fractions * (WIDTH, HEIGHT), (0.6, 0.45, 0.3), strict=True):
            radiograph += height * np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / (2 * 5.0**2))
        cv2.imwrite(str(folder / f"{radiograph_id}.png"), np.rint(radiograph * 65535).astype(np.uint16))
    return [
        LabelledRadiograph(radiograph_id, folder / f"{radiograph_id}.png", Sex.MALE, 90.0) for radiograph_id in points
    ]


@pytest.fixture(scope="module")
def cache(radiographs: list[LabelledRadiograph], tmp_path_factory: pytest.TempPathFactory) -> RadiographCache:
    return build_cache(radiographs, tmp_path_factory.mktemp("cache"), longest_side=2048)


@pytest.fixture(scope="module")
def blots(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[list[LabelledRadiograph], RadiographCache, dict[str, Path]]:
    """Two radiographs with a bright hand, no part of which is symmetrical, their cache, and the masks at half their
    size."""
    folder = tmp_path_factory.mktemp("blots")
    outline = np.array([[70, 60], [120, 40], [150, 120], [210, 150], [160, 190], [140, 250], [80, 240], [60, 150]])
    radiographs, masks = [], {}
    for number in range(2):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        cv2.fillPoly(mask, [outline + 10 * number], 1)
        grain = np.random.default_rng(number).uniform(0, 0.02, mask.shape)
        radiograph = np.where(mask > 0, 0.8, 0.3) + grain
        path, masks[str(number)] = folder / f"{number}.png", folder / f"mask-{number}.png"
        cv2.imwrite(str(path), np.rint(radiograph * 65535).astype(np.uint16))
        half = cv2.resize(mask.astype(np.float32), (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(masks[str(number)]), 255 * (half > 0.5).astype(np.uint8))
        radiographs.append(LabelledRadiograph(str(number), path, Sex.FEMALE, 90.0))
    return radiographs, build_cache(radiographs, folder / "cache", longest_side=2048), masks


def spot_near(
    view: NDArray[np.float32], at_xy: NDArray[np.float64], radius: float
) -> tuple[NDArray[np.float64], float]:
    """Centre of what differs from its surroundings near a place, and by how much it does."""
    y, x = np.mgrid[: view.shape[0], : view.shape[1]] + 0.5
    away = np.hypot(x - at_xy[0], y - at_xy[1])
    around = view[(away > radius) & (away < radius + 2)]
    difference = np.where(away <= radius, np.abs(view - np.median(around)), 0)
    difference = np.clip(difference - 0.4 * difference.max(), 0, None).astype(np.float64)
    centre = np.array([(x * difference).sum(), (y * difference).sum()]) / difference.sum()
    return centre, float(difference.max())


@pytest.mark.parametrize(
    ("region", "augment"),
    [("radiograph", {}), ("radiograph", WILD), ("surroundings", {}), ("surroundings", CALM)],
    ids=["radiograph", "radiograph changed", "near", "near changed"],
)
def test_point_views_points_lie_on_view(
    region: str,
    augment: dict[str, Any],
    radiographs: list[LabelledRadiograph],
    cache: RadiographCache,
    points: dict[str, NDArray[np.float64]],
) -> None:
    views = PointViews(radiographs, cache, recipe_for("points", region, augment), training=True, epoch=1, points=points)
    radius = 9.0 if region == "radiograph" else 14.0
    compared = 0
    for index in range(len(views)):
        view, points_xy, on_view, hands = views[index]
        picture, places = view[0].numpy(), points_xy.double().numpy()
        size = np.array(picture.shape[::-1])
        assert int(hands) == ONE_HAND
        assert np.array_equal(on_view.numpy() > 0, ((places >= 0) & (places < size)).all(axis=1))
        if not ((places > radius + 3) & (places < size - radius - 3)).all():
            continue
        spots = [spot_near(picture, place, radius) for place in places]
        np.testing.assert_allclose([centre for centre, _ in spots], places, atol=0.6)
        heights = [height for _, height in spots]
        assert heights == sorted(heights, reverse=True)  # and they are in their order
        compared += 1
    assert compared >= 10


@pytest.mark.parametrize("augment", [{}, WILD], ids=["radiograph", "radiograph changed"])
def test_mask_views_mask_lies_on_view(
    augment: dict[str, Any], blots: tuple[list[LabelledRadiograph], RadiographCache, dict[str, Path]]
) -> None:
    radiographs, cache, masks = blots
    views = MaskViews(radiographs, cache, recipe_for("mask", augment=augment), training=True, masks=masks)
    kernel = np.ones((3, 3), np.uint8)
    polarities = set()
    for index in range(len(views)):
        view, target = views[index]
        assert target.shape == view.shape
        mask = target[0].numpy().astype(np.uint8)
        inside = view[0].numpy()[cv2.erode(mask, kernel, iterations=2) > 0]
        near, far = (cv2.dilate(mask, kernel, iterations=count) for count in (2, 3))
        outside = view[0].numpy()[(far - near) > 0]
        contrast = np.median(inside) - np.median(outside)
        assert abs(contrast) > 0.3
        assert np.abs(inside - np.median(inside)).max() < 0.15 * abs(contrast)
        assert np.abs(outside - np.median(outside)).max() < 0.15 * abs(contrast)
        polarities.add(bool(contrast > 0))
    assert polarities == ({True, False} if augment else {True})


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_displaced_points_within_limits(seed: int) -> None:
    points_xy = SHAPE * (WIDTH, HEIGHT)
    guess_xy = displaced_points(points_xy, np.random.default_rng(seed))
    to_frame = register(points_xy)
    truth, guess = to_frame.points(points_xy), to_frame.points(guess_xy)
    (tip, _, capitate), (tip_off, _, capitate_off) = truth, guess
    zoom = np.linalg.norm(tip_off - capitate_off) / HAND_LENGTH
    assert 1 / (1 + GUESS_ZOOM) - 1e-9 <= zoom <= 1 + GUESS_ZOOM + 1e-9
    turned = np.degrees(np.arctan2(*(tip_off - capitate_off)[::-1]) + np.pi / 2)
    assert abs(turned) <= GUESS_DEGREES + 1e-9
    # The middle of tip and capitate moves by the shift, and, about the middle of all three, by turn and zoom.
    lever = np.linalg.norm((tip + capitate) / 2 - truth.mean(axis=0))
    moved = np.linalg.norm((tip_off + capitate_off) / 2 - (tip + capitate) / 2)
    assert moved <= np.sqrt(2) * GUESS_SHIFT * HAND_LENGTH + 0.5 * lever


def test_displaced_points_sometimes_on_wrong_side() -> None:
    points_xy = SHAPE * (WIDTH, HEIGHT)
    sides = [register(displaced_points(points_xy, np.random.default_rng(seed))).determinant > 0 for seed in range(400)]
    assert 0.02 < sides.count(False) / 400 < 0.16


# --- radiographs without a hand, and with two ---


def labels_of(views: HandViews, count: int = 12) -> set[int]:
    return {int(views[index][3]) for index in range(count)}


@pytest.mark.parametrize("region", ["radiograph", "surroundings"])
def test_point_views_negatives_and_pairs_have_classes(
    region: str, radiographs: list[LabelledRadiograph], cache: RadiographCache, points: dict[str, NDArray[np.float64]]
) -> None:
    make = partial(PointViews, radiographs, cache, training=True, points=points)
    for augment, label in (({}, ONE_HAND), ({"negative": 1.0}, NO_HAND), ({"pair": 1.0}, SEVERAL_HANDS)):
        views = make(recipe_for("points", region, augment))
        assert labels_of(views) == {label}
        for index in range(6):
            view, points_xy, on_view, _ = views[index]
            assert view.shape == (1, *SIZES[region])
            assert bool(torch.isfinite(view).all())
            assert bool(on_view.any()) is (label == ONE_HAND)
            assert points_xy.shape == (3, 2)
    mixed = make(recipe_for("points", region, {"negative": 0.3, "pair": 0.3}))
    assert labels_of(mixed, 40) == {NO_HAND, ONE_HAND, SEVERAL_HANDS}


def test_mask_views_of_negatives_and_pairs(
    blots: tuple[list[LabelledRadiograph], RadiographCache, dict[str, Path]],
) -> None:
    """A negative has no mask and a pair that of both hands."""
    radiographs, cache, masks = blots
    make = partial(MaskViews, radiographs, cache, training=True, masks=masks)
    without = make(recipe_for("mask", augment={"negative": 1.0}))
    assert not any(bool(without[index][1].any()) for index in range(12))
    both = make(recipe_for("mask", augment={"pair": 1.0}))
    parts = [components(both[index][1][0].numpy() > 0.5) for index in range(12)]
    assert sum(len(part) >= 2 and part[1].sum() > 0.2 * part[0].sum() for part in parts) >= 10


# --- what follows from what ---


def same(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(*pair) for pair in zip(one, other, strict=True))


def test_hand_views_follow_seed_epoch_index(
    radiographs: list[LabelledRadiograph], cache: RadiographCache, points: dict[str, NDArray[np.float64]]
) -> None:
    recipe = recipe_for("points", augment={**WILD, "negative": 0.2, "pair": 0.2})
    make = partial(PointViews, radiographs, cache, training=True, points=points)
    views = make(recipe, epoch=2)
    for index in range(12):
        assert same(views[index], make(recipe, epoch=2)[index])
        assert not same(views[index], views[index + 1])
        assert not same(views[index], make(recipe, epoch=3)[index])
        assert not same(views[index], make(replace(recipe, train=replace(recipe.train, seed=4)), epoch=2)[index])


def test_hand_views_validation_unchanged(
    radiographs: list[LabelledRadiograph], cache: RadiographCache, points: dict[str, NDArray[np.float64]]
) -> None:
    """Views for validation are those of the radiographs as they are."""
    recipe = recipe_for("points", augment={**WILD, "negative": 0.5, "pair": 0.5})
    views = PointViews(radiographs, cache, recipe, training=False, points=points)
    assert len(views) == 3  # each radiograph once, however many views an epoch has
    for index, radiograph in enumerate(radiographs):
        view, points_xy, on_view, hands = views[index]
        assert np.array_equal(view[0].numpy(), cut_view(cache.pixels(radiograph.id), recipe.view))
        # 300 x 260 in 144 x 128: zoomed by 0.48, with 1.6 pixels on the left
        expected = points[radiograph.id] * (WIDTH, HEIGHT) * 0.48 + (1.6, 0.0)
        np.testing.assert_allclose(points_xy.numpy(), expected, atol=1e-4)
        assert (on_view.tolist(), int(hands)) == ([1.0] * 3, ONE_HAND)


def test_point_views_validation_guess_is_constant(
    radiographs: list[LabelledRadiograph], cache: RadiographCache, points: dict[str, NDArray[np.float64]]
) -> None:
    """The guess of a validation is off but always alike."""
    recipe = recipe_for("points", "surroundings")
    one, other = (
        PointViews(radiographs, cache, recipe, training=False, epoch=epoch, points=points) for epoch in (0, 7)
    )
    for index in range(3):
        assert same(one[index], other[index])
        lie = one[index][1][2].numpy() - one[index][1][0].numpy()
        assert np.hypot(*lie) == pytest.approx(HAND_LENGTH * 0.08, rel=0.16)  # on a view of 0.08 of the frame
        assert abs(lie[0]) > 0.1  # not quite upright


def test_hand_views_number_per_epoch(
    radiographs: list[LabelledRadiograph], cache: RadiographCache, points: dict[str, NDArray[np.float64]]
) -> None:
    make = partial(PointViews, radiographs, cache, training=True, points=points)
    assert len(make(recipe_for("points"))) == 40
    each = make(recipe_for("points", views_per_epoch=0))
    assert len(each) == 3
    for index, radiograph in enumerate(radiographs):
        assert np.array_equal(each[index][0][0].numpy(), cut_view(cache.pixels(radiograph.id), each.spec))


def test_hand_batches_hold_views_once_and_share(
    radiographs: list[LabelledRadiograph], cache: RadiographCache, points: dict[str, NDArray[np.float64]]
) -> None:
    """Batches hold every view once and share them between processes."""
    recipe = recipe_for("points")
    views = PointViews(radiographs, cache, recipe, training=True, epoch=1, points=points)
    indices = [list(hand_batches(views, recipe, rank=rank, world=2).sampler) for rank in (0, 1)]
    assert sorted([*indices[0], *indices[1]]) == list(range(40))
    assert [len(batch[0]) for batch in hand_batches(views, recipe)] == [4] * 10
    still = PointViews(radiographs, cache, recipe, training=False, points=points)
    (batch,) = hand_batches(still, recipe)
    assert torch.equal(batch[0], torch.stack([still[index][0] for index in range(3)]))


# --- masks of many radiographs ---


class Bright(nn.Module):
    """Says hand where it is bright."""

    def forward(self, view: Tensor) -> Tensor:
        return 3 * view


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_predict_masks_in_order(radiographs: list[LabelledRadiograph], cache: RadiographCache, batch_size: int) -> None:
    spec = ViewSpec("radiograph", 32, 48, "percentile")
    pixels = [cache.pixels(radiograph.id) for radiograph in radiographs]
    probabilities = list(predict_masks(Bright(), iter(pixels), spec, batch_size=batch_size, half_precision=False))
    assert len(probabilities) == 3
    for radiograph, probability in zip(pixels, probabilities, strict=True):
        expected = 1 / (1 + np.exp(-3 * cut_view(radiograph, spec)))
        np.testing.assert_allclose(probability, expected, atol=1e-5)
    assert list(predict_masks(Bright(), [], spec)) == []
