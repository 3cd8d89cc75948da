"""Command `boneage assess`: what it prints and writes."""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np
import pytest

from boneage.assessment import Assessment
from boneage.atlas import Atlas
from boneage.bundle.bundle import Bundle
from boneage.clinical.ages import StatedAge
from boneage.composition import assess
from boneage.errors import (
    BundleError,
)
from boneage.reading.radiograph import Radiograph, read_file, read_radiograph
from boneage.report.report import CSV_COLUMNS, OUTPUT_SUFFIXES
from boneage.sex import Sex
from tests.bundles import tiny_bundle
from tests.program_runs import boneage, draw_files, error_of, reports_of, rows_of


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_files(tmp_path_factory.mktemp("radiographs"))


def test_assess_prints_the_clinical_reading(radiographs: Path, bundle: Path) -> None:
    result = boneage("assess", radiographs / "hand.png", "--sex", "f", "--bundle", bundle)
    assert result.exit_code == 0, result.output
    first, *others = result.stdout.splitlines()
    assert first.startswith(f"{radiographs / 'hand.png'}: ")
    assert any("months by Greulich & Pyle, female" in line for line in others)
    assert "  No SDS: the chronological age is unknown" in others
    assert result.stderr == ""


def test_assess_prints_one_line_each_of_several(radiographs: Path, bundle: Path) -> None:
    images = [radiographs / "hand.png", radiographs / "other.png"]
    result = boneage("assess", *images, "--sex", "f", "--age", "8y6m", "--bundle", bundle)
    lines = [line for line in result.stdout.splitlines() if not line.startswith(" ")]
    assert [line.partition(": ")[0] for line in lines] == list(map(str, images))
    assert all("SDS " in line for line in lines)


def test_assess_uses_sex(radiographs: Path, bundle: Path) -> None:
    ages = {}
    for sex in ("F", "male"):
        result = boneage("assess", radiographs / "hand.png", "--sex", sex, "--bundle", bundle, "--json")
        ages[sex] = json.loads(result.stdout)["age_months"]
    assert ages["male"] - ages["F"] == pytest.approx(8.0, abs=0.05)  # the tiny network's own difference


def test_assess_continues_after_bad_file(radiographs: Path, bundle: Path, tmp_path: Path) -> None:
    table = tmp_path / "ages.csv"
    images = [radiographs / "bad.png", radiographs / "hand.png", radiographs / "none.png", radiographs / "other.png"]
    result = boneage("assess", *images, "--sex", "M", "--bundle", bundle, "--csv", table)
    assert result.exit_code == 3
    assert len(result.stdout.splitlines()) == 2
    *rejected, counts = result.stderr.splitlines()
    assert counts == "2 assessed, 2 rejected (not_found 1, unreadable 1)"
    assert [line.rpartition("[")[2] for line in rejected] == ["unreadable]", "not_found]"]
    assert all(line.startswith(f"error: {radiographs}") for line in rejected)
    rows = rows_of(table)
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [row["image"] for row in rows] == [str(image) for image in images]
    assert [row["error"] for row in rows] == ["unreadable", "", "not_found", ""]
    assert [bool(row["age_months"]) for row in rows] == [False, True, False, True]


