"""Reading in a process of its own: the same radiograph, and an end to every read that takes too long."""

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
    """A PNG that takes zlib and OpenCV some tenths of a second."""
    levels = np.random.default_rng(0).integers(0, 65536, (2000, 2000)).astype(np.uint16)
    return coded(".png", levels)


@pytest.mark.parametrize("name", ["png 16", "jpeg", "dicom explicit", "dicom jpeg-ls"])
def test_limited_read_is_the_same(name: str) -> None:
    limited, plain = read_radiograph_limited(VALID[name]), read_radiograph(VALID[name])
    assert np.array_equal(limited.pixels, plain.pixels)
    assert limited.pixels.dtype == np.float32
    assert limited.pixels.flags.writeable
    assert limited.facts == plain.facts


def test_rejection_is_handed_on() -> None:
    with pytest.raises(Rejection) as plain:
        read_radiograph(b"nothing")
    with pytest.raises(Rejection) as limited:
        read_radiograph_limited(b"nothing")
    assert (limited.value.code, limited.value.message) == (plain.value.code, plain.value.message)


def test_log_is_handed_on(caplog: pytest.LogCaptureFixture) -> None:
    file = dicom_file(dicom_dataset(drawn_radiograph(bits=12), 12, ImagerPixelSpacing=[0, 1]))
    with caplog.at_level(logging.WARNING):
        read_radiograph_limited(file)
    assert [record.name for record in caplog.records] == ["boneage.reading.dicom.tags"]
    assert "ImagerPixelSpacing" in caplog.text


def test_time_limit_ends_c_code_and_the_next_read_works() -> None:
    before = start_reading_process()
    with pytest.raises(Rejection) as rejection:
        read_radiograph_limited(_slow_file(), cpu_seconds=0.02)
    assert rejection.value.code == "reading_timeout"
    assert read_radiograph_limited(VALID["png 8"]).facts.format == "png"
    assert start_reading_process() != before


def test_time_limit_counts_each_read_alone() -> None:
    before = start_reading_process()
    for _ in range(60):
        read_radiograph_limited(VALID["png 8"], cpu_seconds=0.2)
    assert start_reading_process() == before


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_time_limit_must_be_positive(seconds: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        read_radiograph_limited(VALID["png 8"], cpu_seconds=seconds)


def test_process_that_was_killed_is_replaced() -> None:
    os.kill(start_reading_process(), signal.SIGKILL)
    assert read_radiograph_limited(VALID["png 8"]).facts.format == "png"


def test_process_that_dies_at_a_file_is_asked_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    deaths = _dies(monkeypatch, times=1)
    assert read_radiograph_limited(VALID["png 8"]).facts.format == "png"
    assert len(deaths) == 1


def test_file_on_which_the_process_dies_twice_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    deaths = _dies(monkeypatch, times=9)
    with pytest.raises(Rejection) as rejection:
        read_radiograph_limited(VALID["png 8"])
    assert rejection.value.code == "unreadable"
    assert len(set(deaths)) == 2


def _dies(monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """The reading process is killed when it is asked, so many times; returns the ids of the killed."""
    deaths: list[int] = []
    ask = ReadingProcess.ask

    def killed(reader: ReadingProcess, data: bytes, cpu_seconds: float) -> Reply:
        if len(deaths) < times:
            os.kill(reader.process_id, signal.SIGKILL)
            deaths.append(reader.process_id)
        return ask(reader, data, cpu_seconds)

    monkeypatch.setattr(ReadingProcess, "ask", killed)
    return deaths


def test_interrupted_read_leaves_no_reply_for_the_next_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_connection: Connection, _seconds: float) -> bool:
        raise KeyboardInterrupt

    start_reading_process()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Connection, "poll", interrupted)
        read_radiograph_limited(VALID["png 16"])
    next_read = read_radiograph_limited(VALID["jpeg"])
    assert next_read.facts.format == "jpeg"
    assert np.array_equal(next_read.pixels, read_radiograph(VALID["jpeg"]).pixels)


def test_process_that_cannot_start_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    end_reading_process()
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="did not start"):
        read_radiograph_limited(VALID["png 8"])


def test_nothing_is_left_when_the_caller_is_killed() -> None:
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
