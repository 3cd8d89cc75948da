"""Tokens of the REST API: whom it answers, and what its log says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from boneage.web.models import (
    ApiToken,
    Assessment,
    AuditEvent,
    Role,
    Scope,
    User,
)
from tests.web.api.programs import CORRECTION, Api, Maker, UserMaker, problem_of, work_off

pytestmark = pytest.mark.django_db


@pytest.mark.usefixtures("clinic")
def test_token_required(make_user: UserMaker, done_assessment: Maker) -> None:
    """Without a valid token the service states nothing."""
    address = f"assessments/{done_assessment().pk}"
    active, inactive = make_user(), make_user(name="gone")
    token, text = ApiToken.issue(active, "ward")
    _, of_gone = ApiToken.issue(inactive, "ward")
    User.objects.filter(pk=inactive.pk).update(is_active=False)
    assert Api(text).get(address).status_code == 200
    ApiToken.objects.filter(pk=token.pk).update(revoked_at=timezone.now())
    by_cookie = Api()
    by_cookie._client.force_login(active, backend="django.contrib.auth.backends.ModelBackend")
    paths = [address, f"{address}/result", f"{address}/heat.png", "assessments", "atlas", "atlas/F-094"]
    for caller in (Api(), Api(text), Api(of_gone), Api("ba_unknown"), Api(token.digest), by_cookie):
        for path in paths:
            response = caller.get(path)
            assert problem_of(response) == (401, "unauthenticated")
            assert response["WWW-Authenticate"] == "Bearer"
        assert problem_of(caller.submit(sex="F")) == (401, "unauthenticated")
        assert problem_of(caller.post(f"{address}/decision", CORRECTION)) == (401, "unauthenticated")
        assert problem_of(caller.delete(address)) == (401, "unauthenticated")
    assert Assessment.objects.count() == 1


@pytest.mark.usefixtures("clinic")
def test_token_expires(make_user: UserMaker) -> None:
    """A token expires."""
    token, text = ApiToken.issue(make_user(), "ward", days=30)
    assert timedelta(days=29, hours=23) < token.expires_at - timezone.now() <= timedelta(days=30)
    assert Api(text).get("assessments").status_code == 200
    ApiToken.objects.update(expires_at=timezone.now())
    assert problem_of(Api(text).get("assessments")) == (401, "unauthenticated")


@pytest.mark.usefixtures("clinic")
@pytest.mark.parametrize("scope", list(Scope))
def test_token_scope(make_user: UserMaker, done_assessment: Maker, scope: Scope) -> None:
    """A token does no more than its scope."""
    api = Api(ApiToken.issue(make_user(Role.REVIEWER), "ward", scope)[1])
    address = f"assessments/{done_assessment().pk}"
    needs = [
        (Scope.READ, api.get(f"{address}/result"), 200),
        (Scope.READ, api.post("assessments/search", {}), 200),
        (Scope.SUBMIT, api.submit(sex="F"), 202),
        (Scope.FULL, api.post(f"{address}/decision", CORRECTION), 200),
        (Scope.FULL, api.delete(address), 204),
    ]
    order = list(Scope)
    for needed, response, status in needs:
        if order.index(needed) <= order.index(scope):
            assert response.status_code == status
        else:
            assert problem_of(response) == (403, "forbidden")
    denied = AuditEvent.objects.filter(action="denied")
    assert denied.count() == sum(order.index(needed) > order.index(scope) for needed, *_ in needs)
    assert {event.detail["via"] for event in denied} <= {"token ward"}
    assert Assessment.objects.count() == {Scope.READ: 1, Scope.SUBMIT: 2, Scope.FULL: 1}[scope]


@pytest.mark.usefixtures("clinic")
def test_denied_is_logged(token_of: Callable[..., Api], done_assessment: Maker) -> None:
    """An operation that the role is denied is logged."""
    token_of().delete(f"assessments/{done_assessment().pk}")
    event = AuditEvent.objects.get(action="denied")
    assert (event.user_name, event.detail) == ("reader", {"page": "api", "method": "DELETE", "via": "token ward"})


@pytest.mark.usefixtures("clinic")
def test_token_use_is_noted_each_minute(make_user: UserMaker) -> None:
    """The use of a token is noted once a minute."""
    token, text = ApiToken.issue(make_user(), "ward")

    def used() -> Any:
        assert Api(text).get("assessments").status_code == 200
        return ApiToken.objects.get(pk=token.pk).last_used_at

    first = used()
    assert first is not None
    assert used() == first
    ApiToken.objects.filter(pk=token.pk).update(last_used_at=first - timedelta(minutes=2))
    assert used() > first


@pytest.mark.usefixtures("clinic")
def test_audit_names_user_and_token(token_of: Callable[..., Api]) -> None:
    """The log names user token and what was done."""
    reader = token_of()
    key = reader.submit(sex="F", reference="P 1").json()["id"]
    reader.get(f"assessments/{key}")
    work_off()
    for part in ("", "/result", "/radiograph.jpg", "/heat.png", "/overlay.png", "/report.pdf", "/fhir", "/hl7"):
        assert reader.get(f"assessments/{key}{part}").status_code == 200
    reader.post("assessments/search", {"reference": "P 1"})
    events = list(AuditEvent.objects.order_by("pk"))
    views, exports = ["view"] * 3, ["export"] * 3
    assert [event.action for event in events] == ["submit", "view", "export", *views, *exports, "view"]
    assert {event.user_name for event in events} == {"reader"}
    assert {event.detail["via"] for event in events} == {"token ward"}
    assert [event.object_id for event in events] == [key] * 9 + [""]
    assert "P 1" not in str([event.detail for event in events])
