"""Pages of the node: the sex that is missing, dead letters, and where results are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest
from django.test import Client
from django.utils import timezone

from boneage.node.intake import Caller
from boneage.node.selection import SkipReason
from boneage.web.cases.corrections import move
from boneage.web.cases.decisions import DecisionInput, decide
from boneage.web.models import Assessment, AuditEvent, Case, Role, User, Verdict
from boneage.web.node import studies
from boneage.web.node.intake import DatabaseIntake
from boneage.web.node.models import RENDERING_FAILED, Delivery, DeliveryState, Instance, InstanceState, ResultFile
from boneage.web.node.summary import REASONS, Whereabouts, delivery_lines, notes
from boneage.web.queue import jobs
from boneage.web.report.messages import fhir_of, hl7_of
from tests.web.conftest import answer_of_phantom
from tests.web.node.arrivals import header, instance

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("node")]


def take(number: int = 1, **changes: object) -> Instance:
    """Take an instance whose study is quiet at once."""
    of = header(number, study=f"1.2.{number}", **changes)  # type: ignore[arg-type]
    DatabaseIntake().take(instance(of), of)
    studies.advance()
    return Instance.objects.get(sop_instance_uid=of.sop_instance_uid)


def delivered(state: DeliveryState) -> Delivery:
    """Return a delivery of a finished assessment in a state."""
    row = take()
    begun = jobs.begin(str(row.assessment_id), "worker")
    assert begun is not None
    assert jobs.finish(begun, answer_of_phantom())
    result = ResultFile.objects.create(instance=row, assessment=begun, kind="sr", file=b"x", sop_instance_uid="1.9")
    moment = timezone.now() if state == DeliveryState.STORED else None
    return Delivery.objects.create(result=result, peer="pacs", state=state, code="mismatch", stored_at=moment)


def test_sex_by_one_click(log_in: Callable[..., Client]) -> None:
    """A radiograph without a sex is on the worklist, and one click submits it. The next one knows the case's."""
    client = log_in(Role.READER)
    row = take(sex="O")
    assert row.state == InstanceState.NEEDS_SEX
    page = client.get("/cases/").content.decode()
    assert "Radiographs that need the sex" in page
    assert "A-99" in page
    assert client.post(f"/cases/asking/{row.pk}", {"sex": "M"}).status_code == 302
    assessment = Assessment.objects.get(instances=row)
    assert (assessment.sex, assessment.submitted_by.username if assessment.submitted_by else "") == ("M", "reader")
    assert assessment.case is not None
    assert assessment.case.reference == "4711^^^HOSPITAL"
    assert "Radiographs that need the sex" not in client.get("/cases/").content.decode()
    assert client.post(f"/cases/asking/{row.pk}", {"sex": "F"}).status_code == 404
    assert take(2, sex="").state == InstanceState.QUEUED


def test_contradicting_sex_needs_a_click(log_in: Callable[..., Client]) -> None:
    """A file that states another sex than the case is not read by either until somebody decides."""
    client = log_in(Role.READER)
    take()
    row = take(2, sex="M")
    assert (row.state, row.reason) == (InstanceState.NEEDS_SEX, studies.SEX_DIFFERS)
    answer = client.post(f"/cases/asking/{row.pk}", {"sex": "M"}, follow=True)
    assert "Correct them first" in answer.content.decode()
    client.post(f"/cases/asking/{row.pk}", {"sex": "F"})
    assert Assessment.objects.get(instances=row).sex == "F"


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (DeliveryState.DUE, "waits for pacs"),
        (DeliveryState.STORED, "delivered to pacs ("),
        (DeliveryState.DEAD, "not delivered to pacs"),
    ],
)
def test_worklist_shows_where_results_are(log_in: Callable[..., Client], state: DeliveryState, text: str) -> None:
    """Each row has a line about its results, and so has the page of the result."""
    delivery = delivered(state)
    client = log_in(Role.READER)
    assert text in client.get("/cases/").content.decode()
    assert text in client.get(f"/assessments/{delivery.result.assessment_id}/").content.decode()


def test_line_names_each_destination() -> None:
    """Results that went to a hospital's other systems are not reported to be in the PACS; the worst comes first."""
    first = delivered(DeliveryState.STORED)
    for peer, state in (
        ("charts", DeliveryState.DEAD),
        ("ris", DeliveryState.DUE),
        ("archive", DeliveryState.GIVEN_UP),
    ):
        Delivery.objects.create(result=first.result, peer=peer, state=state)
    key = first.result.assessment_id
    line = delivery_lines([key])[key]
    assert line.whereabouts is Whereabouts.NOT_DELIVERED
    words = ["not delivered to charts", "waits for ris", "delivered to pacs ("]
    assert [part.startswith(word) for part, word in zip(line.text.split("; "), words, strict=True)] == [True] * 3


