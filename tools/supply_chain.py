#!/usr/bin/env python
"""Check of the packages of the service: lock against pyproject.toml and constraints.txt, and licences.

`python tools/supply_chain.py check` is part of `make check`; `make lock` updates the lock. The check needs no network.
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
EXTRAS = ("web", "pacs")

ACCEPTED = frozenset(
    {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "MIT", "MIT-0", "MIT-CMU", "PSF-2.0", "Zlib"}
)
"""SPDX identifiers of licences that require only a notice."""

EXCEPTIONS = {
    "certifi": ("MPL-2.0", "unchanged: a list of certificates"),
    "psycopg": ("LGPL-3.0-only", "unchanged, imported as a library, and replaceable; only with PostgreSQL"),
    "psycopg-binary": ("LGPL-3.0-only", "as psycopg"),
}
"""Licences that are accepted for a single package, with the reason."""

NOTES = {"opencv-python-headless": "its wheels carry FFmpeg, LGPL-2.1, linked dynamically"}

_SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "MIT License": "MIT",
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: BSD License": "BSD-3-Clause",
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
"""SPDX identifiers by the texts that packages use instead."""

_PIN = re.compile(r"([A-Za-z0-9][\w.-]*)==([\w.!+]+)")
_LOCKED = re.compile(rf"{_PIN.pattern}( ; [^;#]+?)?( +--hash=sha256:[0-9a-f]{{64}})+ *")


@click.group()
def main() -> None:
    """Check or list the packages of the service."""


@main.command()
def check() -> None:
    """Check lock and licences, with exit status 1 and a line for each fault."""
    lock = LOCK.read_text(encoding="utf-8")
    required = requirements(project_table())
    faults = [
        *lock_faults(lock, pins(CONSTRAINTS.read_text(encoding="utf-8"))),
        *missing_faults(pins(lock), required),
        *(fault for name in installed(required) if (fault := licence_fault(name, licence_of(distribution(name))))),
    ]
    for fault in faults:
        click.echo(fault, err=True)
    if faults:
        click.echo("`make lock` updates the lock", err=True)
    sys.exit(1 if faults else 0)


@main.command()
def licences() -> None:
    """List each package that the service installs, with version, licence and notes."""
    for name in sorted(installed(requirements(project_table()))):
        licence = licence_of(distribution(name))
        note = NOTES.get(name, EXCEPTIONS.get(name, ("", ""))[1])
        click.echo(f"{name:24} {version(name):12} {licence}{f'  ({note})' if note else ''}")


def project_table() -> Mapping[str, Any]:
    """Return the table ``project`` of pyproject.toml."""
    project: Mapping[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project


def requirements(project: Mapping[str, Any]) -> list[Requirement]:
    """Return the requirements of the package and of the extras of the service.

    Args:
        project: Table ``project`` of pyproject.toml.
    """
    extras = [text for extra in EXTRAS for text in project["optional-dependencies"][extra]]
    return [Requirement(text) for text in (*project["dependencies"], *extras)]


def pins(text: str) -> dict[NormalizedName, str]:
    """Return versions by name from lines that begin with ``name==version``."""
    return {canonicalize_name(matched[1]): matched[2] for line in text.splitlines() if (matched := _PIN.match(line))}


def packages_of(lock: str) -> list[str]:
    """Return each package of a lock with its hashes, in one line."""
    lines = lock.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def lock_faults(lock: str, constraints: Mapping[NormalizedName, str]) -> Iterator[str]:
    """Yield the faults of a lock's lines.

    A line needs one exact version, that of the constraints, and hashes. Addresses and options of pip are faults.
    """
    for line in packages_of(lock):
        if not (matched := _LOCKED.fullmatch(line)):
            yield f"{LOCK.name}: not one version with its hashes: {line[:60]}"
        elif (pinned := constraints.get(canonicalize_name(matched[1]))) != matched[2]:
            yield f"{LOCK.name}: {matched[1]} {matched[2]}: {CONSTRAINTS.name} has {pinned or 'no such package'}"


def missing_faults(lock: Mapping[NormalizedName, str], required: Sequence[Requirement]) -> Iterator[str]:
    """Yield direct and indirect requirements that are missing in the lock or have another version."""
    for requirement in _all_requirements(required):
        name = canonicalize_name(requirement.name)
        if name not in lock:
            yield f"{LOCK.name}: {name} is missing"
        elif not requirement.specifier.contains(lock[name], prereleases=True):
            yield f"{LOCK.name}: {name} {lock[name]} is not {requirement.specifier}"


def installed(required: Sequence[Requirement]) -> set[NormalizedName]:
    """Return the names of all direct and indirect requirements of this environment."""
    return {canonicalize_name(requirement.name) for requirement in _all_requirements(required)}


def _all_requirements(required: Sequence[Requirement]) -> Iterator[Requirement]:
    """Yield direct and indirect requirements, those of each package once."""
    waiting = [(one, "") for one in required]
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
    """Return the licence in a package's metadata as an SPDX expression, or the text that is written there."""
    metadata = package.metadata
    if "License-Expression" in metadata:
        return str(metadata["License-Expression"])
    written: list[str] = [one for one in metadata.get_all("Classifier") or () if one.startswith("License ::")]
    written += metadata.get_all("License") or ()
    for one in written:
        if (identifier := _SPDX.get(one, one)) in ACCEPTED:
            return identifier
    return next((_SPDX.get(one, one).splitlines()[0] for one in written if one), "unknown")


def licence_fault(name: str, licence: str) -> str | None:
    """Return the fault of a licence, or None if a part of a choice, or all parts of a sum, are accepted."""
    if EXCEPTIONS.get(name, ("", ""))[0] == licence:
        return None
    choices = re.split(r"\s+OR\s+", licence.replace("(", "").replace(")", ""))
    if any(ACCEPTED.issuperset(re.split(r"\s+AND\s+", choice)) for choice in choices):
        return None
    return f"{name}: the licence {licence!r} is not accepted; see {Path(__file__).name}"


if __name__ == "__main__":
    main()
