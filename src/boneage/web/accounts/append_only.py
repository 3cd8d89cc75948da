"""Triggers with which the database itself rejects changes to the audit log, for each kind of database.

SQLite drops the triggers of a table when a migration rebuilds it: a migration that alters the audit log must set up
`GUARDS` again.
"""

from __future__ import annotations

TABLE = "web_auditevent"

GUARDS: dict[str, list[str]] = {
    "sqlite": [
        f"CREATE TRIGGER {TABLE}_no_{change} BEFORE {change.upper()} ON {TABLE} "
        "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        for change in ("update", "delete")
    ]
    + [
        # REPLACE deletes without a word to the trigger above.
        "CREATE TRIGGER web_auditevent_no_replace BEFORE INSERT ON web_auditevent "
        "WHEN EXISTS (SELECT 1 FROM web_auditevent WHERE id = NEW.id) "
        "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
    ],
    "postgresql": [
        f"CREATE FUNCTION {TABLE}_reject() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$",
        # For each statement, so that a change of no row is rejected as well, and TRUNCATE can be.
        f"CREATE TRIGGER {TABLE}_guard BEFORE UPDATE OR DELETE OR TRUNCATE ON {TABLE} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {TABLE}_reject()",
    ],
}
"""SQL statements by vendor that set up the guard."""

UNGUARDS: dict[str, list[str]] = {
    "sqlite": [f"DROP TRIGGER {TABLE}_no_{change}" for change in ("update", "delete", "replace")],
    "postgresql": [f"DROP TRIGGER {TABLE}_guard ON {TABLE}", f"DROP FUNCTION {TABLE}_reject()"],
}
"""SQL statements by vendor that remove the guard, which only the owner of a database may do."""