@pytest.mark.parametrize(("search", "is_found"), [("A-99", True), ("4711", True), ("A-98", False)])
def test_worklist_searches_accession_and_patient(log_in: Callable[..., Client], search: str, is_found: bool) -> None:
    """The worklist finds a radiograph by its accession number and Patient ID, also after it was moved."""
    reviewer = log_in(Role.REVIEWER)
    delivery = delivered(DeliveryState.DUE)
    assessment = delivery.result.assessment
    Assessment.objects.filter(pk=assessment.pk).update(radiograph_name="")
    Case.objects.update(reference="another")
    page = reviewer.post("/cases/", {"search": search}).content.decode()
    assert (f"row-{assessment.pk}" in page) == is_found


def test_dead_letter_is_sent_again_or_given_up(log_in: Callable[..., Client]) -> None:
    """An administrator sees why a delivery failed, and decides. Each decision is in the audit log."""
    delivery = delivered(DeliveryState.DEAD)
    client = log_in(Role.ADMINISTRATOR)
    page = client.get("/administration/node/").content.decode()
    assert "mismatch" in page
    assert "A-99" in page
    address = f"/administration/node/deliveries/{delivery.pk}"
    for action, state in (("retry", DeliveryState.DUE), ("give_up", DeliveryState.GIVEN_UP)):
        Delivery.objects.update(state=DeliveryState.DEAD)
        assert client.post(address, {"do": action}).status_code == 302
        delivery.refresh_from_db()
        assert delivery.state == state
        assert client.post(address, {"do": action}).status_code == 404
    changes = AuditEvent.objects.filter(action="delivery_changed").values_list("detail__change", flat=True)
    assert list(changes) == ["retry", "give_up"]


def test_failed_rendering_is_tried_again(log_in: Callable[..., Client]) -> None:
    """Result objects that could not be made are on the page, with a button."""
    row = delivered(DeliveryState.DUE).result.instance
    Instance.objects.update(state=InstanceState.RENDERED, reason=RENDERING_FAILED)
    client = log_in(Role.ADMINISTRATOR)
    assert "could not be made" in client.get("/administration/node/").content.decode()
    assert client.post(f"/administration/node/instances/{row.pk}").status_code == 302
    assert Instance.objects.get().state == InstanceState.QUEUED


def test_notes_of_contradictions(make_user: Callable[..., object], log_in: Callable[..., Client]) -> None:
    """Another patient than the case's, and the same pixels twice, stand on the page of the result."""
    client = log_in(Role.REVIEWER)
    delivery = delivered(DeliveryState.STORED)
    assessment = delivery.result.assessment
    assert notes([assessment]) == {}
    take(2)
    reviewer = client.get("/account/").wsgi_request.user
    move(assessment, "another", reviewer)  # type: ignore[arg-type]
    page = client.get(f"/assessments/{assessment.pk}/").content.decode()
    assert "is not the patient of this case" in page
    assert "the same radiograph more than once" in page
    row = client.get("/cases/").content.decode().partition(f'id="row-{assessment.pk}"')[2].partition("</tr>")[0]
    assert "another patient in the file" in row
    assert "sent more than once" in row


def test_other_sex_in_the_file_is_shown(log_in: Callable[..., Client]) -> None:
    """The worklist shows what the file states where it is neither female nor male, and that it states nothing."""
    client = log_in(Role.READER)
    for number, sex in enumerate(("O", "X", ""), start=1):
        take(number, sex=sex, patient_id=f"P-{number}")
    page = client.get("/cases/").content.decode()
    for text in ("the file states O: other", "the file states “X”", "not stated"):
        assert page.count(text) == 1


def test_superseded_page_names_what_was_corrected(log_in: Callable[..., Client]) -> None:
    """After a corrected date of birth, the old result does not claim that the sex was another."""
    client = log_in(Role.READER)
    delivery = delivered(DeliveryState.STORED)
    old = delivery.result.assessment
    of = header(study="1.2.1", birth_date=date(2012, 4, 10))
    DatabaseIntake().take(instance(of), of)
    studies.advance()
    old.refresh_from_db()
    assert old.superseded_by is not None
    page = client.get(f"/assessments/{old.pk}/").content.decode()
    assert "with corrected dates" in page
    assert "another sex" not in page


