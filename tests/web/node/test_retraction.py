"""Results that were sent and no longer hold are retracted at each receiver that has them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from functools import partial
from io import BytesIO

import pydicom
import pytest
from django.test import Client
from django.utils import timezone
from pydicom import Dataset

from boneage.node.configuration import Destination
from boneage.node.intake import CommitmentReport
from boneage.node.outcome import OutcomeCode, QueryOutcome, Result, SendOutcome
from boneage.web.cases.cases import change_birth_date, delete_case
from boneage.web.cases.corrections import assess_again, move
from boneage.web.cases.decisions import DecisionInput, decide
from boneage.web.models import BOTH, Assessment, AuditEvent, Role, State, User, Verdict
from boneage.web.node import outbox, results
from boneage.web.node.intake import DatabaseIntake
from boneage.web.node.models import RENDERING_FAILED, Delivery, Instance, InstanceState, Tally
from boneage.web.node.pacs import node_configuration
from boneage.web.node.summary import Whereabouts, delivery_lines
from boneage.web.queue.answer import Answer
from tests.web.node.arrivals import radiograph, received
from tests.web.node.test_following import (
    accepted,
    assessment_of,
    case_of,
    deliveries,
    make_all,
    predecessor_of,
    reports,
    same_pixels,
)
from tests.web.node.test_results import assessed, delivering, finish_assessments, objects, reviewer

pytest.importorskip("highdicom")
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("node")]

HOME = "4711^^^HOSPITAL"
"""Reference of the case of the patient in the file."""
SUCCESS = (Result.DONE, OutcomeCode.SUCCESS)


def receiver(name: str) -> Destination:
    return next(one for one in node_configuration().receivers() if one.name == name)


def claim(name: str) -> list[Delivery]:
    """Begin to send what is due for a receiver, by now."""
    Delivery.objects.filter(state="due").update(due_at=timezone.now() - timedelta(seconds=1))
    return outbox.claim(receiver(name), "dispatcher")


def end(claimed: list[Delivery], result: Result = Result.DONE, code: OutcomeCode = OutcomeCode.SUCCESS) -> None:
    """Write one outcome for deliveries that were claimed."""
    for one in claimed:
        outcome = SendOutcome(result, code, None, one.result.sop_class_uid, one.result.sop_instance_uid)
        assert outbox.finish(one, outcome, receiver(one.peer))
        outbox.count(one, outcome)


def send(*names: str) -> list[str]:
    """Send everything that is due to receivers, to all without names. Return the kinds in their order."""
    kinds = []
    for name in names or [one.name for one in node_configuration().receivers()]:
        while claimed := claim(name):
            end(claimed)
            kinds += [one.result.kind for one in claimed]
    return kinds


def notes(instance: Instance, name: str = "") -> list[Dataset]:
    """Return the rejection notes of an instance in their order, for one receiver or for all."""
    rows = instance.results.filter(kind="ko").order_by("pk")
    rows = rows.filter(deliveries__peer=name) if name else rows
    return [pydicom.dcmread(BytesIO(bytes(one.file))) for one in rows]


def rejected(note: Dataset) -> list[str]:
    """Return the UIDs of the objects that a note rejects, sorted."""
    (study,) = note.CurrentRequestedProcedureEvidenceSequence
    return sorted(
        str(one.ReferencedSOPInstanceUID)
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    )


def uids(instance: Instance, *kinds: str) -> list[str]:
    """Return the UIDs of an instance's results of some kinds, sorted."""
    return sorted(instance.results.filter(kind__in=kinds).values_list("sop_instance_uid", flat=True))


def line_of(instance: Instance) -> str:
    key = assessment_of(instance).pk
    return delivery_lines([key])[key].text


# --- another case -----------------------------------------------------------------------------------------------------


def test_moved_radiograph_is_retracted(make_user: Callable[..., User]) -> None:
    """Each receiver gets one note about what it has, under the patient and study of the results; once."""
    instance, user = assessed(radiograph(PatientName="Doe^Jane")), reviewer(make_user)
    assert send() == ["sc", "sr", "sc"]
    move(assessment_of(instance), "OTHER", user)
    make_all()
    assert [rejected(one) for one in notes(instance, "pacs")] == [uids(instance, "sc", "sr")]
    assert [rejected(one) for one in notes(instance, "archive")] == [uids(instance, "sc")]
    for note in notes(instance):
        assert (note.PatientID, note.PatientName, note.StudyInstanceUID) == ("4711", "Doe^Jane", instance.study_uid)
        assert instance.sop_instance_uid not in str(note)
    assert send() == ["ko", "ko"]
    accepted(instance, user)  # a decision on the page: nothing is sent, and nothing is left to retract
    assert make_all() == 0
    assert deliveries(instance) == {"stored": 5}
    assert AuditEvent.objects.filter(action="send", detail__kind="ko").count() == 2


