"""The files in `deploy` agree with the program: settings, commands, paths, and what an image is built from.

No image is built here, since that needs a container engine and its registry; the same steps are run instead.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import click
import pytest
import yaml

from boneage.cli import cli
from boneage.web.configuration import Configuration, unknown_variables

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
COPIED = [
    word for line in re.findall(r"^COPY (?!--)(.*)$", DOCKERFILE, flags=re.MULTILINE) for word in line.split()[:-1]
]
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


def settings(path: Path) -> dict[str, str]:
    """Return the settings of an environment file, or of the lines ``Environment=`` of a unit."""
    lines = [line.removeprefix("Environment=") for line in path.read_text(encoding="utf-8").splitlines()]
    return dict(line.split("=", 1) for line in lines if re.match(r"[A-Z_]+=", line))


def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize("path", [DEPLOY / "boneage.env.example", *UNITS], ids=lambda path: path.name)
def test_settings_exist(path: Path) -> None:
    """A misspelt variable would be ignored by the program, which only logs it."""
    assert unknown_variables(settings(path)) == []


def test_example_settings_are_valid() -> None:
    """The service accepts the example as it is, with the database of the compose file."""
    given = settings(DEPLOY / "boneage.env.example")
    read = Configuration.from_environment(given)
    assert read.mode == "clinic"
    assert read.is_https
    assert f"@{'database'}/" in read.database
    assert "database" in compose()["services"]
    assert given["POSTGRES_PASSWORD"] in read.database


def test_settings_of_image_exist() -> None:
    names = dict(re.findall(r"(BONEAGE_[A-Z_]+)=(\S+)", DOCKERFILE))
    assert names["BONEAGE_HOST"] == "0.0.0.0"  # within its container
    assert unknown_variables(names) == []


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_run_commands_that_exist(path: Path) -> None:
    (command,) = re.findall(r"^ExecStart=(.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    program, name = shlex.split(command)[:2]
    assert program.endswith("/bin/boneage")
    assert cli.get_command(click.Context(cli), name) is not None


def test_services_are_confined() -> None:
    """Every container has a read-only file system and gains no rights; ours drop the rights that they have."""
    for name, service in compose()["services"].items():
        assert service["read_only"] is True, name
        assert "no-new-privileges:true" in service["security_opt"], name
        if service["image"] == "boneage":
            assert service["cap_drop"] == ["ALL"], name
            assert cli.get_command(click.Context(cli), service["command"][0]) is not None
    assert re.search(r"^USER [1-9]\d*$", DOCKERFILE, flags=re.MULTILINE)
    assert all(port.startswith("127.0.0.1:") for port in compose()["services"]["service"]["ports"])


def test_image_has_python_of_the_lock() -> None:
    """The lock is made for Python 3.11 and newer, and both stages have the same one."""
    stages = re.findall(r"^FROM (\S+)", DOCKERFILE, flags=re.MULTILINE)
    assert set(stages) == {"python:3.11-slim"}
    assert 'requires-python = ">=3.11"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_build_context_has_what_is_copied() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    kept = [entry[1:] for entry in ignored if entry.startswith("!")]
    assert all(any(fnmatch.fnmatch(name, entry) for entry in kept) for name in COPIED)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from what the image copies and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    leave_out = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.mo")
    for name in COPIED:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=leave_out)
        else:
            shutil.copy(path, source / name)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--quiet",
        "--wheel-dir",
        str(folder),
    ]
    done = subprocess.run([*build, str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (made,) = folder.glob("*.whl")
    return made


def test_wheel_has_every_tracked_file_of_the_package(wheel: Path) -> None:
    """Networks, plates, templates, fonts and tables are inside, and the catalogues are compiled."""
    tracked = subprocess.run(
        ["git", "ls-files", "src/boneage"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    expected = {path.removeprefix("src/") for path in tracked if not path.endswith(".gitignore")}
    inside = set(ZipFile(wheel).namelist())
    assert expected - inside == set()
    assert {path.replace(".po", ".mo") for path in expected if path.endswith(".po")} <= inside


def test_wheel_assesses_a_plate(wheel: Path, tmp_path: Path) -> None:
    """The installed program needs nothing of the repository."""
    ZipFile(wheel).extractall(tmp_path / "installed")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed"), "OMP_NUM_THREADS": "1"}
    run = [sys.executable, "-c", "from boneage.cli import main; main()"]
    for arguments in (["sample", "hand.png"], ["assess", "hand.png", "--sex", "F", "--json", "--language", "pt_BR"]):
        done = subprocess.run(
            [*run, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert '"age_months": 13' in done.stdout
