"""Figures of agreement between labels and estimates, with bootstrap intervals.

Every metric takes labels and estimates in months, arrays (..., N), and reduces the last axis; so a whole bootstrap is
a few calls. Labels come first: Souza & Oliveira's x is the ground truth and y the prediction (Eqs. 1-5).
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
"""Resampled radiographs held at a time, so that 12,000 radiographs do not take gigabytes."""


def mean_absolute_difference(labels: Months, estimates: Months) -> NDArray[np.float64]:
    """MAD, months (Souza & Oliveira, Eq. 1)."""
    return _mean(np.abs(estimates - labels))


def concordance(labels: Months, estimates: Months) -> NDArray[np.float64]:
    """Concordance correlation coefficient of Lin, -1 to 1, with 1/N variances (Souza & Oliveira, Eqs. 2-5).

    NaN where labels and estimates are one and the same constant: there is no variation to agree about.
    """
    distance = _mean(labels) - _mean(estimates)
    x, y = _centred(labels), _centred(estimates)
    return _ratio(2.0 * _mean(x * y), _mean(x * x) + _mean(y * y) + distance**2)


def root_mean_square_error(labels: Months, estimates: Months) -> NDArray[np.float64]:
    """RMSE, months."""
    return np.sqrt(_mean((estimates - labels) ** 2))


def median_absolute_error(labels: Months, estimates: Months) -> NDArray[np.float64]:
    """Median of the absolute differences, months."""
    return np.asarray(np.median(np.abs(estimates - labels), axis=-1))


def bias(labels: Months, estimates: Months) -> NDArray[np.float64]:
    """Mean of estimate minus label, months: above 0 if radiographs are read as too old."""
    return _mean(estimates - labels)


def share_within(months: float) -> Metric:
    """The metric "share of radiographs, 0 to 1, whose estimate lies within so many months of the label", the bound
    included.
    """

    def share(labels: Months, estimates: Months) -> NDArray[np.float64]:
        return _mean(np.abs(estimates - labels) <= months)

    return share


def pearson(labels: Months, estimates: Months) -> NDArray[np.float64]:
    """Correlation coefficient r, -1 to 1; NaN where either side is constant."""
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
"""All figures of a group of radiographs, by the name they have in ``tables.csv``."""


@dataclass(frozen=True)
class Figure:
    """A metric's value on some radiographs and its bootstrap interval, in the metric's unit; NaN where it is
    undefined.
    """

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
    """Several metrics with their percentile bootstrap intervals, radiographs being drawn with replacement.

    An interval speaks of which radiographs happened to be in the set; not of the readers who labelled them, nor of
    another training of the same network.

    Args:
        labels: months, (N,).
        estimates: months, (N,).
        metrics: what to compute, by name; all on the same resamples.
        resamples: how many.
        confidence: of the interval, 0 to 1.
        seed: same seed, same intervals.

    Returns:
        Each metric's value and interval. Resamples on which it is undefined are left out; NaN if it is on all.

    Raises:
        ValueError: labels and estimates are not two arrays (N,) of the same N > 0 of finite numbers.
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
    """What intervals of estimates hold, and how wide they are, with bootstrap intervals as of `measure`.

    Args:
        labels: months, (N,).
        bounds: months, (N, 2): low and high of each radiograph, both of which belong to the interval.
        resamples: how many; the same radiographs are drawn as by `measure` with the same seed.
        confidence: of the bootstrap's interval, 0 to 1.
        seed: same seed, same intervals.

    Returns:
        ``coverage``: share of the radiographs, 0 to 1, whose label lies within; ``width``: mean of high minus low,
            months.

    Raises:
        ValueError: as `measure`.
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
    # The mean of equal numbers may differ from them by rounding, which must not pass for variation.
    constant = (values == values[..., :1]).all(axis=-1, keepdims=True)
    return np.where(constant, 0.0, centred)


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0.0)
