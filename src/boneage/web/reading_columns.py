"""Columns of the database that follow from a result and the decision on it: lists sort and filter by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from boneage.clinical.documents import counted_reading
from boneage.clinical.sds import WithheldReason
from boneage.severity import highest_severity
from boneage.web.documents import StoredResult


@dataclass(frozen=True)
class ReadingColumns:
    """Values of the columns of `boneage.web.models.Assessment` with these names.

    Attributes:
        severity: highest severity among the warnings, or empty.
        is_meaningless: True if the estimate is no bone age.
        difference_months: bone age that counts minus chronological age; None where the clinical reading withholds it.
        sds: SDS of the bone age that counts, or None.
        determination: its class, or empty.
        determination_reason: reason for a missing class, or empty.
    """

    severity: str = ""
    is_meaningless: bool = False
    difference_months: float | None = None
    sds: float | None = None
    determination: str = ""
    determination_reason: str = ""


def reading_columns(
    readings: Sequence[StoredResult], decided_months: float | None = None, *, is_corrected: bool = False
) -> ReadingColumns:
    """Return the columns of a radiograph.

    Args:
        readings: result of a finished assessment; both results where the sex is unknown or other, and none before the
            end and for a rejected radiograph.
        decided_months: bone age on which a physician decided, or None.
        is_corrected: True if the physician gave another bone age than the estimate.
    """
    if not readings:
        return ReadingColumns()
    severity = highest_severity(warning.severity for reading in readings for warning in reading.warnings) or ""
    is_meaningless = all(reading.is_meaningless for reading in readings)
    if len(readings) > 1:
        return ReadingColumns(severity, is_meaningless, determination_reason=WithheldReason.SEX_UNKNOWN.value)
    counted = counted_reading(readings[0], decided_months, is_corrected=is_corrected)
    return ReadingColumns(
        severity=severity,
        is_meaningless=is_meaningless,
        difference_months=None if counted.difference is None else counted.difference.months,
        sds=counted.sds,
        determination=counted.determination or "",
        determination_reason=counted.determination_reason or "",
    )
