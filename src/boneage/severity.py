"""Severity of a warning."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Severity(StrEnum):
    """Importance of a warning for the reader of the estimate, from the lowest to the highest."""

    INFO = "info"
    """The radiograph was handled as described; nothing needs to be done."""
    CAUTION = "caution"
    """The estimate can be wrong: compare it with the radiograph."""
    CRITICAL = "critical"
    """The estimate must not be used."""

    @property
    def rank(self) -> int:
        """Rank from 0 for `INFO` to 2 for `CRITICAL`."""
        return list(Severity).index(self)


def highest_severity(severities: Iterable[Severity]) -> Severity | None:
    """Return the highest severity, or None if there is none."""
    return max(severities, key=lambda severity: severity.rank, default=None)
