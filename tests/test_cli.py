"""The program: help, exit codes, and the codes in its documentation."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

import boneage as package
from boneage.bundle.bundle import Bundle
from boneage.clinical.errors import ClinicalError
from boneage.errors import (
    AtlasError,
    BoneageError,
    BundleError,
    ConfigurationError,
    NodeError,
    RecipeError,
    Rejection,
    RejectionCode,
    TableError,
)
from boneage.warnings_ import WarningCode, severities
from tests.bundles import tiny_bundle
from tests.program_runs import boneage, draw_files, error_of

LAZY = ("numpy", "cv2", "pydicom", "onnxruntime", "torch", "boneage.report.report", "boneage.commands.assess")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_files(tmp_path_factory.mktemp("radiographs"))


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

    monkeypatch.setattr("boneage.composition.read_radiograph", broken)
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
    kind.__name__: kind
    for kind in (BoneageError, BundleError, RecipeError, TableError, AtlasError, ConfigurationError, NodeError)
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
