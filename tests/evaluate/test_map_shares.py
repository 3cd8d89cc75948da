"""Shares of drawn maps whose place is known."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from boneage.arrays import FloatArray
from boneage.evaluate.grid_orders import Verdict
from boneage.evaluate.map_shares import (
    OBSERVATIONS,
    MapShares,
    judge_observations,
    map_shares,
    stage_shares,
    write_shares,
)
from boneage.evaluate.stages import Stage
from boneage.geometry import Transform
from boneage.hand.bone_groups import GROUPS, BoneGroup, nearest_groups
from boneage.hand.joints import Joints
from boneage.hand.registration import CAPITATE_IN_FRAME_XY, TIP_IN_FRAME_XY, Hand
from boneage.sex import Sex

SHAPE = (130, 100)
"""Shape of the drawn radiograph, a sixteenth of the frame."""


def _hand(radiograph_to_frame: Transform) -> Hand:
    """Hand whose mask is the whole radiograph, with typical joints, at a given place."""
    thumb = (1500.0, 900.0)
    points = radiograph_to_frame.inverse().points(np.array([TIP_IN_FRAME_XY, thumb, CAPITATE_IN_FRAME_XY]))
    return Hand(points, np.ones(SHAPE, np.uint8), Transform(), joints=Joints.typical())


UPRIGHT = _hand(Transform.scale(16.0))


def _groups(hand: Hand) -> NDArray[np.int64]:
    """Index of the nearest group at each pixel of the drawn radiograph."""
    centres = np.stack(np.meshgrid(np.arange(SHAPE[1]) + 0.5, np.arange(SHAPE[0]) + 0.5), axis=2)
    return nearest_groups(hand.radiograph_to_frame.points(centres), Joints.typical())


def _shares(hand: Hand, heat: FloatArray, age_months: float = 100.0) -> MapShares:
    shares = map_shares(heat, hand, SHAPE, Sex.FEMALE, age_months)
    assert shares is not None
    return shares


def test_map_shares_of_even_map_are_those_of_the_area() -> None:
    shares = _shares(UPRIGHT, np.ones(SHAPE))
    np.testing.assert_allclose(shares.heat, shares.area, atol=1e-6)
    assert shares.outside == pytest.approx(0.0, abs=0.02)
    for group in GROUPS:
        assert shares.concentration(frozenset({group})) == pytest.approx(1.0, abs=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=len(GROUPS), max_size=len(GROUPS)).filter(lambda one: sum(one) > 0.1))
def test_map_shares_of_drawn_shares(weights: list[float]) -> None:
    """A map that is even on each group has the shares that were drawn."""
    groups = _groups(UPRIGHT)
    counts = np.bincount(groups.ravel(), minlength=len(GROUPS))
    drawn = np.array(weights) / sum(weights)
    heat = (drawn / counts)[groups]
    shares = _shares(UPRIGHT, heat)
    np.testing.assert_allclose(shares.heat, drawn, atol=0.02)


@settings(max_examples=15, deadline=None)
@given(st.floats(-180, 180), st.booleans())
def test_map_shares_do_not_depend_on_the_position(degrees: float, mirrored: bool) -> None:
    """The share of a spot on the carpals is the same for a rotated or mirrored hand."""
    change = Transform.mirror(100.0) if mirrored else Transform()
    change = change.then(Transform.rotation(degrees).about(50.0, 65.0))
    hand = _hand(change.inverse().then(Transform.scale(16.0)))
    x, y = change.points(np.array([CAPITATE_IN_FRAME_XY]) / 16)[0]
    columns, rows = np.meshgrid(np.arange(SHAPE[1]) + 0.5, np.arange(SHAPE[0]) + 0.5)
    heat = ((columns - x) ** 2 + (rows - y) ** 2 < 5**2).astype(np.float64)
    if heat.sum() > 0:
        shares = _shares(hand, heat)
        assert shares.heat[GROUPS.index(BoneGroup.CARPALS)] == pytest.approx(1.0, abs=1e-6)


def test_map_shares_outside_of_the_hand() -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[:, :50] = 1
    hand = Hand(UPRIGHT.points_xy, mask, Transform(), joints=Joints.typical())
    assert _shares(hand, np.ones(SHAPE)).outside == pytest.approx(0.5, abs=0.02)
    beside = np.zeros(SHAPE)
    beside[:, 75:] = 1.0
    assert map_shares(beside, hand, SHAPE, Sex.FEMALE, 100.0) is None


def test_map_shares_on_a_reduced_copy() -> None:
    heat = np.zeros(SHAPE)
    heat[94:106, 44:56] = 1.0
    whole, half = _shares(UPRIGHT, heat), _shares(UPRIGHT, heat[::2, ::2])
    np.testing.assert_allclose(whole.heat, half.heat, atol=0.05)


AGES = {Stage.PRE_PUBERTY: 60.0, Stage.EARLY_MID_PUBERTY: 120.0, Stage.LATE_PUBERTY: 160.0, Stage.POST_PUBERTY: 190.0}


def _drawn(stage: Stage, groups: frozenset[BoneGroup], count: int = 12) -> list[MapShares]:
    """Shares of radiographs with most of the map on some groups, and some scatter."""
    generator = np.random.default_rng(1)
    area = np.full(len(GROUPS), 1 / len(GROUPS))
    drawn = []
    for _ in range(count):
        heat = np.array([1.0 if group in groups else 0.3 for group in GROUPS]) + 0.1 * generator.random(len(GROUPS))
        drawn.append(MapShares(Sex.FEMALE, AGES[stage], 0.2, heat / heat.sum(), area))
    return drawn


@pytest.mark.parametrize("observation", OBSERVATIONS, ids=[one.words for one in OBSERVATIONS])
def test_judge_observations(observation: object) -> None:
    chosen = next(one for one in OBSERVATIONS if one is observation)
    rest = [one for one in OBSERVATIONS if one.stage is chosen.stage]
    confirmed = judge_observations(_drawn(chosen.stage, chosen.named))
    contradicted = judge_observations(_drawn(chosen.stage, chosen.others))
    assert confirmed[rest.index(chosen)].verdict is Verdict.CONFIRMED
    assert contradicted[rest.index(chosen)].verdict is Verdict.CONTRADICTED
    undecided = judge_observations(_drawn(chosen.stage, chosen.named)[:6] + _drawn(chosen.stage, chosen.others)[:6])
    assert undecided[rest.index(chosen)].verdict is Verdict.UNDECIDED


def test_stage_shares_withhold_small_groups(tmp_path: Path) -> None:
    shares = _drawn(Stage.PRE_PUBERTY, frozenset({BoneGroup.ULNA})) + _drawn(Stage.LATE_PUBERTY, frozenset(), 4)
    means = stage_shares(shares)
    assert set(means) == {Stage.PRE_PUBERTY}
    assert sum(figure.value for figure in means[Stage.PRE_PUBERTY].heat.values()) == pytest.approx(1.0)
    assert means[Stage.PRE_PUBERTY].concentration[BoneGroup.ULNA].low > 1.0
    write_shares(tmp_path / "shares.md", shares, ["A note"])
    text = (tmp_path / "shares.md").read_text(encoding="utf-8")
    assert "- A note" in text
    assert "| Pre-puberty (12) |" in text
    with (tmp_path / "shares.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {(row["sex"], row["stage"]) for row in rows} == {("all", "pre_puberty"), ("F", "pre_puberty")}
