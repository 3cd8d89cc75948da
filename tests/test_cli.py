import ast
import csv
import hashlib
import importlib
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

import boneage as package
from boneage.assessment import Assessment, assess
from boneage.atlas import Atlas
from boneage.bundle.bundle import Bundle
from boneage.bundle.shipped import list_bundles
from boneage.cli import cli
from boneage.clinical.ages import StatedAge
from boneage.clinical.errors import ClinicalError
from boneage.errors import (
    AtlasError,
    BoneageError,
    BundleError,
    ConfigurationError,
    RecipeError,
    Rejection,
    RejectionCode,
    TableError,
)
from boneage.file_names import name_of, shown
from boneage.phantom import draw_hand
from boneage.reading.radiograph import Radiograph, read_file, read_radiograph
from boneage.report.report import CSV_COLUMNS, OUTPUT_SUFFIXES
from boneage.sex import Sex
from boneage.tables.csv_table import read_rows, write_rows
from boneage.warnings_ import WarningCode, severities
from tests.bundles import tiny_bundle

LAZY = ("numpy", "cv2", "pydicom", "onnxruntime", "torch", "boneage.report.report", "boneage.commands.assess")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two radiographs of the same name in different folders, a third, and another file."""
    folder = tmp_path_factory.mktemp("radiographs")
    rng = np.random.default_rng(0)
    for name in ("hand.png", "other.png", "b/hand.png"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        noise = rng.integers(0, 60, (200, 150), dtype=np.uint8)
        noise[50:150, 40:110] += np.uint8(rng.integers(60, 190))
        assert cv2.imwrite(str(path), noise)
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnot a picture")
    return folder


def boneage(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def error_of(result: Result) -> str:
    """The one line on standard error."""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and line.endswith("]")
    return line


def rows_of(table: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"))))


# --- the program ---


def test_help_lists_commands_and_exit_codes() -> None:
    result = boneage("--help")
    assert result.exit_code == 0
    for word in (
        "assess",
        "sample",
        "bundle",
        "train",
        "evaluate",
        "export",
        "maps",
        "Exit codes",
        "3    at least one",
    ):
        assert word in result.stdout


def test_help_and_import_load_no_heavy_package() -> None:
    program = (
        "import sys, boneage\nfrom boneage.cli import cli\n"
        "cli(['--help'], standalone_mode=False)\n"
        f"print('LOADED', [name for name in {LAZY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # our own text
    assert done.stdout.splitlines()[-1] == "LOADED []"


@pytest.mark.parametrize("command", ["assess", "sample", "bundle"])
def test_help_of_each_command(command: str) -> None:
    result = boneage(command, "--help")
    assert result.exit_code == 0 and "Usage" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["--no-such-option"],
        ["assess"],
        ["assess", "x.png", "--sex", "O"],
        ["assess", "x.png", "--list", "radiographs.csv"],
        ["assess", "--list", "radiographs.csv", "--sex", "F"],
        ["assess", "x.png", "--sex", "F", "--csv", "x.png"],
        ["assess", "x.png", "--sex", "F", "--csv", "out", "--out", "out"],
        ["bundle", "no-such"],
        ["sample", "hand.xyz"],
        ["sample", "hand"],
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(arguments: list[str]) -> None:
    result = boneage(*arguments)
    assert result.exit_code == 2
    assert error_of(result).endswith("[usage]")
    assert result.stdout == ""


def test_invalid_sex_names_choices() -> None:
    assert "give F, M or both" in error_of(boneage("assess", "x.png", "--sex", "X"))


def test_folder_as_file_is_wrong_usage(radiographs: Path, tmp_path: Path) -> None:
    result = boneage("assess", radiographs, "--sex", "F")
    assert result.exit_code == 2 and str(radiographs / "*") in error_of(result)
    (tmp_path / "inner").mkdir()
    assert "is a folder. It has no files." in error_of(boneage("assess", tmp_path, "--sex", "F"))


def test_unexpected_error_is_one_line(radiographs: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object, **_options: object) -> NoReturn:
        raise RuntimeError("boom\nboom")

    monkeypatch.setattr("boneage.assessment.read_radiograph", broken)
    result = boneage("assess", radiographs / "hand.png", "--sex", "F", "--bundle", bundle)
    assert result.exit_code == 1
    assert "RuntimeError: boom boom [internal_error]" in error_of(result)


def test_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch, radiographs: Path, bundle: Path) -> None:
    def missing(*_args: object, **_options: object) -> NoReturn:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(Bundle, "open", missing)
    result = boneage("assess", radiographs / "hand.png", "--sex", "F", "--bundle", bundle)
    assert result.exit_code == 1
    assert "boneage[train]" in error_of(result) and "[extra_missing]" in error_of(result)


# --- codes ---

CODES_PAGE = (Path(__file__).parents[1] / "docs" / "codes.md").read_text(encoding="utf-8")
KINDS = {
    kind.__name__: kind for kind in (BoneageError, BundleError, RecipeError, TableError, AtlasError, ConfigurationError)
}


def codes_in_use() -> dict[str, int]:
    """Every code that the source passes to an error, with its exit status."""
    codes = {code.value: Rejection.exit_status for code in RejectionCode}
    codes |= {"usage": 2, "stopped": 130, "extra_missing": 1, "file_error": 1, "internal_error": 1}  # the program's own
    for path in Path(str(package.__file__)).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") not in KINDS:
                continue
            code = node.args[0]
            if isinstance(code, ast.Name) and (path.name, code.id) == ("each_radiograph.py", "_INTERNAL"):
                continue
            assert isinstance(code, ast.Constant), f"{path.name}:{code.lineno}: a code that cannot be looked up"
            codes[str(code.value)] = KINDS[getattr(node.func, "id", "")].exit_status
    return codes | dict.fromkeys(reference_codes(), ClinicalError.exit_status)


def reference_codes() -> list[str]:
    """Codes of a reference that cannot be used; those of other clinical input never end a command."""
    return re.findall(r"^    ``(reference_\w+)``", str(ClinicalError.__doc__), flags=re.MULTILINE)


def table_under(heading: str) -> list[list[str]]:
    """The cells of the table below a heading of the page of codes."""
    part = CODES_PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if "| `" in f" {line}"]


def test_codes_are_documented_with_exit_status() -> None:
    documented = {code.strip("`"): int(status) for code, status, _ in table_under("Failures")}
    assert documented == codes_in_use()
    assert all(f"  {status}  " in boneage("--help").stdout for status in set(documented.values()))


def test_warnings_are_documented_with_severities() -> None:
    documented = {code.strip("`"): severities.split(", ") for code, severities, _ in table_under("Warnings")}
    assert list(documented.items()) == [(code.value, [one.value for one in severities(code)]) for code in WarningCode]


@pytest.mark.parametrize("missing", ["tqdm", "tensorboard", "matplotlib"])
def test_extras_provide_named_packages(missing: str) -> None:
    from boneage.cli import _EXTRAS

    assert _EXTRAS[missing] == ("plot" if missing == "matplotlib" else "train")


# --- assess ---


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
        ["bad.json", *(f"{stem}{suffix}" for stem in ("hand", "hand-2") for suffix in OUTPUT_SUFFIXES)]
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

    monkeypatch.setattr("boneage.assessment.assess", breaking)
    table = tmp_path / "ages.csv"
    images = [radiographs / "hand.png", radiographs / "other.png"]
    result = boneage("assess", *images, "--sex", "F", "--bundle", bundle, "--csv", table)
    assert result.exit_code == 4 and "[bundle_output]" in error_of(result)
    assert [row["image"] for row in rows_of(table)] == [str(radiographs / "hand.png")]


@pytest.mark.parametrize("broken", ["boneage.assessment.combine", "boneage.report.report.page"])
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

    monkeypatch.setattr("boneage.assessment.assess", stopping)
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

    monkeypatch.setattr("boneage.assessment.assess", never)
    (tmp_path / "file").touch()
    table = tmp_path / "file" / "ages.csv"
    result = boneage("assess", radiographs / "hand.png", "--sex", "F", "--bundle", bundle, "--csv", table)
    assert result.exit_code == 1 and f"{tmp_path / 'file'}. [file_error]" in error_of(result)


def test_reader_warning_names_radiograph(radiographs: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def warning(source: bytes) -> Radiograph:
        logging.getLogger("boneage.reading.dicom.tags").warning("a malformed %s: not used", "PatientAge")
        return read_radiograph(source)

    monkeypatch.setattr("boneage.assessment.read_radiograph", warning)
    result = boneage("assess", radiographs / "hand.png", "--sex", "F", "--bundle", bundle)
    assert result.stderr == f"warning: {radiographs / 'hand.png'}: a malformed PatientAge: not used\n"
    assert not logging.getLogger("boneage").handlers


# --- names of files ---

ODD_NAMES = (
    b"\xff\xfe.png",
    b"line\nbreak.png",
    b"\x1b[31mred.png",
    "\u009b31m\u202egnp.png".encode(),
    b" spaces .png",
    b"=1+1.png",
    b"-hand.png",
    b"--json.png",
    b"a\\xff.png",
    b"a\"b,c'd.png",
    b"%s" % (b"x" * 251 + b".png"),
    b"<b>&amp;.png",
    "händ 手.png".encode(),
)


@pytest.fixture(scope="module")
def odd_radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of an odd name with a radiograph of each odd name, all different."""
    folder = tmp_path_factory.mktemp("odd") / os.fsdecode(b"f\xf6lder\x07")
    for seed, name in enumerate(ODD_NAMES):
        noise(folder / os.fsdecode(name), seed)
    return folder


