"""A real PACS takes the result objects, has them after a restart, vouches for them, and sends radiographs."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.uid import generate_uid

from boneage.dicom.objects import KINDS, result_objects
from boneage.node.commitment import request_commitment
from boneage.node.echo import echo
from boneage.node.outcome import Reference, Result
from boneage.node.query import find_stored
from boneage.node.sender import send
from tests.dicom.sources import NOW, PICTURE, document, source
from tests.node.orthanc import Orthanc, free_port, running_orthanc
from tests.node.parts import MemoryIntake, instance_file, listening, sender_settings, wait_for


def result_files() -> list[bytes]:
    """Return the result objects of a radiograph of a new study."""
    radiograph = source(
        SOPInstanceUID=generate_uid(), StudyInstanceUID=generate_uid(), SeriesInstanceUID=generate_uid()
    )
    made = result_objects(radiograph, document(), PICTURE, now=NOW, kinds=KINDS, pdf=lambda: b"%PDF-1.7 a report")
    return [one.to_bytes() for one in made]


def references(files: list[bytes]) -> list[Reference]:
    """Return references to the objects of files."""
    read = [pydicom.dcmread(BytesIO(file)) for file in files]
    return [Reference(one.SOPClassUID, one.SOPInstanceUID, one.StudyInstanceUID, one.SeriesInstanceUID) for one in read]


NODE = sender_settings("BONEAGE")


def test_orthanc_stores_results(orthanc: Orthanc) -> None:
    """Each result object is stored with the values that it was sent with, and found by a query."""
    files = result_files()
    wanted = references(files)
    assert echo(orthanc.peer, NODE).result is Result.DONE
    assert find_stored(orthanc.peer, NODE, wanted).stored == frozenset()
    outcomes = send(orthanc.peer, NODE, files)
    assert [(one.result, one.status) for one in outcomes] == [(Result.DONE, 0)] * len(KINDS)
    for file, reference in zip(files, wanted, strict=True):
        kept = pydicom.dcmread(BytesIO(orthanc.file(reference.sop_instance_uid)))
        assert kept == pydicom.dcmread(BytesIO(file))
    answer = find_stored(orthanc.peer, NODE, wanted)
    assert answer.result is Result.DONE
    assert answer.stored == {one.sop_instance_uid for one in wanted}


def test_orthanc_restarts_between_objects(tmp_path: Path) -> None:
    """While the PACS is away an object is to be sent again; afterwards the very same bytes are stored once."""
    files = result_files()
    with running_orthanc(tmp_path, free_port()) as server:
        (first,) = send(server.peer, NODE, files[:1])
        server.stop()
        (away,) = send(server.peer, NODE, files[1:2])
        server.start()
        outcomes = send(server.peer, NODE, files[:2])
        assert (first.result, away.result, [one.result for one in outcomes]) == (
            Result.DONE,
            Result.RETRY,
            [Result.DONE, Result.DONE],
        )
        assert len(server.instances()) == 2


def test_orthanc_commits_storage(orthanc: Orthanc, node_port: int) -> None:
    """The PACS vouches for what it has, and reports what it does not have as failed."""
    files = result_files()[:2]
    stored = references(files)
    missing = Reference(stored[0].sop_class_uid, generate_uid())
    transaction, intake = generate_uid(), MemoryIntake()
    with listening(intake, orthanc.peer, port=node_port):
        send(orthanc.peer, NODE, files)
        assert request_commitment(orthanc.peer, NODE, transaction, [*stored, missing]).result is Result.DONE
        wait_for(lambda: bool(intake.reports))
    (report,) = intake.reports
    assert (report.peer, report.transaction_uid) == ("pacs", transaction)
    assert set(report.stored) == {one.sop_instance_uid for one in stored}
    assert report.failed == {missing.sop_instance_uid: 0x0112}  # no such object instance


def test_orthanc_routes_radiographs(tmp_path: Path) -> None:
    """A radiograph that arrives in the PACS comes to the node with its bytes; the node's results do not come back."""
    intake, port = MemoryIntake(), free_port()
    file = instance_file(Modality="DX")
    with running_orthanc(tmp_path, port, routes=True) as server, listening(intake, server.peer, port=port):
        server.upload(file)
        wait_for(lambda: bool(intake.taken))
        send(server.peer, NODE, result_files()[:1])
        ((instance, header),) = intake.taken
    assert pydicom.dcmread(BytesIO(instance.file)) == pydicom.dcmread(BytesIO(file))
    assert (instance.calling_ae_title, header.modality) == ("PACS", "DX")
