"""Reading of radiographs within a limit of processor time that holds whatever code is running.

    radiograph = read_radiograph_limited(data, cpu_seconds=10.0)

Only the operating system can end a decoder written in C. A small process of its own (`boneage.reading.process`)
therefore reads the file. It is started at the first read, lives on for later ones, and is replaced when it has ended.
It is started afresh, never forked, so that the calling process may have threads and networks loaded. It has the
caller's process group, and ends with the caller in whatever way that ends: at once if it waits, else within the limit.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from multiprocessing import Pipe

from boneage.errors import Rejection, RejectionCode
from boneage.reading.facts import DEFAULT_LIMITS
from boneage.reading.process import Reply, Request, SharedMemory, create_shared
from boneage.reading.radiograph import Radiograph
from boneage.reading.rejections import damaged

logger = logging.getLogger(__name__)

CPU_SECONDS = 10.0
"""Default limit, s. The slowest radiographs in use, lossless JPEG of 20 million pixels, take about 5 s."""
_WALL_FACTOR = 12
"""Wall-clock time that a read may take, relative to its processor time. On a busy machine it waits for a processor."""
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20),
}
"""Environment of the process: one thread, and the bytes of memory that it keeps for the next read.

Fresh memory costs more time than decoding.
"""
_START_SECONDS = 120.0
_ATTEMPTS = 2
"""Reads of one file before it is blamed. A reading process that ends once may have been ended from outside."""


def read_radiograph_limited(data: bytes, cpu_seconds: float = CPU_SECONDS) -> Radiograph:
    """Read a radiograph like `boneage.reading.radiograph.read_radiograph`, within a limit of processor time.

    It may be called from any thread. The reads of one process follow one another.

    Args:
        data: Content of the file.
        cpu_seconds: Processor time that the read may take, s, above 0.

    Raises:
        Rejection: Those of `read_radiograph`; ``reading_timeout`` if the read takes longer; ``unreadable`` also if the
            file ends the reading process twice.
        RuntimeError: The reading process cannot be started, or failed unexpectedly.
        ValueError: `cpu_seconds` is not above 0.
    """
    if not cpu_seconds > 0:
        raise ValueError(f"cpu_seconds must be above 0, not {cpu_seconds}")
    DEFAULT_LIMITS.check_bytes(len(data))
    with _lock:
        for _ in range(_ATTEMPTS):
            reader = _running()
            try:
                reply = reader.ask(data, cpu_seconds)
            except (EOFError, ConnectionError):
                status = reader.end()
                if status == -signal.SIGPROF:
                    raise _timeout(cpu_seconds) from None
                logger.error("the process that reads radiographs ended with status %s", status)
            except TimeoutError:
                reader.end()
                raise _timeout(cpu_seconds) from None
            except BaseException:
                # Interrupted: the outstanding reply must not pass for that of the next file.
                reader.end()
                raise
            else:
                return _radiograph(reply, reader.memory)
    raise damaged("the program that reads it breaks down on it")


def start_reading_process() -> int:
    """Start the reading process unless it runs, so that the first read does not wait for it.

    Returns:
        Its process identifier.

    Raises:
        RuntimeError: The process cannot be started.
    """
    with _lock:
        return _running().process_id


def end_reading_process() -> None:
    """End the reading process. The next read starts another."""
    with _lock:
        if _reader is not None and _reader.owner == os.getpid():
            _reader.end()


def _timeout(cpu_seconds: float) -> Rejection:
    return Rejection(
        RejectionCode.READING_TIMEOUT,
        f"The file was not read within {cpu_seconds:g} s of processor"
        " time. Export the radiograph again, as DICOM or PNG.",
    )


def _radiograph(reply: Reply, memory: SharedMemory) -> Radiograph:
    for name, level, message in reply.records:
        logging.getLogger(name).log(level, "%s", message)
    if reply.rejection is not None:
        code, message = reply.rejection
        raise Rejection(RejectionCode(code), message)
    if reply.shape is None or reply.facts is None:
        raise RuntimeError(f"a radiograph could not be read: {reply.error}")
    return Radiograph(memory.pixels(*reply.shape), reply.facts)


class ReadingProcess:
    """The reading process, as seen by its caller.

    Attributes:
        owner: Process that started it; a forked copy of that process must not use it.
        memory: Shared memory for files and pixels.
    """

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._connection, theirs = Pipe()
        descriptor = create_shared()
        self.memory = SharedMemory(descriptor)
        inherited = (theirs.fileno(), descriptor)
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-c", f"from boneage.reading.process import main; main{inherited}"],
            pass_fds=inherited,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **_ENVIRONMENT},
        )
        theirs.close()
        os.close(descriptor)
        try:
            self._receive(_START_SECONDS)
        except (EOFError, ConnectionError, TimeoutError):
            raise RuntimeError(f"the process that reads radiographs did not start ({self.end()})") from None

    def ask(self, data: bytes, cpu_seconds: float) -> Reply:
        """Let the process read a file.

        Raises:
            EOFError, ConnectionError: The process has ended.
            TimeoutError: The process neither ended nor answered.
        """
        self.memory.write(data)
        self._connection.send(Request(len(data), cpu_seconds))
        return self._receive(_WALL_FACTOR * cpu_seconds)

    def _receive(self, seconds: float) -> Reply:
        if not self._connection.poll(seconds):
            raise TimeoutError
        reply = self._connection.recv()
        assert isinstance(reply, Reply)  # noqa: S101  # narrows the type
        return reply

    @property
    def process_id(self) -> int:
        """Process identifier."""
        return self._process.pid

    @property
    def runs(self) -> bool:
        """True while this process may use it."""
        return self.owner == os.getpid() and self._process.poll() is None

    def end(self) -> int:
        """End the process unless it has ended, and return its exit status."""
        self._connection.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(0.5)
        self._process.kill()
        return self._process.wait()


_lock = threading.Lock()
_reader: ReadingProcess | None = None


def _running() -> ReadingProcess:
    global _reader  # noqa: PLW0603 - one for the whole process
    if _reader is None or not _reader.runs:
        _reader = ReadingProcess()
    return _reader


atexit.register(end_reading_process)
