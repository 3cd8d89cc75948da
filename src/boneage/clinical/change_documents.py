"""Change between radiographs of one child as a document of the project's schema, for JSON."""

from __future__ import annotations

from dataclasses import dataclass

from boneage.clinical.change import Change
from boneage.schema import Document, two_decimals


@dataclass(frozen=True, kw_only=True)
class ChangeDocument(Document):
    """Change of the bone age from one radiograph to a later one."""

    distance_months: float | None
    """Time between the radiographs, months; null if it is unknown."""
    difference_months: float
    """Later minus earlier bone age, months."""
    difference_interval_95: tuple[float, float]
    """95 % interval of the difference, months, by the repeatability of both readings."""
    gain_per_year: float | None
    """Months of bone age gained per year; null with `reason`."""
    gain_interval_95: tuple[float, float] | None
    """Its 95 % interval."""
    verdict: str | None
    """`faster` or `slower` if the interval excludes 12 months per year, else `as_expected`; null with `reason`."""
    reason: str | None
    """Reason for a missing gain: `too_close`, `age_in_whole_years`, `near_maturity` or `age_unknown`."""
    flags: tuple[str, ...]
    """Limits of the comparison: `mixed_methods`, `mixed_versions`, `near_maturity`."""


def change_document(change: Change) -> ChangeDocument:
    """Return a change by the project's schema: months with two decimals."""
    low, high = change.difference_interval
    gain = change.velocity_band
    return ChangeDocument(
        distance_months=two_decimals(change.distance_months),
        difference_months=round(change.difference_months, 2),
        difference_interval_95=(round(low, 2), round(high, 2)),
        gain_per_year=two_decimals(change.velocity),
        gain_interval_95=None if gain is None else (round(gain[0], 2), round(gain[1], 2)),
        verdict=None if change.verdict is None else change.verdict.value,
        reason=None if change.reason is None else change.reason.value,
        flags=tuple(flag.value for flag in change.flags),
    )
