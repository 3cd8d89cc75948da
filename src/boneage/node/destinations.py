"""Destinations of results that are no DICOM application entities: DICOMweb services, FHIR servers, HL7 receivers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from boneage.strict import Bounds, Length, Matching, NotEmpty

Name = Annotated[str, Matching(re.compile(r"[a-z0-9][a-z0-9_-]{0,31}"), "1 to 32 lower-case letters, digits, - or _")]
ResultKind = Literal["sc", "pdf", "pr", "sr"]
"""Kinds of result objects, the same as `boneage.dicom.objects.Kind`."""
NoteKind = Literal["ko"]
"""Kind of the notes that retract result objects. It is not configured: whoever receives objects receives notes."""
MessageKind = Literal["fhir", "hl7"]
"""Kinds of results that are messages (`boneage.messages`)."""
Seconds = Annotated[float, Bounds(at_least=1, at_most=3600)]
Secret = Annotated[
    str,
    Matching(re.compile(r"|env:[A-Za-z_][A-Za-z0-9_]*|file:.+"), "env:VARIABLE or file:PATH, where the secret stands"),
]
"""The place of a secret, since the configuration file holds none: ``env:VARIABLE`` or ``file:PATH``."""
_HL7_WORD = Annotated[str, Matching(re.compile(r"[^|^~\\&\r\n]{0,64}"), "at most 64 characters without | ^ ~ \\ &")]
_LARGEST_SECRET = 2**16


class SecretError(Exception):
    """A secret that cannot be read."""


@dataclass(frozen=True, kw_only=True)
class WebService:
    """A service over HTTP.

    Attributes:
        name: short name in this file, on pages and in logs.
        url: address of the service, without a slash at its end.
        user: name of the account (HTTP Basic); without it the secret is a bearer token.
        secret: place of the password or token; without it nothing is presented.
        ca: PEM file of the authorities that sign the server's certificate; those that the system trusts without it.
        certificate: the node shows its own certificate (``node.tls``).
        timeout_seconds: longest wait for the connection, and for each part of an answer, seconds.
    """

    name: Name
    url: NotEmpty
    user: str = ""
    secret: Secret = ""
    ca: str = ""
    certificate: bool = False
    timeout_seconds: Seconds = 30.0

    @property
    def place(self) -> str:
        """The address for people."""
        return self.url

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of values that do not go together (`boneage.strict`)."""
        try:
            parts = urlsplit(self.url)
            is_valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_valid = False
        if not is_valid or parts.query or parts.fragment or self.url.endswith("/"):
            yield "url", f"must be an address like https://pacs.example.org/dicom-web, not {self.url!r}"
        elif parts.username is not None or parts.password is not None:
            yield "url", "must not hold a user: user and secret have keys of their own"
        if self.user and not self.secret:
            yield "secret", "must be set, since there is a user"
        if self.ca and not Path(self.ca).is_file():
            yield "ca", f"names no file: {self.ca!r}"


@dataclass(frozen=True, kw_only=True)
class DicomWebService(WebService):
    """A DICOMweb service that receives result objects by STOW-RS (PS3.18, 10.5).

    Attributes:
        results: kinds of result objects that it receives.
        commit: the node queries by QIDO-RS whether the service has what it stored.
    """

    results: Annotated[tuple[ResultKind, ...], Length(1)]
    commit: bool = False

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of results that it receives."""
        return self.results

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of values that do not go together (`boneage.strict`)."""
        yield from super().faults()
        if len(set(self.results)) < len(self.results):
            yield "results", "names a kind twice"


@dataclass(frozen=True, kw_only=True)
class FhirServer(WebService):
    """A FHIR server that receives each result as a transaction.

    Attributes:
        version: version of FHIR.
        patient_system: system of the patients' identifiers at the server, such as ``urn:oid:1.2.3``.
        find_patient: references name the server's patient with this identifier, who must exist there; otherwise they
            hold the identifier alone.
    """

    version: Literal["R4B", "R5"] = "R4B"
    patient_system: str = ""
    find_patient: bool = False
    commit = False

    @property
    def kinds(self) -> tuple[MessageKind, ...]:
        """Kinds of results that it receives."""
        return ("fhir",)

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of values that do not go together (`boneage.strict`)."""
        yield from super().faults()
        if self.find_patient and not self.patient_system:
            yield "patient_system", "must be set, since patients are found by it"


@dataclass(frozen=True, kw_only=True)
class Hl7Receiver:
    """A receiver of HL7 version 2 messages over MLLP, such as a radiology information system.

    Attributes:
        name: short name in this file, on pages and in logs.
        host: its address or host name.
        port: its port.
        application: its name as receiving application (MSH-5).
        facility: its name as receiving facility (MSH-6).
        tls: connections to it use TLS.
        tls_name: name that its certificate must show; its host if it is empty.
        ca: PEM file of the authorities that sign its certificate; those that the system trusts without it.
        certificate: the node shows its own certificate (``node.tls``).
        timeout_seconds: longest wait for the connection and for an acknowledgement, seconds.
    """

    name: Name
    host: NotEmpty
    port: Annotated[int, Bounds(at_least=1, at_most=65535)] = 2575
    application: _HL7_WORD = ""
    facility: _HL7_WORD = ""
    tls: bool = False
    tls_name: str = ""
    ca: str = ""
    certificate: bool = False
    timeout_seconds: Seconds = 30.0
    commit = False

    @property
    def kinds(self) -> tuple[MessageKind, ...]:
        """Kinds of results that it receives."""
        return ("hl7",)

    @property
    def place(self) -> str:
        """The address for people."""
        return f"{self.host}:{self.port}"

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of values that do not go together (`boneage.strict`)."""
        if self.ca and not Path(self.ca).is_file():
            yield "ca", f"names no file: {self.ca!r}"
        for name in ("tls_name", "ca", "certificate"):
            if getattr(self, name) and not self.tls:
                yield name, "needs tls = true"


def read_secret(place: str) -> str:
    """Return a secret, as it is now: a file may be replaced while the service runs.

    Args:
        place: ``env:VARIABLE`` or ``file:PATH``.

    Raises:
        SecretError: it is absent or empty. The message names its place.
    """
    kind, _, name = place.partition(":")
    if kind == "env":
        value = os.environ.get(name, "")
    else:
        try:
            with Path(name).open("rb") as file:
                value = file.read(_LARGEST_SECRET).decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SecretError(f"{place} cannot be read ({type(error).__name__})") from None
    value = value.strip()
    if not value or not value.isprintable():
        raise SecretError(f"{place} holds no secret")
    return value
