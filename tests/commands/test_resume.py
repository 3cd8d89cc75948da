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
from tests.radiograph_files import dicom_dataset, dicom_file


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


def resumed(listed: Path, rows: list[str], bundle: Path, *options: object, resume: bool = True) -> list[dict[str, str]]:
    """Rows of the table after a run with --resume on a list of these rows."""
    listed.write_text("\n".join(["image,sex,birth_date,study_date,age", *rows]) + "\n")
    table = listed.with_name("ages.csv")
    extra = ["--resume"] if resume else []
    result = boneage("assess", "--list", listed, "--bundle", bundle, "--csv", table, *extra, *options)
    assert result.exit_code in (0, 3), result.output
    assert not table.with_name("ages.csv.previous").exists()
    return rows_of(table)


@pytest.fixture
def assessed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the radiographs that were assessed."""
    names: list[str] = []

    def counting(source: bytes, sex: str, bundle: Bundle, *, atlas: Atlas, age: StatedAge, name: str) -> Assessment:
        names.append(name)
        return assess(source, sex, bundle, atlas=atlas, age=age, name=name)

    monkeypatch.setattr("boneage.composition.assess", counting)
    return names


def test_resume_after_corrected_ages(bundle: Path, tmp_path: Path, assessed: list[str]) -> None:
    """Only rows whose age was corrected, added or removed are made again, in the order of the list."""
    for number in range(5):
        draw_noise(tmp_path / f"{number}.png", number)
    dates = "2010-01-01,2020-07-01,"
    before = [f"0.png,F,{dates}", "1.png,M,,,9y6m", "2.png,F,,,9y6m", "3.png,F,,,", "4.png,F,2010-01-01,2020-07-01,"]
    first = resumed(tmp_path / "list.csv", before, bundle)
    after = ["0.png,F,2011-01-01,2020-07-01,", before[1], "2.png,F,,,", "3.png,F,,,13", before[4]]
    assessed.clear()
    rows = resumed(tmp_path / "list.csv", after, bundle)
    assert assessed == ["0.png", "2.png", "3.png"]
    assert [row["chronological_age_months"] for row in rows] == ["114.0", "114.5", "", "162.0", "126.0"]
    assert (rows[1], rows[4]) == (first[1], first[4])
    assessed.clear()
    assert resumed(tmp_path / "list.csv", after, bundle) == rows and not assessed


def test_resume_after_corrected_age_of_dicom(bundle: Path, tmp_path: Path, assessed: list[str]) -> None:
    """The file completes what the list states, so that rows by the file's own dates stay."""
    dates = {"PatientBirthDate": "20100101", "StudyDate": "20200701", "PatientAge": "010Y"}
    pixels = np.random.default_rng(0).integers(0, 4000, (100, 80), dtype=np.uint16)
    (tmp_path / "hand.dcm").write_bytes(dicom_file(dicom_dataset(pixels, 12, **dates)))
    for row, months in [("hand.dcm,F,,,", "126.0"), ("hand.dcm,F,2011-01-01,,", "114.0"), ("hand.dcm,F,,,", "126.0")]:
        for _ in range(2):
            (made,) = resumed(tmp_path / "list.csv", [row], bundle)
            assert made["chronological_age_months"] == months
    assert len(assessed) == 3


