"""Reading in a process of its own gives the same radiograph, and ends every read that takes too long."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from boneage.errors import Rejection
from boneage.reading.limit import (
    ReadingProcess,
    end_reading_process,
    read_radiograph_limited,
    start_reading_process,
)
from boneage.reading.process import Reply
from boneage.reading.radiograph import read_radiograph
from tests.radiograph_files import VALID, coded, dicom_dataset, dicom_file, drawn_radiograph


@pytest.fixture(scope="module", autouse=True)
def _ended() -> Iterator[None]:
    yield
    end_reading_process()


def _slow_file() -> bytes:
    """Return a PNG that takes zlib and OpenCV some tenths of a second."""
    levels = np.random.default_rng(0).integers(0, 65536, (2000, 2000)).astype(np.uint16)
    return coded(".png", levels)


@pytest.mark.parametrize("name", ["png 16", "jpeg", "dicom explicit", "dicom jpeg-ls"])
def test_read_radiograph_limited_same_pixels(name: str) -> None:
    """A limited read gives the same pixels and facts."""
    limited, plain = read_radiograph_limited(VALID[name]), read_radiograph(VALID[name])
    assert np.array_equal(limited.pixels, plain.pixels)
    assert limited.pixels.dtype == np.float32
    assert limited.pixels.flags.writeable
    assert limited.facts == plain.facts


def test_read_radiograph_limited_passes_rejection() -> None:
    with pytest.raises(Rejection) as plain:
        read_radiograph(b"nothing")
    with pytest.raises(Rejection) as limited:
        read_radiograph_limited(b"nothing")
    assert (limited.value.code, limited.value.message) == (plain.value.code, plain.value.message)


def test_read_radiograph_limited_passes_log(caplog: pytest.LogCaptureFixture) -> None:
    file = dicom_file(dicom_dataset(drawn_radiograph(bits=12), 12, ImagerPixelSpacing=[0, 1]))
    with caplog.at_level(logging.WARNING):
        read_radiograph_limited(file)
    assert [record.name for record in caplog.records] == ["boneage.reading.dicom.tags"]
    assert "ImagerPixelSpacing" in caplog.text


def test_read_radiograph_limited_ends_c_code() -> None:
    """The time limit ends C code, and the next read works."""
    before = start_reading_process()
    with pytest.raises(Rejection) as rejection:
        read_radiograph_limited(_slow_file(), cpu_seconds=0.02)
    assert rejection.value.code == "reading_timeout"
    assert read_radiograph_limited(VALID["png 8"]).facts.format == "png"
    assert start_reading_process() != before


def test_read_radiograph_limited_counts_each_read_alone() -> None:
    """The time limit counts each read alone."""
    before = start_reading_process()
    for _ in range(60):
        read_radiograph_limited(VALID["png 8"], cpu_seconds=0.2)
    assert start_reading_process() == before


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_read_radiograph_limited_positive_limit(seconds: float) -> None:
    """The time limit must be positive."""
    with pytest.raises(ValueError, match="above 0"):
        read_radiograph_limited(VALID["png 8"], cpu_seconds=seconds)


def test_read_radiograph_limited_killed_process() -> None:
    """A process that was killed is replaced."""
    os.kill(start_reading_process(), signal.SIGKILL)
    assert read_radiograph_limited(VALID["png 8"]).facts.format == "png"


def test_read_radiograph_limited_process_dies_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies at a file is replaced, and the file is read once more."""
    deaths = _dies(monkeypatch, times=1)
    assert read_radiograph_limited(VALID["png 8"]).facts.format == "png"
    assert len(deaths) == 1


def test_read_radiograph_limited_process_dies_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file on which the process dies twice is unreadable."""
    deaths = _dies(monkeypatch, times=9)
    with pytest.raises(Rejection) as rejection:
        read_radiograph_limited(VALID["png 8"])
    assert rejection.value.code == "unreadable"
    assert len(set(deaths)) == 2


def _dies(monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """Kill the reading process at its next `times` requests, and return the ids of the killed ones."""
    deaths: list[int] = []
    ask = ReadingProcess.ask

    def killed(reader: ReadingProcess, data: bytes, cpu_seconds: float) -> Reply:
        if len(deaths) < times:
            os.kill(reader.process_id, signal.SIGKILL)
            deaths.append(reader.process_id)
        return ask(reader, data, cpu_seconds)

    monkeypatch.setattr(ReadingProcess, "ask", killed)
    return deaths


def test_read_radiograph_limited_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted read leaves no reply for the next file."""

    def interrupted(_connection: Connection, _seconds: float) -> bool:
        raise KeyboardInterrupt

    start_reading_process()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Connection, "poll", interrupted)
        read_radiograph_limited(VALID["png 16"])
    next_read = read_radiograph_limited(VALID["jpeg"])
    assert next_read.facts.format == "jpeg"
    assert np.array_equal(next_read.pixels, read_radiograph(VALID["jpeg"]).pixels)


def test_read_radiograph_limited_process_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that cannot start raises an error of the program."""
    end_reading_process()
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="did not start"):
        read_radiograph_limited(VALID["png 8"])


def test_reading_process_ends_with_killed_caller() -> None:
    """The reading process ends when the caller is killed."""
    program = (
        "from boneage.reading.limit import start_reading_process;print(start_reading_process(), flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as caller:
        assert caller.stdout is not None
        process_id = int(caller.stdout.readline())
        os.kill(process_id, 0)  # it runs
        caller.kill()
    ends = time.monotonic() + 60
    while _runs(process_id) and time.monotonic() < ends:
        time.sleep(0.02)
    assert not _runs(process_id)


def _runs(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    try:  # an orphan that ended may wait for its new parent
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
