"""Names of files and options of `boneage assess` that are unusual or wrong."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from boneage.file_names import name_of, shown
from boneage.report.report import CSV_COLUMNS, OUTPUT_SUFFIXES
from boneage.tables.csv_table import read_rows, write_rows
from tests.bundles import tiny_bundle
from tests.program_runs import boneage, draw_files, draw_noise, error_of, rows_of


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_files(tmp_path_factory.mktemp("radiographs"))


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
        draw_noise(folder / os.fsdecode(name), seed)
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
    expected = {f"{stem}{suffix}" for stem in stems for suffix in OUTPUT_SUFFIXES}
    assert {path.name for path in out.iterdir()} == expected | {"index.html"}
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
