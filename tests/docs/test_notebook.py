"""The example notebook runs in a kernel as it is, and is stored without outputs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "first_steps.ipynb"
GREATEST_BYTES = 30_000


def cells_of(path: Path) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def text_of(cell: dict[str, Any]) -> str:
    return "".join("".join(output.get("text", "")) for output in cell["outputs"])


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Code cells after they ran in an empty folder."""
    folder = tmp_path_factory.mktemp("notebook")
    shutil.copy(NOTEBOOK, folder)
    command = [sys.executable, "-c", "from nbclient.cli import main; main()", NOTEBOOK.name, "--inplace"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "IPYTHONDIR": str(folder / "ipython")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return cells_of(folder / NOTEBOOK.name)


def test_notebook_shows_a_card_and_a_picture(outputs: list[dict[str, Any]]) -> None:
    data = [output["data"] for cell in outputs for output in cell["outputs"] if "data" in output]
    assert ["text/html" in one for one in data] == [True, False]
    assert "image/png" in data[1]
    assert "stderr" not in {output.get("name") for cell in outputs for output in cell["outputs"]}


def test_notebook_reads_plates_near_their_ages(outputs: list[dict[str, Any]]) -> None:
    lines = text_of(outputs[-1]).splitlines()
    assert lines[0] == "damaged.png was rejected: unreadable"
    differences = [float(line.split()[-1]) for line in lines[2:]]
    assert len(differences) >= 6
    assert all(abs(months) < 15 for months in differences)


def test_notebook_is_stored_without_outputs() -> None:
    """A picture in the notebook would be a picture in the history for good."""
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells_of(NOTEBOOK))
    assert NOTEBOOK.stat().st_size < GREATEST_BYTES
