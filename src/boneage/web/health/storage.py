"""Faults of the database's storage as codes: full, locked, read-only or unreachable.

The codes are ``storage_full`` (507), ``database_busy``, ``storage_read_only`` and ``no_database`` (503).
"""

from __future__ import annotations

import errno
import os
import sqlite3
from http import HTTPStatus
from pathlib import Path
from typing import Literal

from django.db import Error, InterfaceError, OperationalError, connection, transaction

StorageCode = Literal["storage_full", "database_busy", "storage_read_only", "no_database"]

STATUS: dict[StorageCode, HTTPStatus] = {
    "storage_full": HTTPStatus.INSUFFICIENT_STORAGE,
    "database_busy": HTTPStatus.SERVICE_UNAVAILABLE,
    "storage_read_only": HTTPStatus.SERVICE_UNAVAILABLE,
    "no_database": HTTPStatus.SERVICE_UNAVAILABLE,
}

RETRY_SECONDS: dict[str, int] = {
    "storage_full": 300,
    "database_busy": 5,
    "storage_read_only": 300,
    "no_database": 10,
}
"""Seconds after which a client may try again, by code."""

PROBE_MILLISECONDS = 2000
"""Time for which a probe waits for SQLite's lock, milliseconds."""

_SQLITE: dict[int, StorageCode] = {
    sqlite3.SQLITE_FULL: "storage_full",
    sqlite3.SQLITE_BUSY: "database_busy",
    sqlite3.SQLITE_LOCKED: "database_busy",
    sqlite3.SQLITE_PROTOCOL: "database_busy",
    sqlite3.SQLITE_READONLY: "storage_read_only",
}
"""Codes by SQLite's primary result code."""

_POSTGRESQL: dict[str, StorageCode] = {
    "53100": "storage_full",  # disk_full
    "53300": "database_busy",  # too_many_connections
    "55P03": "database_busy",  # lock_not_available
    "57014": "database_busy",  # query_canceled, by a statement's timeout
    "40P01": "database_busy",  # deadlock_detected
    "40001": "database_busy",  # serialization_failure
    "25006": "storage_read_only",  # read_only_sql_transaction
}
"""Codes by PostgreSQL's SQLSTATE."""


def code_of(error: BaseException) -> StorageCode | None:
    """Return the code of an exception that the database's storage has caused, directly or indirectly; None for any
    other.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return "storage_full"
        if isinstance(error, Error):
            return _of_database(error)
        error = error.__cause__ or error.__context__  # type: ignore[assignment]  # ends the loop
    return None


def _of_database(error: Error) -> StorageCode | None:
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        primary = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        if primary in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}:
            return code_of_folder() or "no_database"
        if primary in _SQLITE:
            return _SQLITE[primary]
    state = getattr(cause, "sqlstate", None)
    if state in _POSTGRESQL:
        return _POSTGRESQL[state]
    return "no_database" if isinstance(error, OperationalError | InterfaceError) else None


def code_of_folder(needed: int = 2**20) -> StorageCode | None:
    """Return the fault that prevents writing to the folder of an SQLite database; None without a fault, or on
    PostgreSQL.

    Args:
        needed: free bytes required.
    """
    if connection.vendor != "sqlite" or connection.is_in_memory_db():  # type: ignore[attr-defined]  # SQLite's
        return None
    folder = Path(connection.settings_dict["NAME"]).parent
    if not os.access(folder, os.W_OK):
        return "storage_read_only"
    disk = os.statvfs(folder)
    return "storage_full" if disk.f_bavail * disk.f_frsize < needed else None


def probe(needed: int) -> StorageCode | None:
    """Check whether the database can be written to, without writing. None means that it can.

    Args:
        needed: free bytes required beside an SQLite database.

    Raises:
        Error: `code_of` says what it means.
    """
    fault = code_of_folder(needed)
    if fault is not None:
        return fault
    if connection.vendor == "sqlite":
        _lock_sqlite()
        return None
    with connection.cursor() as cursor:
        cursor.execute("SHOW transaction_read_only")
        return "storage_read_only" if cursor.fetchone()[0] == "on" else None


def _lock_sqlite() -> None:
    """Take the lock that every writing transaction takes, and release it."""
    usual = int(connection.settings_dict["OPTIONS"].get("timeout", 5) * 1000)
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA busy_timeout={PROBE_MILLISECONDS}")
        try:
            with transaction.atomic():
                pass
        finally:
            cursor.execute(f"PRAGMA busy_timeout={usual}")
