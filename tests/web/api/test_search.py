"""The list of radiographs of the REST API."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from boneage.web.models import (
    Case,
    State,
)
from boneage.web.queue.answer import Answer
from tests.web.api.programs import CORRECTION, Api, Maker, problem_of

pytestmark = pytest.mark.django_db


@pytest.mark.usefixtures("clinic")
def test_list_paging_and_search(token_of: Callable[..., Api], done_assessment: Maker) -> None:
    """The list is paged and narrowed."""
    reader = token_of()
    one, two = (Case.objects.create(reference=name, sex="F") for name in ("Zo\u00eb", "B"))
    at = timezone.now()
    made = [done_assessment(case=case, submitted_at=at - timedelta(days=i)) for i, case in enumerate([one, two, one])]
    rejected = done_assessment(Answer(State.REJECTED, "no_hand", "None."), submitted_at=at - timedelta(days=9))
    keys = [str(assessment.pk) for assessment in (*made, rejected)]
    reader.post(f"assessments/{keys[2]}/decision", CORRECTION)

    def ids(response: Any) -> list[str]:
        assert response.status_code == 200
        return [item["id"] for item in response.json()["items"]]

    assert ids(reader.get("assessments")) == keys
    assert ids(reader.get("assessments?page_size=3&page=2")) == keys[3:]
    assert reader.get("assessments?page_size=3&page=9").json() == {"items": [], "total": 4, "page": 9, "page_size": 3}
    assert ids(reader.get("assessments?state=rejected")) == keys[3:]
    assert ids(reader.post("assessments/search", {})) == keys
    assert ids(reader.post("assessments/search", {"reference": "Zoe\u0308"})) == [keys[0], keys[2]]
    assert ids(reader.post("assessments/search", {"reference": "zo\u00eb"})) == []
    assert ids(reader.post("assessments/search", {"decided": True})) == [keys[2]]
    assert ids(reader.post("assessments/search", {"decided": False, "states": ["done"]})) == keys[:2]
    row = reader.get("assessments").json()["items"][2]
    assert (row["reference"], row["age_months"], row["decision"], row["decided_age_months"]) == (
        "Zo\u00eb",
        94.0,
        "corrected",
        101.5,
    )
    assert "result" not in row


@pytest.mark.usefixtures("clinic")
def test_list_leaves_out_superseded(token_of: Callable[..., Api], done_assessment: Maker) -> None:
    """A result that a later assessment of the radiograph replaces counts nowhere."""
    reader, replacement = token_of(), done_assessment()
    done_assessment(superseded_by=replacement)
    for response in (reader.get("assessments"), reader.post("assessments/search", {"sort": "sds"})):
        assert [item["id"] for item in response.json()["items"]] == [str(replacement.pk)]
        assert response.json()["total"] == 1


@pytest.mark.usefixtures("clinic")
@pytest.mark.parametrize("query", ["page=0", "page=x", "page_size=201", "state=lost"])
def test_list_invalid_page(token_of: Callable[..., Api], query: str) -> None:
    """A wrong page is rejected."""
    assert problem_of(token_of().get(f"assessments?{query}")) == (422, "request_invalid")


def test_open_mode_has_no_list(in_open: Api) -> None:
    """The open mode has no list and no references."""
    assert problem_of(in_open.get("assessments")) == (405, "method_not_allowed")
    assert problem_of(in_open.post("assessments/search", {})) == (404, "not_found")
    assert problem_of(in_open.send("PUT", "assessments/search")) == (404, "not_found")
    assert in_open.submit(sex="F", reference="P 1").json()["reference"] is None
    assert not Case.objects.exists()
