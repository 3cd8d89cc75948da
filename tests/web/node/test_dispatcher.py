"""Results reach destinations of every kind: DICOMweb, FHIR and HL7, each with its own order, states and retries."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from django.utils import timezone
from pynetdicom import _config, build_context, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    EnhancedSRStorage,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
    StorageCommitmentPushModel,
)
from pytest_django.fixtures import Settings

from boneage.node.mllp import control_id_of
from boneage.web.cases.cases import change_birth_date
from boneage.web.cases.corrections import move
from boneage.web.cases.decisions import DecisionInput, decide
from boneage.web.models import Role, User, Verdict
from boneage.web.node import results
from boneage.web.node.dispatcher import Receiver
from boneage.web.node.models import Delivery, Instance, ResultFile
from boneage.web.node.pacs import node_configuration
from tests.node.parts import peer_serving
from tests.node.test_commitment import report_on_same_association
from tests.node.web_servers import (
    FhirStore,
    MllpServer,
    Reply,
    Request,
    WebServer,
    acknowledgement,
    mllp_server,
    web_server,
)
from tests.web.node.arrivals import HOSPITAL, MESSAGES, configured, radiograph
from tests.web.node.test_results import assessed

pytest.importorskip("highdicom")
pytestmark = pytest.mark.django_db


@dataclass
class Surroundings:
    """The destinations of a node.

    Attributes:
        web: the DICOMweb service.
        charts: resources of the FHIR server.
        ris: the HL7 receiver.
        busy: destinations that are busy for the moment.
    """

    web: WebServer
    charts: FhirStore
    ris: MllpServer
    busy: set[str] = field(default_factory=set)


@pytest.fixture
def hospital(settings: Settings, tmp_path: Path) -> Iterator[Surroundings]:
    """A node with one destination of each kind, which are servers in this process."""
    busy: set[str] = set()
    store, held = FhirStore(), set[str]()

    def archive(request: Request) -> Reply:
        if "archive" in busy:
            return Reply.json(503, {})
        if request.method == "GET":
            return Reply.json(200, [{"00080018": {"vr": "UI", "Value": [uid]}} for uid in sorted(held)])
        file = request.body.split(b"\r\n\r\n", 1)[1].rpartition(b"\r\n--")[0]
        held.add(str(pydicom.dcmread(BytesIO(file)).SOPInstanceUID))
        return Reply.json(200, {})

    def charts(request: Request) -> Reply:
        return Reply.json(503, {}) if "charts" in busy else store.answer(request)

    def ris(message: bytes) -> bytes:
        return acknowledgement(message, "AR" if "ris" in busy else "AA")

    with web_server(archive) as web, web_server(charts) as fhir, mllp_server(ris) as hl7:
        text = MESSAGES.replace("{port}/base", f"{_port(web)}/base").replace("{pacs_port}", str(_port(fhir)))
        path = configured(tmp_path, text.replace("{quiet}", str(hl7.port)))
        settings.CONFIGURATION = replace(settings.CONFIGURATION, mode="clinic", pacs=str(path))
        yield Surroundings(web, store, hl7, busy)


def _port(server: WebServer) -> int:
    return int(server.url.split(":")[2].split("/")[0])


def send_all() -> None:
    """Let every destination take what is due, twice, since the answer to the first may make more due."""
    for _ in range(2):
        for one in node_configuration().receivers():
            Receiver(one, "dispatcher").advance()


def states() -> dict[str, str]:
    """Return the states of the deliveries of the newest results, by destination."""
    return dict(Delivery.objects.order_by("pk").values_list("peer", "state"))


def correct(make_user: Callable[..., User], instance_pk: int) -> None:
    """Let a physician correct the assessment of an instance, and make the results again."""
    assessment = ResultFile.objects.filter(instance=instance_pk).order_by("-pk")[0].assessment
    decide(assessment, DecisionInput(Verdict.CORRECTED, 100.0, "measured"), make_user(Role.REVIEWER))
    assert results.advance("dispatcher")


def pass_time(seconds: int) -> None:
    past = timezone.now() - timedelta(seconds=seconds)
    Delivery.objects.filter(state="due").update(due_at=past)
    Delivery.objects.exclude(commit_due_at=None).update(commit_due_at=past)


def test_results_reach_every_kind(hospital: Surroundings, make_user: Callable[..., User]) -> None:
    """The estimate and then the decision reach archive, charts and RIS; charts hold one result, the final one."""
    instance = assessed(radiograph())
    send_all()
    assert states() == {"archive": "stored", "charts": "stored", "ris": "stored"}
    (observation,) = hospital.charts.resources["Observation"].values()
    assert (observation["status"], observation["valueQuantity"]["value"]) == ("preliminary", 94.0)
    (study,) = hospital.charts.resources["ImagingStudy"].values()
    assert study["identifier"][0]["value"] == f"urn:oid:{instance.study_uid}"
    correct(make_user, instance.pk)
    send_all()
    (observation,) = hospital.charts.resources["Observation"].values()
    assert (observation["status"], observation["valueQuantity"]["value"]) == ("final", 100.0)
    first, second = (message.decode().split("\r") for message in hospital.ris.messages)
    assert first[2].split("|")[3] == second[2].split("|")[3], "both are about one radiograph"
    assert first[2].split("|")[25] == "P"
    assert second[2].split("|")[25] == "F"
    pass_time(10)
    send_all()
    assert set(Delivery.objects.filter(peer="archive").values_list("state", flat=True)) == {"committed"}


def test_answer_lost_changes_nothing(hospital: Surroundings) -> None:
    """A dispatcher that dies after the destination took a result sends the same bytes again, which doubles nothing."""
    assessed(radiograph())
    send_all()
    Delivery.objects.update(state="due")
    send_all()
    assert len(hospital.charts.resources["Observation"]) == 1
    first, second = hospital.ris.messages
    assert first == second
    assert control_id_of(first) == control_id_of(second)
    assert len({request.body.split(b"\r\n", 1)[1][:2000] for request in hospital.web.requests}) == 1


def test_busy_destinations_get_results_later(hospital: Surroundings) -> None:
    """Destinations that are busy get the result later; the status is kept as their protocol writes it."""
    hospital.busy |= {"archive", "charts", "ris"}
    assessed(radiograph())
    send_all()
    assert dict(Delivery.objects.values_list("peer", "status")) == {
        "archive": "HTTP 503",
        "charts": "HTTP 503",
        "ris": "AR",
    }
    assert set(states().values()) == {"due"}
    hospital.busy.clear()
    pass_time(1)
    send_all()
    assert states() == {"archive": "stored", "charts": "stored", "ris": "stored"}


def test_newer_message_replaces_unsent(hospital: Surroundings, make_user: Callable[..., User]) -> None:
    """A preliminary message that was not sent, or is dead, never comes after the final one."""
    hospital.busy.add("ris")
    instance = assessed(radiograph())
    send_all()
    Delivery.objects.filter(peer="charts").update(state="dead")
    correct(make_user, instance.pk)
    hospital.busy.clear()
    pass_time(1)
    send_all()
    rows = list(Delivery.objects.exclude(peer="archive").order_by("pk").values_list("peer", "state", "code"))
    assert rows == [
        ("charts", "given_up", "superseded"),
        ("ris", "given_up", "superseded"),
        ("charts", "stored", ""),
        ("ris", "stored", ""),
    ]
    objects = Delivery.objects.filter(peer="archive", state__in=["stored", "committed"])
    assert objects.count() == 2, "objects are no messages: both are kept"
    statuses = [message.decode().split("\r")[2].split("|")[25] for message in hospital.ris.messages]
    assert statuses == ["P", "F"]


def test_corrected_birth_date_reaches_charts(hospital: Surroundings, make_user: Callable[..., User]) -> None:
    """Messages by the corrected age take the place of those before. Each has its own control identifier, also when the
    first date of birth returns, so that no receiver drops it as a repetition.
    """
    instance = assessed(radiograph())
    assert instance.assessment is not None
    case, user = instance.assessment.case, make_user(Role.REVIEWER)
    assert case is not None
    send_all()
    for number, birth_date in enumerate((date(2016, 9, 6), date(2017, 9, 6), date(2016, 9, 6))):
        change_birth_date(case, birth_date, user)
        Instance.objects.update(revised_at=timezone.now() + timedelta(minutes=number))
        assert results.advance("dispatcher")
        send_all()
    assert len({control_id_of(message) for message in hospital.ris.messages}) == 4
    assert len(hospital.charts.resources["Observation"]) == 1
    assert states() == {"archive": "stored", "charts": "stored", "ris": "stored"}


def test_moved_radiograph_is_retracted_everywhere(hospital: Surroundings, make_user: Callable[..., User]) -> None:
    """Archive, charts and RIS learn that a result was sent in error, and get it back once it belongs to its patient."""
    instance, user = assessed(radiograph()), make_user(Role.REVIEWER)
    send_all()
    for number, reference in enumerate(("OTHER", "4711^^^HOSPITAL")):
        assessment = Instance.objects.select_related("assessment").get(pk=instance.pk).assessment
        assert assessment is not None
        move(assessment, reference, user)
        Instance.objects.update(revised_at=timezone.now() + timedelta(minutes=number))
        assert results.advance("dispatcher")
        send_all()
        assert states() == {"archive": "stored", "charts": "stored", "ris": "stored"}
        (observation,) = hospital.charts.resources["Observation"].values()
        (report,) = hospital.charts.resources["DiagnosticReport"].values()
        if reference == "OTHER":
            assert (observation["status"], report["status"]) == ("entered-in-error",) * 2
            assert "valueQuantity" not in observation
            assert observation["subject"]["identifier"]["value"] == "4711", "the patient who has the wrong result"
            assert report["conclusion"] == "This result was sent in error. It must not be used."
        else:
            assert (observation["status"], observation["valueQuantity"]["value"]) == ("preliminary", 94.0)
    messages = [[line.split("|") for line in message.decode().split("\r")] for message in hospital.ris.messages]
    observed = [{fields[11] for fields in message if fields[0] == "OBX"} for message in messages]
    assert observed == [{"P"}, {"W"}, {"P"}]
    assert [message[2][25] for message in messages] == ["P", "C", "P"]
    assert len({message[2][3] for message in messages}) == 1, "all are about one radiograph"
    assert len({control_id_of(message) for message in hospital.ris.messages}) == 3
    posted = [request.body for request in hospital.web.requests if request.method == "POST"]
    files = [body.split(b"\r\n\r\n", 1)[1].rpartition(b"\r\n--")[0] for body in posted]
    stored = [pydicom.dcmread(BytesIO(file)) for file in files]
    assert [one.Modality for one in stored] == ["SR", "KO", "SR"]
    assert stored[0].SOPInstanceUID in str(stored[1])
    pass_time(10)
    send_all()
    assert set(Delivery.objects.filter(peer="archive").values_list("state", flat=True)) == {"committed"}


def test_retraction_follows_its_messages(hospital: Surroundings, make_user: Callable[..., User]) -> None:
    """A retraction that a busy receiver has not got yet is given up for the result that holds again."""
    instance, user = assessed(radiograph()), make_user(Role.REVIEWER)
    send_all()
    hospital.busy.add("ris")
    for reference in ("OTHER", "4711^^^HOSPITAL"):
        assessment = Instance.objects.select_related("assessment").get(pk=instance.pk).assessment
        assert assessment is not None
        move(assessment, reference, user)
        assert results.advance("dispatcher")
        send_all()
    hospital.busy.clear()
    pass_time(1)
    send_all()
    accepted = hospital.ris.messages[0], hospital.ris.messages[-1]
    assert [message.decode().split("\r")[2].split("|")[25] for message in accepted] == ["P", "P"]
    rows = Delivery.objects.filter(peer="ris").order_by("pk").values_list("state", "code")
    assert list(rows) == [("stored", ""), ("given_up", "superseded"), ("stored", "")]


def test_rejection_note_reaches_pacs(
    settings: Settings, tmp_path: Path, make_user: Callable[..., User], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A PACS gets the note by C-STORE; it names the report in the simpler class in which the PACS has it."""
    stored: list[pydicom.Dataset] = []

    def store(event: evt.Event) -> int:
        stored.append(event.dataset)
        return 0x0000

    classes = [SecondaryCaptureImageStorage, EnhancedSRStorage, KeyObjectSelectionDocumentStorage]
    contexts = [build_context(one) for one in (*classes, StorageCommitmentPushModel)]
    handlers = [(evt.EVT_C_STORE, store), (evt.EVT_N_ACTION, report_on_same_association)]
    monkeypatch.setattr(_config, "UNRESTRICTED_STORAGE_SERVICE", False)
    with peer_serving(*handlers, contexts=contexts) as peer:
        path = configured(tmp_path, HOSPITAL, pacs_port=peer.port)
        settings.CONFIGURATION = replace(settings.CONFIGURATION, mode="clinic", pacs=str(path))
        instance = assessed(radiograph())
        send_all()
        assert instance.assessment is not None
        move(instance.assessment, "OTHER", make_user(Role.REVIEWER))
        assert results.advance("dispatcher")
        send_all()
        pass_time(10)
        send_all()
    capture, report, note = stored
    assert report.SOPClassUID == EnhancedSRStorage
    (study,) = note.CurrentRequestedProcedureEvidenceSequence
    named = [one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for one in study.ReferencedSeriesSequence]
    assert set(named) == {capture.SOPInstanceUID, report.SOPInstanceUID}
    assert set(Delivery.objects.values_list("state", flat=True)) == {"committed"}


