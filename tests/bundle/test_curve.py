"""Calibrated curves hold their share of the labels, by sex and age, and intervals are their central parts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from boneage.bundle.curve import (
    AGES,
    FEWEST_RADIOGRAPHS,
    LEAST_CONSENSUS_SHARE,
    RADIOGRAPHS_IN_A_BAND,
    CurveCalibration,
    central_interval,
    centred,
    consensus_share,
    curves_out_of_fold,
    fit_curve,
    sharpened,
)
from boneage.sex import Sex

Curves = NDArray[np.float64]
MONTHS = np.arange(AGES, dtype=np.float64)
ALL_CURVES = st.integers(0, 10**6).map(lambda seed: np.random.default_rng(seed).dirichlet(np.full(AGES, 0.05)))


def bell(mean: float, spread: float) -> Curves:
    """Return a normal distribution over months."""
    curve = np.exp(-0.5 * ((MONTHS - mean) / spread) ** 2)
    return np.asarray(curve / curve.sum())


@dataclass(frozen=True)
class Drawn:
    """Radiographs (N,) with normal errors, and curves (N, 240) that are too wide by a factor of each sex."""

    sexes: list[Sex]
    labels: Curves
    ages: Curves
    curves: Curves

    def fitted(self) -> CurveCalibration:
        return fit_curve(self.sexes, self.labels, self.ages, self.curves)


def drawn(count: int, seed: int, *, girls: float = 2.0, boys: float = 1.2, share_of_girls: float = 0.5) -> Drawn:
    """Draw radiographs whose errors grow with age from 4 to 12 months.

    Args:
        count: number of radiographs.
        seed: seed of the draw.
        girls: width of girls' curves as a multiple of that of the errors.
        boys: the same for boys.
        share_of_girls: share of the radiographs.
    """
    rng = np.random.default_rng(seed)
    sexes = [Sex.FEMALE if girl else Sex.MALE for girl in rng.random(count) < share_of_girls]
    ages = rng.uniform(50, 190, count)
    spreads = 4 + 8 * (ages - 50) / 140
    labels = ages + spreads * rng.standard_normal(count)
    factors = [girls if sex is Sex.FEMALE else boys for sex in sexes]
    curves = np.stack([bell(*pair) for pair in zip(ages, spreads * factors, strict=True)])
    return Drawn(sexes, labels, ages, curves)


def held(curves: Curves, labels: Curves, percent: float) -> NDArray[np.bool_]:
    """Return for each radiograph whether the central part of its curve holds the label."""
    ends = np.array([central_interval(curve, percent) for curve in curves])
    return np.asarray((ends[:, 0] <= labels) & (labels <= ends[:, 1]))


def test_fit_curve_coverage_of_new_radiographs() -> None:
    radiographs, new = drawn(2000, 1), drawn(2000, 2)
    calibration = radiographs.fitted()
    for sex, width in ((Sex.FEMALE, 2.0), (Sex.MALE, 1.2)):
        bands = calibration.by_sex[sex].bands
        power = np.mean([band.power for band in bands])
        assert power == pytest.approx(width**2, rel=0.15)  # a normal curve to a power is narrower by its root
        assert len(bands) > 1 and all(band.radiographs >= RADIOGRAPHS_IN_A_BAND for band in bands)
    curves = np.stack(
        [calibration.calibrated(*one) for one in zip(new.curves, new.sexes, new.ages.tolist(), strict=True)]
    )
    for percent, tolerance in ((80, 0.03), (95, 0.015)):
        for sex in Sex:
            of_sex = np.array([one is sex for one in new.sexes])
            for low in (50, 97, 143):
                chosen = of_sex & (new.ages >= low) & (new.ages < low + 47)
                assert held(curves, new.labels, percent)[chosen].mean() == pytest.approx(
                    percent / 100, abs=3 * tolerance
                )
        assert held(curves, new.labels, percent).mean() == pytest.approx(percent / 100, abs=tolerance)


def test_curves_out_of_fold_use_other_radiographs() -> None:
    """The curve of a radiograph does not depend on its own label, and the coverage holds."""
    radiographs = drawn(400, 3)
    curves = curves_out_of_fold(radiographs.sexes, radiographs.labels, radiographs.ages, radiographs.curves)
    assert held(curves, radiographs.labels, 80).mean() == pytest.approx(0.8, abs=0.06)
    moved = radiographs.labels.copy()
    moved[0] = 0.0
    again = curves_out_of_fold(radiographs.sexes, moved, radiographs.ages, radiographs.curves)
    np.testing.assert_array_equal(again[0], curves[0])
    calibration = radiographs.fitted()
    pairs = zip(radiographs.curves, radiographs.sexes, radiographs.ages.tolist(), strict=True)
    assert not np.array_equal(np.stack([calibration.calibrated(*one) for one in pairs]), curves)


def test_fit_curve_few_of_a_sex_take_the_power_of_both() -> None:
    radiographs = drawn(300, 4, share_of_girls=0.05)
    calibration = radiographs.fitted()
    (girls,), boys = calibration.by_sex[Sex.FEMALE].bands, calibration.by_sex[Sex.MALE].bands
    assert (girls.radiographs, girls.upper_months) == (300, None)
    assert all(band.radiographs < 300 for band in boys)


def test_fit_curve_one_wrong_label_changes_little() -> None:
    radiographs = drawn(300, 5)
    wrong = radiographs.labels.copy()
    wrong[0] = 230.0 if radiographs.ages[0] < 120 else 1.0
    right = radiographs.fitted()
    other = fit_curve(radiographs.sexes, wrong, radiographs.ages, radiographs.curves)
    for sex in Sex:
        for one, two in zip(right.by_sex[sex].bands, other.by_sex[sex].bands, strict=True):
            assert two.power == pytest.approx(one.power, rel=0.2)


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_fit_curve_order_does_not_matter(seed: int) -> None:
    one = drawn(FEWEST_RADIOGRAPHS * 7, 6)
    order = np.random.default_rng(seed).permutation(len(one.labels))
    sexes = [one.sexes[place] for place in order]
    assert fit_curve(sexes, one.labels[order], one.ages[order], one.curves[order]) == one.fitted()


@settings(max_examples=60, deadline=None)
@given(curve=ALL_CURVES, power=st.floats(0.25, 8))
def test_sharpened_keeps_order_and_sum(curve: Curves, power: float) -> None:
    narrower = sharpened(curve, power)
    assert narrower.sum() == pytest.approx(1)
    assert (narrower >= 0).all()
    order = np.argsort(curve)
    assert (np.diff(narrower[order]) >= -1e-15).all()
    if power > 1:
        assert narrower.max() >= curve.max() - 1e-12


@settings(max_examples=60, deadline=None)
@given(mean=st.floats(0, AGES - 1), spread=st.floats(0.5, 30), to=st.floats(0, AGES - 1))
def test_centred_is_a_distribution_about_the_mean(mean: float, spread: float, to: float) -> None:
    moved = centred(bell(mean, spread), to)
    assert moved.shape == (AGES,) and moved.sum() == pytest.approx(1) and (moved >= 0).all()
    if all(4 * spread < age < AGES - 4 * spread for age in (mean, to)):  # nothing is cut off
        assert float(moved @ MONTHS) == pytest.approx(to, abs=0.05)


@settings(max_examples=60, deadline=None)
@given(curve=ALL_CURVES)
def test_central_intervals_are_nested_and_hold_their_share(curve: Curves) -> None:
    wide, narrow = central_interval(curve, 95), central_interval(curve, 80)
    assert -0.5 <= wide[0] <= narrow[0] <= narrow[1] <= wide[1] <= AGES - 0.5
    for percent, (low, high) in ((95, wide), (80, narrow)):
        touched = (low <= MONTHS + 0.5) & (high >= MONTHS - 0.5)
        assert curve[touched].sum() >= percent / 100 - 1e-9


@given(rmse=st.floats(0.1, 100), reader=st.floats(0.1, 100))
def test_consensus_share_leaves_the_estimates_own_variance(rmse: float, reader: float) -> None:
    share = consensus_share(rmse, reader)
    assert LEAST_CONSENSUS_SHARE <= share <= 1
    if share > LEAST_CONSENSUS_SHARE:
        assert math.hypot(share * rmse, reader) == pytest.approx(rmse)


def test_consensus_share_of_the_shipped_error() -> None:
    assert consensus_share(8.44, 6.0) == pytest.approx(0.703, abs=0.001)
    assert consensus_share(None, 6.0) == consensus_share(0.0, 6.0) == 1.0


@pytest.mark.parametrize(
    ("count", "labels", "curves", "value"),
    [
        (FEWEST_RADIOGRAPHS - 1, FEWEST_RADIOGRAPHS - 1, FEWEST_RADIOGRAPHS - 1, 1.0),
        (60, 59, 60, 1.0),
        (60, 60, 59, 1.0),
        (60, 60, 60, np.nan),
    ],
)
def test_fit_curve_invalid_input(count: int, labels: int, curves: int, value: float) -> None:
    with pytest.raises(ValueError, match=r"must be|at least"):
        fit_curve([Sex.MALE] * count, np.full(labels, value), np.ones(count), np.full((curves, AGES), 1 / AGES))
