"""Folder of reports of `boneage assess`."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from boneage.reading.radiograph import read_file
from tests.bundles import tiny_bundle
from tests.program_runs import boneage, draw_files, draw_noise, error_of, reports_of, rows_of


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_files(tmp_path_factory.mktemp("radiographs"))


def test_later_run_keeps_report_of_other_radiograph(bundle: Path, tmp_path: Path) -> None:
    out, table = tmp_path / "out", tmp_path / "ages.csv"
    radiographs = [draw_noise(tmp_path / folder / "IM0001.png", seed) for seed, folder in enumerate("ab")]
    stems = []
    for radiograph in (
        radiographs[0],
        radiographs[1],
        radiographs[0],
    ):  # the third run replaces the report of the first
        result = boneage("assess", radiograph, "--sex", "F", "--bundle", bundle, "--out", out, "--csv", table)
        assert result.exit_code == 0, result.output
        stems += [row["report"] for row in rows_of(table)]
    assert stems == ["IM0001", "IM0001-2", "IM0001"]
    assert reports_of(out) == {
        stem: hashlib.sha256(radiograph.read_bytes()).hexdigest()
        for stem, radiograph in zip(stems[:2], radiographs, strict=True)
    }
    assert len(list(out.iterdir())) == 6 + 1  # with the index


def test_rejection_removes_earlier_estimate(bundle: Path, tmp_path: Path) -> None:
    out, radiograph = tmp_path / "out", draw_noise(tmp_path / "a" / "hand.png", 1)
    other = draw_noise(tmp_path / "b" / "hand.png", 2)
    listed = tmp_path / "list.csv"
    for first, second, status in (("F", "F", 0), ("", "F", 3)):
        listed.write_text(f"image,sex\na/hand.png,{first}\nb/hand.png,{second}\n")
        result = boneage("assess", "--list", listed, "--bundle", bundle, "--out", out)
        assert result.exit_code == status, result.output
    assert sorted(path.name for path in out.iterdir()) == [
        "hand-2.html",
        "hand-2.json",
        "hand-2.overlay.png",
        "hand.json",
        "index.html",
    ]
    document = json.loads((out / "hand.json").read_text())
    assert document["age_months"] is None and document["error"]["code"] == "sex_missing"
    assert reports_of(out) == {
        "hand": hashlib.sha256(radiograph.read_bytes()).hexdigest(),
        "hand-2": hashlib.sha256(other.read_bytes()).hexdigest(),
    }


def test_csv_and_reports_never_overwrite_each_other(bundle: Path, tmp_path: Path) -> None:
    out, radiograph = tmp_path / "out", draw_noise(tmp_path / "hand.png", 1)
    new = out / "hand.json"  # an unusual name for a table, but the requested one
    result = boneage("assess", radiograph, "--sex", "F", "--bundle", bundle, "--out", out, "--csv", new)
    assert result.exit_code == 0, result.output
    assert [row["report"] for row in rows_of(new)] == ["hand-2"]
    result = boneage("assess", radiograph, "--sex", "F", "--bundle", bundle, "--out", out, "--csv", out / "hand-2.html")
    assert result.exit_code == 2 and "would overwrite a report" in error_of(result)


def test_unreadable_file_has_no_report(radiographs: Path, bundle: Path, tmp_path: Path) -> None:
    out, table = tmp_path / "out", tmp_path / "ages.csv"
    result = boneage("assess", radiographs / "none.png", "--sex", "F", "--bundle", bundle, "--out", out, "--csv", table)
    assert result.exit_code == 3 and not list(out.iterdir())
    assert [row["report"] for row in rows_of(table)] == [""]


def names_of(index: Path) -> list[str]:
    """Return the names of the radiographs of an index."""
    return re.findall(r'<a href="[^"]*">(.*?)</a>', index.read_text(encoding="utf-8"))


def test_index_lists_all_runs(bundle: Path, tmp_path: Path) -> None:
    """A radiograph named index gets another name, and an interrupted run is complete after its resumption."""
    out, table = tmp_path / "out", tmp_path / "ages.csv"
    names = ["a.png", "index.png", "b.png"]
    paths = [draw_noise(tmp_path / name, seed) for seed, name in enumerate(names)]
    options = ("--sex", "F", "--bundle", bundle, "--out", out)
    assert boneage("assess", *paths[:2], *options, "--csv", table).exit_code == 0
    assert names_of(out / "index.html") == names[:2] and (out / "index-2.html").exists()
    (out / "index.html").unlink()  # a killed run writes none
    assert boneage("assess", *paths, *options, "--csv", table, "--resume").exit_code == 0
    assert names_of(out / "index.html") == ["a.png", "b.png", "index.png"]
    result = boneage("assess", *paths, *options, "--csv", table, "--resume")
    assert result.stderr.splitlines()[-2] == f"Reports: {out / 'index.html'}"
    assert len(names_of(out / "index.html")) == 3


def test_index_is_written_during_a_long_run(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each radiograph of a run in which an index is always due finds those before it in the index."""
    monkeypatch.setattr("boneage.commands.report_folder._INDEX_SECONDS", 0.0)
    monkeypatch.setattr("boneage.commands.report_folder._INDEX_SHARE", 1e9)
    out, counts = tmp_path / "out", []

    def reading(path: Path) -> bytes:
        counts.append(len(names_of(out / "index.html")) if (out / "index.html").exists() else 0)
        return read_file(path)

    monkeypatch.setattr("boneage.reading.radiograph.read_file", reading)
    paths = [draw_noise(tmp_path / f"{number}.png", number) for number in range(3)]
    assert boneage("assess", *paths, "--sex", "F", "--bundle", bundle, "--out", out).exit_code == 0
    assert counts == [0, 1, 2]


