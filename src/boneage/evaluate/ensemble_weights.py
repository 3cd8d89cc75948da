"""Weights of an ensemble on the simplex, fitted by least absolute deviations.

They are fitted on out-of-fold predictions. On training radiographs, the most overfitted member would win.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from boneage.arrays import Vector

_SMALLEST_ERROR_MONTHS = 0.01
"""Minimum error in the reweighting, months; labels are whole months."""
_ROUNDS = 100
_STEPS = 500
_ENOUGH = 1e-8


def fit_weights(estimates: NDArray[np.float64], labels: Vector) -> Vector:
    """Return the weights of the members whose weighted mean has the least MAD from the labels.

    The problem is convex, and is solved by iteratively reweighted least squares on the simplex.

    Args:
        estimates: Estimates in months, (M, N), one row for each member.
        labels: Labels in months, (N,).

    Returns:
        Weights (M,), each at least 0, with the sum 1. On these radiographs they are never worse than equal weights or
        a single member.

    Raises:
        ValueError: If the shapes do not match, there is no member or radiograph, or a number is not finite.
    """
    estimates, labels = np.asarray(estimates, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if estimates.ndim != 2 or labels.shape != estimates.shape[1:] or estimates.size == 0:
        raise ValueError(f"estimates {estimates.shape} must be (M, N) and labels {labels.shape} (N,)")
    if not (np.isfinite(estimates).all() and np.isfinite(labels).all()):
        raise ValueError("estimates and labels must be finite")
    errors = estimates - labels  # the weights sum to 1, so that they mix errors as they mix estimates
    weights = np.full(len(errors), 1 / len(errors))
    candidates = [weights, *np.eye(len(errors))]
    for _ in range(_ROUNDS):
        emphasis = 1 / np.maximum(np.abs(weights @ errors), _SMALLEST_ERROR_MONTHS)
        fitted = least_on_simplex((errors * emphasis) @ errors.T / emphasis.sum(), weights)
        candidates.append(fitted)
        if float(np.abs(fitted - weights).max()) < 1e-7:
            break
        weights = fitted
    losses = [float(np.abs(each @ errors).mean()) for each in candidates]
    return np.asarray(candidates[int(np.argmin(losses))])


def least_on_simplex(matrix: NDArray[np.float64], start: Vector) -> Vector:
    """Return the point w of the simplex that minimises w' matrix w, by accelerated projected gradients.

    Args:
        matrix: Symmetric positive semidefinite matrix, (M, M).
        start: Point of the simplex, (M,).
    """
    steepest = float(np.linalg.norm(matrix, 2))
    if steepest == 0.0:
        return start
    point, ahead, pace = start, start, 1.0
    for _ in range(_STEPS):
        following = onto_simplex(ahead - matrix @ ahead / steepest)
        if float(np.abs(following - point).max()) < _ENOUGH and float(np.abs(following - ahead).max()) < _ENOUGH:
            return following
        faster = (1 + np.sqrt(1 + 4 * pace**2)) / 2
        ahead = following + (pace - 1) / faster * (following - point)
        point, pace = following, faster
    return point


def onto_simplex(vector: Vector) -> Vector:
    """Return the nearest point of the simplex, (M,): coordinates of at least 0 with the sum 1."""
    falling = np.sort(vector)[::-1]
    surplus = (np.cumsum(falling) - 1) / np.arange(1, len(vector) + 1)
    kept = int(np.nonzero(falling > surplus)[0][-1])
    above = np.maximum(vector - surplus[kept], 0.0)
    return np.asarray(above / above.sum())
