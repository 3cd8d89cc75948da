import csv
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from boneage.assessment import Assessment, assess
from boneage.bundle import Bundle, list_bundles
from boneage.cli import cli
from boneage.phantom import draw_hand
from boneage.radiograph import Radiograph, read_radiograph
from boneage.report import CSV_COLUMNS
from boneage.sex import Sex
from tests.bundles import tiny_bundle

LAZY = ("numpy", "cv2", "pydicom", "onnxruntime", "torch", "boneage.report", "boneage.commands.assess")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two films of different folders but the same name, a third, and a file that is none."""
    folder = tmp_path_factory.mktemp("films")
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


def test_help_lists_every_command_with_its_exit_codes() -> None:
    result = boneage("--help")
    assert result.exit_code == 0
    for word in ("assess", "sample", "bundle", "train", "evaluate", "export", "maps", "Exit codes", "3  at least one"):
        assert word in result.stdout


def test_help_and_import_load_nothing_heavy() -> None:
    program = (
        "import sys, boneage\nfrom boneage.cli import cli\n"
        "cli(['--help'], standalone_mode=False)\n"
        f"print('LOADED', [name for name in {LAZY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # our own text
    assert done.stdout.splitlines()[-1] == "LOADED []"


@pytest.mark.parametrize("command", ["assess", "sample", "bundle"])
def test_each_command_explains_itself(command: str) -> None:
    result = boneage(command, "--help")
    assert result.exit_code == 0 and "Usage" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["--no-such-option"],
        ["assess"],
        ["assess", "x.png", "--sex", "O"],
        ["assess", "x.png", "--list", "films.csv"],
        ["assess", "--list", "films.csv", "--sex", "F"],
        ["assess", "x.png", "--sex", "F", "--csv", "x.png"],
        ["bundle", "no-such"],
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(arguments: list[str]) -> None:
    result = boneage(*arguments)
    assert result.exit_code == 2
    assert error_of(result).endswith("[usage]")
    assert result.stdout == ""


def test_unforeseen_errors_are_one_line_too(films: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object, **_options: object) -> NoReturn:
        raise RuntimeError("boom\nboom")

    monkeypatch.setattr("boneage.assessment.read_radiograph", broken)
    result = boneage("assess", films / "hand.png", "--sex", "F", "--bundle", bundle)
    assert result.exit_code == 1
    assert "RuntimeError: boom boom [internal_error]" in error_of(result)


def test_a_package_that_is_not_installed_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, films: Path, bundle: Path
) -> None:
    def missing(*_args: object, **_options: object) -> NoReturn:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(Bundle, "open", missing)
    result = boneage("assess", films / "hand.png", "--sex", "F", "--bundle", bundle)
    assert result.exit_code == 1
    assert "boneage[train]" in error_of(result) and "[extra_missing]" in error_of(result)


# --- assess ---


def test_one_film_is_one_line(films: Path, bundle: Path) -> None:
    result = boneage("assess", films / "hand.png", "--sex", "f", "--bundle", bundle)
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    assert line.startswith(f"{films / 'hand.png'}: ") and "months, typical error 8.0), F" in line
    assert result.stderr == ""


def test_boys_and_girls_get_the_answer_of_their_sex(films: Path, bundle: Path) -> None:
    ages = {}
    for sex in ("F", "male"):
        result = boneage("assess", films / "hand.png", "--sex", sex, "--bundle", bundle, "--json")
        ages[sex] = json.loads(result.stdout)["age_months"]
    assert ages["male"] - ages["F"] == pytest.approx(8.0, abs=0.05)  # the tiny net's own difference


def test_one_bad_file_does_not_stop_the_rest(films: Path, bundle: Path, tmp_path: Path) -> None:
    table = tmp_path / "ages.csv"
    images = [films / "bad.png", films / "hand.png", films / "none.png", films / "other.png"]
    result = boneage("assess", *images, "--sex", "M", "--bundle", bundle, "--csv", table)
    assert result.exit_code == 3
    assert len(result.stdout.splitlines()) == 2
    refused = result.stderr.splitlines()
    assert [line.rpartition("[")[2] for line in refused] == ["unreadable]", "not_found]"]
    assert all(line.startswith(f"error: {films}") for line in refused)
    rows = rows_of(table)
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [row["image"] for row in rows] == [str(image) for image in images]
    assert [row["error"] for row in rows] == ["unreadable", "", "not_found", ""]
    assert [bool(row["age_months"]) for row in rows] == [False, True, False, True]


def test_json_lines_hold_the_refused_films_too(films: Path, bundle: Path) -> None:
    result = boneage("assess", films / "hand.png", films / "bad.png", "--sex", "F", "--bundle", bundle, "--json")
    good, bad = (json.loads(line) for line in result.stdout.splitlines())
    assert good["image"] == "hand.png" and good["age_months"] > 0 and good["bundle"]["name"] == "tiny"
    assert bad["image"] == "bad.png" and bad["age_months"] is None and bad["error"]["code"] == "unreadable"


def test_films_of_the_same_name_get_files_of_their_own(films: Path, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    images = [films / "hand.png", films / "b" / "hand.png", films / "bad.png"]
    result = boneage("assess", *images, "--sex", "F", "--bundle", bundle, "--out", out)
    assert result.exit_code == 3
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"{stem}{suffix}" for stem in ("hand", "hand-2") for suffix in (".overlay.png", ".html", ".json")
    )
    ages = [json.loads((out / f"{stem}.json").read_text())["age_months"] for stem in ("hand", "hand-2")]
    assert ages[0] != ages[1]


def test_a_film_is_never_overwritten(bundle: Path, tmp_path: Path) -> None:
    for name in ("a.png", "a.overlay.png"):
        cv2.imwrite(str(tmp_path / name), np.random.default_rng(1).integers(0, 255, (100, 80), dtype=np.uint8))
    before = (tmp_path / "a.overlay.png").read_bytes()
    images = [tmp_path / "a.png", tmp_path / "a.overlay.png"]
    result = boneage("assess", *images, "--sex", "F", "--bundle", bundle, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "a.overlay.png").read_bytes() == before
    assert (tmp_path / "a-2.overlay.png").exists() and (tmp_path / "a.overlay.overlay.png").exists()


def test_a_list_gives_films_and_sexes(films: Path, bundle: Path, tmp_path: Path) -> None:
    listed = films / "list.csv"
    listed.write_text(f"image,sex\nhand.png,F\n{films / 'other.png'},male\nb/hand.png,\nnone.png,M\n", encoding="utf-8")
    table = tmp_path / "ages.csv"
    result = boneage("assess", "--list", listed, "--bundle", bundle, "--csv", table)
    assert result.exit_code == 3
    rows = rows_of(table)
    assert [row["image"] for row in rows] == ["hand.png", "other.png", "b/hand.png", "none.png"]
    assert [row["sex"] for row in rows] == ["F", "M", "", "M"]
    assert [row["error"] for row in rows] == ["", "", "sex_missing", "not_found"]


def test_a_list_that_cannot_be_used_is_exit_6(films: Path, bundle: Path) -> None:
    result = boneage("assess", "--list", films / "none.csv", "--bundle", bundle)
    assert result.exit_code == 6 and "[table_not_found]" in error_of(result)


def test_a_bundle_that_is_not_there_is_exit_4(films: Path) -> None:
    result = boneage("assess", films / "hand.png", "--sex", "F", "--bundle", "no-such-bundle")
    assert result.exit_code == 4 and "[bundle_not_found]" in error_of(result)


def test_the_sex_is_required_and_what_the_file_says_is_told(
    films: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = boneage("assess", films / "hand.png", "--bundle", bundle)
    assert result.exit_code == 2 and "--sex F or --sex M" in error_of(result) and "says" not in error_of(result)

    def read(source: Path) -> Radiograph:
        radiograph = read_radiograph(source)
        return replace(radiograph, facts=replace(radiograph.facts, sex=Sex.MALE))

    monkeypatch.setattr("boneage.radiograph.read_radiograph", read)
    result = boneage("assess", films / "hand.png", "--bundle", bundle)
    assert result.exit_code == 2 and "hand.png says M" in error_of(result)


def test_what_was_done_before_a_failure_is_in_the_table(
    films: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaking(source: Path, sex: str, bundle: Bundle) -> Assessment:
        if source.name == "other.png":
            raise RuntimeError("boom")
        return assess(source, sex, bundle)

    monkeypatch.setattr("boneage.assessment.assess", breaking)
    table = tmp_path / "ages.csv"
    images = [films / "hand.png", films / "other.png"]
    result = boneage("assess", *images, "--sex", "F", "--bundle", bundle, "--csv", table)
    assert result.exit_code == 1
    assert [row["image"] for row in rows_of(table)] == [str(films / "hand.png")]


def test_a_folder_that_cannot_be_written_is_told(films: Path, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = boneage("assess", films / "hand.png", "--sex", "F", "--bundle", bundle, "--out", tmp_path / "file" / "out")
    assert result.exit_code == 1 and "[file_error]" in error_of(result)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_person_who_watches_sees_a_bar_and_standard_output_stays_clean(films: Path, bundle: Path) -> None:
    import pty

    leader, follower = pty.openpty()
    images = [str(films / "hand.png"), str(films / "other.png")]
    command = [sys.executable, "-m", "boneage", "assess", *images, "--sex", "F", "--bundle", str(bundle)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=follower, text=True, check=True)  # our own
    os.close(follower)
    watched = os.read(leader, 10_000).decode()
    os.close(leader)
    assert "1/2" in watched and watched.endswith("\x1b[K")
    assert len(done.stdout.splitlines()) == 2 and "#" not in done.stdout


# --- sample, bundle ---


def test_the_sample_says_that_its_number_means_nothing(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "hand.png"
    result = boneage("sample", path)
    assert result.exit_code == 0 and "means nothing" in result.stdout
    assert boneage("sample", path).exit_code == 0  # the same file again
    result = boneage("assess", path, "--sex", "F", "--bundle", bundle)
    assert result.exit_code == 0 and "this number means nothing" in result.stdout


def test_the_sample_replaces_no_other_file_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "precious.png"
    path.write_bytes(b"precious")
    assert boneage("sample", path).exit_code == 2 and path.read_bytes() == b"precious"
    assert boneage("sample", path, "--force").exit_code == 0
    picture = np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
    np.testing.assert_array_equal(picture, np.rint(draw_hand() * 255).astype(np.uint8))


def test_bundles_are_listed(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boneage.bundle.list_bundles", lambda: list_bundles(bundle.parent))
    assert (
        boneage("bundle", "list").stdout == "  tiny 1.0: A tiny bundle for tests (1 net, validation MAD 8.50 months)\n"
    )
    assert json.loads(boneage("bundle", "list", "--json").stdout)["mad_months"] == 8.5


def test_a_bundle_is_shown(bundle: Path) -> None:
    said = boneage("bundle", "show", bundle).stdout
    assert "title: A tiny bundle for tests" in said and "view radiograph 48 x 64" in said and "metric ccc: 0.94" in said
    assert json.loads(boneage("bundle", "show", bundle, "--json").stdout) == json.loads(
        (bundle / "bundle.json").read_text()
    )


def test_a_bundle_is_checked(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "tiny")
    result = boneage("bundle", "check", folder)
    assert result.exit_code == 0 and "self-test" in result.stdout and "FAIL" not in result.stdout
    (folder / "stray.txt").write_text("")
    result = boneage("bundle", "check", folder)
    assert result.exit_code == 4 and "FAIL files" in result.stdout and "[bundle_check_failed]" in error_of(result)
