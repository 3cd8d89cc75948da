"""The index of a folder of reports."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest

import boneage
from boneage.bundle.bundle import Bundle
from boneage.clinical.ages import exact_age
from boneage.errors import BoneageError, Rejection, RejectionCode
from boneage.report.folder_index import (
    INDEX_NAME,
    index_is_foreign,
    index_page,
    read_entries,
    write_index,
)
from boneage.report.report import Rejected, write_files, write_rejection
from boneage.words import languages, use_language
from tests.bundles import tiny_bundle
from tests.chromium import chromium

CREATED = datetime(2026, 1, 2, tzinfo=UTC)
HOSTILE = """<img src=x onerror=alert(1)> "&' #%41?\u202e\udcff"""
"""Name of a file with markup, parts of an address, a change of direction, and a byte that is not UTF-8."""


class Rows(HTMLParser):
    """Rows of the table: text and key of each cell, and addresses."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[tuple[str, str]]] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.feed(page.partition("<tbody>")[2].partition("</tbody>")[0])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        self.addresses += [address for name in ("href", "src") if (address := given.get(name))]
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append(("", given.get("data-key") or ""))

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            text, key = self.rows[-1][-1]
            self.rows[-1][-1] = (f"{text} {data}".strip(), key)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.open(tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))


@pytest.fixture(scope="module")
def reports(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reports of a girl, of an unknown sex, and of a damaged file."""
    pixels = np.random.default_rng(0).integers(0, 255, (100, 80), dtype=np.uint8)
    folder = tmp_path_factory.mktemp("reports")
    girl = boneage.assess(pixels, sex="F", bundle=bundle, age=exact_age(100.0), name="girl.png")
    write_files(girl, folder, "girl")
    write_files(boneage.assess_for_both_sexes(pixels, bundle, name="both.png"), folder, "both")
    error: BoneageError = Rejection(RejectionCode.UNREADABLE, "The file is damaged.")
    write_rejection(Rejected("other", error, "ab" * 32), folder, "bad", HOSTILE)
    return folder


@pytest.fixture
def folder(reports: Path, tmp_path: Path) -> Path:
    """A copy of the reports, which a test may change."""
    return Path(shutil.copytree(reports, tmp_path / "reports"))


def table(folder: Path) -> Rows:
    return Rows(index_page(read_entries(folder), folder.name, CREATED))


def test_index_has_a_row_for_each_report(folder: Path) -> None:
    bad, both, girl = table(folder).rows
    document = json.loads((folder / "girl.json").read_text(encoding="utf-8"))
    assert [cell[0] for cell in girl[1:4]] == ["girl.png", "female", "8 years 4 months"]
    assert girl[4][0].startswith(document["age_text"])
    assert float(girl[4][1]) == document["age_months"]
    assert float(girl[5][1] or "nan") == pytest.approx(document["sds"] or float("nan"), nan_ok=True)
    assert both[2][0] == "unknown or other" and "female:" in both[4][0] and "male:" in both[4][0]
    assert bad[4] == ("Not assessed", "") and "The file is damaged. [unreadable]" in bad[6][0]
    assert len({len(row) for row in (bad, both, girl)}) == 1


def test_index_addresses_are_files_of_the_folder(folder: Path) -> None:
    stem = "a #%41 \udcff\"'<b>"
    for name in ("girl.json", "girl.html", "girl.overlay.png"):
        (folder / name).rename(folder / name.replace("girl", stem, 1))
    addresses = table(folder).addresses
    assert len(addresses) == 5
    for address in addresses:
        assert address.startswith("./")
        assert (folder / unquote(address, errors="surrogateescape")).is_file()


def test_index_escapes_names(folder: Path) -> None:
    rows = table(folder)
    assert rows.tags <= {"tr", "td", "p", "a", "img", "span"}
    assert r"#%41?\u202e\xff" in rows.rows[0][1][0] and "<img src=x" in rows.rows[0][1][0]
    page = index_page(read_entries(folder), "</title><script>alert(1)</script>", CREATED)
    assert page.count("<script>") == 1
    page.encode()


def test_index_reaches_no_network(folder: Path) -> None:
    page = index_page(read_entries(folder), folder.name, CREATED)
    assert not re.search(r"https?:|//\w", page)
    assert "default-src 'none'" in page


@pytest.mark.parametrize("language", languages())
def test_index_speaks_the_language(folder: Path, language: str) -> None:
    with use_language(language):
        page = index_page(read_entries(folder), folder.name, CREATED)
    assert f'lang="{language.replace("_", "-")}"' in page
    heads = re.findall(r'<button type="button">(.*?)</button>', page)
    assert ("Chronological age" in heads) is (language == "en")
    assert len(set(heads)) == 6


def test_index_leaves_out_other_files(folder: Path) -> None:
    (folder / "list.json").write_text("[1]")
    (folder / "broken.json").write_text("{")
    (folder / "settings.json").write_text('{"schema": 1}')
    (folder / ".girl-1234.json").write_bytes((folder / "girl.json").read_bytes())
    (folder / "folder.json").mkdir()
    assert [entry.stem for entry in read_entries(folder)] == ["bad", "both", "girl"]


@pytest.mark.parametrize("change", [{"schema": 99}, {"new": 1}, {"age_months": "old"}, {"sex": 3}])
def test_index_names_reports_of_other_versions(folder: Path, change: dict[str, Any]) -> None:
    value = json.loads((folder / "girl.json").read_text(encoding="utf-8"))
    (folder / "girl.json").write_text(json.dumps(value | change))
    row = table(folder).rows[2]
    assert row[1][0] == "girl" and [cell[0] for cell in row[2:]] == [""] * 5


def test_index_warning_of_another_version_keeps_its_sentence(folder: Path) -> None:
    value = json.loads((folder / "girl.json").read_text(encoding="utf-8"))
    warning = {"code": "new", "severity": "caution", "message": "Look.", "template": "regions_disagree", "values": {}}
    (folder / "girl.json").write_text(json.dumps(value | {"warnings": [warning]}))
    assert "Caution: Look." in table(folder).rows[2][6][0]


def test_write_index_replaces_only_its_own(folder: Path) -> None:
    assert not index_is_foreign(folder)
    write_index(folder)
    assert not index_is_foreign(folder)
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []
    (folder / INDEX_NAME).write_text("<!doctype html><title>My page</title>")
    assert index_is_foreign(folder)
    (folder / INDEX_NAME).unlink()
    (folder / INDEX_NAME).mkdir()
    assert index_is_foreign(folder)


def test_write_index_of_an_empty_folder(tmp_path: Path) -> None:
    write_index(tmp_path)
    assert not list(tmp_path.iterdir())


def test_index_fits_a_phone(folder: Path) -> None:
    """On a screen of 390 pixels nothing lies beyond the edge, and each number has its label."""
    write_index(folder)
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.goto((folder / INDEX_NAME).as_uri())
        beyond = page.evaluate(
            "() => [...document.querySelectorAll('body *')].filter("
            "one => one.getBoundingClientRect().right > innerWidth).map(one => one.outerHTML)"
        )
        assert beyond == []
        label = "getComputedStyle(document.querySelector('td.age:not(.rejected)'), '::before').content"
        assert "Bone age" in page.evaluate(label)
        page.set_viewport_size({"width": 1200, "height": 844})
        assert page.evaluate(label) == "none"
