"""Weights of regions by stage of maturity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.arrays import Months
from boneage.bundle.stages import STAGES_MONTHS, StageWeights, fit_stages, stages_out_of_fold
from boneage.hand.registration import Region

PLAIN: dict[Region, float] = {"A": 1.0, "B": 2.0, "bones": 3.0}


def drawn(seed: int, count: int = 400) -> tuple[Months, dict[Region, Months]]:
    """Return labels and estimates of three regions, of which B errs twice as much."""
    rng = np.random.default_rng(seed)
    labels = rng.uniform(10, 220, count)
    spreads: dict[Region, float] = {"A": 8.0, "B": 16.0, "bones": 8.0}
    return labels, {region: labels + rng.normal(0, spread, count) for region, spread in spreads.items()}


@settings(max_examples=10)
@given(st.integers(0, 99), st.floats(-12, 12))
def test_fit_stages(seed: int, level: float) -> None:
    """Weights are none below 0 and sum to 1; the worse region has less; a level that all lack is corrected."""
    labels, regions = drawn(seed)
    fitted = fit_stages(labels + level, regions, PLAIN)
    assert min(min(values) for values in fitted.weights.values()) >= 0
    assert not list(fitted.faults())
    assert np.mean(fitted.weights["B"]) < np.mean(fitted.weights["A"])
    assert fitted.correction(110.0) == pytest.approx(level, abs=3.0)
    before = np.abs(np.average(list(regions.values()), axis=0, weights=list(PLAIN.values())) - labels - level)
    assert np.abs(fitted.ages(regions, PLAIN) - labels - level).mean() < before.mean()


def test_stages_out_of_fold_are_of_other_radiographs() -> None:
    """Labels of one fold do not count in its estimates, and do in those of the others."""
    labels, regions = drawn(1)
    ages = stages_out_of_fold(labels, regions, PLAIN)
    wrong = labels.copy()
    wrong[7::10] -= 30.0
    changed = stages_out_of_fold(wrong, regions, PLAIN)
    assert np.array_equal(changed[7::10], ages[7::10])
    assert not np.array_equal(changed[::10], ages[::10])


@given(st.floats(-50, 300))
def test_ages_of_one_radiograph(age: float) -> None:
    """Regions that agree on an age give this age and the correction, at any stage."""
    fitted = fit_stages(*drawn(2), PLAIN)
    ages = fitted.ages({region: np.array([age]) for region in PLAIN}, PLAIN)
    assert sum(fitted.at(age).values()) == pytest.approx(1.0, abs=1e-3)
    assert ages[0] == pytest.approx(age + fitted.correction(age), abs=0.1)


def test_faults() -> None:
    even = (0.5,) * len(STAGES_MONTHS)
    good = StageWeights({"A": even, "B": even}, (0.0,) * len(STAGES_MONTHS))
    assert not list(good.faults())
    for bad in (replace(good, weights={"A": even}), replace(good, correction_months=(0.0,))):
        assert list(bad.faults())