def run_here(folder: Path, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    """The program itself, as a shell starts it in a folder; arguments may hold any bytes."""
    command = [sys.executable, "-m", "boneage", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False)  # our own program


def is_clean(data: bytes) -> bool:
    """Return True if data is UTF-8 without control characters other than line feeds."""
    return all(shown(line) == line for line in data.decode().split("\n"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_full_standard_output_is_an_error(radiographs: Path, bundle: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "boneage",
        "assess",
        str(radiographs / "hand.png"),
        "--sex",
        "F",
        "--bundle",
        str(bundle),
    ]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)  # our own program
    assert done.returncode == 1 and done.stderr == "error: No space left on device. [file_error]\n"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow fewer names")
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_unprintable_path_is_escaped(tmp_path: Path, encoding: str) -> None:
    command = [sys.executable, "-m", "boneage", "sample", os.fsdecode(b"\xff.png")]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)  # our own program
    assert done.returncode == 0 and done.stdout.startswith(b"\\udcff.png: average hand"), done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow fewer names")
def test_file_names_of_any_bytes_are_safe(odd_radiographs: Path, bundle: Path, tmp_path: Path) -> None:
    """Files are given like a shell pattern, hyphens first, and once more as the resulting table."""
    names = sorted(os.fsdecode(name) for name in ODD_NAMES)
    out, table = tmp_path / "out", tmp_path / "ages.csv"
    options = ["--sex", "F", "--bundle", bundle, "--csv", table, "--out", out]
    done = run_here(odd_radiographs, "assess", *names, *options)
    assert done.returncode == 0, done.stderr
    assert is_clean(done.stdout) and is_clean(done.stderr)
    rows = read_rows(table, CSV_COLUMNS)
    assert is_clean(table.read_bytes())
    assert [name_of(row.cells["image"]) for row in rows] == [f"./{n}" if n[0] == "-" else n for n in names]
    stems = [row.cells["report"] for row in rows]
    assert len({stem.casefold() for stem in stems}) == len(names)
    assert {path.name for path in out.iterdir()} == {f"{stem}{suffix}" for stem in stems for suffix in OUTPUT_SUFFIXES}
    assert all(is_clean(os.fsencode(path.name)) and path.name[0] != "-" for path in out.iterdir())
    assert all(is_clean(path.read_bytes()) for path in out.glob("*.html"))
    for name, stem in zip(names, stems, strict=True):
        document = json.loads((out / f"{stem}.json").read_text(encoding="utf-8"))
        assert name_of(document["image"]) == name
        assert document["radiograph"]["sha256"] == hashlib.sha256((odd_radiographs / name).read_bytes()).hexdigest()

    listed = odd_radiographs / "list.csv"
    table.replace(listed)
    again = tmp_path / "again.csv"
    done = run_here(tmp_path, "assess", "--list", listed, "--bundle", bundle, "--csv", again, "--json")
    listed.unlink()
    assert done.returncode == 0 and is_clean(done.stdout), done.stderr
    assert [row.cells["image"] for row in read_rows(again, CSV_COLUMNS)] == [row.cells["image"] for row in rows]


@pytest.mark.skipif(sys.platform == "win32", reason="other systems have other names")
def test_impossible_path_is_rejected_alone(radiographs: Path, bundle: Path, tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    listed, table, out = tmp_path / "list.csv", tmp_path / "ages.csv", tmp_path / "out"
    images = ["a\0b.png", "y" * 300, str(loop), f"{loop}/a.png", str(tmp_path), str(radiographs / "hand.png")]
    write_rows(listed, ("image", "sex"), [(image, "F") for image in images])
    result = boneage("assess", "--list", listed, "--bundle", bundle, "--csv", table, "--out", out)
    assert result.exit_code == 3
    assert [row["error"] for row in rows_of(table)] == ["not_found"] * 5 + [""]
    result = boneage("assess", *images[1:5], "--sex", "F", "--bundle", bundle)
    assert result.exit_code == 2 and "is a folder" in error_of(result)
    assert boneage("assess", *images[1:4], "--sex", "F", "--bundle", bundle).exit_code == 3


def test_option_with_invalid_file_is_an_error(radiographs: Path, bundle: Path) -> None:
    result = boneage("assess", "-nothing.png", radiographs / "hand.png", "--sex", "F", "--bundle", bundle)
    assert result.exit_code == 2 and "-n" in error_of(result)


# --- going on ---


def batch(folder: Path, count: int) -> tuple[Path, list[str]]:
    """A list of radiographs with their sexes; every fifth is damaged, one is not there and one comes twice."""
    rows = []
    for number in range(count):
        name = f"{number:02d}.png"
        noise(folder / name, number)
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

    monkeypatch.setattr("boneage.assessment.assess", counting)
    images = [radiographs / "hand.png", radiographs / "other.png", radiographs / "b" / "hand.png"]
    assert boneage("assess", *images, "--sex", "F", "--bundle", bundle, "--csv", table).exit_code == 0
    assert counts == [0, 1, 2]


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


def test_both_sexes_usage(radiographs: Path, bundle: Path, tmp_path: Path) -> None:
    """Steps show one reading, and a table of one sex is not continued for both."""
    image, table = radiographs / "hand.png", tmp_path / "ages.csv"
    result = boneage("assess", image, "--sex", "both", "--bundle", bundle, "--steps", tmp_path / "steps")
    assert result.exit_code == 2 and "--steps shows one reading" in result.stderr
    assert boneage("assess", image, "--sex", "M", "--bundle", bundle, "--csv", table).exit_code == 0
    result = boneage("assess", image, "--sex", "both", "--bundle", bundle, "--csv", table, "--resume")
    assert result.exit_code == 6 and "has the sex 'M', not 'both'" in result.stderr
    printed = boneage("assess", image, "--sex", "both", "--bundle", bundle, "--report-text").stdout.splitlines()
    assert len(printed) == 4 and "Male standards: " in printed[1]


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


# --- the folder of reports ---


def noise(path: Path, seed: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    _, coded = cv2.imencode(".png", np.random.default_rng(seed).integers(0, 255, (100, 80), dtype=np.uint8))
    path.write_bytes(coded.tobytes())  # OpenCV itself takes no other names than in UTF-8
    return path


def reports_of(out: Path) -> dict[str, str | None]:
    """Checksum by stem. A killed run may leave a hidden temporary file beside the reports."""
    return {path.stem: json.loads(path.read_text())["radiograph"]["sha256"] for path in out.glob("[!.]*.json")}


def test_later_run_keeps_report_of_other_radiograph(bundle: Path, tmp_path: Path) -> None:
    out, table = tmp_path / "out", tmp_path / "ages.csv"
    radiographs = [noise(tmp_path / folder / "IM0001.png", seed) for seed, folder in enumerate("ab")]
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
    assert len(list(out.iterdir())) == 6


def test_rejection_removes_earlier_estimate(bundle: Path, tmp_path: Path) -> None:
    out, radiograph = tmp_path / "out", noise(tmp_path / "a" / "hand.png", 1)
    other = noise(tmp_path / "b" / "hand.png", 2)
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
    ]
    document = json.loads((out / "hand.json").read_text())
    assert document["age_months"] is None and document["error"]["code"] == "sex_missing"
    assert reports_of(out) == {
        "hand": hashlib.sha256(radiograph.read_bytes()).hexdigest(),
        "hand-2": hashlib.sha256(other.read_bytes()).hexdigest(),
    }


def test_csv_and_reports_never_overwrite_each_other(bundle: Path, tmp_path: Path) -> None:
    out, radiograph = tmp_path / "out", noise(tmp_path / "hand.png", 1)
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


# --- sample, bundle ---


def test_sample_plate_is_assessed_near_its_age(tmp_path: Path) -> None:
    """The first thing that a newcomer sees is an estimate near a known age, without a warning."""
    path = tmp_path / "hand.png"
    result = boneage("sample", path, "--plate", "M-108")
    assert result.exit_code == 0 and "boys of 9 years" in result.stdout
    words = result.stdout.split("Try it: boneage ")[1].split()
    result = boneage(*words, "--json", "--bundle", "fast")
    document = json.loads(result.stdout)
    assert document["warnings"] == []
    assert abs(document["difference"]["months"]) < 8


def test_sample_unknown_plate(tmp_path: Path) -> None:
    """A plate that does not exist is an error, and nothing is written."""
    result = boneage("sample", tmp_path / "hand.png", "--plate", "F-1")
    assert result.exit_code == 7
    assert list(tmp_path.iterdir()) == []


def test_sample_states_that_it_is_meaningless(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "hand.png"
    result = boneage("sample", path, "--phantom")
    assert result.exit_code == 0 and "has no meaning" in result.stdout
    assert boneage("sample", path, "--phantom").exit_code == 0  # the same file again
    result = boneage("assess", path, "--sex", "F", "--bundle", bundle)
    assert result.exit_code == 0 and "this number has no meaning" in result.stdout


def test_sample_replaces_files_only_with_force(tmp_path: Path) -> None:
    path = tmp_path / "precious.png"
    path.write_bytes(b"precious")
    assert boneage("sample", path).exit_code == 2 and path.read_bytes() == b"precious"
    assert boneage("sample", path, "--phantom", "--force").exit_code == 0
    picture = np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
    np.testing.assert_array_equal(picture, np.rint(draw_hand() ** 0.7 * 255).astype(np.uint8))


def test_bundle_list(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boneage.bundle.shipped.list_bundles", lambda: list_bundles(bundle.parent))
    assert (
        boneage("bundle", "list").stdout
        == "  tiny 1.0: A tiny bundle for tests (1 network, validation MAD 8.50 months)\n"
    )
    assert json.loads(boneage("bundle", "list", "--json").stdout)["mad_months"] == 8.5


def test_bundle_show(bundle: Path) -> None:
    output = boneage("bundle", "show", bundle).stdout
    assert (
        "title: A tiny bundle for tests" in output
        and "view radiograph 48 x 64" in output
        and "metric ccc: 0.94" in output
    )
    assert json.loads(boneage("bundle", "show", bundle, "--json").stdout) == json.loads(
        (bundle / "bundle.json").read_text()
    )


def test_bundle_check(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "tiny")
    result = boneage("bundle", "check", folder)
    assert result.exit_code == 0 and "self-test" in result.stdout and "FAIL" not in result.stdout
    (folder / "stray.txt").write_text("")
    result = boneage("bundle", "check", folder)
    assert result.exit_code == 4 and "FAIL files" in result.stdout and "[bundle_check_failed]" in error_of(result)


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
