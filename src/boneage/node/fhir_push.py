"""Sending of results to FHIR servers, each as one transaction.

The transactions create and update by identifiers (`boneage.messages.fhir.fhir_transaction`), so that one that is sent
twice leaves what it left the first time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from boneage.node.configuration import NodeSettings
from boneage.node.destinations import FhirServer
from boneage.node.outcome import Outcome, OutcomeCode, RequestError, Result, SendOutcome
from boneage.node.web_client import Answer, connected, judge_http

FHIR_JSON = "application/fhir+json"
_VERSIONS = {"R4B": "4.3", "R5": "5.0"}
"""Parameter ``fhirVersion`` of the media type, by version."""


def push(server: FhirServer, node: NodeSettings, files: Sequence[bytes]) -> list[SendOutcome]:
    """Send transactions to a server, in this order.

    After a failure of the connection the rest is not attempted and shares its outcome.

    Args:
        server: receiver.
        node: the node, with its certificates.
        files: bundles of the type ``transaction`` as JSON.

    Returns:
        One outcome for each transaction. Nothing is raised for a fault of server or network.
    """
    outcomes: list[SendOutcome] = []
    media_type = f"{FHIR_JSON}; fhirVersion={_VERSIONS[server.version]}"
    headers = {"Content-Type": media_type, "Accept": media_type, "Prefer": "return=minimal"}
    try:
        with connected(server, node) as client:
            for file in files:
                outcome = judge_transaction(client.request("POST", body=file, headers=headers), file)
                outcomes.append(SendOutcome(outcome.result, outcome.code, answer=outcome.answer))
    except RequestError as error:
        failed = SendOutcome(error.outcome.result, error.outcome.code, answer=error.outcome.answer)
        outcomes += [failed] * (len(files) - len(outcomes))
    return outcomes


def judge_transaction(answer: Answer, sent: bytes) -> Outcome:
    """Return the outcome of a transaction. It is done if the server reports success for each of its entries.

    Args:
        answer: answer of the server.
        sent: the transaction.
    """
    http = f"HTTP {answer.status}"
    result, code = judge_http(answer.status)
    if result is Result.DONE and not _is_success(answer, sent):
        result, code = Result.RETRY, OutcomeCode.UNCLEAR_ANSWER
    return Outcome(result, code, answer=http)


def _is_success(answer: Answer, sent: bytes) -> bool:
    try:
        document, transaction = json.loads(answer.body), json.loads(sent)
    except (ValueError, RecursionError):
        return False
    if not isinstance(document, dict) or document.get("type") != "transaction-response":
        return False
    entries = document.get("entry")
    statuses = [_status(entry) for entry in entries] if isinstance(entries, list) else []
    return len(statuses) == len(transaction["entry"]) and all(one.startswith("2") for one in statuses)


def _status(entry: Any) -> str:
    response = entry.get("response") if isinstance(entry, dict) else None
    status = response.get("status") if isinstance(response, dict) else None
    return status if isinstance(status, str) else ""
