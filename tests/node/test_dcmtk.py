"""Another implementation of DICOM, DCMTK, talks to the node in both directions."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from boneage.dicom.objects import KINDS, result_objects
from boneage.node.configuration import Peer
from boneage.node.echo import echo
from boneage.node.outcome import Result
from boneage.node.sender import send
from tests.dicom.sources import NOW, PICTURE, document, source
from tests.node.orthanc import free_port
from tests.node.parts import MemoryIntake, instance_file, listening, sender_settings, wait_for
from tests.programs import skip_without
from tests.radiograph_files import VALID


def program(name: str) -> str:
    """Return the path of a program of DCMTK. pynetdicom installs others of the same names beside Python."""
    path = Path("/usr/bin") / name
    return str(path) if path.exists() else skip_without("DCMTK is not installed: `make system-packages` installs it")


def run(*words: object) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=60, check=False)


def test_echoscu() -> None:
    with listening(MemoryIntake()) as listener:
        call = [program("echoscu"), "-aec", "BONEAGE", "127.0.0.1", listener.port]
        assert run(*call, "-aet", "DXROOM1").returncode == 0
        assert "Calling AE Title Not Recognized" in run(*call, "-aet", "STRANGER").stderr


PROPOSALS = {
    "dicom implicit": "-xi",
    "dicom explicit": "-xe",
    "dicom big endian": "-xb",
    "dicom deflated": "-xd",
    "dicom rle": "-xr",
    "dicom jpeg": "-xy",
    "dicom jpeg lossless 1": "-xs",
    "dicom jpeg-ls": "-xt",
    "dicom jpeg 2000": "-xv",
}
"""Files by transfer syntax, and the option by which storescu proposes it."""


@pytest.mark.parametrize("name", PROPOSALS)
def test_storescu(name: str, tmp_path: Path) -> None:
    """A radiograph arrives in the transfer syntax in which the sender has it, unchanged."""
    path = tmp_path / "radiograph.dcm"
    dataset = pydicom.dcmread(BytesIO(VALID[name]))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2", "1.2.3"
    dataset.save_as(path, enforce_file_format=True)
    intake = MemoryIntake()
    with listening(intake) as listener:
        call = [program("storescu"), "-aet", "DXROOM1", "-aec", "BONEAGE", PROPOSALS[name], "+C"]
        done = run(*call, "127.0.0.1", listener.port, path)
    assert done.returncode == 0, done.stderr
    ((instance, _),) = intake.taken
    assert instance.transfer_syntax_uid == dataset.file_meta.TransferSyntaxUID
    assert pydicom.dcmread(BytesIO(instance.file)) == dataset


def test_storescu_whole_study(tmp_path: Path) -> None:
    """A study with a report and a presentation state is taken whole; the proposals of one sender do not end it."""
    made = result_objects(source(), document(), PICTURE, now=NOW, kinds=KINDS, pdf=lambda: b"%PDF-1.7 a report")
    for number, file in enumerate([*(one.to_bytes() for one in made), instance_file()]):
        (tmp_path / f"{number}.dcm").write_bytes(file)
    intake = MemoryIntake()
    with listening(intake) as listener:
        call = [program("storescu"), "-aet", "DXROOM1", "-aec", "BONEAGE", "-R", "+sd"]
        done = run(*call, "127.0.0.1", listener.port, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (len(intake.taken), len(intake.skipped)) == (2, 3)  # a Secondary Capture may be a radiograph


@contextmanager
def storescp(folder: Path, *options: str) -> Iterator[Peer]:
    """Run storescp, which stores what it receives in a folder."""
    port = free_port()
    command = [program("storescp"), *options, "-od", str(folder), "-aet", "PACS", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        peer = Peer("pacs", "PACS", "127.0.0.1", port)
        try:
            wait_for(lambda: echo(peer, sender_settings("BONEAGE")).result is Result.DONE)
            yield peer
        finally:
            process.terminate()


def test_storescp(tmp_path: Path) -> None:
    """The results are stored with their values."""
    made = list(result_objects(source(), document(), PICTURE, now=NOW, kinds=["sc", "sr"]))
    with storescp(tmp_path) as peer:
        outcomes = send(peer, sender_settings("BONEAGE"), [one.to_bytes() for one in made])
    assert [one.result for one in outcomes] == [Result.DONE, Result.DONE]
    stored = {one.SOPInstanceUID: one for one in map(pydicom.dcmread, tmp_path.iterdir())}
    for one in made:
        assert stored[one.dataset.SOPInstanceUID] == pydicom.dcmread(BytesIO(one.to_bytes()))


@pytest.mark.parametrize(("option", "result"), [("--abort-after", Result.RETRY), ("--abort-during", Result.RETRY)])
def test_storescp_aborts(tmp_path: Path, option: str, result: Result) -> None:
    with storescp(tmp_path, option) as peer:
        (outcome,) = send(peer, sender_settings("BONEAGE"), [instance_file()])
    assert outcome.result is result
