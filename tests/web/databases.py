"""Real databases that several threads and processes may use at once: SQLite in a file, or PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dj_database_url
from django.core.management import call_command
from django.db import connections

from boneage.web import settings as service_settings


def sqlite(folder: Path, **options: object) -> dict[str, Any]:
    """SQLite in a folder, with the service's own options."""
    usual = service_settings.DATABASES["default"]["OPTIONS"]
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": folder / "jobs.sqlite3",
        "OPTIONS": {**usual, **options},
    }


def postgresql(url: str) -> dict[str, Any]:
    """PostgreSQL as the service connects to it."""
    return {**dj_database_url.parse(url, conn_max_age=600, conn_health_checks=True)}


@contextmanager
def database_of_all_threads(blocker: Any, described: dict[str, Any]) -> Iterator[None]:
    """Another database as Django's default one in every thread, migrated, while the context lasts.

    Args:
        blocker: pytest-django's fixture ``django_db_blocker``.
        described: entry of Django's ``DATABASES``.
    """
    usual, usual_settings = connections["default"], connections.settings["default"]
    with blocker.unblock():
        connections.settings["default"] = connections.__class__({"default": described}).settings["default"]
        del connections["default"]
        try:
            call_command("migrate", verbosity=0)
            yield
        finally:
            connections["default"].close()
            connections.settings["default"] = usual_settings
            connections["default"] = usual
