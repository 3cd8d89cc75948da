"""Operations on the list of radiographs, which only the mode ``clinic`` has."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any

from django.db.models import F
from django.http import Http404, HttpRequest
from ninja import Query
from ninja.responses import Status

from boneage.severity import Severity
from boneage.web.accounts import audit
from boneage.web.accounts.access import assessments
from boneage.web.api.access import caller
from boneage.web.api.application import api, record_access
from boneage.web.api.description import Good, operation
from boneage.web.api.fallbacks import not_allowed
from boneage.web.api.schemas import Row, Rows, Search, StateName
from boneage.web.cases.worklist import AT_LEAST, of_determination
from boneage.web.models import configuration

_NEWEST = ("-submitted_at", "pk")
_ORDERS: Mapping[str, tuple[Any, ...]] = {
    "newest": _NEWEST,
    "sds": (F("sds").asc(nulls_last=True), *_NEWEST),
    "-sds": (F("sds").desc(nulls_last=True), *_NEWEST),
}


@api.get(
    "/assessments",
    tags=["list"],
    summary="List radiographs",
    **operation({200: Good("A page of the list.", Rows)}, "request_invalid", clinic_only=True),
)
def listed(
    request: HttpRequest,
    state: Annotated[StateName | None, Query(description="Only those in this state.")] = None,
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
    page_size: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Any:
    """Return all radiographs, newest first, without results that a later assessment of the radiograph replaces."""
    if configuration().is_open:
        return not_allowed("/assessments")
    return _page(request, Search(states=[state] if state else [], page=page, page_size=page_size))


@api.post(
    "/assessments/search",
    tags=["list"],
    summary="Search radiographs",
    **operation(
        {200: Good("A page of the matching radiographs.", Rows)},
        "request_malformed",
        "too_large",
        "request_invalid",
        clinic_only=True,
    ),
)
def search(request: HttpRequest, query: Search) -> Any:
    """Return the radiographs that match a query, without superseded results. The body holds the patient's reference,
    because proxies log URLs.
    """
    return _page(request, query)


def _page(request: HttpRequest, query: Search) -> Any:
    if configuration().is_open:
        raise Http404
    matching = (
        assessments(caller(request).user)
        .filter(superseded_by=None)
        .select_related("case")
        .defer("result", "note")
        .order_by(*_ORDERS[query.sort])
    )
    if query.reference is not None:
        matching = matching.filter(case__reference=unicodedata.normalize("NFC", query.reference))
    if query.states:
        matching = matching.filter(state__in=query.states)
    if query.decided is not None:
        matching = matching.exclude(decision="") if query.decided else matching.filter(decision="")
    if query.severity is not None:
        matching = matching.filter(AT_LEAST[Severity(query.severity)])
    if query.determination is not None:
        matching = of_determination(matching, query.determination)
    first = (query.page - 1) * query.page_size
    rows = [Row.model_validate(Row.values_of(one)) for one in matching[first : first + query.page_size]]
    record_access(request, None, audit.Action.VIEW, form="list", count=len(rows))
    return Status(200, Rows(items=rows, total=matching.count(), page=query.page, page_size=query.page_size))
