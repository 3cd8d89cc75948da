"""Pauses between attempts grow, and attempts end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from boneage.node.retry import pause_seconds, seconds_to_next


def test_pause_seconds() -> None:
    assert [pause_seconds(failures) for failures in range(8)] == [10, 10, 30, 60, 300, 900, 900, 900]


@given(st.integers(1, 10**9), st.floats(0, 1e7), st.floats(0.01, 8760))
def test_seconds_to_next(failures: int, since_first: float, hours: float) -> None:
    """A next attempt never begins after the time to give up."""
    pause = seconds_to_next(failures, since_first, hours)
    if pause is None:
        assert since_first + pause_seconds(failures) > hours * 3600
    else:
        assert since_first + pause <= hours * 3600