def test_assess_reads_each_file_once_and_sums_what_it_decoded(
    radiographs: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files change right after they are read: the checksums are of what was read, also of a rejected file."""
    folder = tmp_path / "in"
    folder.mkdir()
    before = {}
    for name in ("hand.png", "bad.png"):
        before[name] = (radiographs / name).read_bytes()
        (folder / name).write_bytes(before[name])
    reads = []

    def changing(path: Path) -> bytes:
        data = read_file(path)
        reads.append(path.name)
        path.write_bytes(b"changed since")
        return data

    monkeypatch.setattr("boneage.reading.radiograph.read_file", changing)
    out = tmp_path / "out"
    result = boneage(
        "assess", *(folder / name for name in before), "--sex", "F", "--bundle", bundle, "--json", "--out", out
    )
    assert result.exit_code == 3 and reads == ["hand.png", "bad.png"]
    for line in map(json.loads, result.stdout.splitlines()):
        name = Path(line["image"]).name
        assert line["radiograph"]["sha256"] == hashlib.sha256(before[name]).hexdigest()
        assert reports_of(out)[Path(name).stem] == line["radiograph"]["sha256"]


def test_json_lines_include_rejected_radiographs(radiographs: Path, bundle: Path) -> None:
    result = boneage(
        "assess", radiographs / "hand.png", radiographs / "bad.png", "--sex", "F", "--bundle", bundle, "--json"
    )
    good, bad = (json.loads(line) for line in result.stdout.splitlines())
    assert (
        good["image"] == str(radiographs / "hand.png") and good["age_months"] > 0 and good["bundle"]["name"] == "tiny"
    )
    assert (
        bad["image"] == str(radiographs / "bad.png")
        and bad["age_months"] is None
        and bad["error"]["code"] == "unreadable"
    )


def test_out_separates_radiographs_of_the_same_name(radiographs: Path, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    images = [radiographs / "hand.png", radiographs / "b" / "hand.png", radiographs / "bad.png"]
    result = boneage("assess", *images, "--sex", "F", "--bundle", bundle, "--out", out)
    assert result.exit_code == 3
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["bad.json", "index.html", *(f"{stem}{suffix}" for stem in ("hand", "hand-2") for suffix in OUTPUT_SUFFIXES)]
    )
    ages = [json.loads((out / f"{stem}.json").read_text())["age_months"] for stem in ("hand", "hand-2")]
    assert ages[0] != ages[1]


def test_out_never_overwrites_a_radiograph(bundle: Path, tmp_path: Path) -> None:
    for name in ("a.png", "a.overlay.png"):
        cv2.imwrite(str(tmp_path / name), np.random.default_rng(1).integers(0, 255, (100, 80), dtype=np.uint8))
    before = (tmp_path / "a.overlay.png").read_bytes()
    images = [tmp_path / "a.png", tmp_path / "a.overlay.png"]
    result = boneage("assess", *images, "--sex", "F", "--bundle", bundle, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "a.overlay.png").read_bytes() == before
    assert (tmp_path / "a-2.overlay.png").exists() and (tmp_path / "a.overlay.overlay.png").exists()


def test_list_gives_radiographs_and_sexes(radiographs: Path, bundle: Path, tmp_path: Path) -> None:
    listed = radiographs / "list.csv"
    listed.write_text(
        f"image,sex\nhand.png,F\n{radiographs / 'other.png'},male\nb/hand.png,\n./none.png,M\n", encoding="utf-8"
    )
    table = tmp_path / "ages.csv"
    result = boneage("assess", "--list", listed, "--bundle", bundle, "--csv", table)
    assert result.exit_code == 3
    rows = rows_of(table)
    # As the list has them, to the letter, so that the tables can be joined.
    assert [row["image"] for row in rows] == ["hand.png", str(radiographs / "other.png"), "b/hand.png", "./none.png"]
    assert [row["sex"] for row in rows] == ["F", "M", "", "M"]
    assert [row["error"] for row in rows] == ["", "", "sex_missing", "not_found"]


def test_invalid_list_is_exit_6(radiographs: Path, bundle: Path) -> None:
    result = boneage("assess", "--list", radiographs / "none.csv", "--bundle", bundle)
    assert result.exit_code == 6 and "[table_not_found]" in error_of(result)


def test_missing_bundle_is_exit_4(radiographs: Path) -> None:
    result = boneage("assess", radiographs / "hand.png", "--sex", "F", "--bundle", "no-such-bundle")
    assert result.exit_code == 4 and "[bundle_not_found]" in error_of(result)


def test_missing_sex_reports_sex_in_file(radiographs: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = boneage("assess", radiographs / "hand.png", "--bundle", bundle)
    assert result.exit_code == 2 and "--sex F, M or both" in error_of(result) and "says" not in error_of(result)

    def read(source: Path) -> Radiograph:
        radiograph = read_radiograph(source)
        return replace(radiograph, facts=replace(radiograph.facts, sex=Sex.MALE))

    monkeypatch.setattr("boneage.reading.radiograph.read_radiograph", read)
    result = boneage("assess", radiographs / "hand.png", "--bundle", bundle)
    assert result.exit_code == 2 and "hand.png declares M" in error_of(result)


def test_csv_keeps_rows_before_a_failure(
    radiographs: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaking(source: bytes, sex: str, bundle: Bundle, *, atlas: Atlas, age: StatedAge, name: str) -> Assessment:
        if name == "other.png":
            raise BundleError("bundle_output", "No number.")
        return assess(source, sex, bundle, atlas=atlas, age=age, name=name)

    monkeypatch.setattr("boneage.composition.assess", breaking)
    table = tmp_path / "ages.csv"
    images = [radiographs / "hand.png", radiographs / "other.png"]
    result = boneage("assess", *images, "--sex", "F", "--bundle", bundle, "--csv", table)
    assert result.exit_code == 4 and "[bundle_output]" in error_of(result)
    assert [row["image"] for row in rows_of(table)] == [str(radiographs / "hand.png")]


@pytest.mark.parametrize("broken", ["boneage.composition.combine", "boneage.report.report.page"])
def test_csv_continues_after_unexpected_failure(
    radiographs: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """The second of three, whether judging it fails or drawing it."""
    module, _, name = broken.rpartition(".")
    works, calls = getattr(importlib.import_module(module), name), []

    def breaking(*arguments: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("boom")
        return works(*arguments, **options)

    monkeypatch.setattr(broken, breaking)
    table, out = tmp_path / "ages.csv", tmp_path / "out"
    images = [radiographs / "hand.png", radiographs / "other.png", radiographs / "b" / "hand.png"]
    monkeypatch.setenv("BONEAGE_TRACEBACK", "1")
    result = boneage("assess", *images, "--sex", "F", "--bundle", bundle, "--csv", table, "--out", out)
    assert result.exit_code == 1
    assert [row["error"] for row in rows_of(table)] == ["", "internal_error", ""]
    assert (
        f"{radiographs / 'other.png'}: This should not have happened: RuntimeError: boom [internal_error]"
        in result.stderr
    )
    assert "Traceback" in result.stderr and "2 assessed, 1 failed (internal_error)" in result.stderr
    assert json.loads((out / "other.json").read_text())["error"]["code"] == "internal_error"
    assert not (out / "other.html").exists() and (out / "hand-2.html").exists()


@pytest.mark.parametrize("with_table", [True, False])
def test_sigterm_keeps_finished_rows(
    radiographs: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_table: bool
) -> None:
    def stopping(source: bytes, sex: str, bundle: Bundle, *, atlas: Atlas, age: StatedAge, name: str) -> Assessment:
        if name == "other.png":
            os.kill(os.getpid(), signal.SIGTERM)
        return assess(source, sex, bundle, atlas=atlas, age=age, name=name)

    monkeypatch.setattr("boneage.composition.assess", stopping)
    table = tmp_path / "ages.csv"
    before = signal.getsignal(signal.SIGTERM)
    images = [radiographs / "hand.png", radiographs / "other.png", radiographs / "b" / "hand.png"]
    extra = ["--csv", table] if with_table else []
    result = boneage("assess", *images, "--sex", "F", "--bundle", bundle, *extra)
    assert result.exit_code == 130
    kept = f"; {table} has these, and --resume continues"
    assert error_of(result) == f"error: Stopped after 1 of 3{kept if with_table else ''}. [stopped]"
    assert signal.getsignal(signal.SIGTERM) is before
    if with_table:
        assert [row["image"] for row in rows_of(table)] == [str(images[0])]


def test_unwritable_csv_is_reported_first(
    radiographs: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_given: object) -> NoReturn:
        raise AssertionError("a radiograph was read")

    monkeypatch.setattr("boneage.composition.assess", never)
    (tmp_path / "file").touch()
    table = tmp_path / "file" / "ages.csv"
    result = boneage("assess", radiographs / "hand.png", "--sex", "F", "--bundle", bundle, "--csv", table)
    assert result.exit_code == 1 and f"{tmp_path / 'file'}. [file_error]" in error_of(result)


def test_reader_warning_names_radiograph(radiographs: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def warning(source: bytes) -> Radiograph:
        logging.getLogger("boneage.reading.dicom.tags").warning("a malformed %s: not used", "PatientAge")
        return read_radiograph(source)

    monkeypatch.setattr("boneage.composition.read_radiograph", warning)
    result = boneage("assess", radiographs / "hand.png", "--sex", "F", "--bundle", bundle)
    assert result.stderr == f"warning: {radiographs / 'hand.png'}: a malformed PatientAge: not used\n"
    assert not logging.getLogger("boneage").handlers


def test_both_sexes_in_all_outputs(radiographs: Path, bundle: Path, tmp_path: Path) -> None:
    """A list may mix sexes with ``both``; a table resumes between and within the two rows of a radiograph."""
    listed, table, out = tmp_path / "list.csv", tmp_path / "ages.csv", tmp_path / "out"
    names = [radiographs / "hand.png", radiographs / "bad.png", radiographs / "other.png"]
    rows = [f"{name},{sex}" for name, sex in zip(names, ["both", "Both", "M"], strict=True)]
    listed.write_text("\n".join(["image,sex", *rows]) + "\n")
    command = ("assess", "--list", listed, "--bundle", bundle, "--csv", table, "--out", out, "--json")
    result = boneage(*command)
    assert result.exit_code == 3
    printed = [json.loads(line) for line in result.stdout.splitlines()]
    assert [one["sex"] for one in printed] == ["both", "Both", "M"]
    assert [row["sex"] for row in rows_of(table)] == ["F", "M", "Both", "M"]
    assert [row["report"] for row in rows_of(table)] == ["hand", "hand", "bad", "other"]
    assert json.loads((out / "hand.json").read_text())["by_sex"]["F"]["sex"] == "F"
    whole = table.read_text().splitlines(keepends=True)
    for kept in range(1, len(whole) + 1):
        table.write_text("".join(whole[:kept]))
        assert boneage(*command, "--resume").exit_code == 3
        assert [row["sex"] for row in rows_of(table)] == ["F", "M", "Both", "M"]


def test_report_text_of_several_names_each_file(radiographs: Path, bundle: Path, tmp_path: Path) -> None:
    """Each block has its file's name, a rejected one its reason; one radiograph has no heading."""
    images = [radiographs / "hand.png", radiographs / "none.png", radiographs / "other.png"]
    options = ("--bundle", bundle, "--report-text")
    result = boneage("assess", *images, "--sex", "F", *options)
    blocks = result.stdout.split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == [f"{image}:" for image in images]
    assert blocks[1].splitlines()[1].startswith("No bone age is reported. 'none.png' cannot be opened: ")
    alone = boneage("assess", images[0], "--sex", "F", *options).stdout
    assert blocks[0] + "\n" == f"{images[0]}:\n{alone}" and alone.startswith("Radiograph of the hand")
    assert boneage("assess", images[1], "--sex", "F", *options).stdout == ""
    listed = tmp_path / "list.csv"
    listed.write_text(f"image,sex\n{images[0]},F\n")
    assert boneage("assess", "--list", listed, *options).stdout == f"{images[0]}:\n{alone}"


def test_list_with_two_sexes_of_one_file_is_noted(radiographs: Path, bundle: Path, tmp_path: Path) -> None:
    listed, hand = tmp_path / "list.csv", radiographs / "hand.png"
    same = radiographs / "b" / ".." / "hand.png"
    listed.write_text(f"image,sex\n{hand},F\n{same},male\n{radiographs / 'other.png'},F\n,F\n,M\n")
    result = boneage("assess", "--list", listed, "--bundle", bundle)
    noted = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert noted == [f"warning: {listed}: {hand} is listed with the sexes F and M."]


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (("--birth-date", "2010-01-01"), "The study date is missing"),
        (("--study-date", "2020-01-01"), "The date of birth is missing"),
        (("--birth-date", "2010-01-01", "--study-date", "2020-01-01"), ""),
        ((), ""),
    ],
)
def test_missing_date_is_named(radiographs: Path, bundle: Path, options: tuple[str, ...], hint: str) -> None:
    """A single date gives no age of an image file, which states none."""
    hand = radiographs / "hand.png"
    result = boneage("assess", hand, "--sex", "F", "--bundle", bundle, *options)
    assert result.exit_code == 0
    assert result.stderr.startswith(f"warning: {hand}: {hint}") if hint else result.stderr == ""


