"""Whatever stands in an address or a form, no view fails: extreme dates and numbers, NUL, surrogates, long texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_from_bytes, urlencode

import pytest
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from boneage.web.models import ApiToken, Assessment, Case, Role, User

EXTREMES = [
    "9999-12-31",
    "0001-01-01",
    "1900-01-01",
    "2024-02-30",
    "-1",
    "0",
    "1e308",
    "nan",
    "inf",
    str(2**31),
    str(2**63),
    "9" * 30,
    "9" * 5000,
    "٣",
    "\x00",
    "a\x00b",
    "\ud800",
    "\uffff",
    "x" * 70_000,
    "%",
    "_",
    "\\",
    "'",
    "--",
    "on",
    "F",
]
TEXTS = st.one_of(st.sampled_from(EXTREMES), st.text(max_size=30), st.integers().map(str), st.dates().map(str))

PAGES = {
    "cases": ["search", "status", "sex", "since", "until", "mine", "doubts", "sort", "by", "page", "watch"],
    "cases_export": ["status", "sex", "since", "until", "mine", "doubts", "sort"],
    "audit": ["user", "action", "object", "since", "until", "before"],
    "home": ["case"],
    "atlas": ["sex", "key", "age", "page", "assessment"],
    "login": ["next"],
    "about": ["x"],
    "account": ["x"],
}
"""Pages and the parameters that they read, or might."""

SUBMITTED = ["sex", "birth_date", "study_date", "given_age_years", "given_age_months", "reference", "note"]

FORM = "application/x-www-form-urlencoded"

quick = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def encoded(values: dict[str, str]) -> str:
    """A query, with what UTF-8 cannot hold as bytes that are no UTF-8."""
    return urlencode({name: text.encode("utf-8", "surrogatepass") for name, text in values.items()})


@pytest.fixture
def administrator(clinic: None, log_in: Callable[..., Client]) -> Client:
    client = log_in(Role.ADMINISTRATOR)
    client.raise_request_exception = False
    return client


@pytest.mark.django_db
@pytest.mark.parametrize("name", PAGES)
def test_pages_with_extreme_parameters(administrator: Client, name: str) -> None:
    """A parameter alone, and all together; in the address, and as a form."""
    failed = []
    for number, value in enumerate(EXTREMES):
        alone = PAGES[name][number % len(PAGES[name])]
        got = administrator.get(f"{reverse(name)}?{encoded({alone: value})}")
        posted = administrator.post(reverse(name), encoded(dict.fromkeys(PAGES[name], value)), content_type=FORM)
        if max(got.status_code, posted.status_code) >= 500:
            failed.append((alone, value[:40]))
    assert not failed


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["cases", "audit"])
def test_filters_with_extreme_dates(administrator: Client, name: str) -> None:
    """No filter fails on a date."""
    for parameter in ("since", "until"):
        for day in ("0001-01-01", "1900-01-01", "9999-12-30", "9999-12-31"):
            assert administrator.get(f"{reverse(name)}?{parameter}={day}").status_code == 200, day


@pytest.mark.django_db
@quick
@example(("cases", {"until": "9999-12-31"}))
@example(("audit", {"until": "9999-12-31", "since": "9999-12-31"}))
@given(
    st.sampled_from(sorted(PAGES)).flatmap(
        lambda name: st.tuples(st.just(name), st.dictionaries(st.sampled_from(PAGES[name]), TEXTS, max_size=4))
    )
)
def test_pages_with_random_parameters(administrator: Client, page_and_query: tuple[str, dict[str, str]]) -> None:
    """No page fails on any parameters."""
    name, values = page_and_query
    assert administrator.get(f"{reverse(name)}?{encoded(values)}").status_code < 500


@pytest.mark.django_db
def test_radiograph_pages_with_extreme_parameters(
    administrator: Client, done_assessment: Callable[..., Assessment]
) -> None:
    """No page of a radiograph fails on an extreme."""
    case = Case.objects.create(reference="P-1", sex="F")
    assessment = done_assessment(case=case)
    forms = {
        reverse("decide", args=[assessment.pk]): ["verdict", "years", "months", "reason"],
        reverse("case", args=[case.pk]): ["birth_date"],
        reverse("submit"): SUBMITTED,
        reverse("set_language"): ["language", "next"],
    }
    failed = []
    for value in EXTREMES:
        address = reverse("state", args=[assessment.pk])
        if administrator.get(f"{address}?{encoded({'seen': value})}").status_code >= 500:
            failed.append((address, value[:40]))
        for address, fields in forms.items():
            response = administrator.post(address, encoded(dict.fromkeys(fields, value)), content_type=FORM)
            if response.status_code >= 500:
                failed.append((address, value[:40]))
    assert not failed


PATHS = [b"9" * 30, b"-1", b"\x00", b"\xff", b"\xed\xa0\x80", b"x" * 3000, b"..", b"a\nb", "٣".encode()]


@pytest.mark.django_db
@pytest.mark.parametrize("part", PATHS)
def test_random_addresses(administrator: Client, part: bytes) -> None:
    """No address fails."""
    text = quote_from_bytes(part)
    for address in (
        f"/cases/{text}/",
        f"/assessments/{text}/",
        f"/atlas/{text}",
        f"/administration/users/{text}/",
        f"/account/tokens/{text}/revoke",
        f"/api/assessments/{text}",
        f"/api/atlas/{text}",
        f"/static/{text}",
        f"/{text}",
    ):
        for method in ("GET", "POST"):
            assert administrator.generic(method, address).status_code < 500, address


@pytest.fixture
def program(clinic: None, make_user: Callable[..., User]) -> Client:
    token = ApiToken.issue(make_user(Role.ADMINISTRATOR), "ward")[1]
    return Client(raise_request_exception=False, headers={"Authorization": f"Bearer {token}"})


@pytest.mark.django_db
def test_operations_with_extreme_parameters(program: Client, done_assessment: Callable[..., Assessment]) -> None:
    """No operation of the api fails on an extreme."""
    radiograph = done_assessment()
    failed = []
    for value in EXTREMES:
        answers = [program.get(f"/api/assessments?{encoded({name: value})}") for name in ("state", "page", "page_size")]
        answers.append(program.get(f"/api/assessments/{radiograph.pk}?{encoded({'wait': value})}"))
        bodies: list[tuple[str, dict[str, Any]]] = [
            *(("search", {name: value}) for name in ("reference", "decided", "page", "page_size")),
            ("search", {"states": [value]}),
            (f"{radiograph.pk}/decision", {"verdict": value}),
            (f"{radiograph.pk}/decision", {"verdict": "corrected", "age_months": value, "reason": "x"}),
            (f"{radiograph.pk}/decision", {"verdict": "corrected", "age_months": 90, "reason": value}),
        ]
        for address, body in bodies:
            answers.append(
                program.post(f"/api/assessments/{address}", json.dumps(body), content_type="application/json")
            )
        form = encoded({**dict.fromkeys(SUBMITTED, value), "sex": "F"})
        answers.append(program.post("/api/assessments", form, content_type=FORM))
        failed += [(number, value[:40]) for number, response in enumerate(answers) if response.status_code >= 500]
    assert not failed


@pytest.mark.django_db
@pytest.mark.parametrize("number", [2**63, -(2**63), 10**400, 1e308, 1.5])
def test_operations_with_extreme_numbers(program: Client, number: float) -> None:
    """No operation of the api fails on a number."""
    for name in ("page", "page_size"):
        answer = program.post("/api/assessments/search", json.dumps({name: number}), content_type="application/json")
        assert answer.status_code == 422, name
