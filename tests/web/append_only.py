"""Tests that commit are followed by the deletion of all rows, which the audit log rejects. Here it is allowed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management.commands import flush
from django.db import connections

from boneage.web.accounts.append_only import GUARDS, UNGUARDS


@pytest.fixture(scope="session", autouse=True)
def audit_log_can_be_emptied() -> Iterator[None]:
    """Take the guard down while Django empties a test's database."""
    usual = flush.Command.handle

    def handle(self: flush.Command, **options: Any) -> Any:
        connection = connections[options["database"]]
        with connection.cursor() as cursor:
            for statement in UNGUARDS[connection.vendor]:
                cursor.execute(statement)
        try:
            return usual(self, **options)
        finally:
            with connection.cursor() as cursor:
                for statement in GUARDS[connection.vendor]:
                    cursor.execute(statement)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flush.Command, "handle", handle)
        yield