def test_index_replaces_no_other_page(bundle: Path, tmp_path: Path) -> None:
    radiograph, page = draw_noise(tmp_path / "a.png", 1), tmp_path / "out" / "index.html"
    options = ("--sex", "F", "--bundle", bundle, "--out", page.parent)
    result = boneage("assess", radiograph, *options, "--csv", page)
    assert result.exit_code == 2 and "would overwrite a report" in error_of(result)
    page.parent.mkdir(exist_ok=True)
    page.write_text("mine")
    result = boneage("assess", radiograph, *options)
    assert result.exit_code == 2 and "Choose another folder" in error_of(result)
    assert page.read_text() == "mine" and len(list(page.parent.iterdir())) == 1


@pytest.mark.parametrize("evidence", ["both", "raising"])
def test_evidence_option_changes_the_map(radiographs: Path, bundle: Path, tmp_path: Path, evidence: str) -> None:
    out = tmp_path / "out"
    boneage("assess", radiographs / "hand.png", "--sex", "F", "--bundle", bundle, "--out", out, "--evidence", evidence)
    assert ("positive part" in (out / "hand.html").read_text(encoding="utf-8")) is (evidence == "raising")


def test_unwritable_folder_is_an_error(radiographs: Path, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = boneage(
        "assess", radiographs / "hand.png", "--sex", "F", "--bundle", bundle, "--out", tmp_path / "file" / "out"
    )
    assert result.exit_code == 1 and "[file_error]" in error_of(result)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_progress_leaves_standard_output_clean(radiographs: Path, bundle: Path) -> None:
    import pty

    leader, follower = pty.openpty()
    images = [str(radiographs / "hand.png"), str(radiographs / "other.png")]
    command = [sys.executable, "-m", "boneage", "assess", *images, "--sex", "F", "--bundle", str(bundle)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=follower, text=True, check=True)  # our own
    os.close(follower)
    watched = os.read(leader, 10_000).decode()
    os.close(leader)
    assert "[1/2] " in watched and " left" in watched and watched.endswith("\x1b[K2 assessed\r\n")
    assert len(done.stdout.splitlines()) == 2 and "[1/2]" not in done.stdout
