"""DICOM audit messages: the structure of PS3.15 for every kind of event, and the kinds of events."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from boneage.web.accounts.audit import Action
from boneage.web.accounts.audit_message import message_of
from boneage.web.models import AuditEvent

SCHEMA = etree.RelaxNG(etree.parse(Path(__file__).with_name("audit_message.rng")))
AT = datetime(2026, 11, 30, 8, 15, 2, 114000, UTC)


def event(action: Action, **fields: Any) -> AuditEvent:
    """An event of a reader."""
    usual = {"user_name": "rhea", "account": 3, "address": "192.0.2.7", "detail": {}, "at": AT, "pk": 42}
    return AuditEvent(action=action.value, **{**usual, **fields})


def parsed(one: AuditEvent) -> Any:
    """The message of an event, checked by the schema."""
    root = etree.fromstring(message_of(one, "bones.example").encode())
    SCHEMA.assertValid(root)
    return root


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("thing", ["", "case", "assessment", "user", "apitoken", "delivery", "anything"])
def test_every_event_has_message(action: Action, thing: str) -> None:
    """Every action on every object has a message of the standard's structure, in one line."""
    root = parsed(event(action, object_type=thing, object_id="17" if thing else ""))
    assert "\n" not in message_of(event(action))
    assert root.xpath("string(EventIdentification/EventTypeCode[last()]/@csd-code)") == action.value


@given(
    name=st.text(max_size=20),
    detail=st.dictionaries(st.text(max_size=8), st.text() | st.integers() | st.lists(st.booleans()), max_size=3),
)
def test_any_text_is_valid(name: str, detail: dict[str, Any]) -> None:
    """Whatever stands in an event, the message is well-formed and valid, and states it."""
    root = parsed(event(Action.VIEW, user_name=name, detail=detail))
    values = [base64.b64decode(one.get("value")).decode() for one in root.iter("ParticipantObjectDetail")]
    assert len(values) == len(detail)
    for value in detail.values():
        assert not isinstance(value, str) or value.encode("utf-8", "replace").decode() in values


@pytest.mark.parametrize(
    ("one", "code", "action", "outcome"),
    [
        (event(Action.LOGIN), "110114", "E", "0"),
        (event(Action.LOGIN_FAILED), "110114", "E", "4"),
        (event(Action.LOGIN_FAILED, detail={"locked": True}), "110114", "E", "8"),
        (event(Action.VIEW, object_type="case", object_id="1"), "110110", "R", "0"),
        (event(Action.VIEW, object_type="assessment", object_id="1"), "110103", "R", "0"),
        (event(Action.VIEW, detail={"what": "worklist"}), "110112", "E", "0"),
        (event(Action.EXPORT, object_type="assessment", object_id="1"), "110106", "R", "0"),
        (event(Action.EXPORT, detail={"what": "audit"}), "110101", "R", "0"),
        (event(Action.DELETE, object_type="assessment", object_id="1"), "110105", "D", "0"),
        (event(Action.DENIED), "110113", "E", "4"),
        (event(Action.USER_CHANGED, detail={"change": "role"}), "110113", "E", "0"),
    ],
)
def test_kinds(one: AuditEvent, code: str, action: str, outcome: str) -> None:
    """Events have the kinds of CID 400."""
    (identification,) = parsed(one).iter("EventIdentification")
    assert identification.find("EventID").get("csd-code") == code
    assert (identification.get("EventActionCode"), identification.get("EventOutcomeIndicator")) == (action, outcome)
    assert identification.get("EventDateTime") == "2026-11-30T08:15:02.114Z"


def test_participants() -> None:
    """The user and the service take part; who requested it is stated."""
    user, service = parsed(event(Action.VIEW)).iter("ActiveParticipant")
    assert dict(user.attrib) == {
        "UserID": "rhea",
        "AlternativeUserID": "3",
        "UserIsRequestor": "true",
        "NetworkAccessPointID": "192.0.2.7",
        "NetworkAccessPointTypeCode": "2",
    }
    assert (service.get("UserID"), service.get("NetworkAccessPointID")) == ("boneage", "bones.example")
    (service,) = parsed(event(Action.RETENTION, user_name="system", account=None)).iter("ActiveParticipant")
    assert service.get("UserIsRequestor") == "true"
