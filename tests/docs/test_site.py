"""The documentation site is built strictly, without network, and its search finds the words that readers look for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. A warning of mkdocs, such as a broken link or an unlisted page, fails it."""
    folder = tmp_path_factory.mktemp("site")
    # With --quiet, mkdocs neither prints warnings nor counts them.
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.parametrize("words", ["SDS", "DICOM", "fine-tune", "storage_full", "boneage finetune", "read_inverted"])
def test_search_finds(site: Path, words: str) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert any(words in entry["title"] + entry["text"] for entry in index["docs"])


def test_site_needs_no_other_host(site: Path) -> None:
    """No page loads a font, a script or a style from elsewhere."""
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert '<script src="http' not in text, page
        assert 'rel="stylesheet" href="http' not in text, page
        # The theme loads the library of diagrams from elsewhere unless the site has it.
        assert 'class="mermaid"' not in text or (site / "assets" / "mermaid.min.js").exists(), page


def test_links_into_the_repository_are_paths(site: Path) -> None:
    """A link to a file that is not a page becomes the file's path."""
    training = (site / "training.html").read_text(encoding="utf-8")
    assert "src/boneage/train/recipe.py" in training
    assert 'href="../src' not in training
