"""A PACS as a source: searches, objects, failures, and a real Orthanc that is restarted."""

from __future__ import annotations

import json
import pickle
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from boneage.archive.dicomweb import DicomwebSource, authorization, only_part
from boneage.archive.items import ArchiveItem, Selection, SourceUnavailableError
from boneage.archive.work import Worker
from boneage.errors import ConfigurationError, NodeError, Rejection
from boneage.files import sha256_of
from tests.archive.parts import dicom_radiograph, run_through, settings, tables_of
from tests.node.orthanc import Orthanc, free_port, running_orthanc
from tests.program_runs import rows_of
from tests.programs import skip_without

Answer = tuple[int, str, bytes]
OBJECT = ArchiveItem("1.2/3.4/5.6")
PATIENCE_SECONDS = 1.0


def element(value: str) -> dict[str, list[str]]:
    """Return an element of DICOM JSON."""
    return {"Value": [value]}


@contextmanager
def answering(answer: Callable[[str, dict[str, str]], Answer]) -> Iterator[str]:
    """Serve answers by path and headers, and yield the root of the services."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, kind, body = answer(self.path, dict(self.headers))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/dicom-web"
        finally:
            server.shutdown()
            thread.join()


def source_at(root: str, value: str = "", selection: Selection | None = None) -> DicomwebSource:
    """Return a source with little patience."""
    return DicomwebSource(root, value, selection or Selection(), patience_seconds=PATIENCE_SECONDS)


def multipart(content: bytes) -> Answer:
    """Return an object as a PACS does."""
    body = b"--edge\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--edge--\r\n"
    return 200, 'multipart/related; type="application/dicom"; boundary=edge', body


@pytest.mark.parametrize("content", [b"", b"\r\n\r\n", b"--edge", bytes(range(256)) * 3])
def test_part_of_multipart(content: bytes) -> None:
    _, kind, body = multipart(content)
    assert only_part(kind, body) == content
    assert only_part(kind.replace("=edge", '="edge"'), b"preamble\r\n" + body) == content


@pytest.mark.parametrize("body", [b"", b"--edge", b"--edge\r\n\r\nno end"])
def test_damaged_multipart_is_rejected(body: bytes) -> None:
    with pytest.raises(Rejection) as caught:
        only_part("multipart/related; boundary=edge", body)
    assert caught.value.code == "unreadable"


def test_pages_of_studies_and_selection() -> None:
    """All pages are read, the query names modality and dates, and other modalities of a study are left out."""
    paths: list[str] = []

    def answer(path: str, headers: dict[str, str]) -> Answer:
        paths.append(path)
        assert headers["Authorization"] == "Basic dXNlcjpwYXNz"
        offset = int(re.search(r"offset=(\d+)", path)[1]) if "offset" in path else None  # type: ignore[index]
        if offset is not None:
            answers: list[dict[str, object]] = [{"0020000D": element(f"1.{offset}")}] if offset < 3 else []
        else:
            answers = [
                {"0020000E": element("2.1"), "00080018": element(f"3.{number}"), "00080060": element(modality)}
                for number, modality in enumerate(("DX", "SR"))
            ]
        return 200, "application/dicom+json", json.dumps(answers).encode()

    selection = Selection(("DX",), (), date(2010, 1, 2), None)
    with answering(answer) as root:
        source = source_at(root, authorization(None, {"BONEAGE_DICOMWEB_AUTH": "user:pass"}), selection)
        items = [item.locator for item in source.items()]
    assert items == ["1.0/2.1/3.0", "1.1/2.1/3.0", "1.2/2.1/3.0"]
    assert source.expected == 3
    assert "ModalitiesInStudy=DX" in paths[0]
    assert "StudyDate=20100102-" in paths[0]


def test_failures_pass_or_stay() -> None:
    """A busy PACS gets the request again; a missing object is a rejection; denied access ends the run."""
    statuses = [503, 200]
    with answering(lambda *_: multipart(b"object") if statuses.pop(0) == 200 else (503, "", b"")) as root:
        assert source_at(root).read(OBJECT) == b"object"
    for status, error in ((404, Rejection), (401, SourceUnavailableError), (500, SourceUnavailableError)):
        with answering(lambda *_, status=status: (status, "", b"")) as root, pytest.raises(error):
            source_at(root).read(OBJECT)


def test_silent_pacs_ends_the_search() -> None:
    with pytest.raises(NodeError, match="does not answer") as caught:
        list(source_at(f"http://127.0.0.1:{free_port()}/dicom-web").items())
    assert caught.value.code == "peer_not_ready"


@pytest.mark.parametrize("root", ["pacs/dicom-web", "ftp://pacs", "https://user:secret@pacs/dicom-web"])
def test_address_is_checked(root: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        source_at(root)
    assert "secret" not in str(caught.value)


def test_authorization_of_file(tmp_path: Path) -> None:
    file = tmp_path / "auth"
    file.write_text("Bearer abc.def\n")
    assert authorization(file, {}) == "Bearer abc.def"
    assert authorization(None, {}) == ""


def test_source_is_pickled_without_connections() -> None:
    with answering(lambda *_: multipart(b"object")) as root:
        source = source_at(root)
        source.read(OBJECT)
        assert pickle.loads(pickle.dumps(source)).read(OBJECT) == b"object"


class RestartingSource(DicomwebSource):
    """A PACS that is restarted before some reads."""

    server: Orthanc
    restarts: tuple[int, ...]
    reads = 0

    def read(self, item: ArchiveItem) -> bytes:
        """Restart the server now and then, and read."""
        self.reads += 1
        if self.reads in self.restarts:
            self.server.stop()
            timer = threading.Timer(0.7, self.server.start)  # the request meets a PACS that is away
            timer.start()
            try:
                return super().read(item)
            finally:
                timer.join()
        return super().read(item)


def test_orthanc_is_read_over_restarts(tmp_path: Path, bundle_folder: Path) -> None:
    """Each radiograph arrives with its own bytes, once, although the PACS is restarted twice."""
    plugin = next(Path("/usr").glob("*/orthanc/plugins/libOrthancDicomWeb*"), None)
    if plugin is None:
        skip_without("Orthanc's DICOMweb plug-in is not installed: `make system-packages` installs it")
    (tmp_path / "pacs").mkdir()
    files = [dicom_radiograph(number) for number in range(8)]
    with running_orthanc(tmp_path / "pacs", free_port(), Plugins=[str(plugin)]) as server:
        for file in files:
            server.upload(file)
        source = RestartingSource(f"http://127.0.0.1:{server.http_port}/dicom-web", "", Selection(("CR",)))
        source.server, source.restarts = server, (2, 6)
        counts = run_through(source, tmp_path / "out", Worker(source, settings(bundle_folder, identifiers=True)))
    assert (counts.done, counts.rejected.total()) == (8, 0)
    tables_of(tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "radiographs.csv")
    assert {row["radiograph_sha256"] for row in rows} == set(map(sha256_of, files))
