"""Codes and exit statuses are stable and distinct."""

from __future__ import annotations

from boneage import errors


def test_every_kind_of_error_has_its_own_exit_status() -> None:
    kinds = errors.BoneageError.__subclasses__()
    statuses = [kind.exit_status for kind in kinds]
    assert len(set(statuses)) == len(statuses)
    assert not {0, 1, 2} & set(statuses)  # success, an unforeseen error, and wrong usage keep theirs


def test_a_refusal_carries_code_and_sentence() -> None:
    refusal = errors.Refusal(errors.RefusalCode.TOO_SMALL, "Too few pixels.")
    assert (refusal.code, refusal.message) == ("too_small", "Too few pixels.")
    assert str(refusal) == "Too few pixels. [too_small]"
