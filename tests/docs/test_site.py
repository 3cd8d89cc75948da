"""The documentation site is built strictly, without network, and its search finds the words that readers look for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urljoin

import pytest
from playwright.sync_api import expect

from tests.chromium import chromium

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


@pytest.fixture(scope="module")
def served(site: Path) -> Iterator[str]:
    """The address of the site, served by HTTP as its search needs it."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_search_of_a_browser_finds(served: str) -> None:
    """Whoever types a word into the page's search gets results, and the page of the first one has the word."""
    with chromium() as browser:
        page = browser.new_page()
        for words in ("SDS", "DICOM", "fine-tune"):
            page.goto(f"{served}/index.html")
            page.get_by_role("textbox", name="Search").fill(words)
            first = page.locator(".md-search-result__item a.md-search-result__link").first
            expect(first).to_be_visible(timeout=30_000)
            address = first.get_attribute("href")
            assert address
            page.goto(urljoin(page.url, address))
            expect(page.locator("article")).to_contain_text(re.compile(re.escape(words), re.IGNORECASE))


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
