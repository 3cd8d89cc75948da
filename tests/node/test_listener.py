"""The listener keeps what it acknowledges, answers by the standard, and serves others whatever one peer does."""

from __future__ import annotations

from boneage.node.echo import echo
from boneage.node.outcome import OutcomeCode, Result
from boneage.node.sender import send
from tests.node.parts import MemoryIntake, instance_file, listening, node_peer, sender_settings


def test_listener_keeps_exact_bytes() -> None:
    """The data set that is kept is the one that was sent, byte for byte."""
    intake, file = MemoryIntake(), instance_file()
    with listening(intake) as listener:
        (outcome,) = send(node_peer(listener), sender_settings(), [file])
    assert (outcome.result, outcome.code, outcome.status) == (Result.DONE, OutcomeCode.SUCCESS, 0)
    ((instance, header),) = intake.taken
    assert instance.file[-20_000:] == file[-20_000:]
    assert header.patient_id == "4711"
    assert (instance.peer, instance.calling_ae_title, instance.address) == ("modality", "DXROOM1", "127.0.0.1")


def test_listener_answers_echo() -> None:
    with listening(MemoryIntake()) as listener:
        outcome = echo(node_peer(listener), sender_settings())
    assert outcome.result is Result.DONE
