"""Decisions on a result and its deletion, as the page offers them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client

from boneage.web.cases import decisions
from boneage.web.cases.decisions import CorrectionForm, DecisionInput
from boneage.web.models import Assessment, AuditEvent, Case, Decision, Picture, Role, State, User, Verdict
from boneage.web.queue.answer import Answer
from tests.web.conftest import CRITICAL, answer_of_phantom, answer_with, with_result
from tests.web.views.result.result_pages import HTMX, LogIn, MakeAssessment, address, submitted, text_of

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("years", "months", "total"), [("0", "0", 0.0), ("7", "", 84.0), ("18", "11", 227.0), ("19", "0", 228.0)]
)
def test_correction_form_valid_ages(years: str, months: str, total: float) -> None:
    """Possible ages are accepted."""
    form = CorrectionForm({"years": years, "months": months, "reason": "epiphyses"})
    assert form.is_valid()
    assert form.decision_input() == DecisionInput(Verdict.CORRECTED, total, "epiphyses")


@pytest.mark.parametrize(
    ("years", "months", "reason", "wrong"),
    [
        ("19", "1", "r", "months"),
        ("20", "0", "r", "years"),
        ("-1", "0", "r", "years"),
        ("7", "12", "r", "months"),
        ("", "3", "r", "years"),
        ("7.5", "0", "r", "years"),
        ("nan", "0", "r", "years"),
        ("7", "0", "  ", "reason"),
        ("7", "0", "x" * 2001, "reason"),
    ],
)
def test_correction_form_invalid_ages(years: str, months: str, reason: str, wrong: str) -> None:
    """Impossible ages are rejected."""
    form = CorrectionForm({"years": years, "months": months, "reason": reason})
    assert not form.is_valid()
    assert list(form.errors) == [wrong]
    assert "aria-invalid" in str(form[wrong])


def test_accept_in_open_mode(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """Accepting in the open mode."""
    assessment = done_assessment()
    answer = client.post(address(assessment, "decide"), {"verdict": "accepted"})
    assert (answer.status_code, answer["Location"]) == (302, address(assessment) + "#decision")
    assessment.refresh_from_db()
    assert (assessment.decision, assessment.decided_months) == ("accepted", 94.0)
    assert "Accepted" in text_of(client, address(assessment))


@pytest.mark.parametrize("by_htmx", [True, False])
def test_accept_critical_needs_second_click(
    clinic: None, done_assessment: MakeAssessment, log_in: LogIn, by_htmx: bool
) -> None:
    """Accepting a critical number takes a second click."""
    assessment, client = done_assessment(answer_with(CRITICAL)), log_in()
    headers = {"HX-Request": "true"} if by_htmx else {}
    path = address(assessment, "decide")
    question = client.post(path, {"verdict": "accepted"}, headers=headers)
    body = question.content.decode()
    assert (question.status_code, "<html" in body) == (422, not by_htmx)
    assert "Not accepted yet" in body
    panel = body[body.index('id="confirm-critical"') :]
    assert "not human" in panel  # why
    assert 'name="confirm_critical" value="1"' in panel
    assert "Accept 7 years 10 months anyway" in panel
    assert not Decision.objects.exists()
    done = client.post(path, {"verdict": "accepted", "confirm_critical": "1"}, headers=headers)
    assert done.status_code == (200 if by_htmx else 302)
    assert Decision.objects.get().age_months == 94.0


def test_correct_keeps_estimate_and_decisions(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """Correcting keeps the estimate and every decision."""
    assessment = done_assessment()
    client.post(address(assessment, "decide"), {"verdict": "accepted"})
    form = {"verdict": "corrected", "years": "8", "months": "2", "reason": "<capitate> & hamate"}
    answer = client.post(address(assessment, "decide"), form, headers=HTMX)
    assert answer.status_code == 200
    body = answer.content.decode()
    assert "8 years 2 months" in body
    assert "&lt;capitate&gt; &amp; hamate" in body
    assessment.refresh_from_db()
    assert (assessment.age_months, assessment.decided_months, assessment.decision) == (94.0, 98.0, "corrected")
    assert [one.verdict for one in assessment.decisions.all()] == ["accepted", "corrected"]


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_correct_invalid_comes_back(
    open_mode: None, done_assessment: MakeAssessment, client: Client, headers: dict[str, str]
) -> None:
    """A wrong correction comes back."""
    assessment = done_assessment()
    answer = client.post(address(assessment, "decide"), {"verdict": "corrected", "years": "30"}, headers=headers)
    assert answer.status_code == 422
    body = answer.content.decode()
    assert "Enter the reason for the correction." in body
    assert 'value="30"' in body
    assert "<details data-correct open>" in body
    assert not Decision.objects.exists()


def test_decide_without_estimate(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """Nothing is decided on a radiograph without an estimate."""
    rejected = done_assessment(Answer(State.REJECTED, "no_hand", "No hand."))
    correction = {"verdict": "corrected", "years": "8", "reason": "r"}
    for assessment in (rejected, submitted()):
        for form in ({"verdict": "accepted"}, correction, {}):
            assert client.post(address(assessment, "decide"), form).status_code == 409
    assert not Decision.objects.exists()


def test_meaningless_number_can_only_be_corrected(
    open_mode: None, done_assessment: MakeAssessment, client: Client
) -> None:
    """A meaningless number cannot be accepted but corrected."""
    assessment = done_assessment(with_result(answer_of_phantom(), is_meaningless=True))
    assert client.post(address(assessment, "decide"), {"verdict": "accepted"}).status_code == 409
    form = {"verdict": "corrected", "years": "8", "reason": "read by eye"}
    assert client.post(address(assessment, "decide"), form).status_code == 302


def test_decide_again_needs_reviewer(clinic: None, done_assessment: MakeAssessment, log_in: LogIn) -> None:
    """Only reviewers decide again."""
    assessment = done_assessment(case=Case.objects.create(reference="P1", sex="F"))
    before = Case.objects.get().changed_at
    reader, reviewer = log_in(Role.READER), log_in(Role.REVIEWER)
    accepted, correction = {"verdict": "accepted"}, {"verdict": "corrected", "years": "8", "reason": "r"}
    path = address(assessment, "decide")
    assert reader.post(path, accepted).status_code == 302
    assert Case.objects.get().changed_at > before
    assert reader.post(path, correction).status_code == 403
    assert "Only a reviewer" in text_of(reader, address(assessment))
    assert "Only a reviewer" not in text_of(reviewer, address(assessment))
    assert reviewer.post(path, correction).status_code == 302
    assert [str(one.decided_by) for one in assessment.decisions.all()] == ["reader", "reviewer"]
    logged = AuditEvent.objects.filter(action="decide", object_id=str(assessment.pk)).order_by("pk")
    assert [event.detail for event in logged] == [
        {"verdict": "accepted", "age_months": 94.0},
        {"verdict": "corrected", "age_months": 96.0},
    ]


def test_decide_after_another_decision(
    clinic: None, done_assessment: MakeAssessment, make_user: Callable[..., User]
) -> None:
    """The state that the page showed when it was loaded does not count."""
    assessment = done_assessment()
    stale = Assessment.objects.get(pk=assessment.pk)
    decisions.decide(assessment, DecisionInput(Verdict.ACCEPTED), make_user(Role.READER, "one"))
    with pytest.raises(PermissionDenied):
        decisions.decide(stale, DecisionInput(Verdict.ACCEPTED), make_user(Role.READER, "two"))
    assert Decision.objects.count() == 1


# --- deletion ---------------------------------------------------------------------------------------------------------


def test_delete_in_open_mode(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """Deleting in the open mode."""
    assessment = done_assessment()
    client.post(address(assessment, "decide"), {"verdict": "accepted"})
    answer = client.post(address(assessment, "delete"))
    assert (answer.status_code, answer["Location"]) == (302, "/")
    assert not (Assessment.objects.exists() or Picture.objects.exists() or Decision.objects.exists())


def test_delete_in_clinic_needs_reviewer(clinic: None, done_assessment: MakeAssessment, log_in: LogIn) -> None:
    """Deleting in the clinic is for reviewers."""
    case = Case.objects.create(reference="P1", sex="F")
    assessment = done_assessment(case=case)
    path, key = address(assessment, "delete"), str(assessment.pk)
    reader = log_in(Role.READER)
    assert "Delete this assessment" not in text_of(reader, address(assessment))
    assert reader.post(path).status_code == 403
    assert Assessment.objects.exists()
    answer = log_in(Role.REVIEWER).post(path)
    assert (answer.status_code, answer["Location"]) == (302, f"/cases/{case.pk}/")
    assert not Assessment.objects.exists()
    assert AuditEvent.objects.filter(action="delete", object_id=key, user_name="reviewer").count() == 1


# --- requests ---------------------------------------------------------------------------------------------------------


def test_changes_need_post(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """Changes need POST."""
    assessment = done_assessment()
    for rest in ("decide", "delete"):
        assert client.get(address(assessment, rest)).status_code == 405


def test_changes_need_csrf_token(open_mode: None, done_assessment: MakeAssessment) -> None:
    """Changes need a CSRF token."""
    assessment, strict = done_assessment(), Client(enforce_csrf_checks=True)
    for rest in ("decide", "delete"):
        assert strict.post(address(assessment, rest), {"verdict": "accepted"}).status_code == 403
    assert Assessment.objects.get().decision == ""
