"""Statuses and their consequences."""

from __future__ import annotations

import pytest

from boneage.node.outcome import OutcomeCode, Result, judge_status


@pytest.mark.parametrize(
    ("status", "result", "code"),
    [
        (0x0000, Result.DONE, OutcomeCode.SUCCESS),
        (0x0001, Result.WARNED, OutcomeCode.WARNING),
        (0x0107, Result.WARNED, OutcomeCode.WARNING),
        (0x0110, Result.RETRY, OutcomeCode.BUSY),
        (0x0111, Result.WARNED, OutcomeCode.DUPLICATE),
        (0x0122, Result.DEAD, OutcomeCode.NOT_ACCEPTED),
        (0x0124, Result.DEAD, OutcomeCode.NOT_AUTHORISED),
        (0x0213, Result.RETRY, OutcomeCode.BUSY),
        (0xA700, Result.RETRY, OutcomeCode.OUT_OF_RESOURCES),
        (0xA7FF, Result.RETRY, OutcomeCode.OUT_OF_RESOURCES),
        (0xA800, Result.DEAD, OutcomeCode.FAILURE),
        (0xA900, Result.DEAD, OutcomeCode.MISMATCH),
        (0xB000, Result.WARNED, OutcomeCode.WARNING),
        (0xB007, Result.WARNED, OutcomeCode.WARNING),
        (0xBFFF, Result.WARNED, OutcomeCode.WARNING),
        (0xC000, Result.DEAD, OutcomeCode.NOT_UNDERSTOOD),
        (0xCFFF, Result.DEAD, OutcomeCode.NOT_UNDERSTOOD),
        (0xD000, Result.DEAD, OutcomeCode.FAILURE),
        (0xFF00, Result.DEAD, OutcomeCode.FAILURE),
    ],
)
def test_judge_status(status: int, result: Result, code: OutcomeCode) -> None:
    assert judge_status(status) == (result, code)


def test_judge_status_every_status() -> None:
    """Every status has a consequence, and success has one status only."""
    assert [status for status in range(0x10000) if judge_status(status)[0] is Result.DONE] == [0]