def test_receivers_in_different_states(make_user: Callable[..., User]) -> None:
    """Each receiver gets a note about the results that it has, and none without need."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    end(claim("pacs"))  # the picture alone: the report waits
    Delivery.objects.filter(peer="archive").update(state="dead")
    move(assessment_of(instance), "OTHER", user)
    make_all()
    assert [rejected(one) for one in notes(instance)] == [uids(instance, "sc")]
    assert set(Delivery.objects.filter(peer="archive").values_list("state", flat=True)) == {"given_up"}
    assert send() == ["ko"]


def test_unsent_radiograph_needs_no_retraction(make_user: Callable[..., User]) -> None:
    instance, user = assessed(radiograph()), reviewer(make_user)
    move(assessment_of(instance), "OTHER", user)
    make_all()
    assert notes(instance) == []


def test_moved_back_before_retraction(make_user: Callable[..., User]) -> None:
    """A retraction that is due is given up like any other result, and what was sent gets a successor."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    send()
    move(assessment_of(instance), "OTHER", user)
    make_all()
    move(assessment_of(instance), HOME, user)
    make_all()
    assert send() == ["sc", "sr", "sc"]
    assert deliveries(instance) == {"given_up": 2, "stored": 6}
    first, second = reports(instance)
    assert predecessor_of(second) == first.SOPInstanceUID
    assert "withdrawn" not in line_of(instance)
    move(assessment_of(instance), "OTHER", user)  # all that the PACS has is retracted, the first results as well
    make_all()
    assert rejected(notes(instance, "pacs")[-1]) == uids(instance, "sc", "sr")
    assert len(rejected(notes(instance, "pacs")[-1])) == 4


def test_moved_back_after_retraction(make_user: Callable[..., User]) -> None:
    """New results follow, with UIDs that no note has rejected; a later retraction is about them alone."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    send()
    for number in range(2):
        move(assessment_of(instance), "OTHER", user)
        make_all()
        assert send() == ["ko", "ko"], number
        move(assessment_of(instance), HOME, user)
        make_all()
        assert send() == ["sc", "sr", "sc"], number
    made = [rejected(one) for one in notes(instance, "pacs")]
    assert [len(one) for one in made] == [2, 2]
    assert len({*made[0], *made[1]}) == 4
    newest = Delivery.objects.filter(retraction=None, result__kind__in=["sc", "sr"])
    assert {row.result.sop_instance_uid for row in newest}.isdisjoint({*made[0], *made[1]})
    assert newest.count() == 3


def test_retraction_is_made_again_after_correction(make_user: Callable[..., User]) -> None:
    """A correction while the radiograph is elsewhere gives up a due retraction; another one takes its place."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    send()
    move(assessment_of(instance), "OTHER", user)
    make_all()
    change_birth_date(case_of(instance), date(2016, 9, 6), user)
    make_all()
    first, second = notes(instance, "pacs")
    assert rejected(first) == rejected(second)
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert send() == ["ko", "ko"]


