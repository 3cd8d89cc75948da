"""The configuration file of the node (``pacs.toml``): its own address, the peers, what is read and where results go."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from boneage import strict
from boneage.errors import ConfigurationError
from boneage.node.destinations import DicomWebService, FhirServer, Hl7Receiver, Name, ResultKind, Seconds
from boneage.strict import Bounds, InvalidValueError, Length, Matching, NotEmpty
from boneage.words import SOURCE_LANGUAGE, languages

AETitle = Annotated[
    str,
    Matching(
        re.compile(r"(?=[^ ])[ -\[\]-~]{1,16}(?<=[^ ])"),
        "an AE title: 1 to 16 ASCII characters, no backslash, no space at either end",
    ),
]
"""Title of an application entity (PS3.5, 6.2, AE), without padding."""
STOW_NAME = "stow-rs"
"""Name of the sender of whatever arrives by STOW-RS, in the place of a peer's."""
Sides = Literal["left_first", "right_first", "both"]

_LARGEST_FILE = 2**20
"""Bytes of the configuration file that are read."""


@dataclass(frozen=True)
class TLSFiles:
    """Certificates of the node, PEM files. Both ends of a connection show a certificate (PS3.15, annex B).

    Attributes:
        cert: certificate of the node, with its chain.
        key: private key of the certificate.
        ca: certificates of the authorities that sign the peers' certificates.
        required: the listener accepts TLS only. Otherwise it accepts no TLS, and the certificate serves connections to
            peers with ``tls = true``.
    """

    cert: str = ""
    key: str = ""
    ca: str = ""
    required: bool = False

    @property
    def is_set(self) -> bool:
        """Return whether the files are named."""
        return bool(self.cert)

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of values that do not go together (`boneage.strict`)."""
        for name in ("cert", "key", "ca"):
            value = getattr(self, name)
            if not value and (self.cert or self.key or self.ca or self.required):
                yield name, "must be set, since TLS needs cert, key and ca"
            if value and not Path(value).is_file():
                yield name, f"names no file: {value!r}"


@dataclass(frozen=True)
class NodeSettings:
    """The node itself.

    Attributes:
        ae_title: AE title of the node, by which it calls others, and which callers must use.
        called_ae_titles: further AE titles that callers may use, so that they can choose a department, for example.
        any_called_ae_title: callers may use any AE title.
        host: IP address or host name at which it listens; ``0.0.0.0`` for all addresses of the machine.
        port: its port; 0 for any free one.
        associations: number of associations that it serves at a time; further ones are rejected for the moment.
        object_mebibytes: largest data set that it accepts, MiB.
        timeout_seconds: longest wait for a peer in the middle of a negotiation or a message, seconds.
        idle_seconds: an association without any message is aborted after this time, seconds.
        stow: the service accepts radiographs by STOW-RS, too (PS3.18, 10.5), with tokens of its REST API.
        tls: certificates; without them there is no TLS.
    """

    ae_title: AETitle = "BONEAGE"
    called_ae_titles: tuple[AETitle, ...] = ()
    any_called_ae_title: bool = False
    host: NotEmpty = "127.0.0.1"
    port: Annotated[int, Bounds(at_least=0, at_most=65535)] = 11112
    associations: Annotated[int, Bounds(at_least=1, at_most=256)] = 8
    object_mebibytes: Annotated[int, Bounds(at_least=1, at_most=1024)] = 64
    timeout_seconds: Seconds = 30.0
    idle_seconds: Seconds = 60.0
    stow: bool = False
    tls: TLSFiles = field(default_factory=TLSFiles)

    def is_called(self, ae_title: str) -> bool:
        """Return whether the node answers to an AE title, which stands without padding."""
        return self.any_called_ae_title or ae_title in {self.ae_title, *self.called_ae_titles}


@dataclass(frozen=True)
class Selection:
    """Which instances of a study are read.

    Attributes:
        modalities: values of Modality that are read.
        body_parts: values of Body Part Examined that are read; it is enough that the value contains one of them.
        descriptions: words in a description of study, series or procedure that mean an examination of bone age,
            whichever body part is stated. Upper case and accents make no difference.
        unstated_body_part: ``try`` reads a radiograph whose body part is not stated; ``skip`` does not.
        max_age_years: older patients are skipped, years; patients without a known age are read.
        for_processing: a raw radiograph (FOR PROCESSING) is read never, always, or if its study has no radiograph FOR
            PRESENTATION of the same hand.
        study_quiet_seconds: a study is complete when nothing has arrived for it for this time, seconds.
        sides: ``left_first`` and ``right_first`` read one radiograph of a study, by preference of that side; ``both``
            reads one of each side.
    """

    modalities: Annotated[tuple[NotEmpty, ...], Length(1)] = ("CR", "DX")
    body_parts: tuple[NotEmpty, ...] = ("HAND", "WRIST")
    descriptions: tuple[NotEmpty, ...] = (
        "bone age",
        "knochenalter",
        "edad osea",
        "idade ossea",
        "age osseux",
        "骨龄",
        "骨齡",
    )
    unstated_body_part: Literal["try", "skip"] = "try"
    max_age_years: Annotated[float, Bounds(at_least=1, at_most=130)] = 19.0
    for_processing: Literal["never", "if_alone", "always"] = "if_alone"
    study_quiet_seconds: Annotated[float, Bounds(at_least=0, at_most=86400)] = 20.0
    sides: Sides = "left_first"


@dataclass(frozen=True)
class Peer:
    """An application entity that sends radiographs, or receives results.

    Attributes:
        name: short name in this file, on pages and in logs.
        ae_title: its AE title.
        host: its address or host name.
        port: its port; 0 if it accepts no associations, like a modality.
        addresses: further addresses or networks (``10.0.0.0/24``) from which it calls.
        may_send: the node accepts its radiographs.
        results: kinds of result objects that it receives.
        commit: the node requests storage commitment from it.
        tls: connections to it use TLS.
        tls_name: name that its certificate must show; its host if it is empty.
    """

    name: Name
    ae_title: AETitle
    host: NotEmpty
    port: Annotated[int, Bounds(at_least=0, at_most=65535)] = 104
    addresses: tuple[NotEmpty, ...] = ()
    may_send: bool = False
    results: tuple[ResultKind, ...] = ()
    commit: bool = False
    tls: bool = False
    tls_name: str = ""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of results that it receives."""
        return self.results

    @property
    def place(self) -> str:
        """The address for people."""
        return self.ae_title

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of values that do not go together (`boneage.strict`)."""
        for number, address in enumerate(self.addresses):
            try:
                ipaddress.ip_network(address)
            except ValueError:
                yield f"addresses[{number}]", f"must be an IP address or network, not {address!r}"
        if self.port == 0 and (self.results or self.commit):
            yield "port", "must be above 0 for a peer that receives results"
        if len(set(self.results)) < len(self.results):
            yield "results", "names a kind twice"
        if self.commit and not self.results:
            yield "commit", "needs results, for which it is requested"


Destination = Peer | DicomWebService | FhirServer | Hl7Receiver
"""Whatever receives results."""


@dataclass(frozen=True)
class Delivery:
    """Delivery of results.

    Attributes:
        when: ``at_once`` sends the estimate when it is made, and another report after a physician's decision;
            ``decided`` sends nothing before the decision.
        to: names of the peers, services, servers and receivers that results go to.
        on_rejection: ``picture`` sends a page that says why a radiograph was not assessed; ``nothing`` sends nothing.
        give_up_hours: attempts at a delivery end after this time, hours.
        language: language of the words on pages and reports, such as ``de`` or ``pt_BR``.
    """

    when: Literal["at_once", "decided"] = "at_once"
    to: tuple[Name, ...] = ()
    on_rejection: Literal["nothing", "picture"] = "nothing"
    give_up_hours: Annotated[float, Bounds(above=0, at_most=24 * 365)] = 72.0
    language: str = SOURCE_LANGUAGE

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of values that do not go together (`boneage.strict`)."""
        if self.language not in languages():
            yield "language", f"must be one of {', '.join(languages())}, not {self.language!r}"


