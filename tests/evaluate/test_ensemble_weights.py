from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.evaluate.ensemble_weights import fit_weights, least_on_simplex, onto_simplex

seeds = st.integers(0, 2**32 - 1)


def _drawn(members: int, radiographs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Estimates (M, N) with errors in common and of their own, and labels (N,)."""
    generator = np.random.default_rng(seed)
    labels = generator.uniform(10, 220, radiographs).round()
    spreads = generator.uniform(3, 15, (members, 1))
    errors = generator.laplace(0, 4, radiographs) + generator.normal(0, 1, (members, radiographs)) * spreads
    return labels + errors + generator.normal(0, 3, (members, 1)), labels


def _loss(weights: np.ndarray, estimates: np.ndarray, labels: np.ndarray) -> float:
    return float(np.abs(weights @ estimates - labels).mean())


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 80), seeds)
def test_fit_weights_not_worse_than_equal_or_single(members: int, radiographs: int, seed: int) -> None:
    estimates, labels = _drawn(members, radiographs, seed)
    weights = fit_weights(estimates, labels)
    assert weights.shape == (members,)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1.0)
    others = [np.full(members, 1 / members), *np.eye(members)]
    assert _loss(weights, estimates, labels) <= min(_loss(other, estimates, labels) for other in others) + 1e-12


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_fit_weights_matches_fine_search(seed: int) -> None:
    estimates, labels = _drawn(3, 60, seed)
    fitted = _loss(fit_weights(estimates, labels), estimates, labels)
    shares = np.linspace(0, 1, 51)
    searched = min(
        _loss(np.array([a, b, 1 - a - b]), estimates, labels)
        for a, b in itertools.product(shares, shares)
        if a + b <= 1 + 1e-9
    )
    assert fitted <= searched + 0.01


def test_fit_weights_recovers_true_mixture() -> None:
    estimates, _ = _drawn(4, 300, 0)
    mix = np.array([0.5, 0.0, 0.2, 0.3])
    np.testing.assert_allclose(fit_weights(estimates, mix @ estimates), mix, atol=1e-3)


def test_fit_weights_robust_to_outliers() -> None:
    estimates, labels = _drawn(2, 400, 1)
    estimates[0] = labels
    estimates[0, :20] += 1000.0  # squares would give this member next to nothing
    weights = fit_weights(estimates, labels)
    assert _loss(weights, estimates, labels) <= _loss(np.array([0.0, 1.0]), estimates, labels)
    few_outliers = estimates.copy()
    few_outliers[0, 1:20] = labels[1:20]
    assert fit_weights(few_outliers, labels)[0] > 0.9


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=1, max_size=8), seeds)
def test_onto_simplex_is_nearest_point(values: list[float], seed: int) -> None:
    vector = np.array(values)
    nearest = onto_simplex(vector)
    assert nearest.min() >= 0
    assert nearest.sum() == pytest.approx(1.0)
    others = np.random.default_rng(seed).dirichlet(np.ones(len(vector)), 50)
    assert np.linalg.norm(vector - nearest) <= np.linalg.norm(vector - others, axis=1).min() + 1e-9


def test_least_on_simplex_keeps_start_without_slope() -> None:
    start = np.array([0.25, 0.75])
    np.testing.assert_array_equal(least_on_simplex(np.zeros((2, 2)), start), start)


@pytest.mark.parametrize(
    ("estimates", "labels"),
    [
        (np.ones(3), np.ones(3)),
        (np.ones((2, 3)), np.ones(2)),
        (np.ones((0, 3)), np.ones(3)),
        (np.ones((2, 0)), np.ones(0)),
        (np.full((1, 2), np.nan), np.ones(2)),
    ],
)
def test_fit_weights_rejects_invalid_input(estimates: np.ndarray, labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="must be"):
        fit_weights(estimates, labels)
