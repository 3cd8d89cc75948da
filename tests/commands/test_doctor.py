"""Command ``boneage doctor``: it says that all is well only where it is."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from boneage.cli import cli
from boneage.commands.doctor import _extras
from boneage.errors import BundleError
from tests.bundles import tiny_bundle


def run(*words: object) -> Result:
    """Run ``boneage doctor``."""
    return CliRunner().invoke(cli, ["doctor", *map(str, words)], standalone_mode=False)


def test_doctor_of_this_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped bundle is whole, and a misspelt setting is named."""
    monkeypatch.setenv("BONEAGE_MOOD", "clinic")
    done = run("--bundle", "fast")
    assert done.exception is None
    assert "Bundle fast" in done.output
    assert "Setting BONEAGE_MOOD: unknown" in done.output
    assert done.output.endswith("Everything works.\n")


def test_doctor_lists_every_extra() -> None:
    """A new extra of the project is listed without being named here; a package that is missing is named."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: len(packages) for name, packages in project["optional-dependencies"].items() if name != "dev"}
    assert {name: len(packages) for name, packages in _extras().items()} == extras
    assert {"archive", "codecs"} <= set(extras)
    output = run("--bundle", "fast").output
    assert all(f"Extra {name}: " in output for name in extras)


def test_doctor_of_damaged_bundle(tmp_path: Path) -> None:
    """A graph with a changed byte fails the command."""
    folder = tiny_bundle(tmp_path / "damaged")
    graph = next(folder.glob("*.onnx"))
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")
    done = run("--bundle", folder)
    assert isinstance(done.exception, BundleError)
    assert "Everything works" not in done.output


def test_doctor_of_bundle_that_errs(tmp_path: Path) -> None:
    """A bundle that is whole and reads the plate far from its age fails, too: here untrained networks."""
    done = run("--bundle", tiny_bundle(tmp_path / "untrained"))
    assert isinstance(done.exception, BundleError)
    assert "from its age" in str(done.exception)
