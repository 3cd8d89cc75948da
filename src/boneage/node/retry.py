"""When a failed delivery is attempted again."""

from __future__ import annotations

_PAUSES_SECONDS = (10.0, 30.0, 60.0, 300.0, 900.0)
"""Pauses after the first failures, seconds. The last one repeats."""

COMMITMENT_SECONDS = 5.0
"""Time from the last object that was sent to the request for storage commitment, seconds."""

COMMITMENT_HOURS = 24.0
"""Time to wait for the report on storage commitment before the peer is queried, hours."""


def pause_seconds(failures: int) -> float:
    """Return the pause after a number of failed attempts, seconds.

    Args:
        failures: failed attempts so far, at least 1.
    """
    return _PAUSES_SECONDS[min(max(failures, 1), len(_PAUSES_SECONDS)) - 1]


def seconds_to_next(failures: int, since_first_seconds: float, give_up_hours: float) -> float | None:
    """Return the pause before the next attempt, or None if the delivery is given up.

    Args:
        failures: failed attempts so far, at least 1.
        since_first_seconds: time since the delivery was first due, seconds.
        give_up_hours: attempts end after this time, hours.
    """
    pause = pause_seconds(failures)
    return None if since_first_seconds + pause > give_up_hours * 3600 else pause
