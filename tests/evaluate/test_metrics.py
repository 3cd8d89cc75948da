from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from boneage.evaluate.metrics import (
    METRICS,
    bias,
    concordance,
    mean_absolute_difference,
    measure,
    measure_interval,
    median_absolute_error,
    pearson,
    root_mean_square_error,
    share_within,
)

Array = NDArray[np.float64]
LABELS = np.array([10.0, 20.0, 30.0, 40.0])
ESTIMATES = np.array([12.0, 19.0, 36.0, 28.0])  # errors 2, -1, 6, -12

MONTHS = st.integers(0, 228).map(float)
PAIRS = st.lists(st.tuples(MONTHS, MONTHS), min_size=2, max_size=40).map(lambda pairs: np.array(pairs).T)


def test_figures_computed_by_hand() -> None:
    assert mean_absolute_difference(LABELS, ESTIMATES) == pytest.approx(21 / 4)
    assert root_mean_square_error(LABELS, ESTIMATES) == pytest.approx(math.sqrt((4 + 1 + 36 + 144) / 4))
    assert median_absolute_error(LABELS, ESTIMATES) == 4.0
    assert bias(LABELS, ESTIMATES) == pytest.approx(-5 / 4)
    assert share_within(6.0)(LABELS, ESTIMATES) == 0.75  # the bound counts
    assert share_within(5.9)(LABELS, ESTIMATES) == 0.5
    # Means 25 and 23.75; sums of squares 500 and 328.75... over N = 4, and of products.
    variance_x, variance_y = 500 / 4, (11.75**2 + 4.75**2 + 12.25**2 + 4.25**2) / 4
    covariance = (-15 * -11.75 + -5 * -4.75 + 5 * 12.25 + 15 * 4.25) / 4
    assert concordance(LABELS, ESTIMATES) == pytest.approx(2 * covariance / (variance_x + variance_y + 1.25**2))
    assert pearson(LABELS, ESTIMATES) == pytest.approx(np.corrcoef(LABELS, ESTIMATES)[0, 1])


def test_concordance_variances_are_over_n() -> None:
    # With 1/(N-1) it would be 2 s / (2 s + 1) with s = 1/2, that is 1/2.
    assert concordance(np.array([0.0, 1.0]), np.array([1.0, 2.0])) == pytest.approx(0.5 / 1.5)


@given(PAIRS)
def test_concordance_is_symmetric_and_at_most_pearson(pair: Array) -> None:
    x, y = pair
    ccc, r = concordance(x, y), pearson(x, y)
    assert concordance(y, x) == pytest.approx(float(ccc), nan_ok=True)
    assert np.isnan(r) or abs(ccc) <= abs(r) + 1e-12


@given(PAIRS)
def test_concordance_of_identity_is_one(pair: Array) -> None:
    x, y = pair
    assume(np.ptp(x) > 0)
    assert concordance(x, x) == 1.0
    assert (x == y).all() or concordance(x, y) < 1.0


@given(PAIRS, st.floats(0.5, 50), st.floats(0.5, 50))
def test_concordance_falls_with_shift(pair: Array, shift: float, further: float) -> None:
    x, _ = pair
    assume(np.ptp(x) > 0)
    near, far = concordance(x, x + shift), concordance(x, x + shift + further)
    assert 1.0 > near > far > 0.0
    assert pearson(x, x + shift) == pytest.approx(1.0)


@given(PAIRS)
def test_metrics_keep_their_order(pair: Array) -> None:
    x, y = pair
    mad = mean_absolute_difference(x, y)
    assert abs(bias(x, y)) <= mad + 1e-9
    assert mad <= root_mean_square_error(x, y) + 1e-9
    assert bias(x, y) == -bias(y, x)
    within = [float(share_within(months)(x, y)) for months in (6, 12, 24)]
    assert within == sorted(within)


def test_constants_have_no_correlation() -> None:
    constant = np.full(7, 0.1)  # whose mean is not 0.1 in floating point
    assert np.isnan(concordance(constant, constant))
    assert np.isnan(pearson(constant, np.arange(7.0)))
    assert concordance(constant, constant + 5) == 0.0


