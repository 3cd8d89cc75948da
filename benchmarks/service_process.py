"""Service for benchmarks, ``boneage serve`` in a separate process, and a minimal browser."""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.phantom import sample_png

START_SECONDS = 120


class Service:
    """Running ``boneage serve``.

    Attributes:
        host, port: Address of the service.
        log: Lines of its standard error.
    """

    def __init__(self, command: list[str], environment: Mapping[str, str], port: int) -> None:
        self.host, self.port = "127.0.0.1", port
        self.log: list[str] = []
        self._command = command
        self._environment = {**os.environ, **environment}
        self._start()

    def _start(self) -> None:
        self._answers = threading.Event()
        self._process = subprocess.Popen(
            self._command, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for pipe, listen in ((self._process.stdout, self._hear), (self._process.stderr, self._keep)):
            threading.Thread(target=listen, args=(pipe,), daemon=True).start()

    def _hear(self, lines: Iterator[str]) -> None:
        for line in lines:
            if line.startswith("boneage is at "):
                self._answers.set()

    def _keep(self, lines: Iterator[str]) -> None:
        self.log.extend(line.rstrip() for line in lines)

    def wait(self) -> None:
        """Wait until the service answers.

        Raises:
            RuntimeError: If it does not answer.
        """
        ends = time.monotonic() + START_SECONDS
        while not self._answers.wait(0.1):
            if self._process.poll() is not None or time.monotonic() > ends:
                raise RuntimeError("The service did not start:\n" + "\n".join(self.log))

    def worker_pids(self) -> list[int]:
        """Return the ids of the running worker processes."""
        return self.pids("boneage.web.processes.worker_process")

    def server_pids(self) -> list[int]:
        """Return the id of the process that answers requests, if it is running."""
        return self.pids("boneage.web.processes.http_server")

    def pids(self, program: str) -> list[int]:
        """Return the ids of the processes of a program that the supervisor has started."""
        command = ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="]  # -ww: not cut to the width of a terminal
        listed = subprocess.run(command, capture_output=True, text=True, check=True)
        rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
        parent = str(self._process.pid)
        return [int(pid) for pid, of, command in rows if of == parent and program in command]

    def start_again(self) -> None:
        """Kill the supervisor like a power cut, and start it again as soon as its processes have ended.

        Raises:
            RuntimeError: If it does not start.
        """
        self._process.kill()
        self._process.wait()
        ends = time.monotonic() + START_SECONDS
        while True:
            self._start()
            try:
                self.wait()
            except RuntimeError:  # a former process still holds the port
                if time.monotonic() > ends:
                    raise
                time.sleep(0.5)
            else:
                return

    @property
    def is_running(self) -> bool:
        """True if the supervisor is running."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Kill the supervisor."""
        self._process.kill()

    def stop(self) -> float:
        """Stop the service by SIGTERM, and return the seconds that this took.

        Raises:
            RuntimeError: If it ended with an error.
        """
        begun = time.monotonic()
        self._process.terminate()
        status = self._process.wait(60)
        if status != 0:
            raise RuntimeError(f"The service ended with status {status}:\n" + "\n".join(self.log))
        return time.monotonic() - begun


@contextmanager
def serving(options: Mapping[str, str], environment: Mapping[str, str], port: int) -> Iterator[Service]:
    """Run a service within the context, by ``boneage serve --port PORT --OPTION VALUE ...``."""
    command = [sys.executable, "-m", "boneage", "serve", "--port", str(port)]
    command += [word for name, value in options.items() for word in (f"--{name}", value)]
    service = Service(command, environment, port)
    try:
        service.wait()
        yield service
        if service.is_running:
            service.stop()
    finally:
        if service.is_running:
            service.kill()


@dataclass(frozen=True)
class Answered:
    """Answer to a request."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        """Body as text."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> dict[str, object]:
        """Return the body as JSON."""
        value: dict[str, object] = json.loads(self.body)
        return value


class Browser:
    """Connection of one user, which stays open and keeps cookies."""

    def __init__(self, host: str, port: int, timeout: float = 60.0) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=timeout)
        self.cookies: dict[str, str] = {}

    def ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answered:
        """Send a request.

        Raises:
            OSError, http.client.HTTPException: If there is no answer.
        """
        sent = dict(headers)
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        try:
            self._connection.request(method, path, body, sent)
            response = self._connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()  # opened again by the next request
            raise
        for cookie in response.headers.get_all("Set-Cookie") or []:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return Answered(response.status, data)

    def get(self, path: str, headers: Mapping[str, str] = MappingProxyType({})) -> Answered:
        """Request a page or a picture."""
        return self.ask("GET", path, None, headers)

    def post_radiograph(
        self, path: str, radiograph: bytes, fields: Mapping[str, str], headers: Mapping[str, str]
    ) -> Answered:
        """Send a form with a radiograph."""
        boundary = secrets.token_hex(16)
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in fields.items()
        ]
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="radiograph"; filename="radiograph.png"\r\n'
        parts += [head.encode(), b"Content-Type: image/png\r\n\r\n", radiograph, f"\r\n--{boundary}--\r\n".encode()]
        form = f"multipart/form-data; boundary={boundary}"
        return self.ask("POST", path, b"".join(parts), {"Content-Type": form, **headers})


def csrf_token(page: Answered) -> str:
    """Return the token of the first form of a page."""
    match = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    if match is None:
        raise RuntimeError(f"The page has no form (status {page.status}).")
    return match.group(1)


@cache
def _phantom(height: int, width: int) -> NDArray[np.uint8]:
    whole = cv2.imdecode(np.frombuffer(sample_png(), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert whole is not None
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def drawn_radiograph(number: int, height: int = 1000, width: int = 750) -> bytes:
    """Return a PNG of the drawn phantom with individual grain, so that all radiographs differ.

    Args:
        number: Number of the radiograph; equal numbers give equal bytes.
        height: Height, pixels.
        width: Width, pixels.
    """
    radiograph = _phantom(height, width).copy()
    radiograph[:16] = np.random.default_rng(number).integers(0, 20, (16, width), dtype=np.uint8)
    coded, data = cv2.imencode(".png", radiograph)
    assert coded
    return data.tobytes()


def made_atlas(folder: Path) -> Path:
    """Make an atlas of drawn hands, for measurements that must not depend on the shipped one."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["sex,age_months,file"]
    for sex in "FM":
        for age in range(24, 205, 12):
            name = f"{sex}{age}.png"
            (folder / name).write_bytes(drawn_radiograph(age, 400, 300))
            rows.append(f"{sex},{age},{name}")
    (folder / "index.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder
