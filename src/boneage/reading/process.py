"""The reading process, which reads radiographs for its caller, `boneage.reading.limit`, and may be ended at any time.

It inherits two file descriptors: a socket for requests and replies, and memory for the bytes that come in and the
pixels that go out. It ends when the caller closes the socket. The signal SIGPROF ends it when a read takes more
processor time than its request allows: the system sends that signal, whatever code is running.
"""

from __future__ import annotations

import logging
import mmap
import os
import signal
import sys
import tempfile
from dataclasses import dataclass
from multiprocessing.connection import Connection

import cv2
import numpy as np

from boneage.arrays import Image
from boneage.errors import Rejection
from boneage.reading.facts import DEFAULT_LIMITS
from boneage.reading.radiograph import Radiograph, RadiographFacts, read_radiograph
from boneage.reading.rejections import damaged

LARGEST_DATA_MIB = 1536
"""Memory for data, MiB. A read that needs more fails."""
_SHARED_BYTES = max(DEFAULT_LIMITS.max_bytes, 4 * DEFAULT_LIMITS.max_pixels)
"""Shared memory, which holds any file and the pixels of any radiograph. The unused part takes no memory."""
_KEPT_BYTES = 32 * 2**20
"""Shared memory that is kept between reads. New memory costs more time than copying into it."""
_MOST_RECORDS = 20
"""Log records of one read that are handed on."""


@dataclass(frozen=True)
class Request:
    """Request for one read.

    Attributes:
        size: Bytes of the file, which stand at the beginning of the shared memory.
        cpu_seconds: Processor time that the read may take, s.
    """

    size: int
    cpu_seconds: float


@dataclass(frozen=True)
class Reply:
    """Result of one read: a shape with facts, a rejection, or an error.

    Attributes:
        shape: (H, W) of the pixels, float32, which stand in the shared memory.
        facts: Facts of the radiograph.
        rejection: Code and message.
        error: Any other exception, as text.
        records: Log records: logger, level and message.
    """

    shape: tuple[int, int] | None = None
    facts: RadiographFacts | None = None
    rejection: tuple[str, str] | None = None
    error: str | None = None
    records: tuple[tuple[str, int, str], ...] = ()


def create_shared() -> int:
    """Return the file descriptor of new shared memory, which vanishes when no process holds it."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("boneage")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, _SHARED_BYTES)
    return descriptor


class SharedMemory:
    """Memory that the caller and the reading process share.

    Args:
        descriptor: File descriptor from `create_shared`.
    """

    def __init__(self, descriptor: int) -> None:
        self._map = mmap.mmap(descriptor, _SHARED_BYTES)

    def write(self, content: bytes | Image) -> None:
        """Write bytes, or those of an array, to the beginning."""
        array = np.frombuffer(content, np.uint8) if isinstance(content, bytes) else content
        np.copyto(np.frombuffer(self._map, array.dtype, array.size).reshape(array.shape), array)

    def bytes(self, size: int) -> bytes:
        """Return a copy of the first bytes."""
        return self._map[:size]

    def pixels(self, height: int, width: int) -> Image:
        """Return a copy (H, W) of the beginning, and release the memory that an unusually large radiograph took."""
        pixels = np.frombuffer(self._map, np.float32, height * width).reshape(height, width).copy()
        if pixels.nbytes > _KEPT_BYTES and hasattr(mmap, "MADV_REMOVE"):
            self._map.madvise(mmap.MADV_REMOVE, _KEPT_BYTES, _SHARED_BYTES - _KEPT_BYTES)
        return pixels


class _Recorder(logging.Handler):
    """Log handler that keeps the first log records of a read."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[tuple[str, int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        if len(self.records) < _MOST_RECORDS:
            self.records.append((record.name, record.levelno, record.getMessage()))


def _limit_memory() -> None:
    if sys.platform == "linux":
        import resource  # noqa: PLC0415 - not on every system

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = LARGEST_DATA_MIB * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _read(data: bytes, cpu_seconds: float) -> Radiograph:
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)  # nothing handles SIGPROF: it ends the process
    try:
        return read_radiograph(data)
    except MemoryError:
        raise damaged("it takes too much memory") from None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)


def _answer(request: Request, memory: SharedMemory, recorder: _Recorder) -> Reply:
    recorder.records.clear()
    try:
        radiograph = _read(memory.bytes(request.size), request.cpu_seconds)
    except Rejection as rejection:
        return Reply(rejection=(rejection.code, rejection.message), records=tuple(recorder.records))
    except Exception as error:  # a fault of the program, raised again by the caller
        return Reply(error=f"{type(error).__name__}: {error}", records=tuple(recorder.records))
    memory.write(radiograph.pixels)
    height, width = radiograph.pixels.shape
    return Reply((height, width), radiograph.facts, records=tuple(recorder.records))


def serve(connection: Connection, memory: SharedMemory) -> None:
    """Send an empty reply as a sign of readiness, and answer requests until the caller closes the connection."""
    import pydicom  # noqa: F401, PLC0415 - slow: before the first read

    import boneage.reading.dicom.read  # noqa: F401, PLC0415 - as above

    cv2.setNumThreads(1)
    recorder = _Recorder()
    logging.getLogger().addHandler(recorder)
    connection.send(Reply())
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        connection.send(_answer(request, memory, recorder))


def main(connection: int, memory: int) -> None:
    """Serve on inherited file descriptors. The caller handles a terminal's Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_memory()
    serve(Connection(connection), SharedMemory(memory))
