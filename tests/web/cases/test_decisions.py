"""Decisions are added and the last one counts; who may decide, decide again, and delete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boneage.bundle.estimate import OLDEST_MONTHS
from boneage.web.cases.decisions import DecisionError, DecisionInput, decide, delete_assessment, may_decide
from boneage.web.models import Assessment, AuditEvent, Case, Decision, Picture, Role, State, User, Verdict
from boneage.web.queue.jobs import finish
from tests.web.conftest import CRITICAL, answer_of_phantom, answer_with, with_result

pytestmark = pytest.mark.django_db

ACCEPT = DecisionInput(Verdict.ACCEPTED)

Maker = Callable[..., Assessment]
UserMaker = Callable[..., User]

decisions_drawn = st.one_of(
    st.just(ACCEPT),
    st.builds(DecisionInput, st.just(Verdict.CORRECTED), st.floats(0, OLDEST_MONTHS), st.text(min_size=1, max_size=20)),
)


@pytest.mark.usefixtures("open_mode")
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(decisions_drawn, min_size=1, max_size=4))
def test_decide_keeps_all_and_last_counts(done_assessment: Maker, history: list[DecisionInput]) -> None:
    """All decisions stay and the last one counts."""
    assessment = done_assessment()
    estimate = assessment.age_months
    for one in history:
        decide(assessment, one, None)
    kept = list(assessment.decisions.all())
    expected = [estimate if one.age_months is None else one.age_months for one in history]
    assert [(one.verdict, one.age_months, one.reason) for one in kept] == [
        (one.verdict, months, one.reason) for one, months in zip(history, expected, strict=True)
    ]
    stored = Assessment.objects.get(pk=assessment.pk)
    assert (stored.decision, stored.current_months) == (history[-1].verdict, expected[-1])
    assert (assessment.decision, assessment.decided_months) == (stored.decision, stored.decided_months)
    assert stored.age_months == estimate


@pytest.mark.usefixtures("clinic")
def test_decide_again_needs_reviewer(done_assessment: Maker, make_user: UserMaker) -> None:
    """A reader decides first and only a reviewer again."""
    assessment, reader, reviewer = done_assessment(), make_user(Role.READER), make_user(Role.REVIEWER)
    assert not may_decide(assessment, None)
    decide(assessment, ACCEPT, reader)
    with pytest.raises(PermissionDenied):
        decide(assessment, DecisionInput(Verdict.CORRECTED, 100.0, "carpals"), reader)
    assert assessment.decisions.count() == 1
    decide(assessment, DecisionInput(Verdict.CORRECTED, 100.0, "carpals"), reviewer, via="ward")
    assert [one.decided_by for one in assessment.decisions.all()] == [reader, reviewer]
    events = AuditEvent.objects.filter(action="decide", object_id=str(assessment.pk)).order_by("pk")
    assert [(event.user_name, event.detail.get("via")) for event in events] == [
        ("reader", None),
        ("reviewer", "token ward"),
    ]
    assert "carpals" not in str([event.detail for event in events])


@pytest.mark.usefixtures("clinic")
def test_decide_touches_case(done_assessment: Maker, make_user: UserMaker) -> None:
    """A decision brings its case to the top."""
    case = Case.objects.create(reference="a", sex="F")
    decision = decide(done_assessment(case=case), ACCEPT, make_user())
    assert Case.objects.get(pk=case.pk).changed_at >= decision.decided_at


@pytest.mark.usefixtures("open_mode")
def test_accept_needs_bone_age(done_assessment: Maker) -> None:
    """Without a bone age nothing is accepted."""
    answer = with_result(answer_of_phantom(), is_meaningless=True)
    meaningless, waiting = done_assessment(answer), done_assessment()
    Assessment.objects.filter(pk=waiting.pk).update(state=State.QUEUED)
    for assessment in (meaningless, waiting):
        with pytest.raises(DecisionError) as caught:
            decide(assessment, ACCEPT, None)
        assert caught.value.code == "not_decidable"
    with pytest.raises(DecisionError):
        decide(waiting, DecisionInput(Verdict.CORRECTED, 30.0, "read by hand"), None)
    decide(meaningless, DecisionInput(Verdict.CORRECTED, 30.0, "read by hand"), None)
    assert Decision.objects.get().age_months == 30.0


@pytest.mark.usefixtures("clinic")
def test_accept_critical_needs_confirmation(done_assessment: Maker, make_user: UserMaker) -> None:
    """A critical warning is confirmed before the number is accepted."""
    assessment, user = done_assessment(answer_with(CRITICAL, "saturated")), make_user()
    assert (assessment.is_unusable, assessment.is_meaningless, assessment.is_void) == (True, False, True)
    with pytest.raises(DecisionError) as caught:
        decide(assessment, ACCEPT, user)
    assert caught.value.code == "critical_unconfirmed"
    assert not Decision.objects.exists()
    decide(assessment, DecisionInput(Verdict.ACCEPTED, confirms_critical=True), user)
    assert (assessment.is_unusable, assessment.is_void) == (True, False)
    assert AuditEvent.objects.get(action="decide").detail["confirmed"] == "critical"


@pytest.mark.usefixtures("clinic")
def test_confirmation_only_for_critical_acceptance(done_assessment: Maker, make_user: UserMaker) -> None:
    """Other warnings and corrections need no confirmation."""
    user = make_user(Role.REVIEWER)
    decide(done_assessment(answer_with("saturated", "read_mirrored")), ACCEPT, user)
    decide(done_assessment(answer_with(CRITICAL)), DecisionInput(Verdict.CORRECTED, 30.0, "read by hand"), user)
    assert not any("confirmed" in event.detail for event in AuditEvent.objects.filter(action="decide"))


@pytest.mark.usefixtures("open_mode")
def test_decide_on_deleted_assessment(done_assessment: Maker) -> None:
    """An assessment that was deleted meanwhile is not found."""
    assessment = done_assessment()
    delete_assessment(assessment, None)
    assert not Picture.objects.exists()
    assert not Assessment.objects.exists()
    with pytest.raises(Http404):
        decide(assessment, ACCEPT, None)
    with pytest.raises(Http404):
        delete_assessment(assessment, None)


@pytest.mark.usefixtures("clinic")
def test_delete_needs_reviewer_and_is_logged(done_assessment: Maker, make_user: UserMaker) -> None:
    """Only reviewers delete, and the log records it."""
    assessment = done_assessment()
    key = str(assessment.pk)
    decide(assessment, ACCEPT, make_user())
    for user in (None, User.objects.get()):
        with pytest.raises(PermissionDenied):
            delete_assessment(assessment, user)
    assert Assessment.objects.filter(pk=key).exists()
    delete_assessment(assessment, make_user(Role.REVIEWER), via="ward")
    assert (Assessment.objects.count(), Picture.objects.count(), Decision.objects.count()) == (0, 0, 0)
    event = AuditEvent.objects.get(action="delete")
    assert (event.user_name, event.object_id, event.detail) == ("reviewer", key, {"via": "token ward"})


@pytest.mark.usefixtures("open_mode")
def test_answer_to_deleted_assessment_is_dropped(done_assessment: Maker) -> None:
    """An answer to what was deleted is dropped."""
    assessment = done_assessment()
    Assessment.objects.filter(pk=assessment.pk).update(state=State.RUNNING)
    begun = Assessment.objects.get(pk=assessment.pk)
    delete_assessment(assessment, None)
    assert not finish(begun, replace(answer_of_phantom()))
    assert not Assessment.objects.exists()
