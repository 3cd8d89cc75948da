"""Delivery of results to any kind of destination."""

from __future__ import annotations

from collections.abc import Sequence

from boneage.node import fhir_push, mllp, sender, stow
from boneage.node.configuration import Destination, NodeSettings, Peer
from boneage.node.destinations import DicomWebService, FhirServer
from boneage.node.outcome import SendOutcome


def deliver(destination: Destination, node: NodeSettings, files: Sequence[bytes]) -> list[SendOutcome]:
    """Send results to a destination, in this order.

    Args:
        destination: the destination.
        node: the node, with its AE title and certificates.
        files: result objects for peers and DICOMweb services, transactions for FHIR servers, messages for HL7
            receivers.

    Returns:
        One outcome for each of them. Nothing is raised for a fault of destination or network.
    """
    if isinstance(destination, Peer):
        return sender.send(destination, node, files)
    if isinstance(destination, DicomWebService):
        return stow.store(destination, node, files)
    if isinstance(destination, FhirServer):
        return fhir_push.push(destination, node, files)
    return mllp.transmit(destination, node, files)
