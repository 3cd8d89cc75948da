"""Tables of `boneage assess` that grow, and are resumed after an interruption."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from boneage.assessment import Assessment
from boneage.atlas import Atlas
from boneage.bundle.bundle import Bundle
from boneage.clinical.ages import StatedAge
from boneage.composition import assess
from boneage.tables.csv_table import write_rows
from tests.bundles import tiny_bundle
from tests.program_runs import boneage, draw_files, draw_noise, error_of, reports_of, rows_of


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_files(tmp_path_factory.mktemp("radiographs"))


def batch(folder: Path, count: int) -> tuple[Path, list[str]]:
    """A list of radiographs with their sexes; every fifth is damaged, one is not there and one comes twice."""
    rows = []
    for number in range(count):
        name = f"{number:02d}.png"
        draw_noise(folder / name, number)
        if number % 5 == 4:
            (folder / name).write_bytes(b"damaged")
        rows.append((name, "FM"[number % 2]))
    rows += [("none.png", "F"), rows[0], (rows[1][0], "F")]
    write_rows(folder / "list.csv", ("image", "sex"), rows)
    return folder / "list.csv", [image for image, _ in rows]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_resume_after_kill_completes_the_table(bundle: Path, tmp_path: Path) -> None:
    """Killed three times at random moments after a row of its own, with reports."""
    listed, images = batch(tmp_path / "in", 18)
    whole, table, out = tmp_path / "whole.csv", tmp_path / "ages.csv", tmp_path / "out"
    options = ["--list", listed, "--bundle", bundle, "--threads", 1]
    assert boneage("assess", *options, "--csv", whole, "--out", tmp_path / "whole").exit_code == 3
    command = [sys.executable, "-m", "boneage", "assess", *map(str, [*options, "--csv", table, "--out", out])]
    random, sizes = np.random.default_rng(), [0]
    for _ in range(3):
        running = subprocess.Popen([*command, "--resume"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wanted = sizes[-1] + int(random.integers(40, 600))
        while running.poll() is None and (not table.exists() or table.stat().st_size < wanted):
            time.sleep(0.001)
        running.kill()
        running.wait()
        sizes.append(table.stat().st_size)
    assert sizes == sorted(sizes) and 0 < sizes[1] < whole.stat().st_size
    result = boneage("assess", *options, "--csv", table, "--out", out, "--resume")
    assert result.exit_code == 3
    assert table.read_bytes() == whole.read_bytes()
    assert [row["image"] for row in rows_of(table)] == images
    assert result.stderr.splitlines()[-1] == "17 assessed, 4 rejected (unreadable 3, not_found 1)"
    assert reports_of(out) == reports_of(tmp_path / "whole")
    again = boneage("assess", *options, "--csv", table, "--out", out, "--resume")
    assert (again.exit_code, again.stdout) == (3, "") and table.read_bytes() == whole.read_bytes()


def test_csv_grows_during_assessment(
    radiographs: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, counts = tmp_path / "ages.csv", []

    def counting(source: bytes, sex: str, bundle: Bundle, *, atlas: Atlas, age: StatedAge, name: str) -> Assessment:
        counts.append(len(rows_of(table)))
        return assess(source, sex, bundle, atlas=atlas, age=age, name=name)

    monkeypatch.setattr("boneage.composition.assess", counting)
    images = [radiographs / "hand.png", radiographs / "other.png", radiographs / "b" / "hand.png"]
    assert boneage("assess", *images, "--sex", "F", "--bundle", bundle, "--csv", table).exit_code == 0
    assert counts == [0, 1, 2]


def test_resume_with_other_settings_is_rejected(
    radiographs: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, images = tmp_path / "ages.csv", [radiographs / "hand.png", radiographs / "bad.png"]
    assert boneage("assess", *images, "--sex", "F", "--bundle", bundle, "--csv", table).exit_code == 3
    before = table.read_bytes()
    other = tiny_bundle(tmp_path / "other")
    manifest = other / "bundle.json"
    manifest.write_text(manifest.read_text().replace('"version": "1.0"', '"version": "1.1"'))

    def rejected(*arguments: object) -> str:
        result = boneage("assess", *arguments, "--csv", table, "--resume")
        assert result.exit_code == 6 and table.read_bytes() == before
        assert error_of(result).endswith("[table_resume]")
        return error_of(result)

    assert "bundle_version is '1.0', not '1.1'" in rejected(*images, "--sex", "F", "--bundle", other)
    assert "has the sex 'F', not 'M'" in rejected(*images, "--sex", "M", "--bundle", bundle)
    assert "is not among" in rejected(*images[1:], "--sex", "F", "--bundle", bundle)
    assert "no report" in rejected(*images, "--sex", "F", "--bundle", bundle, "--out", tmp_path / "out")
    monkeypatch.setattr("boneage.report.report.version", lambda _name: "99")
    assert "program_version" in rejected(*images, "--sex", "F", "--bundle", bundle)
    monkeypatch.undo()
    more = [*images, radiographs / "other.png"]
    assert boneage("assess", *more, "--sex", "female", "--bundle", bundle, "--csv", table, "--resume").exit_code == 3
    assert table.read_bytes().startswith(before) and [row["image"] for row in rows_of(table)] == list(map(str, more))


def test_resume_needs_a_table(radiographs: Path) -> None:
    result = boneage("assess", radiographs / "hand.png", "--sex", "F", "--resume")
    assert result.exit_code == 2 and "--csv" in error_of(result)
