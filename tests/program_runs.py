"""Runs of the program within a test, and files that they assess."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import cv2
import numpy as np
from click.testing import CliRunner, Result

from boneage.cli import cli


def boneage(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def error_of(result: Result) -> str:
    """The one line on standard error."""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and line.endswith("]")
    return line


def rows_of(table: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"))))


def draw_files(folder: Path) -> Path:
    """Draw two radiographs of the same name in different folders, a third, and write another file."""
    rng = np.random.default_rng(0)
    for name in ("hand.png", "other.png", "b/hand.png"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        noise = rng.integers(0, 60, (200, 150), dtype=np.uint8)
        noise[50:150, 40:110] += np.uint8(rng.integers(60, 190))
        assert cv2.imwrite(str(path), noise)
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnot a picture")
    return folder


def draw_noise(path: Path, seed: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    _, coded = cv2.imencode(".png", np.random.default_rng(seed).integers(0, 255, (100, 80), dtype=np.uint8))
    path.write_bytes(coded.tobytes())  # OpenCV itself takes no other names than in UTF-8
    return path


def reports_of(out: Path) -> dict[str, str | None]:
    """Checksum by stem. A killed run may leave a hidden temporary file beside the reports."""
    return {path.stem: json.loads(path.read_text())["radiograph"]["sha256"] for path in out.glob("[!.]*.json")}
