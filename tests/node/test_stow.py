"""Results go to a DICOMweb service by STOW-RS, and the node queries whether the service has them."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.node.configuration import NodeSettings
from boneage.node.destinations import DicomWebService
from boneage.node.outcome import OutcomeCode, Reference, Result
from boneage.node.stow import find_stored, judge_store, store
from boneage.node.web_client import Answer
from tests.node.orthanc import Orthanc, running_orthanc
from tests.node.parts import instance_file
from tests.node.web_servers import Reply, Request, closed_port, web_server
from tests.programs import skip_without

NODE = NodeSettings()
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def service(url: str) -> DicomWebService:
    return DicomWebService(name="archive", url=url, results=("sc", "sr"), commit=True, timeout_seconds=10.0)


def uid_of(file: bytes) -> str:
    return str(pydicom.dcmread(BytesIO(file)).SOPInstanceUID)


def reference(file: bytes) -> Reference:
    one = pydicom.dcmread(BytesIO(file))
    uids = one.SOPClassUID, one.SOPInstanceUID, one.StudyInstanceUID, one.SeriesInstanceUID
    return Reference(*map(str, uids))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """Start an Orthanc server with its DICOMweb plug-in."""
    if not PLUGIN.is_file():
        skip_without("orthanc-dicomweb is not installed: `make system-packages` installs it")
    with running_orthanc(tmp_path_factory.mktemp("archive"), closed_port(), Plugins=[str(PLUGIN)]) as server:
        yield server


def test_store_orthanc(archive: Orthanc) -> None:
    """A real archive has the very bytes, finds them by a query, and takes the same object twice as one."""
    address = service(f"http://127.0.0.1:{archive.http_port}/dicom-web")
    first, second, never = instance_file(), instance_file(), instance_file()
    outcomes = store(address, NODE, [first, second])
    assert [(one.result, one.code) for one in outcomes] == [(Result.DONE, OutcomeCode.SUCCESS)] * 2
    (again,) = store(address, NODE, [first])
    assert again.result in {Result.DONE, Result.WARNED}
    assert len(archive.find(uid_of(first))) == 1
    kept = pydicom.dcmread(BytesIO(archive.file(uid_of(first))))
    assert kept == pydicom.dcmread(BytesIO(first))
    answer = find_stored(address, NODE, [reference(one) for one in (first, second, never)])
    assert (answer.result, answer.stored) == (Result.DONE, frozenset({uid_of(first), uid_of(second)}))


def test_store_orthanc_other_objects(archive: Orthanc) -> None:
    """A file without identifiers is not sent; an archive that is away lets the rest wait."""
    address = service(f"http://127.0.0.1:{archive.http_port}/dicom-web")
    outcomes = store(address, NODE, [b"no file", instance_file()])
    assert [one.result for one in outcomes] == [Result.DEAD, Result.DONE]
    away = store(service(f"http://127.0.0.1:{closed_port()}"), NODE, [b"no file", instance_file()])
    assert [one.code for one in away] == [OutcomeCode.INVALID, OutcomeCode.UNREACHABLE]
    assert find_stored(service(f"http://127.0.0.1:{closed_port()}"), NODE, []).result is Result.DONE


def sequences(uid: str, *, failure: int | None = None, warning: int | None = None) -> dict[str, Any]:
    """Return the response about one instance (PS3.18, table 10.5.3-1)."""
    item: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
    if failure is not None:
        item["00081197"] = {"vr": "US", "Value": [failure]}
        return {"00081198": {"vr": "SQ", "Value": [item]}}
    if warning is not None:
        item["00081196"] = {"vr": "US", "Value": [warning]}
    return {"00081199": {"vr": "SQ", "Value": [item]}}


def answer(status: int, document: Any) -> Answer:
    reply = Reply.json(status, document)
    return Answer(status, reply.content_type, reply.body)


@pytest.mark.parametrize(
    ("status", "document", "result", "code"),
    [
        (200, sequences("1.2"), Result.DONE, OutcomeCode.SUCCESS),
        (200, {}, Result.DONE, OutcomeCode.SUCCESS),
        (200, sequences("1.2", warning=0xB000), Result.WARNED, OutcomeCode.WARNING),
        (202, sequences("1.2", warning=0xB006), Result.WARNED, OutcomeCode.WARNING),
        (202, {}, Result.WARNED, OutcomeCode.WARNING),
        (202, sequences("1.2", failure=0xA700), Result.RETRY, OutcomeCode.OUT_OF_RESOURCES),
        (409, sequences("1.2", failure=0xA700), Result.RETRY, OutcomeCode.OUT_OF_RESOURCES),
        (409, sequences("1.2", failure=0x0110), Result.RETRY, OutcomeCode.BUSY),
        (409, sequences("1.2", failure=0xA900), Result.DEAD, OutcomeCode.MISMATCH),
        (409, sequences("1.2", failure=0xC122), Result.DEAD, OutcomeCode.NOT_UNDERSTOOD),
        (409, sequences("1.2", failure=0x0122), Result.DEAD, OutcomeCode.NOT_ACCEPTED),
        (409, sequences("1.2", failure=0x0111), Result.WARNED, OutcomeCode.DUPLICATE),
        (409, sequences("1.2", failure=0x0000), Result.DEAD, OutcomeCode.FAILURE),
        (409, {}, Result.DEAD, OutcomeCode.FAILURE),
        (204, {}, Result.RETRY, OutcomeCode.UNCLEAR_ANSWER),
        (400, {}, Result.DEAD, OutcomeCode.NOT_UNDERSTOOD),
        (401, {}, Result.RETRY, OutcomeCode.NOT_AUTHORISED),
        (415, {}, Result.DEAD, OutcomeCode.NOT_ACCEPTED),
        (503, {}, Result.RETRY, OutcomeCode.BUSY),
    ],
)
def test_judge_store(status: int, document: Any, result: Result, code: OutcomeCode) -> None:
    """Each status of PS3.18 has its consequence, and the reason of the only instance counts more."""
    outcome = judge_store(answer(status, document), "1.2")
    assert (outcome.result, outcome.code) == (result, code)


@given(
    st.integers(200, 599),
    st.recursive(
        st.none() | st.integers() | st.text() | st.sampled_from(["1.2", 0xA700]),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["00081198", "00081199", "Value", "vr"]), inner)
        ),
        max_leaves=6,
    ),
)
@settings(max_examples=40)
def test_judge_store_any_answer(status: int, document: Any) -> None:
    """Whatever a service answers becomes an outcome, and a failure is never taken for success."""
    outcome = judge_store(answer(status, document), "1.2")
    if status not in {200, 202}:
        assert outcome.result in {Result.RETRY, Result.DEAD}


def test_store_simpler_report() -> None:
    """A report of whose class the service says that it is not supported goes out in the next simpler one."""
    report = instance_file(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.34")

    def enhanced_only(request: Request) -> Reply:
        if b"1.2.840.10008.5.1.4.1.1.88.22" in request.body:
            return Reply.json(200, {})
        return Reply.json(409, {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0x0122]}}]}})

    with web_server(enhanced_only) as server:
        (outcome,) = store(service(server.url), NODE, [report])
        assert len(server.requests) == 3
    assert (outcome.result, outcome.sop_class_uid) == (Result.DONE, "1.2.840.10008.5.1.4.1.1.88.22")
    assert outcome.sop_instance_uid != uid_of(report)


def test_store_message_is_multipart() -> None:
    """The request is multipart/related with one part, which is the file as it is stored."""
    file = instance_file()
    with web_server(lambda _: Reply.json(200, {})) as server:
        store(service(server.url), NODE, [file])
        (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/base/studies")
    kind, boundary = request.headers["content-type"].split("; boundary=")
    assert kind == 'multipart/related; type="application/dicom"'
    assert request.body == (
        f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + file + f"\r\n--{boundary}--\r\n".encode()
    )


@pytest.mark.parametrize(
    ("reply", "result"),
    [
        (Reply(204), Result.DONE),
        (Reply.json(200, []), Result.DONE),
        (Reply.json(200, {"no": "list"}), Result.DEAD),
        (Reply.json(404, {}), Result.DEAD),
        (Reply.json(501, {}), Result.DEAD),
        (Reply.json(503, {}), Result.RETRY),
    ],
)
def test_find_stored_answers(reply: Reply, result: Result) -> None:
    """No match is an answer; a service without queries is not asked again; one that is busy is."""
    with web_server(lambda _: reply) as server:
        outcome = find_stored(service(server.url), NODE, [Reference("1.2", "1.3", "1.4", "1.5")])
    assert (outcome.result, outcome.stored) == (result, frozenset())
