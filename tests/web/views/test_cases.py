"""The page of the worklist, as a browser gets it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from boneage.web.cases.decisions import DecisionInput, decide
from boneage.web.models import Assessment, AuditEvent, Case, Role, State, User, Verdict
from boneage.web.views.cases import EXPORTED
from tests.web.conftest import answer_of_phantom

pytestmark = [pytest.mark.django_db]

CASES = "/cases/"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def child() -> Case:
    return Case.objects.create(reference="P-0042", sex="F", birth_date=date(2015, 1, 1))


@pytest.mark.parametrize("name", ["cases", "cases_export", "case", "delete_case"])
def test_pages_absent_in_open_mode(name: str, open_mode: None, client: Client, child: Case) -> None:
    """The open mode has none of it."""
    address = reverse(name, kwargs={} if name.startswith("cases") else {"pk": child.pk})
    assert client.get(address).status_code == client.post(address).status_code == 404


@pytest.mark.parametrize("name", ["cases", "cases_export", "case", "delete_case"])
def test_pages_need_login(name: str, clinic: None, client: Client, child: Case) -> None:
    """Nobody sees it without login."""
    address = reverse(name, kwargs={} if name.startswith("cases") else {"pk": child.pk})
    for answer in (client.get(address), client.post(address)):
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/account/login")
    assert Case.objects.exists()


def test_reader_cannot_export_delete_or_change(clinic: None, log_in: Callable[..., Client], child: Case) -> None:
    """Readers neither export nor delete nor change."""
    reader = log_in()
    assert reader.get("/cases/export.csv").status_code == 403
    assert reader.post(f"/cases/{child.pk}/delete").status_code == 403
    assert reader.post(f"/cases/{child.pk}/", {"birth_date": "2016-01-01"}).status_code == 403
    child.refresh_from_db()
    assert child.birth_date == date(2015, 1, 1)
    page = reader.get(f"/cases/{child.pk}/").content.decode()
    assert "delete" not in page
    assert "birth_date" not in page
    assert f'href="/?case={child.pk}"' in page


def test_worklist_page_shows_rows(
    clinic: None, log_in: Callable[..., Client], child: Case, done_assessment: Callable[..., Assessment]
) -> None:
    """The worklist shows rows."""
    radiograph = done_assessment(case=child, note="<i>knee</i>")
    page = log_in(Role.REVIEWER).get(CASES)
    text = page.content.decode()
    assert page.status_code == 200
    assert page.headers["Cache-Control"] == "no-store"
    for expected in ("P-0042", "female", "7 years 10 months", "estimated", "+4.0", "Undecided", "Caution", "1 row"):
        assert expected in text
    assert f"/cases/{child.pk}/" in text
    assert f"/assessments/{radiograph.pk}/" in text
    assert "&lt;i&gt;knee" in text
    assert "style=" not in text
    assert 'aria-sort="descending"' in text
    event = AuditEvent.objects.get()
    assert (event.action, event.detail) == ("view", {"what": "worklist", "rows": 1, "searched": False})


def test_search_stays_out_of_address(
    clinic: None, log_in: Callable[..., Client], child: Case, done_assessment: Callable[..., Assessment]
) -> None:
    """It works by POST with and without JavaScript; in an address it is not read; the log does not have it."""
    done_assessment(case=child)
    done_assessment(radiograph_name="other.png")
    user = log_in(Role.REVIEWER)
    for headers in ({}, HTMX):
        response = user.post(CASES, {"search": "0042", "status": "decide"}, headers=headers)
        text = response.content.decode()
        assert "P-0042" in text
        assert "other.png" not in text
        assert ("<html" in text) is not bool(headers)
    assert response.headers["HX-Replace-Url"] == "/cases/?status=decide"
    assert 'id="count-decide" hx-swap-oob="true">1<' in text
    assert "other.png" in user.get(f"{CASES}?search=0042").content.decode()
    assert "0042" not in str(list(AuditEvent.objects.values()))


def test_history_restore_gets_whole_page(clinic: None, log_in: Callable[..., Client]) -> None:
    """History gets the whole page."""
    answer = log_in().get(CASES, headers={**HTMX, "HX-History-Restore-Request": "true"})
    assert "<html" in answer.content.decode()


def test_worklist_paging(clinic: None, log_in: Callable[..., Client]) -> None:
    """Fifty rows each; a page beyond the last is the last; sorting by a head begins again."""
    now = timezone.now()
    Assessment.objects.bulk_create(
        Assessment(
            radiograph_name=f"radiograph-{i:03d}.", sex="F", radiograph_bytes=1, submitted_at=now - timedelta(minutes=i)
        )
        for i in range(101)
    )
    user = log_in()

    def shown(**fields: Any) -> list[int]:
        text = user.post(CASES, fields).content.decode()
        return [i for i in range(101) if f">radiograph-{i:03d}." in text]

    assert shown() == list(range(50))
    assert shown(page="2") == list(range(50, 100))
    assert shown(page="9") == [100]
    assert shown(page="x") == shown(page="-1") == shown(page="0") == list(range(50))
    assert shown(by="date") == list(range(51, 101))
    assert shown(sort="date", page="3") == [0]
    assert shown(sort="-date", by="date") == shown(by="date")


def test_invalid_filter_is_reported(clinic: None, log_in: Callable[..., Client]) -> None:
    """An invalid filter is reported."""
    answer = log_in().post(CASES, {"since": "30 February"}, headers=HTMX)
    assert "Submitted from: Enter a valid date." in answer.content.decode()


def test_worklist_query_count_is_constant(clinic: None, log_in: Callable[..., Client]) -> None:
    """Queries do not grow."""
    user = log_in()
    user.get(CASES)  # the session keeps the filter
    counts = []
    for _ in range(2):
        for _ in range(5):
            case = Case.objects.create(reference=str(uuid4()), sex="F")
            Assessment.objects.create(case=case, sex="F", radiograph_bytes=1, state=State.REJECTED)
        with CaptureQueriesContext(connection) as queries:
            user.get(CASES)
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 8


def test_waiting_rows_are_polled(
    clinic: None, log_in: Callable[..., Client], done_assessment: Callable[..., Assessment]
) -> None:
    """The page asks for the rows that wait; those that are final come back, and the question for the rest."""
    user = log_in()
    done = done_assessment()
    assert 'id="watch"' not in user.get(CASES).content.decode()
    waiting = Assessment.objects.create(sex="F", radiograph_bytes=1)
    page = user.get(CASES).content.decode()
    assert f'name="watch" value="{waiting.pk} "' in page
    before = AuditEvent.objects.count()
    text = user.post(CASES, {"watch": f"{waiting.pk} {done.pk} {uuid4()}"}, headers=HTMX).content.decode()
    assert f'name="watch" value="{waiting.pk} "' in text
    assert f'<template><tr id="row-{done.pk}" hx-swap-oob="true">' in text
    assert f'id="row-{waiting.pk}"' not in text
    assert "watch" not in user.post(CASES, {"watch": str(done.pk)}, headers=HTMX).content.decode()
    assert AuditEvent.objects.count() == before
    assert user.post(CASES, {"watch": "x"}).status_code == 400


def test_export_csv(
    clinic: None, log_in: Callable[..., Client], child: Case, done_assessment: Callable[..., Assessment]
) -> None:
    """The export has the filtered rows, runs no formula in a spreadsheet, and is audited without the search."""
    radiograph = done_assessment(case=child, note="=HYPERLINK(1)", answer=answer_of_phantom(80.0, chronological=90.0))
    done_assessment(radiograph_name="other.png")
    user = log_in(Role.REVIEWER)
    decide(radiograph, DecisionInput(Verdict.CORRECTED, 84.0, "read again"), User.objects.get())
    answer = user.post("/cases/export.csv", {"search": "p-0042", "status": "corrected"})
    assert answer.streaming
    assert "attachment" in answer.headers["Content-Disposition"]
    text = b"".join(answer).decode("utf-8-sig")
    (row,) = csv.DictReader(StringIO(text, newline=""))
    assert tuple(row) == EXPORTED
    assert row["note"] == "'=HYPERLINK(1)"
    assert (row["bone_age_months"], row["bone_age_is"], row["estimated_age_months"]) == ("84.0", "decided", "80.0")
    assert (row["difference_months"], row["status"], row["reference"]) == ("-6.0", "corrected", "P-0042")
    assert (row["sds"], row["determination"], row["determination_reason"]) == ("-0.6", "normal", "")
    event = AuditEvent.objects.get(action="export")
    assert event.detail == {"what": "worklist", "rows": 1, "searched": True, "filter": {"status": "corrected"}}


def test_export_precision_and_zero(
    clinic: None, log_in: Callable[..., Client], done_assessment: Callable[..., Assessment]
) -> None:
    """The export names the precision of the chronological age, and writes no negative zero."""
    whole_years = replace(answer_of_phantom(), chronological_age_precision="years")
    done_assessment(whole_years)
    done_assessment(answer_of_phantom(89.97))
    unknown = answer_of_phantom(chronological=None)
    done_assessment(unknown)
    text = b"".join(log_in(Role.REVIEWER).get("/cases/export.csv")).decode("utf-8-sig")
    rows = list(csv.DictReader(StringIO(text, newline="")))[::-1]
    ages = [(row["chronological_age_months"], row["chronological_age_precision"]) for row in rows]
    assert ages == [("90.0", "years"), ("90.0", "days"), ("", "")]
    assert (rows[1]["difference_months"], rows[1]["sds"]) == ("0.0", "0.0")


def test_export_filter_from_address(
    clinic: None, log_in: Callable[..., Client], done_assessment: Callable[..., Assessment]
) -> None:
    """The export takes its filter from an address too."""
    done_assessment()
    user = log_in(Role.REVIEWER)
    lines = [b"".join(user.get(f"/cases/export.csv?status={status}")) for status in ("decide", "failed")]
    assert [line.count(b"\r\n") for line in lines] == [2, 1]


def test_export_rejects_invalid_filter(
    clinic: None, log_in: Callable[..., Client], done_assessment: Callable[..., Assessment]
) -> None:
    """A file would not show that it ignores a part of the filter; the page does."""
    done_assessment()
    user = log_in(Role.REVIEWER)
    answer = user.post("/cases/export.csv", {"since": "yesterday", "sex": "F"})
    assert answer.status_code == 400 and "Content-Disposition" not in answer.headers
    assert "Part of the filter is invalid" in answer.content.decode()
    assert not AuditEvent.objects.filter(action="export").exists()
