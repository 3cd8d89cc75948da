"""A disk that is full, a database that is locked, read-only or away: reported with a code, on pages and in the API."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import DataError, IntegrityError, InterfaceError, OperationalError, connection
from django.test import Client
from pytest_django.fixtures import Settings

from boneage.web.health import condition, storage
from boneage.web.health.condition import Condition, Watch
from boneage.web.models import Assessment
from tests.web.databases import database_of_all_threads, postgresql, sqlite

ROOM = 4 * 2**20


@pytest.fixture(autouse=True)
def open_service(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CONFIGURATION = replace(settings.CONFIGURATION, mode="open", radiograph_bytes=2**20, open_hourly=0)
    monkeypatch.setattr(condition, "_failures", {})
    monkeypatch.setattr(storage, "PROBE_MILLISECONDS", 50)


@pytest.fixture
def on_sqlite(tmp_path: Path, django_db_blocker: Any) -> Iterator[Path]:
    """SQLite in a file, where a lock is waited for a tenth of a second."""
    with database_of_all_threads(django_db_blocker, sqlite(tmp_path, timeout=0.1)):
        yield tmp_path


@pytest.fixture
def on_postgresql(postgres_url: str, django_db_blocker: Any) -> Iterator[None]:
    with database_of_all_threads(django_db_blocker, postgresql(postgres_url)):
        yield


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with little room."""
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("only root may mount a file system")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def send(address: str, size: int = 300_000) -> Any:
    client = Client(raise_request_exception=False)
    return client.post(address, {"sex": "F", "radiograph": SimpleUploadedFile("a.png", os.urandom(size))})


def expect(code: str, status: int) -> None:
    """Both the API and the page say so, and nothing was kept."""
    before = Assessment.objects.count()
    answer = send("/api/assessments")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert int(answer["Retry-After"]) > 0
    page = send("/assessments/")
    assert page.status_code == status
    assert int(page["Retry-After"]) > 0
    assert page["Content-Type"].startswith("text/html")
    assert Assessment.objects.count() == before


def health() -> tuple[int, str]:
    answer = Client().get("/health")
    return answer.status_code, answer.json()["status"]


def test_code_of_database_without_pages(on_sqlite: Path) -> None:
    """Database that has no more pages is full."""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA page_count")
        cursor.execute(f"PRAGMA max_page_count={cursor.fetchone()[0] + 10}")
    expect("storage_full", 507)


def test_code_of_full_disk(small_disk: Path, django_db_blocker: Any) -> None:
    """A full disk is reported until there is space again."""
    with database_of_all_threads(django_db_blocker, sqlite(small_disk, timeout=0.1)):
        assert send("/api/assessments").status_code == 202
        assert health() == (200, "ok")
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(b"\0" * 4096)
        expect("storage_full", 507)
        assert health() == (503, "storage_full")
        assert Client().get("/about/").status_code == 200
        filler.unlink()
        assert health() == (200, "ok")
        assert send("/api/assessments").status_code == 202


def test_code_of_read_only_disk(small_disk: Path, django_db_blocker: Any) -> None:
    """A read-only disk is reported."""
    with database_of_all_threads(django_db_blocker, sqlite(small_disk, timeout=0.1)):
        assert send("/api/assessments").status_code == 202
        connection.close()
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        assert health() == (503, "storage_read_only")
        expect_code = send("/api/assessments")
        assert (expect_code.status_code, expect_code.json()["code"]) == (503, "storage_read_only")
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
        connection.close()
        assert health() == (200, "ok")