def test_messages_of_patient_in_order(hospital: Surroundings) -> None:
    """Messages about a patient wait for those before them; those about others do not."""
    hospital.busy.add("ris")
    for number, patient in ((1, "4711"), (2, "4711"), (3, "4712")):
        assessed(radiograph(number, study=f"1.2.{number}", level=number, PatientID=patient))
    send_all()
    sent = [message.decode().split("\r")[1].split("|")[3] for message in hospital.ris.messages]
    assert sent == ["4711^^^HOSPITAL^PI", "4712^^^HOSPITAL^PI"]


def test_transactions_are_of_the_receiver(hospital: Surroundings) -> None:
    """Each message belongs to one destination, and making it again gives equal bytes."""
    instance = assessed(radiograph())
    stored = list(ResultFile.objects.order_by("pk").values_list("kind", "file"))
    assert [kind for kind, _ in stored] == ["sr", "fhir", "hl7"]
    assert [one.file for one in results.render(instance)] == [bytes(file) for _, file in stored]
    bundle = json.loads(bytes(stored[1][1]))
    assert bundle["type"] == "transaction"
    assert list(Delivery.objects.order_by("pk").values_list("peer", flat=True)) == ["archive", "charts", "ris"]


def test_report_on_association_of_request(hospital: Surroundings) -> None:
    """A report that comes on the association of its request commits at once."""
    assessed(radiograph())
    send_all()
    Delivery.objects.filter(peer="archive").update(peer="pacs", commit_due_at=timezone.now(), sent_class_uid="1.2")

    def answer(event: evt.Event) -> tuple[int, None]:
        assert event.action_information.TransactionUID
        return report_on_same_association(event)

    with peer_serving((evt.EVT_N_ACTION, answer)) as peer:
        Receiver(peer, "dispatcher").advance()
    assert Delivery.objects.get(peer="pacs").state == "committed"
