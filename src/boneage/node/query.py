"""Questions which instances a peer has (C-FIND)."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence

from pydicom import Dataset
from pynetdicom.association import Association
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRootFind  # type: ignore[attr-defined]

from boneage.node.configuration import NodeSettings, Peer
from boneage.node.outcome import OutcomeCode, QueryOutcome, Reference, RequestError, Result, judge_status
from boneage.node.requesting import associated, no_response

_PENDING = {0xFF00, 0xFF01}
_MOST_OTHER_MATCHES = 100
"""Matches beside those of the request, as a peer gives that ignores a key. After more of them the association ends."""


def find_stored(peer: Peer, node: NodeSettings, references: Sequence[Reference]) -> QueryOutcome:
    """Ask a peer which of some instances it has, at the level IMAGE of the study root (PS3.4, annex C).

    Args:
        peer: receiver of the instances.
        node: the node, with its AE title and certificates.
        references: the instances, with the UIDs of study and series.

    Returns:
        The instances that it has; with another result than `Result.DONE` they are incomplete. Nothing is raised for a
        fault of peer or network.
    """
    by_series: dict[tuple[str, str], list[str]] = defaultdict(list)
    for reference in references:
        by_series[reference.study_uid, reference.series_uid].append(reference.sop_instance_uid)
    stored: set[str] = set()
    try:
        with associated(peer, node, [StudyRootFind]) as association:
            for (study, series), instances in by_series.items():
                stored.update(_find(association, study, series, instances))
    except RequestError as error:
        return QueryOutcome(error.outcome.result, error.outcome.code, error.outcome.status, frozenset(stored))
    return QueryOutcome(Result.DONE, OutcomeCode.SUCCESS, 0, frozenset(stored))


def _find(association: Association, study: str, series: str, instances: Sequence[str]) -> Iterator[str]:
    """Yield the instances of a series that the peer has."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "IMAGE"
    identifier.StudyInstanceUID, identifier.SeriesInstanceUID = study, series
    identifier.SOPInstanceUID = list(instances)
    begun, wanted = time.monotonic(), set(instances)
    try:
        responses = association.send_c_find(identifier, StudyRootFind)
    except (RuntimeError, ValueError):  # the association ended, or the peer accepts no context
        raise RequestError(Result.RETRY, OutcomeCode.ABORTED) from None
    for count, (response, match) in enumerate(responses):
        if "Status" not in response or count > len(wanted) + _MOST_OTHER_MATCHES:
            raise no_response(association, time.monotonic() - begun)
        if response.Status not in _PENDING:
            result, code = judge_status(int(response.Status))
            if result not in {Result.DONE, Result.WARNED}:
                raise RequestError(result, code)
            return
        uid = str(match.get("SOPInstanceUID", "")) if match is not None else ""
        if uid in wanted:
            yield uid