def test_code_of_locked_database(on_sqlite: Path) -> None:
    """Locked database is busy."""
    with closing(sqlite3.connect(on_sqlite / "jobs.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        expect("database_busy", 503)
        assert health() == (503, "database_busy")
        other.execute("ROLLBACK")
    assert health() == (200, "ok")
    assert send("/api/assessments").status_code == 202


def test_code_of_read_only_database(on_sqlite: Path) -> None:
    """A read-only database is reported."""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA query_only=ON")
    expect("storage_read_only", 503)


def test_code_of_read_only_postgresql(on_postgresql: None) -> None:
    """A read-only PostgreSQL is reported."""
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    expect("storage_read_only", 503)
    assert health() == (503, "storage_read_only")
    connection.close()
    assert health() == (200, "ok")


def test_code_of_locked_postgresql(on_postgresql: None) -> None:
    """Locked postgresql is busy."""
    with psycopg.connect(**connection.get_connection_params()) as other:
        other.execute("LOCK TABLE web_assessment IN ACCESS EXCLUSIVE MODE")
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = 50")
        answer = send("/api/assessments")
        assert (answer.status_code, answer.json()["code"]) == (503, "database_busy")
        other.rollback()
    connection.close()


def test_check_remembers_full_server(on_postgresql: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where free space cannot be measured, a failed write counts as a full disk for a while."""
    condition.note_failure("storage_full")
    assert health() == (503, "storage_full")
    monkeypatch.setattr(condition, "FAILED_SECONDS", 0)
    assert health() == (200, "ok")


def error_of(kind: type[Exception], cause: BaseException | None = None, code: int | None = None) -> Exception:
    if isinstance(cause, sqlite3.Error) and code is not None:
        cause.sqlite_errorcode = code
    error = kind("it failed")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (error_of(OperationalError, psycopg.errors.DiskFull()), "storage_full"),
        (error_of(OperationalError, psycopg.errors.TooManyConnections()), "database_busy"),
        (error_of(OperationalError, psycopg.errors.QueryCanceled()), "database_busy"),
        (error_of(OperationalError, psycopg.errors.AdminShutdown()), "no_database"),
        (error_of(OperationalError, psycopg.OperationalError("rejected")), "no_database"),
        (error_of(InterfaceError), "no_database"),
        (error_of(OperationalError, sqlite3.OperationalError(), sqlite3.SQLITE_FULL), "storage_full"),
        (error_of(OperationalError, sqlite3.OperationalError(), sqlite3.SQLITE_BUSY_SNAPSHOT), "database_busy"),
        (error_of(OperationalError, sqlite3.OperationalError(), sqlite3.SQLITE_READONLY_DBMOVED), "storage_read_only"),
        (error_of(OperationalError, sqlite3.OperationalError(), sqlite3.SQLITE_IOERR_WRITE), "no_database"),
        (error_of(ValueError, OSError(28, "No space left on device")), "storage_full"),
        (error_of(IntegrityError, sqlite3.IntegrityError(), sqlite3.SQLITE_CONSTRAINT), None),
        (error_of(DataError, psycopg.errors.NumericValueOutOfRange()), None),
        (error_of(ValueError), None),
    ],
)
def test_code_of_exceptions(error: Exception, code: str | None, db: None) -> None:
    """Code of an exception."""
    assert storage.code_of(error) == code


def test_codes_have_status_and_retry() -> None:
    """Every code has a status and a time."""
    assert storage.STATUS.keys() == storage.RETRY_SECONDS.keys()
    assert storage.STATUS["storage_full"] == 507


# --- the watch --------------------------------------------------------------------------------------------------------


def test_watch_reports_last_check() -> None:
    """Watch tells the last look."""
    looks: list[Condition] = []

    def check() -> Condition:
        looks.append(Condition("ok", len(looks)))
        return looks[-1]

    watch = Watch(check, every=3600)
    assert watch.report() == (503, {"status": "no_database", "waiting": None})
    watch.start()
    assert watch.report() == (200, {"status": "ok", "waiting": 0})
    assert len(looks) == 1


def watched(*conditions: Condition | Exception) -> Watch:
    """A watch that has looked, and found or raised these."""
    left = iter(conditions)

    def check() -> Condition:
        one = next(left)
        if isinstance(one, Exception):
            raise one
        return one

    watch = Watch(check)
    for _ in conditions:
        watch.check_once()
    return watch


@pytest.mark.django_db
def test_watch_logs_each_change_once(caplog: pytest.LogCaptureFixture) -> None:
    statuses = ("storage_full", "storage_full", "ok", "ok", "no_database")
    with caplog.at_level(logging.INFO, logger="boneage.web.health.condition"):
        watched(*(Condition(status, None) for status in statuses))
    assert [message.rpartition(" ")[2] for message in caplog.messages] == ["storage_full", "ok", "no_database"]


@pytest.mark.django_db
def test_watch_continues_after_failed_check(caplog: pytest.LogCaptureFixture) -> None:
    """Watch goes on after a look that fails."""
    watch = watched(RuntimeError("a fault"), Condition("ok", 3))
    assert "the condition of the service could not be checked" in caplog.text
    assert watch.report() == (200, {"status": "ok", "waiting": 3})


def test_watch_stale_check_reports_no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that does not end leaves the last one, which becomes stale."""
    watch = Watch(lambda: Condition("ok", 0), every=3600)
    watch.start()
    later = time.monotonic() + condition.STALE_SECONDS + 3601
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert watch.report()[0] == 503
