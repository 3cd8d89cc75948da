"""Check of a configuration: the node's own address and certificates, and what each peer answers and accepts.

Nothing is stored anywhere. The check searches for a study that does not exist in a DICOMweb service, reads the
capabilities of a FHIR server, and opens and closes a connection to an HL7 receiver.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRootFind  # type: ignore[attr-defined]

from boneage.errors import ConfigurationError
from boneage.node import mllp
from boneage.node.address import is_in_use
from boneage.node.association import tls_context
from boneage.node.configuration import Destination, NodeConfiguration, NodeSettings, Peer
from boneage.node.destinations import DicomWebService, FhirServer, WebService
from boneage.node.echo import echo
from boneage.node.fhir_push import FHIR_JSON
from boneage.node.outcome import EchoOutcome, Outcome, OutcomeCode, RequestError, Result
from boneage.node.result_classes import RESULT_CLASSES
from boneage.node.stow import DICOM_JSON
from boneage.node.web_client import Answer, connected, judge_http

_NO_STUDY = "2.25.0"
"""UID of no study."""


@dataclass(frozen=True)
class PeerCheck:
    """Answer of a peer or another destination.

    Attributes:
        peer: the peer or destination.
        outcome: outcome of the C-ECHO, or of the request in its place.
        accepted: accepted services of those that the configuration needs, such as ``sr`` and ``commitment``, with the
            UID of the class, or with a description for other destinations.
        missing: services that it does not accept.
    """

    peer: Destination
    outcome: EchoOutcome
    accepted: dict[str, str]
    missing: tuple[str, ...]

    @property
    def is_ready(self) -> bool:
        """Return whether the peer answers and accepts all that is needed."""
        return self.outcome.result is Result.DONE and not self.missing


def check_address(node: NodeSettings) -> bool:
    """Check the certificates and the address of the node.

    Returns:
        True if the node can listen there, False if a DICOM node listens there already: probably this one.

    Raises:
        ConfigurationError: ``pacs_invalid``, ``address_invalid`` or ``port_in_use``.
    """
    if node.tls.is_set:
        tls_context(node.tls, server=True)
    place = f"{node.host}:{node.port}"
    try:
        if not is_in_use(node.host, node.port):
            return True
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError("address_invalid", f"The node cannot listen at {place}: {reason}.") from error
    itself = Peer("node", node.ae_title, node.host, node.port, tls=node.tls.required)
    if echo(itself, node).code in {OutcomeCode.REJECTED, OutcomeCode.SUCCESS}:  # it does not know itself as a peer
        return False
    raise ConfigurationError("port_in_use", f"Another program listens at {place}.")


def check_peer(peer: Peer, node: NodeSettings) -> PeerCheck:
    """Ask a peer for its answer, and for what it accepts. Nothing is stored.

    Args:
        peer: a peer with a port.
        node: the node.
    """
    needed: dict[str, tuple[str, ...]] = {kind: RESULT_CLASSES[kind] for kind in peer.results}
    if peer.results:
        needed["ko"] = RESULT_CLASSES["ko"]  # the class of retractions
    if peer.commit:
        needed |= {"commitment": (StorageCommitmentPushModel,), "query": (StudyRootFind,)}
    outcome = echo(peer, node, [uid for classes in needed.values() for uid in classes])
    accepted = {
        name: uid
        for name, classes in needed.items()
        if (uid := next((one for one in classes if one in outcome.accepted), ""))
    }
    missing = tuple(name for name in needed if name not in accepted) if outcome.result is Result.DONE else ()
    return PeerCheck(peer, outcome, accepted, missing)


def check_destination(destination: Destination, node: NodeSettings) -> PeerCheck:
    """Ask a peer or another destination for its answer. Nothing is stored.

    Args:
        destination: the destination; a peer must have a port.
        node: the node.
    """
    if isinstance(destination, Peer):
        return check_peer(destination, node)
    begun, services = time.monotonic(), dict[str, str]()
    try:
        if isinstance(destination, WebService):
            outcome = _ask(destination, node, services)
        else:
            with mllp.connected(destination, node):
                outcome = Outcome(Result.DONE, OutcomeCode.SUCCESS)
    except RequestError as error:
        outcome = error.outcome
    missing = tuple(name for name, description in services.items() if not description)
    accepted = {name: description for name, description in services.items() if description}
    seconds = time.monotonic() - begun
    echoed = EchoOutcome(outcome.result, outcome.code, None, frozenset(), seconds, answer=outcome.answer)
    return PeerCheck(destination, echoed, accepted, missing)


def _ask(service: WebService, node: NodeSettings, services: dict[str, str]) -> Outcome:
    """Ask a web service for its abilities; `services` takes a description of each, empty where one is missing."""
    with connected(service, node) as client:
        if isinstance(service, FhirServer):
            answer = client.request("GET", "/metadata", headers={"Accept": FHIR_JSON})
        else:
            query = {"StudyInstanceUID": _NO_STUDY, "limit": "1"}
            answer = client.request("GET", "/studies", headers={"Accept": DICOM_JSON}, parameters=query)
    result, code = judge_http(answer.status)
    has_no_queries = answer.status in {404, 405, 501} and isinstance(service, DicomWebService) and not service.commit
    if has_no_queries:  # STOW-RS may be there: only an object could show it
        return Outcome(Result.DONE, OutcomeCode.SUCCESS, answer=f"HTTP {answer.status}")
    if result is Result.DONE and isinstance(service, FhirServer):
        services |= _capabilities(answer, service.version)
    elif result is Result.DONE and isinstance(service, DicomWebService) and service.commit:
        services["query"] = "QIDO-RS"
    return Outcome(result, code, answer=f"HTTP {answer.status}")


def _capabilities(answer: Answer, version: str) -> dict[str, str]:
    """Return what a FHIR server says of itself: its version, and whether it takes transactions."""
    try:
        statement = json.loads(answer.body)
    except (ValueError, RecursionError):
        statement = None
    if not isinstance(statement, dict) or statement.get("resourceType") != "CapabilityStatement":
        return {"metadata": ""}
    stated = str(statement.get("fhirVersion", ""))
    wanted = {"R4B": ("4.3", "4.0"), "R5": ("5.0",)}[version]  # the resources of R4B and R4 are the same here
    rest = statement.get("rest")
    interactions = [
        interaction.get("code")
        for one in (rest if isinstance(rest, list) else [])
        if isinstance(one, dict)
        for interaction in one.get("interaction") or []
        if isinstance(interaction, dict)
    ]
    return {
        "version": f"FHIR {stated}" if stated.startswith(wanted) else "",
        "transaction": "transaction" if {"transaction", "batch"} & {*interactions} else "",
    }


def check_peers(configuration: NodeConfiguration) -> list[PeerCheck]:
    """Check all peers that have a port, and all other destinations, in the order of the file."""
    destinations = [one for one in configuration.destinations() if not isinstance(one, Peer) or one.port]
    return [check_destination(one, configuration.node) for one in destinations]