def test_both_sexes_usage(radiographs: Path, bundle: Path, tmp_path: Path) -> None:
    """Steps show one reading, and a table of one sex is not continued for both."""
    image, table = radiographs / "hand.png", tmp_path / "ages.csv"
    result = boneage("assess", image, "--sex", "both", "--bundle", bundle, "--steps", tmp_path / "steps")
    assert result.exit_code == 2 and "--steps shows one reading" in result.stderr
    assert boneage("assess", image, "--sex", "M", "--bundle", bundle, "--csv", table).exit_code == 0
    result = boneage("assess", image, "--sex", "both", "--bundle", bundle, "--csv", table, "--resume")
    assert result.exit_code == 6 and "has the sex 'M', not 'both'" in result.stderr
    printed = boneage("assess", image, "--sex", "both", "--bundle", bundle, "--report-text").stdout.splitlines()
    assert len(printed) >= 4 and "Male standards: " in printed[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [(("--out", "out"), "The bundle tiny has no network for outlines of bones"), ((), "give --out too")],
)
def test_assess_epiphyses_wrong_usage(
    radiographs: Path,
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = boneage("assess", radiographs / "hand.png", "--sex", "F", "--bundle", bundle, "--epiphyses", *options)
    assert result.exit_code == 2 and message in result.stderr
    assert not any(tmp_path.iterdir())


# --- chronological age ---


@pytest.mark.parametrize(
    ("options", "lower", "upper"),
    [
        (("--age", "13y6m"), 162.0, 163.0),
        (("--age", "13"), 156.0, 168.0),
        (("--birth-date", "2010-01-01", "--study-date", "2020-07-01"), 126.0, 126.0),
    ],
)
def test_assess_takes_the_chronological_age(
    radiographs: Path, bundle: Path, options: tuple[str, ...], lower: float, upper: float
) -> None:
    result = boneage("assess", radiographs / "hand.png", "--sex", "M", "--bundle", bundle, "--json", *options)
    age = json.loads(result.stdout)["chronological_age"]
    assert (age["lower_months"], age["upper_months"]) == (lower, upper)


@pytest.mark.parametrize(
    "options",
    [
        ("--age", "13.5"),
        ("--birth-date", "1.1.2010"),
        ("--age", "13", "--birth-date", "2010-01-01"),
    ],
)
def test_assess_rejects_an_age_it_cannot_read(radiographs: Path, bundle: Path, options: tuple[str, ...]) -> None:
    result = boneage("assess", radiographs / "hand.png", "--sex", "M", "--bundle", bundle, *options)
    assert result.exit_code == 2


def test_assess_list_with_dates_and_ages(radiographs: Path, bundle: Path, tmp_path: Path) -> None:
    listed, table = tmp_path / "list.csv", tmp_path / "ages.csv"
    hand = radiographs / "hand.png"
    rows = [f"{hand},M,2010-01-01,2020-07-01,", f"{hand},M,,,13y6m", f"{hand},M,,,13", f"{hand},M,,,"]
    listed.write_text("image,sex,birth_date,study_date,age\n" + "\n".join(rows) + "\n")
    assert boneage("assess", "--list", listed, "--bundle", bundle, "--csv", table).exit_code == 0
    cells = [(row["chronological_age_months"], row["chronological_age_precision"]) for row in rows_of(table)]
    assert cells == [("126.0", "days"), ("162.5", "months"), ("162.0", "years"), ("", "")]
    listed.write_text(f"image,sex,age\n{hand},M,thirteen\n")
    assert "[table_value]" in error_of(boneage("assess", "--list", listed, "--bundle", bundle))


def test_assess_reference_that_cannot_be_used_is_exit_9(
    radiographs: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BONEAGE_REFERENCE", "tanner")
    result = boneage("assess", radiographs / "hand.png", "--sex", "M", "--bundle", bundle)
    assert result.exit_code == 9
    assert "[reference_not_found]" in error_of(result)


def test_assess_json_has_the_plates_of_the_atlas(radiographs: Path, tmp_path: Path) -> None:
    spread = tiny_bundle(tmp_path / "spread", distribution=True)
    arguments = ("assess", radiographs / "hand.png", "--sex", "F", "--bundle", spread, "--json")
    plates = json.loads(boneage(*arguments).stdout)["nearest_plates"]
    assert plates["atlas"] == "open" and len(plates["plates"]) == 3
    missing = boneage(*arguments, "--atlas", tmp_path / "none")
    assert missing.exit_code == 7 and "atlas_not_found" in missing.stderr
