"""The journal keeps every finished item, and nothing half."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from boneage.archive.journal import SHARD_ROWS, Journal
from boneage.archive.work import Outcome
from boneage.errors import TableError


def outcome(number: int, **changes: object) -> Outcome:
    """Return the outcome of an item with a row."""
    row_id = f"row-{number}"
    return replace(
        Outcome(f"item-{number}", "10:20", f"image-{number}", row_id, {"id": row_id, "age_months": 1.5, "sds": None}),
        **changes,  # type: ignore[arg-type]
    )


def test_reopened_journal_has_all_that_was_flushed(tmp_path: Path) -> None:
    with Journal(tmp_path / "state", {}) as journal:
        for number in range(SHARD_ROWS + 3):
            journal.add(outcome(number))
    with Journal(tmp_path / "state", {}) as journal:
        assert len(journal.entries) == SHARD_ROWS + 3
        assert journal.is_finished("item-7", "10:20")
        assert not journal.is_finished("item-7", "11:20")  # the file has changed
        rows = list(journal.rows(journal.places[f"row-{number}"] for number in (SHARD_ROWS + 2, 0)))
        assert rows == [{"id": f"row-{SHARD_ROWS + 2}", "age_months": 1.5}, {"id": "row-0", "age_months": 1.5}]
        assert "row-3" in journal.existing_rows()


@pytest.mark.parametrize("code", ["internal_error", "not_found"])
def test_failed_item_is_tried_again(tmp_path: Path, code: str) -> None:
    """A failure that may lie outside of the radiograph is not final, and its row is replaced."""
    with Journal(tmp_path / "state", {}) as journal:
        journal.add(outcome(1, row={"id": "row-1", "error": code}))
        journal.add(outcome(2, row={"id": "row-2", "error": "no_hand"}))
    with Journal(tmp_path / "state", {}) as journal:
        assert not journal.is_finished("item-1", "10:20")
        assert journal.is_finished("item-2", "10:20")
        assert journal.existing_rows() == {"row-2"}
        journal.add(outcome(1))
    with Journal(tmp_path / "state", {}) as journal:
        assert next(journal.rows([journal.places["row-1"]])) == {"id": "row-1", "age_months": 1.5}


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    with Journal(tmp_path / "state", {}) as journal:
        journal.add(outcome(1))
    half = tmp_path / "state" / ".rows-000002-abcd1234.jsonl"
    half.write_text('{"item": "it')
    with Journal(tmp_path / "state", {}) as journal:
        assert list(journal.entries) == ["item-1"]
    assert not half.exists()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with Journal(tmp_path / "state", {}), pytest.raises(TableError) as caught:
        Journal(tmp_path / "state", {})
    assert caught.value.code == "table_busy"
    Journal(tmp_path / "state", {}).__exit__(None, None, None)


def test_other_settings_are_rejected(tmp_path: Path) -> None:
    with Journal(tmp_path / "state", {"bundle": "one"}):
        pass
    with pytest.raises(TableError, match="another bundle") as caught:
        Journal(tmp_path / "state", {"bundle": "two"})
    assert caught.value.code == "table_resume"