@pytest.mark.parametrize("name", METRICS)
def test_metrics_reduce_the_last_axis_only(name: str) -> None:
    generator = np.random.default_rng(0)
    labels, estimates = generator.uniform(0, 228, (2, 3, 5, 11))
    whole = METRICS[name](labels, estimates)
    assert whole.shape == (3, 5)
    assert whole[1, 2] == pytest.approx(float(METRICS[name](labels[1, 2], estimates[1, 2])))


def _sample(count: int, seed: int = 0) -> tuple[Array, Array]:
    generator = np.random.default_rng(seed)
    labels = generator.uniform(20, 220, count)
    return labels, labels + generator.normal(2, 9, count)


def test_measure_interval_is_seeded_and_holds_the_value() -> None:
    labels, estimates = _sample(80)
    figures = measure(labels, estimates, resamples=400, seed=3)
    for name, metric in METRICS.items():
        assert figures[name].value == float(metric(labels, estimates))
        assert figures[name].low <= figures[name].value <= figures[name].high
    assert measure(labels, estimates, resamples=400, seed=3) == figures
    assert measure(labels, estimates, resamples=400, seed=4)["bias"] != figures["bias"]


def test_bootstrap_interval_of_mean_matches_theory() -> None:
    labels, estimates = _sample(400)
    figure = measure(labels, estimates, {"bias": bias})["bias"]
    error = (estimates - labels).std() / math.sqrt(400)
    assert figure.low == pytest.approx((estimates - labels).mean() - 1.96 * error, abs=0.08)
    assert figure.high == pytest.approx((estimates - labels).mean() + 1.96 * error, abs=0.08)


def test_measure_interval_has_nominal_coverage() -> None:
    covered = 0
    for seed in range(200):
        figure = measure(*_sample(60, seed), {"bias": bias}, resamples=300, seed=seed)["bias"]
        covered += figure.low <= 2.0 <= figure.high
    assert 0.88 <= covered / 200 <= 0.99


def test_measure_interval_independent_of_chunk_size(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, estimates = _sample(30)
    whole = measure(labels, estimates, resamples=100)
    monkeypatch.setattr("boneage.evaluate.metrics._GATHERED_AT_ONCE", 210)
    assert measure(labels, estimates, resamples=100) == whole


def test_measure_undefined_is_nan_without_warning() -> None:
    figures = measure(np.full(6, 50.0), np.full(6, 50.0), resamples=20)
    assert math.isnan(figures["ccc"].value)
    assert math.isnan(figures["ccc"].low)
    assert figures["mad"].high == 0.0


@pytest.mark.parametrize(
    ("labels", "estimates"), [([], []), ([1.0], [1.0, 2.0]), ([1.0, math.nan], [1.0, 2.0]), ([[1.0]], [[1.0]])]
)
def test_measure_rejects_invalid_arrays(labels: list[float], estimates: list[float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        measure(np.array(labels), np.array(estimates))


@given(st.integers(1, 40), st.integers(0, 1000))
def test_measure_interval_counts_labels_within_bounds(count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 10, count).astype(float)
    bounds = np.sort(generator.integers(0, 10, (count, 2)).astype(float), axis=1)
    figures = measure_interval(labels, bounds, resamples=20)
    within = [low <= label <= high for label, (low, high) in zip(labels, bounds, strict=True)]
    assert figures["coverage"].value == pytest.approx(np.mean(within))
    assert figures["width"].value == pytest.approx((bounds[:, 1] - bounds[:, 0]).mean())


@pytest.mark.parametrize("bounds", [np.zeros((3, 2)), np.zeros((2, 3)), np.zeros(2), np.full((2, 2), np.nan)])
def test_measure_interval_rejects_invalid_bounds(bounds: Array) -> None:
    with pytest.raises(ValueError, match="bounds"):
        measure_interval(np.zeros(2), bounds)