def test_resume_with_other_reference(
    bundle: Path, tmp_path: Path, assessed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_noise(tmp_path / "0.png", 0)
    draw_noise(tmp_path / "1.png", 1)
    rows = ["0.png,F,,,9y6m", "1.png,F,,,9y6m"]
    assert {row["reference_id"] for row in resumed(tmp_path / "list.csv", rows[:1], bundle)} == {"gp-brush-sd"}
    monkeypatch.setenv("BONEAGE_REFERENCE", "brush")
    assert [row["reference_id"] for row in resumed(tmp_path / "list.csv", rows, bundle)] == ["brush", "brush"]
    assert assessed == ["0.png", "0.png", "1.png"]


def test_resume_after_replaced_file(bundle: Path, tmp_path: Path, assessed: list[str]) -> None:
    """A replaced radiograph is read again, also one that was rejected; one that was removed keeps its row."""
    names = ["0.png", "1.png", "2.png", "3.png"]
    for number, name in enumerate(names[:3]):
        draw_noise(tmp_path / name, number)
    (tmp_path / "3.png").write_bytes(b"damaged")
    listed = [f"{name},F,,," for name in names]
    first = resumed(tmp_path / "list.csv", listed, bundle)
    assert first[3]["error"] == "unreadable" and len(first[3]["radiograph_sha256"]) == 64
    draw_noise(tmp_path / "1.png", 7)
    (tmp_path / "2.png").unlink()
    draw_noise(tmp_path / "3.png", 8)
    assessed.clear()
    rows = resumed(tmp_path / "list.csv", listed, bundle)
    assert assessed == ["1.png", "3.png"] and [row["error"] for row in rows] == [""] * 4
    assert rows[1]["radiograph_sha256"] != first[1]["radiograph_sha256"]
    assert (rows[0], rows[2]) == (first[0], first[2])


def test_resume_retries_missing_and_failed_files(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fails.png", "fine.png"):
        draw_noise(tmp_path / name, len(name))
    (tmp_path / "bad.png").write_bytes(b"damaged")
    listed = [f"{name},F,,," for name in ("none.png", "fails.png", "bad.png", "fine.png")]

    def breaking(source: bytes, sex: str, bundle: Bundle, *, atlas: Atlas, age: StatedAge, name: str) -> Assessment:
        if name == "fails.png":
            raise RuntimeError("boom")
        return assess(source, sex, bundle, atlas=atlas, age=age, name=name)

    monkeypatch.setattr("boneage.composition.assess", breaking)
    listed_path, table = tmp_path / "list.csv", tmp_path / "ages.csv"
    listed_path.write_text("\n".join(["image,sex,birth_date,study_date,age", *listed]) + "\n")
    assert boneage("assess", "--list", listed_path, "--bundle", bundle, "--csv", table).exit_code == 1
    assert [row["error"] for row in rows_of(table)] == ["not_found", "internal_error", "unreadable", ""]
    monkeypatch.undo()
    draw_noise(tmp_path / "none.png", 3)
    rows = resumed(listed_path, listed, bundle)
    assert [row["error"] for row in rows] == ["", "", "unreadable", ""]
    assert [row["image"] for row in rows] == ["none.png", "fails.png", "bad.png", "fine.png"]


def test_resume_of_one_file_listed_with_several_ages(bundle: Path, tmp_path: Path, assessed: list[str]) -> None:
    """Rows of one file are distinguished by sex and age, also where one of them was made again."""
    draw_noise(tmp_path / "0.png", 0)
    before = ["0.png,F,,,9y6m", "0.png,both,,,8y6m", "0.png,M,,,7y6m"]
    first = resumed(tmp_path / "list.csv", before, bundle)
    assert [row["sex"] for row in first] == ["F", "F", "M", "M"]
    assessed.clear()
    after = ["0.png,F,,,9y7m", *before[1:]]
    rows = resumed(tmp_path / "list.csv", after, bundle)
    assert assessed == ["0.png"] and rows[1:] == first[1:] and rows[0]["chronological_age_months"] == "115.5"


def test_table_is_kept_until_a_new_one_is_complete(
    radiographs: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run without --resume that is stopped leaves the finished table beside its own."""
    table, previous = tmp_path / "ages.csv", tmp_path / "ages.csv.previous"
    images = [radiographs / "hand.png", radiographs / "other.png"]
    command = ("assess", *images, "--sex", "F", "--bundle", bundle, "--csv", table)
    assert boneage(*command).exit_code == 0 and not previous.exists()
    whole = table.read_bytes()

    def stopping(source: bytes, sex: str, bundle: Bundle, *, atlas: Atlas, age: StatedAge, name: str) -> Assessment:
        if name == "other.png":
            raise KeyboardInterrupt
        return assess(source, sex, bundle, atlas=atlas, age=age, name=name)

    monkeypatch.setattr("boneage.composition.assess", stopping)
    stopped = boneage(*command)
    assert stopped.exit_code == 130 and f"{previous} has the earlier rows" in error_of(stopped)
    assert len(rows_of(table)) == 1 and previous.read_bytes() == whole
    monkeypatch.undo()
    assert boneage(*command, "--resume").exit_code == 0
    assert table.read_bytes() == whole and not previous.exists()


def test_resume_needs_a_table(radiographs: Path) -> None:
    result = boneage("assess", radiographs / "hand.png", "--sex", "F", "--resume")
    assert result.exit_code == 2 and "--csv" in error_of(result)
