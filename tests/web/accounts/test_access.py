"""Who may do what, whose address counts, and what is found in which mode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from boneage.web.accounts.access import (
    address_of,
    assessment_or_404,
    client_of,
    for_role,
    member_of,
    name_digest,
    user_of,
)
from boneage.web.models import Assessment, Case, Role, User

ROLES = list(Role)


def request_of(user: User | None = None, method: str = "GET", *, is_part: bool = False) -> HttpRequest:
    request = RequestFactory().generic(method, "/somewhere/", headers={"HX-Request": "true"} if is_part else {})
    request.user = user or AnonymousUser()
    return request


@for_role(Role.REVIEWER, in_open=False)
def for_reviewers(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("seen")


@for_role(Role.REVIEWER, in_open=True)
def for_all_in_open(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("seen")


# --- roles ------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("role", ROLES)
def test_role_includes_lower_roles(clinic: None, make_user: Callable[..., User], role: Role) -> None:
    """A role may what the lower ones may."""
    user = make_user(role)
    assert [user.may(other) for other in ROLES] == [other in ROLES[: ROLES.index(role) + 1] for other in ROLES]
    if ROLES.index(role) < ROLES.index(Role.REVIEWER):
        with pytest.raises(PermissionDenied):
            for_reviewers(request_of(user))
    else:
        assert for_reviewers(request_of(user)).status_code == 200
    user.is_active = False
    assert not any(user.may(other) for other in ROLES)
    assert for_reviewers(request_of(user)).status_code == 302


@pytest.mark.django_db
def test_open_mode_has_no_users(open_mode: None, make_user: Callable[..., User]) -> None:
    """The open mode has no users."""
    user = make_user(Role.ADMINISTRATOR)
    assert user_of(request_of(user)) is None
    assert for_all_in_open(request_of()).status_code == 200
    for who in (user, None):
        with pytest.raises(Http404):
            for_reviewers(request_of(who))
    with pytest.raises(PermissionDenied):
        member_of(request_of(user))


def test_login_returns_to_page(clinic: None) -> None:
    """Whoever is not logged in comes back after the login to what can be shown."""
    login = reverse("login")
    assert for_reviewers(request_of())["Location"] == f"{login}?next=/somewhere/"
    assert for_reviewers(request_of(method="POST"))["Location"] == login
    part = for_reviewers(request_of(is_part=True))
    assert (part.status_code, part["HX-Redirect"]) == (200, login)


@pytest.mark.django_db
def test_pages_of_other_mode_are_not_found(
    settings: Settings, clinic: None, make_user: Callable[..., User], done_assessment: Callable[..., Assessment]
) -> None:
    """Assessments of one mode are not found in the other."""
    theirs = [
        done_assessment(submitted_by=make_user()),
        done_assessment(case=Case.objects.create(reference="a", sex="F")),
    ]
    for assessment in theirs:
        assert assessment_or_404(assessment.pk, None) == assessment
    settings.CONFIGURATION = replace(settings.CONFIGURATION, mode="open")
    own = done_assessment()
    assert assessment_or_404(own.pk, None) == own
    for assessment in theirs:
        with pytest.raises(Http404):
            assessment_or_404(assessment.pk, None)
    settings.CONFIGURATION = replace(settings.CONFIGURATION, mode="clinic")
    with pytest.raises(Http404):
        assessment_or_404(done_assessment(client="0" * 64).pk, None)
    settings.CONFIGURATION = replace(settings.CONFIGURATION, mode="open")
    Assessment.objects.update(expires_at=own.submitted_at)
    for pk in (own.pk, uuid4()):
        with pytest.raises(Http404):
            assessment_or_404(pk, None)


# --- addresses --------------------------------------------------------------------------------------------------------


def from_address(address: str, forwarded: str | None = None) -> HttpRequest:
    request = RequestFactory(REMOTE_ADDR=address).get("/")
    if forwarded is not None:
        request.META["HTTP_X_FORWARDED_FOR"] = forwarded
    return request


@pytest.fixture
def behind_proxy(settings: Settings) -> None:
    settings.CONFIGURATION = replace(settings.CONFIGURATION, proxy=True)


@given(claimed=st.text(), address=st.ip_addresses(v=4).map(str))
def test_address_of_without_proxy(claimed: str, address: str) -> None:
    """Without a proxy nobody is believed."""
    assert address_of(from_address(address, claimed)) == address


@given(claimed=st.lists(st.ip_addresses().map(str)), address=st.ip_addresses(v=4).map(str))
def test_address_of_with_proxy(claimed: list[str], address: str) -> None:
    """A proxy is believed what it adds."""
    from django.conf import settings as current

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(current, "CONFIGURATION", replace(current.CONFIGURATION, proxy=True))
        assert address_of(from_address("192.0.2.1", ", ".join([*claimed, address]))) == address


@pytest.mark.parametrize(
    ("address", "forwarded", "counts"),
    [
        ("192.0.2.1", None, "192.0.2.1"),
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "nonsense", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.7, ", "192.0.2.1"),
        ("192.0.2.1", "[2001:db8::7]", "2001:db8::7"),
        ("::ffff:192.0.2.1", None, "192.0.2.1"),
        ("", None, "0.0.0.0"),
        ("unix:", None, "0.0.0.0"),
    ],
)
def test_address_of_normalises(behind_proxy: None, address: str, forwarded: str | None, counts: str) -> None:
    """Addresses are counted in one form."""
    assert address_of(from_address(address, forwarded)) == counts


def test_client_of_is_keyed_digest(settings: Settings) -> None:
    """A client is counted by a digest that only this service can make."""
    here = client_of(from_address("192.0.2.1"))
    assert len(here) == 64
    assert here == client_of(from_address("192.0.2.1"))
    assert here != client_of(from_address("192.0.2.2"))
    settings.SECRET_KEY = "another"
    assert here != client_of(from_address("192.0.2.1"))


def test_network_of_counts_machine_once() -> None:
    """All addresses of one machine count as one client."""
    network = {client_of(from_address(f"2001:db8:1:2::{number:x}")) for number in range(1, 5)}
    assert len(network) == 1
    assert client_of(from_address("2001:db8:1:3::1")) not in network


@given(st.text(max_size=200))
def test_name_digest_normalises(typed: str) -> None:
    """Names are counted as the form takes them."""
    request = RequestFactory().post("/", {"username": typed})
    digest = name_digest(request, {"username": typed})
    assert len(digest) == 64
    assert digest == name_digest(request, {"username": f" {typed} "})


def test_name_digest_from_form() -> None:
    """Names come from the form where no credentials are known."""
    request: Any = RequestFactory().post("/", {"username": "rhea"})
    assert name_digest(request) == name_digest(request, {"username": "rhea"}) != name_digest(request, {"username": "r"})


@pytest.mark.django_db
def test_menu_of_reader(clinic: None, log_in: Callable[..., Client]) -> None:
    """A reader meets no page of administrators in the menu."""
    assert reverse("audit") not in log_in(Role.REVIEWER).get(reverse("account")).content.decode()
    assert reverse("audit") in log_in(Role.ADMINISTRATOR).get(reverse("account")).content.decode()
