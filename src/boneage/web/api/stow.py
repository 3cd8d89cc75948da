"""STOW-RS (PS3.18, 10.5): radiographs arrive over HTTP, and are stored as those that a peer sends by C-STORE.

The address answers only with ``stow = true`` in the configuration of the node. Nothing can be retrieved from it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from boneage.node.answers import OUT_OF_RESOURCES, SUCCESS, Answers, StoredFile
from boneage.node.callers import CallerList
from boneage.node.configuration import STOW_NAME
from boneage.node.intake import Caller
from boneage.node.multipart import MultipartError, files_of
from boneage.web.accounts.access import address_of
from boneage.web.api.access import Token
from boneage.web.api.errors import problem
from boneage.web.models import configuration
from boneage.web.node.intake import DatabaseIntake
from boneage.web.node.pacs import node_configuration, takes_stow

DICOM_JSON = "application/dicom+json"
RETRY_SECONDS = 60


@csrf_exempt  # a token authenticates, not a cookie
@require_POST
def studies(request: HttpRequest) -> HttpResponse:
    """Store the instances of a request, and answer for each of them. The database has them before the answer."""
    if not takes_stow():
        raise Http404
    try:
        sender = Token()(request)
    except PermissionDenied:
        return problem("forbidden")
    if sender is None or sender.user is None:
        return problem("unauthenticated")
    try:
        files = files_of(request.headers.get("Content-Type", ""), request.read())  # `body` has the limit of forms
    except MultipartError as error:
        rejection = problem("request_malformed", str(error))
        if error.is_unsupported:
            rejection.status_code = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        return rejection
    largest = min(node_configuration().node.object_mebibytes * 2**20, configuration().radiograph_bytes)
    answers = Answers(CallerList([]), DatabaseIntake(sender.user, sender.via), largest)
    caller = Caller("", address_of(request), STOW_NAME)
    return response_of([answers.store_file(file, caller) for file in files])


def response_of(stored: Sequence[StoredFile]) -> HttpResponse:
    """Return the response with the outcome of each instance (PS3.18, tables 10.5.3-1 and I.2-2).

    Args:
        stored: outcomes, at least one.
    """
    taken = [one for one in stored if one.status == SUCCESS]
    failed = [one for one in stored if one.status != SUCCESS]
    document: dict[str, Any] = {}
    if taken:
        document["00081199"] = _sequence([_reference(one) for one in taken])
    if failed:
        reasons = [{**_reference(one), "00081197": {"vr": "US", "Value": [one.status]}} for one in failed]
        named = [item for item in reasons if "00081155" in item]
        others = [item for item in reasons if "00081155" not in item]
        document |= {"00081198": _sequence(named)} if named else {}
        document |= {"0008119A": _sequence(others)} if others else {}
    status = HTTPStatus.OK
    if failed:
        status = HTTPStatus.ACCEPTED if taken else HTTPStatus.CONFLICT
    is_busy = not taken and all(one.status == OUT_OF_RESOURCES for one in failed)
    if is_busy:
        status = HTTPStatus.SERVICE_UNAVAILABLE
    response = HttpResponse(json.dumps(document), status=status, content_type=DICOM_JSON)
    if is_busy:
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


def _reference(one: StoredFile) -> dict[str, Any]:
    if not one.sop_instance_uid:
        return {}
    return {
        "00081150": {"vr": "UI", "Value": [one.sop_class_uid]},
        "00081155": {"vr": "UI", "Value": [one.sop_instance_uid]},
    }


def _sequence(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"vr": "SQ", "Value": items}
