"""Metrics of agreement between labels and estimates, with bootstrap confidence intervals.

Every metric takes labels and estimates in months, arrays (..., N), and reduces the last axis, so that a whole bootstrap
takes a few calls. Labels come first: in Souza & Oliveira, x is the ground truth and y the prediction (Eqs. 1-5).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boneage.arrays import Months

Metric = Callable[[Months, Months], NDArray[np.float64]]

RESAMPLES = 2000
CONFIDENCE = 0.95
_GATHERED_AT_ONCE = 2_000_000
"""Maximum number of resampled radiographs in memory. It keeps 12,000 radiographs from taking gigabytes."""


def mean_absolute_difference(labels: Months, estimates: Months) -> NDArray[np.float64]:
    """Return the mean absolute difference (MAD, = mean absolute error), months (Souza & Oliveira, Eq. 1)."""
    return _mean(np.abs(estimates - labels))


def concordance(labels: Months, estimates: Months) -> NDArray[np.float64]:
    """Return Lin's concordance correlation coefficient, -1 to 1, with 1/N variances (Souza & Oliveira, Eqs. 2-5).

    It is NaN if labels and estimates are the same constant, because there is no variation.
    """
    distance = _mean(labels) - _mean(estimates)
    x, y = _centred(labels), _centred(estimates)
    return _ratio(2.0 * _mean(x * y), _mean(x * x) + _mean(y * y) + distance**2)


def root_mean_square_error(labels: Months, estimates: Months) -> NDArray[np.float64]:
    """Return the root mean square error (RMSE), months."""
    return np.sqrt(_mean((estimates - labels) ** 2))


def median_absolute_error(labels: Months, estimates: Months) -> NDArray[np.float64]:
    """Return the median of the absolute differences, months."""
    return np.asarray(np.median(np.abs(estimates - labels), axis=-1))


def bias(labels: Months, estimates: Months) -> NDArray[np.float64]:
    """Return the mean of estimate minus label, months. It is above 0 if estimates are too old."""
    return _mean(estimates - labels)


def share_within(months: float) -> Metric:
    """Return the metric for the share of radiographs, 0 to 1, with an estimate within `months` of the label.

    The bound is included.
    """

    def share(labels: Months, estimates: Months) -> NDArray[np.float64]:
        return _mean(np.abs(estimates - labels) <= months)

    return share


def pearson(labels: Months, estimates: Months) -> NDArray[np.float64]:
    """Return Pearson's correlation coefficient r, -1 to 1; NaN if either side is constant."""
    x, y = _centred(labels), _centred(estimates)
    return _ratio(_mean(x * y), np.sqrt(_mean(x * x)) * np.sqrt(_mean(y * y)))


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "mad": mean_absolute_difference,
        "ccc": concordance,
        "rmse": root_mean_square_error,
        "median": median_absolute_error,
        "bias": bias,
        "within_6": share_within(6.0),
        "within_12": share_within(12.0),
        "within_24": share_within(24.0),
        "pearson": pearson,
    }
)
"""Metrics of a group of radiographs, by their names in ``tables.csv``."""


@dataclass(frozen=True)
class Figure:
    """Value of a metric and its bootstrap confidence interval, in the metric's unit; NaN where undefined."""

    value: float
    low: float
    high: float


def measure(
    labels: Months,
    estimates: Months,
    metrics: Mapping[str, Metric] = METRICS,
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> dict[str, Figure]:
    """Measure metrics with percentile bootstrap confidence intervals over radiographs, drawn with replacement.

    An interval covers the sampling of radiographs. It does not cover the variation between readers or between training
    runs of the same network.

    Args:
        labels: Labels in months, (N,).
        estimates: Estimates in months, (N,).
        metrics: Metrics by name, all on the same resamples.
        resamples: Number of resamples.
        confidence: Confidence level, 0 to 1.
        seed: Seed of the bootstrap; equal seeds give equal intervals.

    Returns:
        Value and interval of each metric. Resamples on which it is undefined are left out; NaN if none is left.

    Raises:
        ValueError: If labels and estimates are not arrays of finite numbers (N,) with the same N > 0.
    """
    labels, estimates = np.asarray(labels, dtype=np.float64), np.asarray(estimates, dtype=np.float64)
    if labels.ndim != 1 or labels.shape != estimates.shape or labels.size == 0:
        raise ValueError(f"labels {labels.shape} and estimates {estimates.shape} must be of one length above 0")
    if not (np.isfinite(labels).all() and np.isfinite(estimates).all()):
        raise ValueError("labels and estimates must be finite")
    drawn = _resample(labels, estimates, metrics, resamples, seed)
    tail = (1.0 - confidence) / 2.0
    figures = {}
    for name, metric in metrics.items():
        defined = drawn[name][np.isfinite(drawn[name])]
        low, high = np.quantile(defined, (tail, 1.0 - tail)) if defined.size else (np.nan, np.nan)
        figures[name] = Figure(float(metric(labels, estimates)), float(low), float(high))
    return figures


def measure_interval(
    labels: Months, bounds: Months, *, resamples: int = RESAMPLES, confidence: float = CONFIDENCE, seed: int = 0
) -> dict[str, Figure]:
    """Measure coverage and width of prediction intervals, with bootstrap confidence intervals as in `measure`.

    Args:
        labels: Labels in months, (N,).
        bounds: Lower and upper bound of each radiograph in months, (N, 2), both included in the interval.
        resamples: Number of resamples, the same as in `measure` with the same seed.
        confidence: Confidence level of the bootstrap interval, 0 to 1.
        seed: Seed of the bootstrap; equal seeds give equal intervals.

    Returns:
        ``coverage``, the share of radiographs whose label lies within the interval, 0 to 1; and ``width``, the mean
        width, months.

    Raises:
        ValueError: Same as in `measure`.
    """
    labels, bounds = np.asarray(labels, dtype=np.float64), np.asarray(bounds, dtype=np.float64)
    if bounds.shape != (*labels.shape, 2) or not (np.isfinite(labels).all() and np.isfinite(bounds).all()):
        raise ValueError(f"labels {labels.shape} need finite bounds (N, 2), not {bounds.shape}")
    held = ((bounds[:, 0] <= labels) & (labels <= bounds[:, 1])).astype(np.float64)
    metrics: dict[str, Metric] = {"coverage": lambda held, _: _mean(held), "width": lambda _, width: _mean(width)}
    return measure(held, bounds[:, 1] - bounds[:, 0], metrics, resamples=resamples, confidence=confidence, seed=seed)


def _resample(
    labels: Months, estimates: Months, metrics: Mapping[str, Metric], resamples: int, seed: int
) -> dict[str, NDArray[np.float64]]:
    generator = np.random.default_rng(seed)
    at_once = max(1, _GATHERED_AT_ONCE // labels.size)
    parts: dict[str, list[NDArray[np.float64]]] = {name: [] for name in metrics}
    for start in range(0, resamples, at_once):
        radiographs = generator.integers(labels.size, size=(min(at_once, resamples - start), labels.size))
        for name, metric in metrics.items():
            parts[name].append(metric(labels[radiographs], estimates[radiographs]))
    return {name: np.concatenate(values) for name, values in parts.items()}


def _mean(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(values.mean(axis=-1))


def _centred(values: Months) -> Months:
    centred = values - values.mean(axis=-1, keepdims=True)
    # The mean of equal numbers may differ from them by rounding, which is not variation.
    constant = (values == values[..., :1]).all(axis=-1, keepdims=True)
    return np.where(constant, 0.0, centred)


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0.0)
