"""The service as a user meets it: ``boneage serve`` in a process of its own, and a real Chromium."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    expect,
)

from tests.chromium import chromium

ADMINISTRATOR, PASSWORD = "astrid", "correct horse battery"

_SECONDS_TO_START = 90
_SECONDS_TO_ANSWER = 60

expect.set_options(timeout=30_000)  # the default of 5 s is too short for a result on a busy machine


@dataclass(frozen=True)
class Service:
    """A service that runs.

    Attributes:
        url: its address, without a slash at the end.
        store: its folder.
        log: its output.
    """

    url: str
    store: Path
    log: Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def serve(folder: Path, mode: str, port: int = 0, **settings: str) -> Iterator[Service]:
    """Start the service in a mode, with the shipped default bundle and atlas, and stop it afterwards.

    Args:
        folder: folder for its store and its output.
        mode: ``open`` or ``clinic``.
        port: port to listen on; a free one by default.
        **settings: further variables of its environment.
    """
    port = port or free_port()
    service = Service(f"http://127.0.0.1:{port}", folder / "store", folder / "log.txt")
    options = ["--port", str(port), "--mode", mode, "--store", str(service.store), "--workers", "1"]
    if mode == "clinic":
        options += ["--create-administrator", ADMINISTRATOR]
    environment = {**os.environ, "BONEAGE_ADMIN_PASSWORD": PASSWORD, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    environment |= settings
    with service.log.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "boneage", "serve", *options], stdout=log, stderr=log, env=environment
        )
    try:
        deadline = time.monotonic() + _SECONDS_TO_START
        while not _answers(service.url):
            assert process.poll() is None, service.log.read_text()
            assert time.monotonic() < deadline, service.log.read_text()
            time.sleep(0.2)
        yield service
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
    assert process.returncode in {0, 143, -signal.SIGTERM}, service.log.read_text()
    assert "Traceback" not in service.log.read_text(), service.log.read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium without a window."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def open_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """In the mode ``open``."""
    yield from serve(tmp_path_factory.mktemp("open"), "open")


@pytest.fixture(scope="module")
def clinic_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """In the mode ``clinic``, with one administrator. Pages are not locked: `test_accounts` has a service for that."""
    yield from serve(tmp_path_factory.mktemp("clinic"), "clinic", BONEAGE_LOCK_MINUTES="0")


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A user who has not been here before; on a desktop, in English. No page may throw or be rejected anything."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB")
    context.set_default_timeout(_SECONDS_TO_ANSWER * 1000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A tab. Errors of scripts, what the content security policy forbids, and requests to other hosts fail the test."""
    faults: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: faults.append(f"script: {error}"))
    page.on("console", lambda message: faults.append(f"console: {message.text}") if _is_fault(message) else None)
    page.on("request", lambda sent: None if _is_ours(sent) else faults.append(f"request: {sent.url}"))
    page.on("response", lambda answer: faults.append(f"{answer.status}: {answer.url}") if _is_lost(answer) else None)
    yield page
    assert faults == []


def _is_fault(message: ConsoleMessage) -> bool:
    """The browser's own lines about statuses do not count: tests ask for them, or `_is_lost` tells."""
    return message.type == "error" and not message.text.startswith("Failed to load resource")


def _is_ours(request: Request) -> bool:
    return request.url.startswith(("http://127.0.0.1", "data:", "blob:", "about:"))


def _is_lost(answer: Response) -> bool:
    """A part of a page that is not there."""
    return answer.status >= 400 and answer.request.resource_type in {"script", "stylesheet", "image", "font"}
