"""The queue's databases, both kinds, and limits of the service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from django_tasks_db.models import DBTaskResult

from boneage.web.models import Assessment, Case, User
from tests.web.databases import database_of_all_threads, postgresql, sqlite


@pytest.fixture(scope="package", params=["sqlite", "postgresql"])
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any
) -> Iterator[str]:
    """Kind of the database, which all tests of this folder use: first those on SQLite, then those on PostgreSQL."""
    if request.param == "sqlite":
        described = sqlite(tmp_path_factory.mktemp("jobs"))
    else:
        described = postgresql(request.getfixturevalue("new_postgres")())
    with database_of_all_threads(django_db_blocker, described):
        yield request.param


@pytest.fixture(autouse=True)
def empty(database: str) -> Iterator[None]:
    yield
    for rows in (Assessment, Case, DBTaskResult, User):
        rows.objects.all().delete()


@pytest.fixture
def limits(settings: Any) -> Callable[..., None]:
    """Changes the configuration, ``limits(waiting=3)``."""

    def change(**changed: object) -> None:
        settings.CONFIGURATION = replace(settings.CONFIGURATION, **changed)

    return change