@dataclass(frozen=True)
class NodeConfiguration:
    """The whole file.

    Attributes:
        node: the node itself.
        select: which instances are read.
        peer: the peers, at least one.
        dicomweb: DICOMweb services that receive results.
        fhir: FHIR servers that receive results.
        hl7: receivers of results as HL7 messages.
        deliver: where results go.
    """

    peer: Annotated[tuple[Peer, ...], Length(1)]
    node: NodeSettings = field(default_factory=NodeSettings)
    select: Selection = field(default_factory=Selection)
    dicomweb: tuple[DicomWebService, ...] = ()
    fhir: tuple[FhirServer, ...] = ()
    hl7: tuple[Hl7Receiver, ...] = ()
    deliver: Delivery = field(default_factory=Delivery)

    def find_peer(self, name: str) -> Peer | None:
        """Return the peer with a name, or None."""
        return next((one for one in self.peer if one.name == name), None)

    def destinations(self) -> list[Destination]:
        """Return everything with a name, in the order of the file's tables."""
        return [*self.peer, *self.dicomweb, *self.fhir, *self.hl7]

    def receivers(self) -> list[Destination]:
        """Return the destinations that receive results, in the order of `Delivery.to`."""
        by_name = {one.name: one for one in self.destinations()}
        return [by_name[name] for name in self.deliver.to if name in by_name]

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of values that do not go together (`boneage.strict`)."""
        kinds: dict[str, tuple[str, ...]] = {}
        for table in ("peer", "dicomweb", "fhir", "hl7"):
            one: Destination
            for number, one in enumerate(getattr(self, table)):
                if one.name in kinds:
                    yield f"{table}[{number}].name", f"is given twice: {one.name!r}"
                if one.name == STOW_NAME:
                    yield f"{table}[{number}].name", f"must not be {STOW_NAME!r}, which is the sender of STOW-RS"
                kinds[one.name] = one.kinds
                key = "tls" if isinstance(one, Peer) else "certificate"
                if getattr(one, key) and not self.node.tls.is_set:
                    yield f"{table}[{number}].{key}", "needs the certificates of node.tls"
        for number, name in enumerate(self.deliver.to):
            if name not in kinds:
                yield f"deliver.to[{number}]", f"names no peer or other destination: {name!r}"
            elif not kinds[name]:
                yield f"deliver.to[{number}]", f"names a peer without results: {name!r}"
            elif name in self.deliver.to[:number]:
                yield f"deliver.to[{number}]", f"names a destination twice: {name!r}"


def read_configuration(path: Path) -> NodeConfiguration:
    """Read the configuration file of the node.

    Relative paths of certificates are relative to the file.

    Args:
        path: a TOML file.

    Raises:
        ConfigurationError: ``pacs_invalid`` if it cannot be read, or with the place of the first fault.
    """
    try:
        with path.open("rb") as file:
            table = tomllib.loads(file.read(_LARGEST_FILE).decode("utf-8"))
    except OSError as error:
        raise ConfigurationError("pacs_invalid", f"{path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError("pacs_invalid", f"{path} is not TOML: {error}.") from error
    try:
        return strict.read(NodeConfiguration, _with_absolute_paths(table, path.absolute().parent))
    except InvalidValueError as error:
        raise ConfigurationError("pacs_invalid", f"{path} is not valid: {error}.") from error


def _with_absolute_paths(table: dict[str, object], folder: Path) -> dict[str, object]:
    """Return the table with the paths of certificates and secrets made absolute."""
    made = dict(table)
    node = table.get("node")
    if isinstance(node, dict) and isinstance(node.get("tls"), dict):
        made["node"] = {**node, "tls": {key: _absolute(value, folder) for key, value in node["tls"].items()}}
    for kind in ("dicomweb", "fhir", "hl7"):
        entries = table.get(kind)
        if isinstance(entries, list):
            made[kind] = [_with_absolute_path(entry, folder) for entry in entries]
    return made


def _with_absolute_path(entry: object, folder: Path) -> object:
    if not isinstance(entry, dict):
        return entry
    made = {key: _absolute(value, folder) if key == "ca" else value for key, value in entry.items()}
    secret = made.get("secret")
    if isinstance(secret, str) and secret.startswith("file:"):
        made["secret"] = f"file:{_absolute(secret.removeprefix('file:'), folder)}"
    return made


def _absolute(value: object, folder: Path) -> object:
    return str(folder / value) if isinstance(value, str) and value else value
