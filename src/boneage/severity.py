"""Severity of a warning."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Severity(StrEnum):
    """How much a warning weighs for the person who reads the estimate, the least first."""

    INFO = "info"
    """The radiograph was handled as described; nothing needs to be done."""
    CAUTION = "caution"
    """The estimate can be wrong: compare it with the radiograph."""
    CRITICAL = "critical"
    """The number must not be used."""

    @property
    def rank(self) -> int:
        """0 for `INFO` to 2 for `CRITICAL`."""
        return list(Severity).index(self)


def highest_severity(severities: Iterable[Severity]) -> Severity | None:
    """Return the gravest of severities, or None without any."""
    return max(severities, key=lambda severity: severity.rank, default=None)
