"""There is one query for the instances of each series."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydicom import Dataset
from pynetdicom import build_context, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from boneage.node.outcome import OutcomeCode, Reference, Result
from boneage.node.query import find_stored
from tests.node.parts import CR, peer_serving, sender_settings

NODE = sender_settings("BONEAGE", timeout_seconds=2.0)
WANTED = [Reference(CR, "1.1", "1.5", "1.6"), Reference(CR, "1.2", "1.5", "1.6"), Reference(CR, "1.3", "1.5", "1.7")]


def match(uid: str) -> Dataset:
    """Return the identifier of a response."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.SOPInstanceUID = "IMAGE", uid
    return identifier


def test_find_stored() -> None:
    """Instances of the request are counted, and no others."""
    questions: list[Any] = []

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        questions.append(event.identifier)
        uids = event.identifier.SOPInstanceUID
        yield 0xFF00, match(uids if isinstance(uids, str) else uids[0])
        yield 0xFF00, match("1.99")
        yield 0x0000, None

    with peer_serving((evt.EVT_C_FIND, find)) as peer:
        outcome = find_stored(peer, NODE, WANTED)
    assert (outcome.result, outcome.stored) == (Result.DONE, frozenset({"1.1", "1.3"}))
    assert [(one.StudyInstanceUID, one.SeriesInstanceUID) for one in questions] == [("1.5", "1.6"), ("1.5", "1.7")]


def test_find_stored_failure() -> None:
    with peer_serving((evt.EVT_C_FIND, lambda _event: iter([(0xA700, None)]))) as peer:
        outcome = find_stored(peer, NODE, WANTED)
    assert (outcome.result, outcome.code) == (Result.RETRY, OutcomeCode.OUT_OF_RESOURCES)


def test_find_stored_endless_answers() -> None:
    def find(_event: evt.Event) -> Iterator[tuple[int, Dataset]]:
        while True:
            yield 0xFF00, match("1.99")

    with peer_serving((evt.EVT_C_FIND, find)) as peer:
        assert find_stored(peer, NODE, WANTED).result is Result.RETRY


def test_find_stored_not_accepted() -> None:
    with peer_serving(contexts=[build_context(Verification)]) as peer:
        outcome = find_stored(peer, NODE, WANTED)
    assert (outcome.result, outcome.code) == (Result.DEAD, OutcomeCode.NOT_ACCEPTED)
