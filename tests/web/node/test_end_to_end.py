"""The whole way with a real PACS: a radiograph is pushed, and its result objects come back into the same study.

`boneage serve` runs as a hospital starts it, with a real Orthanc on free ports. The PACS sends each new radiograph on
to the node by a routing rule of its own.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid
from pytest_django.fixtures import Settings

from boneage.node.configuration import NodeSettings, Peer
from boneage.node.outcome import Result
from boneage.node.sender import send
from boneage.web.cases.corrections import move
from boneage.web.models import Assessment, Role, User
from boneage.web.node import results, studies
from boneage.web.node.dispatcher import Receiver
from boneage.web.node.intake import DatabaseIntake
from boneage.web.node.models import Delivery
from boneage.web.node.pacs import node_configuration
from boneage.web.queue import jobs
from tests.node.orthanc import Orthanc, free_port, running_orthanc
from tests.web.conftest import answer_of_phantom
from tests.web.node.arrivals import HOSPITAL, configured, radiograph, received
from tests.web.node.test_results import assessed

pytest.importorskip("highdicom")

KEY_OBJECTS, PRESENTATION_STATE, ENHANCED_REPORT = (
    f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("88.59", "11.1", "88.22")
)
ADULT: dict[str, Any] = {"PatientAge": "074Y", "PatientBirthDate": "19500101"}
PATIENCE_SECONDS = 60.0


@dataclass
class Hospital:
    """A PACS, and the service as its node.

    Attributes:
        orthanc: the PACS.
        node: the service as a peer of others.
        store: folder of the service.
    """

    orthanc: Orthanc
    node: Peer
    store: Path

    def push(self, *files: bytes) -> list[Result]:
        """Send files to the node as a modality does."""
        return [one.result for one in send(self.node, NodeSettings(ae_title="DXROOM1"), files)]

    def objects(self, study: str) -> list[Dataset]:
        """Return all instances of a study in the PACS, in the order of arrival there."""
        stored = [one["ID"] for one in self.orthanc.instances()]
        files = [pydicom.dcmread(BytesIO(self.orthanc._request(f"/instances/{one}/file", None))) for one in stored]
        return [one for one in files if study == one.StudyInstanceUID]

    def modalities(self, study: str) -> Counter[str]:
        """Return the number of instances of each modality in a study of the PACS."""
        return Counter(one.Modality for one in self.objects(study))

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return rows of the service's database."""
        with closing(
            sqlite3.connect(f"file:{self.store / 'boneage.sqlite3'}?mode=ro", uri=True, timeout=20)
        ) as database:
            return database.execute(query, values).fetchall()

    def states(self, study: str) -> Counter[str]:
        """Return the number of deliveries of a study in each state."""
        query = (
            "SELECT d.state, COUNT(*) FROM node_delivery d JOIN node_resultfile r ON r.id = d.result_id "
            "JOIN node_instance i ON i.id = r.instance_id WHERE i.study_uid = ? GROUP BY d.state"
        )
        return Counter(dict(self.rows(query, study)))


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    """Start PACS and service once for all tests; each uses a study of its own."""
    folder = tmp_path_factory.mktemp("hospital")
    node_port, port = free_port(), free_port()
    orthanc = Orthanc(_made(folder / "orthanc"), node_port, routes=True)
    pacs = configured(folder, HOSPITAL, quiet=1, port=node_port, pacs_port=orthanc.dicom_port)
    orthanc.start()
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("BONEAGE_", "DJANGO_"))}
    environment = clean | {"BONEAGE_PACS": str(pacs), "BONEAGE_ADMIN_PASSWORD": "correct horse battery"}
    environment |= {"PYTHONWARNINGS": "ignore", "BONEAGE_LEASE_SECONDS": "20", "OMP_NUM_THREADS": "1"}
    options = ["--port", str(port), "--mode", "clinic", "--store", str(folder / "store"), "--workers", "1"]
    command = [sys.executable, "-m", "boneage", "serve", *options, "--bundle", "fast"]
    log = folder / "log.txt"
    with log.open("wb") as output:
        service = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=output, env=environment)
    try:
        assert service.stdout is not None
        assert service.stdout.readline().startswith(b"boneage is at"), log.read_text()
        yield Hospital(orthanc, Peer("node", "BONEAGE", "127.0.0.1", node_port), folder / "store")
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait(30)
        orthanc.stop()
        if service.stdout is not None:
            service.stdout.close()
    assert service.returncode == 0, log.read_text()
    assert "Traceback" not in log.read_text(), log.read_text()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def other_object(sop_class: str, study: str) -> bytes:
    """Return an object of a class that holds no radiograph."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = UID(sop_class), generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.Modality = study, f"{study}.7", "OT"
    dataset.PatientID = "4711"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_results_come_back_into_the_study(hospital: Hospital) -> None:
    """The PACS routes a new radiograph to the node, gets its results, and commits to them."""
    study = "1.2.826.0.1.3680043.2.1125.11"
    file = radiograph(study=study, is_plate=True, PatientName="Doe^Jane")
    hospital.orthanc.upload(file)
    until(lambda: hospital.modalities(study) == {"CR": 1, "OT": 1, "SR": 1})
    source = pydicom.dcmread(BytesIO(file))
    for one in hospital.objects(study):
        for keyword in ("PatientID", "PatientName", "IssuerOfPatientID", "AccessionNumber"):
            assert one[keyword].value == source[keyword].value
    until(lambda: hospital.states(study) == {"committed": 2})


def test_same_radiograph_twice_changes_nothing(hospital: Hospital) -> None:
    """A radiograph that is sent again is acknowledged again, and has one result."""
    study = "1.2.826.0.1.3680043.2.1125.12"
    file = radiograph(study=study, is_plate=True)
    assert hospital.push(file) == [Result.DONE]
    until(lambda: hospital.modalities(study) == {"OT": 1, "SR": 1})
    assert hospital.push(file, file) == [Result.DONE] * 2
    time.sleep(3)
    assert hospital.modalities(study) == {"OT": 1, "SR": 1}


def test_corrected_sex_gives_second_report(hospital: Hospital) -> None:
    """The modality sends the radiograph again with the right sex: the PACS gets a second report, by that sex."""
    study = "1.2.826.0.1.3680043.2.1125.13"
    assert hospital.push(radiograph(study=study, is_plate=True, level=13, PatientID="13")) == [Result.DONE]
    until(lambda: hospital.modalities(study) == {"OT": 1, "SR": 1})
    assert hospital.push(radiograph(study=study, is_plate=True, level=13, PatientSex="M", PatientID="13")) == [
        Result.DONE
    ]
    until(lambda: hospital.modalities(study) == {"OT": 2, "SR": 2})
    reports = [one for one in hospital.objects(study) if one.Modality == "SR"]
    assert sorted(one.PatientSex for one in reports) == ["F", "M"]


def test_results_wait_for_pacs(hospital: Hospital) -> None:
    """While the PACS is down, radiographs are taken and results wait; they arrive once it is up again."""
    study = "1.2.826.0.1.3680043.2.1125.14"
    hospital.orthanc.stop()
    try:
        assert hospital.push(radiograph(study=study, is_plate=True, level=14, PatientID="14")) == [Result.DONE]
        until(lambda: bool(hospital.rows("SELECT 1 FROM node_delivery WHERE code = 'unreachable' AND failures > 0")))
    finally:
        hospital.orthanc.start()
    until(lambda: hospital.modalities(study) == {"OT": 1, "SR": 1})


def test_whole_study_with_other_objects(hospital: Hospital) -> None:
    """Every object of a whole study is acknowledged, one radiograph is read, and each other has its reason."""
    study = "1.2.826.0.1.3680043.2.1125.15"
    files = [
        *(other_object(sop_class, study) for sop_class in (KEY_OBJECTS, PRESENTATION_STATE, ENHANCED_REPORT)),
        radiograph(1, study=study, is_plate=True, level=15, PatientID="15"),
        radiograph(2, study=study, level=1, PatientID="15", ViewPosition="LL"),
        radiograph(3, study=study, level=2, PatientID="15", BodyPartExamined="CHEST"),
        radiograph(4, study=study, level=3, PatientID="15", ImageLaterality="R"),
        radiograph(5, study=study, level=4, PatientID="15", PresentationIntentType="FOR PROCESSING"),
        radiograph(6, study=study, level=5, PatientID="15", BodyPartExamined="CHEST", **ADULT),
    ]
    assert hospital.push(*files) == [Result.DONE] * len(files)
    until(lambda: hospital.modalities(study) == {"OT": 1, "SR": 1})
    uids = [str(pydicom.dcmread(BytesIO(file)).SOPInstanceUID) for file in files]
    marks = ",".join("?" * len(uids))
    query = f"SELECT sop_instance_uid, state, reason FROM node_instance WHERE sop_instance_uid IN ({marks})"

    def outcome() -> list[tuple[str, str]]:
        rows = {uid: (state, reason) for uid, state, reason in hospital.rows(query, *uids)}
        return [rows[uid] for uid in uids]

    until(lambda: not {"waiting", "queued", "reserve"} & {state for state, _ in outcome()})
    assert outcome() == [
        *[("skipped", "storage_class")] * 3,
        ("rendered", ""),
        ("skipped", "lateral_view"),
        ("skipped", "body_part"),
        ("skipped", "another_preferred"),
        ("skipped", "for_processing"),
        ("skipped", "age"),
    ]


@pytest.mark.django_db
def test_pacs_restarts_between_two_objects(settings: Settings, tmp_path: Path) -> None:
    """The report waits for the picture before it, and comes after a restart of the PACS, with the stored bytes."""
    with running_orthanc(_made(tmp_path / "orthanc"), free_port()) as orthanc:
        pacs = configured(tmp_path, HOSPITAL, pacs_port=orthanc.dicom_port)
        settings.CONFIGURATION = replace(settings.CONFIGURATION, mode="clinic", pacs=str(pacs))
        DatabaseIntake().take(*received(radiograph()))
        studies.advance()
        begun = jobs.begin(str(Assessment.objects.get().pk), "worker")
        assert begun is not None
        assert jobs.finish(begun, answer_of_phantom())
        assert results.advance("dispatcher")
        receiver = Receiver(node_configuration().receivers()[0], "dispatcher")
        receiver.advance()
        assert [one["SeriesNumber"] for one in _series(orthanc)] == ["991"]
        orthanc.stop()
        orthanc.start()
        receiver.advance()
        assert sorted(one["SeriesNumber"] for one in _series(orthanc)) == ["990", "991"]
        for delivery in Delivery.objects.select_related("result"):
            sent, stored = bytes(delivery.result.file), orthanc.file(delivery.result.sop_instance_uid)
            assert pydicom.dcmread(BytesIO(stored)) == pydicom.dcmread(BytesIO(sent))


@pytest.mark.django_db
def test_pacs_stores_rejection_note(settings: Settings, tmp_path: Path, make_user: Callable[..., User]) -> None:
    """Orthanc stores the note in the study of the results, with all objects that it rejects."""
    with running_orthanc(_made(tmp_path / "orthanc"), free_port()) as orthanc:
        pacs = configured(tmp_path, HOSPITAL, pacs_port=orthanc.dicom_port)
        settings.CONFIGURATION = replace(settings.CONFIGURATION, mode="clinic", pacs=str(pacs))
        instance = assessed(radiograph())
        receiver = Receiver(node_configuration().receivers()[0], "dispatcher")
        for _ in range(2):
            receiver.advance()
        assert instance.assessment is not None
        move(instance.assessment, "OTHER", make_user(Role.REVIEWER))
        assert results.advance("dispatcher")
        receiver.advance()
        assert sorted(one["SeriesNumber"] for one in _series(orthanc)) == ["990", "991", "994"]
        assert len(orthanc.get("/studies")) == len(orthanc.get("/patients")) == 1


def _series(orthanc: Orthanc) -> list[dict[str, str]]:
    return [one["MainDicomTags"] for one in orthanc.get("/series?expand")]