# --- instances that were not read -------------------------------------------------------------------------------------


def test_skipped_instance_can_be_looked_up(log_in: Callable[..., Client]) -> None:
    """A reader finds an instance that was not read by its accession number, with reason and time."""
    client = log_in(Role.READER)
    take(1, view_position="LL", accession="A-1")
    take(2, modality="MG", accession="A-2", patient_id="4712")
    page = client.get("/cases/not-read/").content.decode()
    assert page.index("another modality") < page.index("lateral or oblique view")
    page_of_one = client.post("/cases/not-read/", {"accession": "A-1"}).content.decode()
    assert "lateral or oblique view" in page_of_one
    assert "A-2" not in page_of_one
    assert "4712" not in page
    assert client.get("/cases/not-read/?accession=A-1").content.decode().count("A-2") == 1


def test_every_reason_has_words() -> None:
    """No reason of the selection lacks its words."""
    assert set(REASONS) == set(SkipReason)


def test_own_result_that_comes_back() -> None:
    """A report of this service that the PACS forwards is no foreign object."""
    result = delivered(DeliveryState.STORED).result
    Delivery.objects.update(sent_instance_uid="1.10")
    caller = Caller("PACS", "127.0.0.1", "pacs")
    for uid in (result.sop_instance_uid, "1.10", "1.11"):
        DatabaseIntake().skip("1.2.840.10008.5.1.4.1.1.88.34", uid, caller)
    reasons = dict(Instance.objects.filter(state=InstanceState.SKIPPED).values_list("sop_instance_uid", "reason"))
    assert reasons == {"1.9": "own_result", "1.10": "own_result", "1.11": "storage_class"}


# --- without a Patient ID ---------------------------------------------------------------------------------------------


def test_radiograph_without_patient_id(log_in: Callable[..., Client]) -> None:
    """It is assessed as a single radiograph without a case: two of them never become one patient."""
    client = log_in(Role.READER)
    rows = [take(number, patient_id="", issuer="HOSPITAL", pixels=str(number)) for number in (1, 2)]
    for row in rows:
        assert row.assessment is not None
        assert (row.assessment.case, row.assessment.radiograph_name) == (None, "A-99")
    assert not Case.objects.exists()
    page = client.post("/cases/", {"search": "A-99"}).content.decode()
    assert page.count(">single radiograph<") == 2
    asking = take(3, patient_id="", sex="")
    assert (asking.state, asking.reason) == (InstanceState.NEEDS_SEX, studies.SEX_MISSING)


def test_node_page_is_for_administrators(log_in: Callable[..., Client]) -> None:
    """Readers do not see it, and without a node there is none."""
    assert log_in(Role.REVIEWER).get("/administration/node/").status_code == 403


def test_messages_name_patient_and_accession() -> None:
    """HL7 messages carry the identifiers of the file, and not the composed reference of the case."""
    assessment = Assessment.objects.get(pk=delivered(DeliveryState.DUE).result.assessment_id)
    message = hl7_of(assessment).decode()
    assert "|4711^^^HOSPITAL^PI|" in message
    assert "|A-99|" in message


def test_messages_of_moved_radiograph_name_its_case(make_user: Callable[..., User]) -> None:
    """A message that a user downloads names the patient of the case, and not the study of the wrong patient."""
    assessment = Assessment.objects.get(pk=delivered(DeliveryState.DUE).result.assessment_id)
    move(assessment, "4712^^^HOSPITAL", make_user(Role.REVIEWER))
    moved = Assessment.objects.get(pk=assessment.pk)
    message = hl7_of(moved).decode()
    assert "|4712^^^HOSPITAL^PI|" in message
    assert "4711" not in message
    assert "A-99" not in message
    assert "ImagingStudy" not in str(fhir_of(moved, "R5"))


def test_messages_state_only_a_decision_that_counts(make_user: Callable[..., User]) -> None:
    """A decision that the assessment no longer has is no longer in the message, nor is its reader."""
    assessment = Assessment.objects.get(pk=delivered(DeliveryState.DUE).result.assessment_id)
    decide(assessment, DecisionInput(Verdict.ACCEPTED), make_user(Role.REVIEWER))
    assert "|reviewer\r" in hl7_of(Assessment.objects.get(pk=assessment.pk)).decode()
    Assessment.objects.update(decision="", decided_months=None)
    assert "|reviewer\r" not in hl7_of(Assessment.objects.get(pk=assessment.pk)).decode()
