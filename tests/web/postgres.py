"""A private PostgreSQL server for tests, and how to use another database than that of pytest-django within a test.

`postgres_url` needs PostgreSQL's programs, not a server that runs: it makes one in a temporary folder, which is reached
by a socket alone and goes when the tests end. As PostgreSQL rejects to run as root, it then runs as another user.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.core.management import call_command
from django.db import connections

from tests.programs import skip_without

_USER = "boneage"


def programs() -> Path | None:
    """The folder with PostgreSQL's ``initdb`` and ``pg_ctl``; None if there is none."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    installed = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    folders += sorted(installed, key=lambda folder: float(folder.parent.name.removeprefix("pgsql-")), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "pg_ctl").exists()), None)


def _runner() -> str | None:
    """The user that the server runs as; None for this one."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)


@contextmanager
def server() -> Iterator[Callable[[], str]]:
    """A server while the context lasts: a function that makes an empty database and gives its URL."""
    folder = programs()
    if folder is None:
        skip_without("PostgreSQL's initdb and pg_ctl are not installed: `make system-packages` installs them")
    runner = _runner()
    if runner is None and os.geteuid() == 0:
        skip_without("PostgreSQL does not run as root, and there is no user postgres or nobody")
    place = Path(tempfile.mkdtemp(prefix="boneage-pg-", dir="/tmp"))  # short enough for a socket's path

    def run(*command: str) -> None:
        as_user: dict[str, Any] = {"user": runner, "group": pwd.getpwnam(runner).pw_gid} if runner else {}
        done = subprocess.run(
            [str(folder / command[0]), *command[1:]],
            cwd=place,
            env={"PATH": f"{folder}:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=120,
            **as_user,
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {done.stderr}")

    if runner:
        shutil.chown(place, runner)
    data = str(place / "data")
    try:
        run("initdb", "-D", data, "-U", _USER, "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        options = f"-k {place} -c listen_addresses= -c fsync=off -c max_connections=60 -c shared_buffers=32MB"
        run("pg_ctl", "-D", data, "-w", "-l", str(place / "log"), "-o", options, "start")
        numbers = count(1)

        def database() -> str:
            name = f"boneage_{next(numbers)}"
            run("createdb", "-h", str(place), "-U", _USER, name)
            return f"postgresql://{_USER}@{quote(str(place), safe='')}/{name}"

        try:
            yield database
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="session")
def new_postgres() -> Iterator[Callable[[], str]]:
    """Makes an empty PostgreSQL database and gives its URL, as `BONEAGE_DATABASE` takes it."""
    with server() as database:
        yield database


@pytest.fixture(scope="session")
def postgres_url(new_postgres: Callable[[], str]) -> str:
    """URL of one PostgreSQL database, empty when the tests begin."""
    return new_postgres()


@contextmanager
def default_database(blocker: Any, described: dict[str, Any]) -> Iterator[None]:
    """Another database as Django's default one, migrated, while the context lasts.

    Args:
        blocker: pytest-django's fixture ``django_db_blocker``.
        described: entry of Django's ``DATABASES``.
    """
    usual = connections["default"]
    other = type(usual) if described["ENGINE"] == usual.settings_dict["ENGINE"] else None
    handler = connections.__class__({"default": described})
    with blocker.unblock():
        connections["default"] = other(handler.settings["default"], "default") if other else handler["default"]
        try:
            call_command("migrate", verbosity=0)
            yield
        finally:
            connections["default"].close()
            connections["default"] = usual
