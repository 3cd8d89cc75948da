"""Audit events as messages of DICOM PS3.15, A.5 (XML), for the audit repository of a hospital.

Messages hold what the audit log holds: ids of cases and assessments, and no patient data.
"""

from __future__ import annotations

import base64
import json
import re
import socket
from dataclasses import dataclass
from datetime import UTC
from typing import Any
from xml.etree import ElementTree as ET

from boneage.web.accounts.audit import SYSTEM, Action
from boneage.web.models import AuditEvent

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 does not allow."""

OWN_CODES = "99BONEAGE"
"""Designator of the codes that PS3.16 does not have: identifiers of cases, assessments and events."""


@dataclass(frozen=True)
class Code:
    """A coded value: code, designator of its scheme, and meaning."""

    value: str
    meaning: str
    scheme: str = "DCM"


@dataclass(frozen=True)
class Kind:
    """Kind of a message.

    Attributes:
        event: event of CID 400.
        action: ``C``reate, ``R``ead, ``U``pdate, ``D``elete or ``E``xecute.
        types: event types of CID 401.
        is_failure: the event is a failure in any case.
        role: role of the service, besides that of an application.
    """

    event: Code
    action: str
    types: tuple[Code, ...] = ()
    is_failure: bool = False
    role: Code | None = None


AUDIT_LOG_USED = Code("110101", "Audit Log Used")
INSTANCES_ACCESSED = Code("110103", "DICOM Instances Accessed")
INSTANCES_TRANSFERRED = Code("110104", "DICOM Instances Transferred")
STUDY_DELETED = Code("110105", "DICOM Study Deleted")
EXPORT = Code("110106", "Export")
IMPORT = Code("110107", "Import")
PATIENT_RECORD = Code("110110", "Patient Record")
QUERY = Code("110112", "Query")
SECURITY_ALERT = Code("110113", "Security Alert")
USER_AUTHENTICATION = Code("110114", "User Authentication")

LOGIN = Code("110122", "Login")
LOGOUT = Code("110123", "Logout")
USE_OF_RESTRICTED_FUNCTION = Code("110132", "Use of Restricted Function")
ROLES_CHANGED = Code("110136", "Security Roles Changed")
ATTRIBUTES_CHANGED = Code("110137", "User Security Attributes Changed")

APPLICATION = Code("110150", "Application")
DESTINATION = Code("110152", "Destination Role ID")
SOURCE = Code("110153", "Source Role ID")

_KINDS = {
    Action.LOGIN: Kind(USER_AUTHENTICATION, "E", (LOGIN,)),
    Action.LOGIN_FAILED: Kind(USER_AUTHENTICATION, "E", (LOGIN,), is_failure=True),
    Action.CONFIRMED: Kind(USER_AUTHENTICATION, "E", (LOGIN,)),
    Action.UNLOCKED: Kind(USER_AUTHENTICATION, "E", (LOGIN,)),
    Action.LOGOUT: Kind(USER_AUTHENTICATION, "E", (LOGOUT,)),
    Action.SESSION_ENDED: Kind(USER_AUTHENTICATION, "E", (LOGOUT,)),
    Action.DENIED: Kind(SECURITY_ALERT, "E", (USE_OF_RESTRICTED_FUNCTION,), is_failure=True),
    Action.SUBMIT: Kind(IMPORT, "C", role=DESTINATION),
    Action.DECIDE: Kind(INSTANCES_ACCESSED, "U"),
    Action.DECISION_WITHDRAWN: Kind(INSTANCES_ACCESSED, "U"),
    Action.SUPERSEDED: Kind(INSTANCES_ACCESSED, "U"),
    Action.CASE_CHANGED: Kind(PATIENT_RECORD, "U"),
    Action.RECEIVE: Kind(INSTANCES_TRANSFERRED, "C", role=DESTINATION),
    Action.SEND: Kind(INSTANCES_TRANSFERRED, "R", role=SOURCE),
    Action.DELIVERY_CHANGED: Kind(EXPORT, "U", role=SOURCE),
    Action.TOKEN_ISSUED: Kind(SECURITY_ALERT, "E", (ATTRIBUTES_CHANGED,)),
    Action.TOKEN_REVOKED: Kind(SECURITY_ALERT, "E", (ATTRIBUTES_CHANGED,)),
}
"""Kinds by action, where the object does not matter."""

_ROLE_CHANGES = ("created", "role", "deactivated", "reactivated")
"""Changes of a user that concern what the user may do."""


def kind_of(event: AuditEvent) -> Kind:
    """Return the kind of the message of an event.

    Raises:
        KeyError: the action has no kind.
    """
    action = Action(event.action)
    if action is Action.VIEW:
        if event.object_type == "case":
            return Kind(PATIENT_RECORD, "R")
        return Kind(INSTANCES_ACCESSED, "R") if event.object_type else Kind(QUERY, "E")
    if action is Action.EXPORT:
        is_log = event.detail.get("what") == "audit"
        return Kind(AUDIT_LOG_USED, "R") if is_log else Kind(EXPORT, "R", role=SOURCE)
    if action in {Action.DELETE, Action.RETENTION}:
        return Kind(PATIENT_RECORD if event.object_type == "case" else STUDY_DELETED, "D")
    if action is Action.USER_CHANGED:
        is_role = event.detail.get("change") in _ROLE_CHANGES
        return Kind(SECURITY_ALERT, "E", (ROLES_CHANGED if is_role else ATTRIBUTES_CHANGED,))
    return _KINDS[action]


def message_of(event: AuditEvent, host: str = "") -> str:
    """Return an event as an XML document in one line, without a declaration.

    Args:
        event: the event.
        host: name of the service, as in its address; by default the name of this machine.
    """
    host, kind = host or socket.gethostname(), kind_of(event)
    root = ET.Element("AuditMessage")
    identification = ET.SubElement(
        root,
        "EventIdentification",
        EventActionCode=kind.action,
        EventDateTime=event.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        EventOutcomeIndicator=("8" if event.detail.get("locked") else "4") if kind.is_failure else "0",
    )
    _code(identification, "EventID", kind.event)
    for one in (*kind.types, Code(event.action, event.action, OWN_CODES)):
        _code(identification, "EventTypeCode", one)
    if kind.is_failure:
        ET.SubElement(identification, "EventOutcomeDescription").text = event.action
    _user(root, event)
    service = ET.SubElement(
        root,
        "ActiveParticipant",
        UserID="boneage",
        UserIsRequestor=_boolean(event.user_name == SYSTEM),
        NetworkAccessPointID=host,
        NetworkAccessPointTypeCode="1",
    )
    for role in (APPLICATION, *((kind.role,) if kind.role else ())):
        _code(service, "RoleIDCode", role)
    source = ET.SubElement(root, "AuditSourceIdentification", AuditSourceID=f"boneage@{host}")
    ET.SubElement(source, "AuditSourceTypeCode", {"csd-code": "4"})
    _object(root, event)
    return ET.tostring(root, encoding="unicode")


def _user(root: ET.Element, event: AuditEvent) -> None:
    """Add the user, if it is not the service itself."""
    if event.user_name == SYSTEM:
        return
    user = ET.SubElement(
        root, "ActiveParticipant", UserID=_text(event.user_name or "unknown"), UserIsRequestor=_boolean(True)
    )
    if event.account is not None:
        user.set("AlternativeUserID", str(event.account))
    if event.address:
        user.set("NetworkAccessPointID", event.address)
        user.set("NetworkAccessPointTypeCode", "2")


_TYPES = {
    "case": (Code("case", "Case", OWN_CODES), "1", "1"),
    "assessment": (Code("assessment", "Assessment", OWN_CODES), "2", "3"),
    "instance": (Code("instance", "Received instance", OWN_CODES), "2", "3"),
    "delivery": (Code("delivery", "Delivery of a result", OWN_CODES), "2", "20"),
    "user": (Code("11", "User Identifier", "RFC-3881"), "1", "11"),
    "apitoken": (Code("token", "API token", OWN_CODES), "2", "13"),
}
"""Identifier, type and role of an object (PS3.15 A.5.1.2) by its model."""

_NO_OBJECT = (Code("event", "Audit event", OWN_CODES), "2", "13")


def _object(root: ET.Element, event: AuditEvent) -> None:
    """Add the object of an event, with the detail; an event without an object is its own."""
    code, kind, role = _TYPES.get(event.object_type, _NO_OBJECT)
    thing = ET.SubElement(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=event.object_id or str(event.pk),
        ParticipantObjectTypeCode=kind,
        ParticipantObjectTypeCodeRole=role,
    )
    _code(thing, "ParticipantObjectIDTypeCode", code)
    name = event.detail.get("name") or event.detail.get("what") or event.object_type or event.action
    ET.SubElement(thing, "ParticipantObjectName").text = _text(str(name))
    for key, value in sorted(event.detail.items()):
        ET.SubElement(thing, "ParticipantObjectDetail", type=_text(key), value=_encoded(value))


def _encoded(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")


def _code(parent: ET.Element, tag: str, code: Code) -> None:
    attributes = {"csd-code": code.value, "codeSystemName": code.scheme, "originalText": code.meaning}
    ET.SubElement(parent, tag, attributes)


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _text(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
