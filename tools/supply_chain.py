#!/usr/bin/env python
"""Checks what the service installs: its lock against pyproject.toml and constraints.txt, and the licences.

`python tools/supply_chain.py check` is part of `make check`; `make lock` writes the lock anew. Needs no network.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import Distribution, distribution, version
from pathlib import Path
from typing import Any

import click
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements-service.txt"
CONSTRAINTS = ROOT / "constraints.txt"
EXTRAS = ("web",)

ACCEPTED = frozenset(
    {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "MIT", "MIT-CMU", "PSF-2.0", "Zlib"}
)
"""SPDX identifiers that ask for no more than a notice."""

EXCEPTIONS = {
    "psycopg": ("LGPL-3.0-only", "unchanged, imported as a library, and replaceable; only with PostgreSQL"),
    "psycopg-binary": ("LGPL-3.0-only", "as psycopg"),
}
"""Licences that are taken for one package alone, and why."""

NOTES = {"opencv-python-headless": "its wheels carry FFmpeg, LGPL-2.1, linked dynamically"}

_SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "MIT License": "MIT",
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: BSD License": "BSD-3-Clause",
    "License :: OSI Approved :: MIT License": "MIT",
}
"""What packages write in the place of an SPDX identifier."""

_PIN = re.compile(r"([A-Za-z0-9][\w.-]*)==([\w.!+]+)")
_LOCKED = re.compile(rf"{_PIN.pattern}( ; [^;#]+?)?( +--hash=sha256:[0-9a-f]{{64}})+ *")


@click.group()
def main() -> None:
    """What the service installs."""


@main.command()
def check() -> None:
    """Check lock and licences; exits with 1 and a line for each fault."""
    lock = LOCK.read_text(encoding="utf-8")
    asked = asked_for(_project())
    faults = [
        *lock_faults(lock, pins(CONSTRAINTS.read_text(encoding="utf-8"))),
        *missing_faults(pins(lock), asked),
        *(fault for name in installed(asked) if (fault := licence_fault(name, licence_of(distribution(name))))),
    ]
    for fault in faults:
        click.echo(fault, err=True)
    if faults:
        click.echo("`make lock` writes the lock anew", err=True)
    sys.exit(1 if faults else 0)


@main.command()
def licences() -> None:
    """List each package that the service installs, with its version, its licence, and what there is to know."""
    for name in sorted(installed(asked_for(_project()))):
        licence = licence_of(distribution(name))
        note = NOTES.get(name, EXCEPTIONS.get(name, ("", ""))[1])
        click.echo(f"{name:24} {version(name):12} {licence}{f'  ({note})' if note else ''}")


def _project() -> Mapping[str, Any]:
    project: Mapping[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project


def asked_for(project: Mapping[str, Any]) -> list[Requirement]:
    """Return what the base and the extras of the service ask for.

    Args:
        project: the table of that name of pyproject.toml.
    """
    extras = [text for extra in EXTRAS for text in project["optional-dependencies"][extra]]
    return [Requirement(text) for text in (*project["dependencies"], *extras)]


def pins(text: str) -> dict[NormalizedName, str]:
    """Return versions by name, of lines that begin with ``name==version``."""
    return {canonicalize_name(found[1]): found[2] for line in text.splitlines() if (found := _PIN.match(line))}


def packages_of(lock: str) -> list[str]:
    """Return each package of a lock with its hashes, in one line."""
    lines = lock.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def lock_faults(lock: str, constraints: Mapping[NormalizedName, str]) -> Iterator[str]:
    """Tell what is wrong with a lock's lines.

    Each has one exact version, that of the constraints, and a hash; no address and no option of pip.
    """
    for line in packages_of(lock):
        if not (found := _LOCKED.fullmatch(line)):
            yield f"{LOCK.name}: not one version with its hashes: {line[:60]}"
        elif (pinned := constraints.get(canonicalize_name(found[1]))) != found[2]:
            yield f"{LOCK.name}: {found[1]} {found[2]}: {CONSTRAINTS.name} has {pinned or 'no such package'}"


def missing_faults(lock: Mapping[NormalizedName, str], asked: Sequence[Requirement]) -> Iterator[str]:
    """What is asked for, by us or by what is installed for it, and not in the lock, or in another version."""
    for requirement in _all_asked(asked):
        name = canonicalize_name(requirement.name)
        if name not in lock:
            yield f"{LOCK.name}: {name} is missing"
        elif not requirement.specifier.contains(lock[name], prereleases=True):
            yield f"{LOCK.name}: {name} {lock[name]} is not {requirement.specifier}"


def installed(asked: Sequence[Requirement]) -> set[NormalizedName]:
    """Return the names of all that requirements bring, as far as this environment needs it."""
    return {canonicalize_name(requirement.name) for requirement in _all_asked(asked)}


def _all_asked(asked: Sequence[Requirement]) -> Iterator[Requirement]:
    """Requirements, and those of what is installed for them, each package's once."""
    waiting = [(one, "") for one in asked]
    seen = set()
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        yield requirement
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += [(Requirement(text), extra) for text in distribution(name).requires or ()]


def licence_of(package: Distribution) -> str:
    """Return the licence by a package's metadata as an SPDX expression, or what is written there."""
    metadata = package.metadata
    if "License-Expression" in metadata:
        return str(metadata["License-Expression"])
    written: list[str] = [one for one in metadata.get_all("Classifier") or () if one.startswith("License ::")]
    written += metadata.get_all("License") or ()
    for one in written:
        if (known := _SPDX.get(one, one)) in ACCEPTED:
            return known
    return next((one.splitlines()[0] for one in written if one), "unknown")


def licence_fault(name: str, licence: str) -> str | None:
    """Return what is wrong with a licence, or None: any part of a choice, and all parts of a sum must be accepted."""
    if EXCEPTIONS.get(name, ("", ""))[0] == licence:
        return None
    choices = re.split(r"\s+OR\s+", licence.replace("(", "").replace(")", ""))
    if any(ACCEPTED.issuperset(re.split(r"\s+AND\s+", choice)) for choice in choices):
        return None
    return f"{name}: the licence {licence!r} is not accepted; see {Path(__file__).name}"


if __name__ == "__main__":
    main()