def test_corrected_patient_of_file(make_user: Callable[..., User]) -> None:
    """The note has the patient and study under which the results were sent, not those of the present header."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    send()
    DatabaseIntake().take(*received(radiograph(PatientID="4712", StudyInstanceUID="1.2.3")))
    make_all()
    note = notes(instance, "pacs")[0]
    assert (note.PatientID, note.StudyInstanceUID) == ("4711", instance.study_uid)
    end(claim("pacs"))
    references = outbox.references(list(Delivery.objects.filter(peer="pacs", result__kind="ko")))
    assert [one.study_uid for one in references] == [instance.study_uid]
    move(assessment_of(instance), "4712^^^HOSPITAL", user)
    make_all()
    send()
    move(assessment_of(instance), "OTHER", user)
    make_all()
    assert (notes(instance, "pacs")[-1].PatientID, notes(instance, "pacs")[-1].StudyInstanceUID) == ("4712", "1.2.3")


# --- other reasons ----------------------------------------------------------------------------------------------------


def test_same_radiograph_of_other_patient(make_user: Callable[..., User]) -> None:
    """The report of the first patient is retracted; the Secondary Capture has a successor with the warning."""
    first = assessed(radiograph(), answer=same_pixels)
    send()
    second = assessed(radiograph(2, study="1.2.3", PatientID="4712"), answer=same_pixels)
    assert [rejected(one) for one in notes(first)] == [uids(first, "sr")]
    assert notes(second) == []
    assert send("pacs") == ["ko", "sc", "sc"]
    assert line_of(first).startswith("earlier results withdrawn from pacs (")
    delete_case(case_of(second), reviewer(make_user))  # the wrong one: the report returns
    make_all()
    assert send("pacs") == ["sc", "sr"]
    assert len(notes(first)) == 1


def test_reading_for_both_sexes(make_user: Callable[..., User]) -> None:
    """Nothing is sent of such a reading: what was sent is retracted, and returns with the first sex, under new UIDs."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    old = assessment_of(instance).pk
    send()
    assess_again(assessment_of(instance), user, BOTH)
    both = partial(Answer, State.DONE, results=tuple(same_pixels().results) * 2)
    finish_assessments(both)
    make_all()
    assert [len(rejected(one)) for one in notes(instance)] == [2, 1]
    new = assessment_of(instance).pk
    lines = delivery_lines([old, new])
    assert {one.text for one in lines.values()} == {"earlier results not yet withdrawn from archive, pacs"}
    assert send() == ["ko", "ko"]
    assess_again(assessment_of(instance), user, "F")
    finish_assessments()
    make_all()
    assert send() == ["sc", "sr", "sc"]
    assert len({one.SOPInstanceUID for one in reports(instance)}) == 2


def test_first_sex_again_gives_third_report(make_user: Callable[..., User]) -> None:
    """A reading for the first sex is sent, although its values are those of the first one."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    for sex in ("M", "F"):
        assess_again(assessment_of(instance), user, sex)
        finish_assessments()
        make_all()
    assert [one.PatientSex for one in reports(instance)] == ["F", "F", "F"], "the file states it"
    assert len({one.SOPInstanceUID for one in reports(instance)}) == 3
    for sex in ("M", "F"):
        DatabaseIntake().take(*received(radiograph(PatientSex=sex)))
        assessed(radiograph(PatientSex=sex))
    assert len({one.SOPInstanceUID for one in reports(instance)}) == 5
    assert notes(instance) == []


def test_rejected_second_reading(make_user: Callable[..., User]) -> None:
    """A radiograph that is rejected when it is assessed again has no result any more."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    send()
    assess_again(assessment_of(instance), user, "M")
    finish_assessments(partial(Answer, State.REJECTED, "no_hand", "There is no hand."))
    make_all()
    assert [len(rejected(one)) for one in notes(instance)] == [2, 1]


