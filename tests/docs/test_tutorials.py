"""The tutorials run as they are written, block by block, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

from tests.node.orthanc import orthanc_program

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
RUNNERS = {"bash": ["bash", "-e", "-o", "pipefail", "-c"], "python": [sys.executable, "-W", "error", "-c"]}
SECONDS = 300


def scripts(page: Path) -> Iterator[tuple[str, str]]:
    """Yield language and text of each script: the neighbouring blocks of one language."""
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    for language, group in groupby(blocks, key=lambda block: block[0]):
        yield language, "".join(text for _, text in group)


def run_page(page: Path, folder: Path) -> list[str]:
    """Run the scripts of a page in a folder, and return what each printed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    printed = []
    for language, script in scripts(page):
        done = subprocess.run(
            [*RUNNERS[language], script],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        printed.append(done.stdout)
    return printed


def test_one_radiograph_in_python(tmp_path: Path) -> None:
    """The plate is read at about its age, with SDS, and a missing file is a named rejection."""
    _, printed = run_page(TUTORIALS / "python.md", tmp_path)
    first, numbers, *rest = printed.splitlines()
    assert first.startswith(("10 years", "11 years"))
    assert float(numbers.split()[0]) == pytest.approx(132, abs=8)
    assert "normal" in printed
    assert any(line.startswith("no-such-file.png not_found") for line in rest)
    assert (tmp_path / "overlay.png").stat().st_size > 10_000


def test_own_radiographs(tmp_path: Path) -> None:
    """Audit, evaluation, training, export and fine-tuning leave what the page names."""
    run_page(TUTORIALS / "own-radiographs.md", tmp_path)
    for name in ("audit/audit.html", "evaluation", "my-bundle/bundle.json", "ours/bundle.json"):
        assert (tmp_path / name).exists(), name


def test_service(tmp_path: Path) -> None:
    """The API answers with the age of the plate."""
    (printed,) = run_page(TUTORIALS / "service.md", tmp_path)
    assert float(printed.splitlines()[-1]) == pytest.approx(132, abs=8)


def test_pacs(tmp_path: Path) -> None:
    """The results of a radiograph that arrives in a real PACS come back into its study."""
    orthanc_program()
    (printed,) = run_page(TUTORIALS / "pacs.md", tmp_path)
    assert printed.count("SeriesDescription") == 2


@pytest.mark.parametrize("page", sorted(TUTORIALS.glob("*.md")), ids=lambda page: page.stem)
def test_every_tutorial_is_run(page: Path) -> None:
    """A new tutorial needs a test of its own above."""
    tests = Path(__file__).read_text(encoding="utf-8")
    assert f'"{page.name}"' in tests
