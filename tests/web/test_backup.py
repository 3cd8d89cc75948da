"""Backup and restore as docs/serve.md describes them, while the service writes."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connections

from boneage.phantom import sample_png
from boneage.sex import Sex
from boneage.web.accounts.audit import Action, record
from boneage.web.models import Assessment, AuditEvent, Picture, User
from boneage.web.queue import jobs
from tests.programs import skip_without
from tests.web.databases import database_of_all_threads, postgresql, sqlite
from tests.web.postgres import programs


class Writer:
    """A thread that submits radiographs until it is stopped, each with its audit event in one transaction."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self.begun = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def _write(self) -> None:
        png = sample_png()
        while not self._stop.is_set():
            record("system", Action.SUBMIT, jobs.submit(jobs.Submission(png, "radiograph.png", Sex.FEMALE)))
            self.begun.set()
        connections["default"].close()

    def __enter__(self) -> None:
        self._thread.start()
        assert self.begun.wait(60)

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()


def check_restored() -> None:
    """A restored database is consistent, has the accounts, still guards the audit log, and takes new radiographs."""
    assert User.objects.get().check_password("correct horse battery")
    count = Assessment.objects.count()
    assert count >= 1
    assert Picture.objects.filter(kind="upload").count() == count
    assert bytes(Picture.objects.filter(kind="upload")[0].data) == sample_png()
    with pytest.raises(DatabaseError, match="append-only"):
        AuditEvent.objects.all().delete()
    jobs.submit(jobs.Submission(sample_png(), "radiograph.png", Sex.FEMALE))
    assert Assessment.objects.count() == count + 1


def test_sqlite_backup_while_running(clinic: None, tmp_path: Path, django_db_blocker: Any) -> None:
    """A backup of SQLite during submissions is restored into an empty store."""
    with database_of_all_threads(django_db_blocker, sqlite(tmp_path)):
        User.objects.create_user("ada", password="correct horse battery")
        with (
            Writer(),
            closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as source,
            closing(sqlite3.connect(tmp_path / "backup.sqlite3")) as target,
        ):
            source.backup(target)  # the documented command does this
        written = Assessment.objects.count()
    (tmp_path / "empty").mkdir()
    shutil.copy(tmp_path / "backup.sqlite3", tmp_path / "empty" / "jobs.sqlite3")
    with closing(sqlite3.connect(tmp_path / "empty" / "jobs.sqlite3")) as restored:
        assert restored.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert restored.execute("PRAGMA foreign_key_check").fetchall() == []
    with database_of_all_threads(django_db_blocker, sqlite(tmp_path / "empty")):
        assert Assessment.objects.count() <= written
        check_restored()


def test_postgresql_backup_while_running(
    clinic: None, tmp_path: Path, django_db_blocker: Any, new_postgres: Callable[[], str]
) -> None:
    """A dump of PostgreSQL during submissions is restored into an empty database."""
    folder = programs()
    if folder is None or not (folder / "pg_dump").exists():
        skip_without("there is no pg_dump on this machine: `make system-packages` installs PostgreSQL")
    url, empty, dump = new_postgres(), new_postgres(), tmp_path / "boneage.dump"
    with database_of_all_threads(django_db_blocker, postgresql(url)):
        User.objects.create_user("ada", password="correct horse battery")
        with Writer():
            command = [str(folder / "pg_dump"), "--format", "custom", "--file", str(dump), url]
            subprocess.run(command, check=True, capture_output=True)
    restore = [str(folder / "pg_restore"), "--exit-on-error", "--no-owner", "--dbname", empty, str(dump)]
    subprocess.run(restore, check=True, capture_output=True)
    with database_of_all_threads(django_db_blocker, postgresql(empty)):
        check_restored()
