"""The examples of docs/api.md run against the service, in both modes, and the page shows them as they are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from boneage.phantom import sample_png
from tests.web.api_service import ApiService, api_service  # noqa: F401 - a fixture

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.png"
    path.write_bytes(sample_png())
    return path


def run(
    service: ApiService, command: list[str], folder: Path, token: str | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SERVICE": service.url, "TOKEN": service.token if token is None else token}
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def in_shell(*said: str) -> list[str]:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl on this machine")
    return ["sh", str(EXAMPLES / "api_assess.sh"), *said]


def in_python(*said: str) -> list[str]:
    return [sys.executable, str(EXAMPLES / "api_assess.py"), *said]


def test_the_shell_example_fetches_all(api_service: ApiService, film: Path) -> None:  # noqa: F811
    done = run(api_service, in_shell(str(film), "F"), film.parent)
    assert done.returncode == 0, done.stderr
    result = json.loads((film.parent / "result").read_text())
    assert f"Bone age: {result['age_text']}" in done.stdout
    assert cv2.imread(str(film.parent / "overlay.png")) is not None
    assert (film.parent / "report.pdf").read_bytes().startswith(b"%PDF-")


def test_the_python_example_fetches_and_corrects(api_service: ApiService, film: Path) -> None:  # noqa: F811
    done = run(api_service, in_python(str(film), "M", "--correct", "100", "read by hand"), film.parent)
    assert done.returncode == 0, done.stderr
    assert "Bone age: " in done.stdout
    assert "Corrected to 100.0 months." in done.stdout
    assert cv2.imread(str(film.parent / "heat.png")) is not None
    assert (film.parent / "report.pdf").read_bytes().startswith(b"%PDF-")


@pytest.mark.parametrize("example", [in_shell, in_python])
def test_examples_tell_why_a_film_was_refused(api_service: ApiService, tmp_path: Path, example: object) -> None:  # noqa: F811
    (tmp_path / "text.png").write_text("no picture")
    assert callable(example)
    done = run(api_service, example("text.png", "F"), tmp_path)
    assert done.returncode == 1
    assert "unreadable" in done.stderr


@pytest.mark.parametrize("example", [in_shell, in_python])
def test_examples_tell_that_a_token_is_wrong(api_service: ApiService, film: Path, example: object) -> None:  # noqa: F811
    assert callable(example)
    done = run(api_service, example(str(film), "F"), film.parent, token="ba_wrong")
    assert (done.returncode == 1) == bool(api_service.token)
    assert ("unauthenticated" in done.stderr) == bool(api_service.token)


@pytest.mark.parametrize("name", ["api_assess.sh", "api_assess.py"])
def test_the_page_shows_the_examples_as_they_are(name: str) -> None:
    assert (EXAMPLES / name).read_text().strip() in (ROOT / "docs" / "api.md").read_text()
