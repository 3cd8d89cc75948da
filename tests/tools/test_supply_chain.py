"""Check of the service's lock against its requirements, and of licences against the accepted ones."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

from tests.programs import load_program

ROOT = Path(__file__).parents[2]
HASH = "    --hash=sha256:" + "0" * 64


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_program("tools/supply_chain.py")


def test_lock_and_licences_of_the_service(tool: ModuleType) -> None:
    lock, constraints = tool.LOCK.read_text(), tool.pins(tool.CONSTRAINTS.read_text())
    required = tool.requirements(tool.project_table())
    assert list(tool.lock_faults(lock, constraints)) == []
    assert list(tool.missing_faults(tool.pins(lock), required)) == []
    assert (
        {"click", "django", "psycopg-binary", "typing-extensions"} <= tool.installed(required) <= set(tool.pins(lock))
    )
    assert "torch" not in tool.pins(lock) and len(tool.packages_of(lock)) == len(tool.pins(lock)) > 20
    assert "://" not in lock


@pytest.mark.parametrize(
    ("entry", "faults"),
    [
        (f"click==8.1 \\\n{HASH} \\\n{HASH}\n    # via boneage\n", 0),
        (f"click==8.1 ; sys_platform == 'win32' \\\n{HASH}\n", 0),
        ("click==8.1\n    # via boneage\n", 1),
        (f"click==8.2 \\\n{HASH}\n", 1),
        (f"other==1.0 \\\n{HASH}\n", 1),
        (f"click>=8.1 \\\n{HASH}\n", 1),
        (f"click==8.1 \\\n{HASH[:-1]}\n", 1),
        (f"click @ https://example.org/click.whl \\\n{HASH}\n", 1),
        ("--index-url https://example.org/\n", 1),
        ("-e .\n", 1),
    ],
)
def test_lock_faults(tool: ModuleType, entry: str, faults: int) -> None:
    assert len(list(tool.lock_faults(entry, {"click": "8.1"}))) == faults


def test_missing_faults(tool: ModuleType) -> None:
    """Direct and indirect requirements need their version in the lock, unless a marker leaves them out."""
    required = [Requirement("django>=5.2"), Requirement("nothing-like-it; python_version < '3'")]
    whole = {name: version(name) for name in ("django", "asgiref", "sqlparse")}
    assert list(tool.missing_faults(whole, required)) == []
    (missing,) = tool.missing_faults({name: whole[name] for name in ("django", "sqlparse")}, required)
    assert "asgiref is missing" in missing
    (other,) = tool.missing_faults({**whole, "django": "5.1"}, required)
    assert "django 5.1 is not >=5.2" in other


@pytest.mark.parametrize(
    ("name", "licence", "is_accepted"),
    [
        ("a", "MIT", True),
        ("a", "(MIT AND Zlib) OR GPL-3.0-only", True),
        ("a", "BSD-3-Clause AND 0BSD", True),
        ("a", "MIT AND GPL-3.0-or-later", False),
        ("a", "AGPL-3.0-only", False),
        ("a", "LGPL-3.0-only", False),
        ("psycopg", "LGPL-3.0-only", True),
        ("psycopg", "AGPL-3.0-only", False),
        ("a", "unknown", False),
    ],
)
def test_licences_are_accepted_by_name_or_for_one_package(
    tool: ModuleType, name: str, licence: str, is_accepted: bool
) -> None:
    assert (tool.licence_fault(name, licence) is None) is is_accepted