def test_decision_taken_back(make_user: Callable[..., User], monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``when = "decided"``, results of a decision that was taken back are retracted."""
    delivering(monkeypatch, when="decided")
    instance, user = assessed(radiograph()), reviewer(make_user)
    accepted(instance, user)
    send()
    Assessment.objects.update(decision="", decided_months=None)
    assessment_of(instance).decisions.get().delete()
    make_all()
    assert send() == ["ko", "ko"]
    accepted(instance, user)
    assert send() == ["sc", "sr", "sc"]
    assert [len(rejected(one)) for one in notes(instance)] == [2, 1]


def test_failed_rendering_retracts_nothing(make_user: Callable[..., User], monkeypatch: pytest.MonkeyPatch) -> None:
    """Results that cannot be made are no reason to retract those that were sent, nor is a radiograph without a file."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    send()
    monkeypatch.setattr(results, "file_of", lambda _: None)
    decide(assessment_of(instance), DecisionInput(Verdict.CORRECTED, 100.0, "measured"), user)
    for _ in range(results.MOST_ATTEMPTS + 1):
        assert results.advance("dispatcher")
        Instance.objects.update(lease_until=None)
    instance.refresh_from_db()
    assert (instance.state, instance.reason, notes(instance)) == (InstanceState.RENDERED, RENDERING_FAILED, [])


def test_fewer_kinds_retract_nothing(make_user: Callable[..., User], monkeypatch: pytest.MonkeyPatch) -> None:
    """Results of a kind that is no longer made still hold after a decision, and are retracted with a move."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    send()
    kinds = results.wanted_kinds()
    monkeypatch.setattr(results, "wanted_kinds", lambda: [kind for kind in kinds if kind != "sr"])
    accepted(instance, user)
    send()
    assert notes(instance) == []
    move(assessment_of(instance), "OTHER", user)
    make_all()
    send()
    assert uids(instance, "sr")[0] in {uid for note in notes(instance) for uid in rejected(note)}


def test_decision_retracts_nothing(make_user: Callable[..., User]) -> None:
    instance = assessed(radiograph())
    send()
    accepted(instance, reviewer(make_user))
    assert send() == ["sc", "sr", "sc"]
    assert notes(instance) == []


# --- deliveries that end late -----------------------------------------------------------------------------------------


def test_sending_that_ends_late(make_user: Callable[..., User]) -> None:
    """A report that was being sent while the radiograph was moved, and is stored then, is retracted as well."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    end(claim("pacs"))
    sending = claim("pacs")
    assert [one.result.kind for one in sending] == ["sr"]
    move(assessment_of(instance), "OTHER", user)
    make_all()
    assert [rejected(one) for one in notes(instance)] == [uids(instance, "sc")]
    end(sending)
    assert make_all() == 1
    assert [rejected(one) for one in notes(instance)] == [uids(instance, "sc"), uids(instance, "sr")]
    assert make_all() == 0
    assert send("pacs") == ["ko", "ko"]


def test_sending_that_ends_late_and_fails(make_user: Callable[..., User]) -> None:
    """Results that the receiver never got need no retraction."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    sending = claim("pacs")
    move(assessment_of(instance), "OTHER", user)
    make_all()
    end(sending, Result.RETRY, OutcomeCode.BUSY)
    make_all()
    assert notes(instance) == []


UNANSWERED = (OutcomeCode.TIMEOUT, OutcomeCode.ABORTED, OutcomeCode.UNCLEAR_ANSWER)
"""Codes of attempts after which the receiver may have a result."""


@pytest.mark.parametrize("ends_late", [False, True])
@pytest.mark.parametrize("code", [*UNANSWERED, OutcomeCode.UNREACHABLE, OutcomeCode.BUSY])
def test_unanswered_sending(make_user: Callable[..., User], code: OutcomeCode, ends_late: bool) -> None:
    """A result that the receiver may have is retracted, under the UID with which it was sent."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    sending = claim("pacs")
    outcome = SendOutcome(Result.RETRY, code, None, "1.2.840.10008.5.1.4.1.1.7", "2.25.1")
    if not ends_late:
        outbox.finish(sending[0], outcome, receiver("pacs"))
    move(assessment_of(instance), "OTHER", user)
    make_all()
    if ends_late:
        outbox.finish(sending[0], outcome, receiver("pacs"))
        make_all()
    assert [rejected(one) for one in notes(instance)] == ([["2.25.1"]] if code in UNANSWERED else [])
    assert send("pacs") == ["ko"] * (code in UNANSWERED)


@pytest.mark.parametrize("sees_end", [False, True])
def test_interrupted_sending(make_user: Callable[..., User], sees_end: bool) -> None:
    """A result whose sending ended with its process may have arrived, and is retracted."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    claim("pacs")
    if sees_end:
        outbox.release("dispatcher")
    move(assessment_of(instance), "OTHER", user)
    make_all()
    if not sees_end:
        Delivery.objects.filter(state="sending").update(lease_until=timezone.now() - timedelta(hours=1))
        assert claim("pacs") == []
        make_all()
    assert [rejected(one) for one in notes(instance)] == [uids(instance, "sc")]


def test_answer_after_unanswered_sending(make_user: Callable[..., User]) -> None:
    """A later answer counts: what the receiver stored and does not have any more needs no retraction."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    end(claim("pacs"), Result.RETRY, OutcomeCode.TIMEOUT)
    end(claim("pacs"))
    Delivery.objects.update(commit_requested_at=timezone.now() - timedelta(days=9), transaction_uid="1.2")
    Delivery.objects.update(commit_due_at=None)
    outbox.finish_query(outbox.without_report(receiver("pacs")), QueryOutcome(Result.DONE, OutcomeCode.SUCCESS))
    move(assessment_of(instance), "OTHER", user)
    make_all()
    assert notes(instance) == []


def test_late_sending_keeps_results_that_are_present(make_user: Callable[..., User]) -> None:
    """Results are not doubled if an old one is stored late after the radiograph was moved back."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    sending = claim("pacs")
    for reference in ("OTHER", HOME):
        move(assessment_of(instance), reference, user)
        make_all()
    end(sending)
    assert make_all() == 1
    assert len(objects(instance)) == 4
    assert notes(instance) == []


@pytest.mark.parametrize("is_lost", [False, True])
def test_retraction_fails_after_second_move(make_user: Callable[..., User], is_lost: bool) -> None:
    """A retraction that was being sent while something else changed, and fails, is replaced by another one."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    send()
    move(assessment_of(instance), "OTHER", user)
    make_all()
    sending = claim("pacs")
    move(assessment_of(instance), "THIRD", user)
    make_all()
    assert len(notes(instance, "pacs")) == 1, "the first one may still arrive"
    if is_lost:
        Delivery.objects.filter(state="sending").update(lease_until=timezone.now() - timedelta(hours=1))
        assert claim("pacs") == []
    else:
        end(sending, Result.RETRY, OutcomeCode.TIMEOUT)
    make_all()
    first, second = notes(instance, "pacs")
    assert rejected(first) == rejected(second) == uids(instance, "sc", "sr")
    assert send("pacs") == ["ko"]


def test_retraction_that_is_not_committed(make_user: Callable[..., User]) -> None:
    """A note for which the PACS does not vouch is sent again; after another change a new one takes its place."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    send()
    move(assessment_of(instance), "OTHER", user)
    make_all()
    assert send("pacs") == ["ko"]
    disown_note()
    assert send("pacs") == ["ko"]
    assert len(notes(instance, "pacs")) == 1, "the same note again"
    move(assessment_of(instance), "THIRD", user)
    make_all()
    disown_note()
    make_all()
    assert len(notes(instance, "pacs")) == 2
    assert send("pacs") == ["ko"]


def disown_note() -> None:
    """Let the PACS report that it does not have a rejection note."""
    note = Delivery.objects.filter(peer="pacs", result__kind="ko", state="stored")
    Delivery.objects.update(commit_due_at=None)
    note.update(commit_due_at=timezone.now() - timedelta(seconds=1))
    uid, (claimed,) = outbox.claim_commitment(receiver("pacs"))
    DatabaseIntake().committed(CommitmentReport("pacs", uid, [], {claimed.sent_instance_uid: 0x0112}))


# --- dead letters, pages and metrics ----------------------------------------------------------------------------------


def test_dead_retraction(make_user: Callable[..., User], log_in: Callable[..., Client]) -> None:
    """A note that the PACS does not accept is a dead letter: the line names it, and it can be sent again."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    send()
    move(assessment_of(instance), "OTHER", user)
    make_all()
    assert line_of(instance).endswith("; earlier results not yet withdrawn from archive, pacs")
    end(claim("pacs"), Result.DEAD, OutcomeCode.NOT_ACCEPTED)
    send("archive")
    text = line_of(instance)
    assert "; earlier results not withdrawn from pacs; earlier results withdrawn from archive (" in text
    client = log_in(Role.ADMINISTRATOR)
    assert "withdraws earlier results" in client.get("/administration/node/").content.decode()
    assert text.rpartition(" (")[0] in client.get(f"/assessments/{assessment_of(instance).pk}/").content.decode()
    dead = Delivery.objects.get(state="dead")
    outbox.give_up(dead, user)
    assert "earlier results not withdrawn from pacs" in line_of(instance), "they are still there"
    make_all()
    Instance.objects.all().make_again()
    make_all()
    assert len(notes(instance, "pacs")) == 1, "a person has given it up"
    Delivery.objects.filter(pk=dead.pk).update(state="dead")
    outbox.retry(dead, user)
    assert send("pacs") == ["ko"]
    assert "earlier results withdrawn from archive (" in line_of(instance)
    assert "not withdrawn" not in line_of(instance)


def test_dead_retraction_of_results_that_hold_again(make_user: Callable[..., User]) -> None:
    """After the radiograph was moved back, nothing is left to withdraw."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    send()
    move(assessment_of(instance), "OTHER", user)
    make_all()
    end(claim("pacs"), Result.DEAD, OutcomeCode.NOT_ACCEPTED)
    outbox.give_up(Delivery.objects.get(state="dead"), user)
    move(assessment_of(instance), HOME, user)
    make_all()
    send()
    key = assessment_of(instance).pk
    assert delivery_lines([key])[key].whereabouts is Whereabouts.DELIVERED
    assert "withdrawn" not in line_of(instance)


def test_retraction_has_no_latency(make_user: Callable[..., User]) -> None:
    """The histogram is about results, not about retractions, which may follow months later."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    send()
    before = list(Tally.objects.filter(kind="latency").values_list("count", flat=True))
    assert sum(before) == 3
    move(assessment_of(instance), "OTHER", user)
    make_all()
    send()
    assert list(Tally.objects.filter(kind="latency").values_list("count", flat=True)) == before
