"""The examples of docs/api.md run against the service, in both modes, and the page shows them as they are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import cv2
import pytest

from boneage.atlas import Atlas
from boneage.explain import encode_picture
from boneage.phantom import sample_png
from tests.web.api_service import ApiService, api_service  # noqa: F401 - a fixture

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"


@pytest.fixture
def radiograph(tmp_path: Path) -> Path:
    """A plate of the open atlas, whose estimate has no critical warning."""
    atlas = Atlas.open()
    path = tmp_path / "radiograph.png"
    path.write_bytes(encode_picture(".png", atlas.picture(atlas.plate("F-132"))))
    return path


def run(
    service: ApiService, command: list[str], folder: Path, token: str | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SERVICE": service.url, "TOKEN": service.token if token is None else token}
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def in_shell(*arguments: str) -> list[str]:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl on this machine")
    return ["sh", str(EXAMPLES / "api_assess.sh"), *arguments]


def in_python(*arguments: str) -> list[str]:
    return [sys.executable, str(EXAMPLES / "api_assess.py"), *arguments]


def test_shell_example(api_service: ApiService, radiograph: Path) -> None:  # noqa: F811
    done = run(api_service, in_shell(str(radiograph), "F"), radiograph.parent)
    assert done.returncode == 0, done.stderr
    result = json.loads((radiograph.parent / "result").read_text())
    assert f"Bone age: {result['age_text']}" in done.stdout
    assert cv2.imread(str(radiograph.parent / "overlay.png")) is not None
    assert (radiograph.parent / "report.pdf").read_bytes().startswith(b"%PDF-")


def test_python_example(api_service: ApiService, radiograph: Path) -> None:  # noqa: F811
    done = run(api_service, in_python(str(radiograph), "M", "--correct", "100", "read by hand"), radiograph.parent)
    assert done.returncode == 0, done.stderr
    assert "Bone age: " in done.stdout
    assert "Corrected to 100.0 months." in done.stdout
    assert cv2.imread(str(radiograph.parent / "heat.png")) is not None
    assert (radiograph.parent / "report.pdf").read_bytes().startswith(b"%PDF-")


@pytest.mark.parametrize("example", [in_shell, in_python])
def test_examples_withhold_unusable_number(api_service: ApiService, tmp_path: Path, example: object) -> None:  # noqa: F811
    """An estimate with a critical warning, such as that of the phantom, is not printed, but its warnings are."""
    (tmp_path / "phantom.png").write_bytes(sample_png())
    assert callable(example)
    done = run(api_service, example("phantom.png", "F"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Do not use this number.\nWarning (critical): This is the drawn phantom, ")
    assert "Bone age" not in done.stdout


@pytest.mark.parametrize("example", [in_shell, in_python])
def test_examples_report_rejection(api_service: ApiService, tmp_path: Path, example: object) -> None:  # noqa: F811
    (tmp_path / "text.png").write_text("no picture")
    assert callable(example)
    done = run(api_service, example("text.png", "F"), tmp_path)
    assert done.returncode == 1
    assert "unreadable" in done.stderr


@pytest.mark.parametrize("example", [in_shell, in_python])
def test_examples_report_wrong_token(api_service: ApiService, radiograph: Path, example: object) -> None:  # noqa: F811
    assert callable(example)
    done = run(api_service, example(str(radiograph), "F"), radiograph.parent, token="ba_wrong")
    assert (done.returncode == 1) == bool(api_service.token)
    assert ("unauthenticated" in done.stderr) == bool(api_service.token)


class BreaksOff(BaseHTTPRequestHandler):
    """A service that takes one radiograph of a MiB, and hangs up without a word."""

    bodies: list[bytes]

    def do_GET(self) -> None:
        document = json.dumps({"limits": {"radiograph_bytes": 2**20}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(document)))
        self.end_headers()
        self.wfile.write(document)

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.close_connection = True

    def log_message(self, format: str, *values: object) -> None:
        """Be silent."""


@pytest.fixture
def breaks_off() -> Iterator[tuple[ApiService, list[bytes]]]:
    """Such a service, and the bodies that it took."""
    bodies: list[bytes] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Recorder", (BreaksOff,), {"bodies": bodies})) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield ApiService(f"http://127.0.0.1:{server.server_port}", ""), bodies
        server.shutdown()
        thread.join()


def single_line_of(done: subprocess.CompletedProcess[str]) -> str:
    """The only line on standard error of a program that ended with the status 1."""
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("size", [2**20 + 1, 70 * 2**20])
def test_python_example_checks_size(breaks_off: tuple[ApiService, list[bytes]], tmp_path: Path, size: int) -> None:
    """The python example sends nothing that is too large."""
    service, bodies = breaks_off
    with (tmp_path / "large.dcm").open("wb") as file:
        file.truncate(size)
    assert "at most 1 MiB" in single_line_of(run(service, in_python("large.dcm", "F"), tmp_path))
    assert bodies == []


@pytest.mark.parametrize(("name", "sent"), [("hand 7.png", "hand 7.png"), ('a"; b=é\n.png', "a%22; b=é%0A.png")])
def test_python_example_reports_interruption(
    breaks_off: tuple[ApiService, list[bytes]], tmp_path: Path, name: str, sent: str
) -> None:
    """The python example sends the radiographs name and tells that the service breaks off."""
    service, bodies = breaks_off
    (tmp_path / name).write_bytes(b"radiograph")
    assert "cannot be reached" in single_line_of(run(service, in_python(name, "F"), tmp_path))
    (body,) = bodies
    assert f'name="radiograph"; filename="{sent}"\r\n'.encode() in body


def test_python_example_reports_service_down(radiograph: Path) -> None:
    """The python example tells that the service is down."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BreaksOff) as closed:
        nobody = ApiService(f"http://127.0.0.1:{closed.server_port}", "")
    assert f"{nobody.url} cannot be reached" in single_line_of(
        run(nobody, in_python(str(radiograph), "F"), radiograph.parent)
    )


def test_python_example_reports_missing_file(breaks_off: tuple[ApiService, list[bytes]], tmp_path: Path) -> None:
    """The python example tells that there is no such radiograph."""
    message = single_line_of(run(breaks_off[0], in_python("missing.png", "F"), tmp_path))
    assert "missing.png cannot be read" in message


@pytest.mark.parametrize("name", ["api_assess.sh", "api_assess.py"])
def test_docs_show_examples(name: str) -> None:
    """The page shows the examples as they are."""
    assert (EXAMPLES / name).read_text().strip() in (ROOT / "docs" / "api.md").read_text()
