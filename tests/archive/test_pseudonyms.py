"""Pseudonyms depend on the key, and identifiers cannot be confused."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage.archive.pseudonyms import Pseudonyms, open_salt
from boneage.errors import TableError

ONE, OTHER = Pseudonyms(bytes(32)), Pseudonyms(bytes([1] * 32))
PARTS = st.lists(st.text(), min_size=1, max_size=3).map(tuple)


@given(PARTS, PARTS)
def test_equal_identifiers_have_equal_pseudonyms(first: tuple[str, ...], second: tuple[str, ...]) -> None:
    """Only equal parts give equal pseudonyms, and another key gives others."""
    are_empty = not any(first) and not any(second)
    assert (ONE.of("kind", *first) == ONE.of("kind", *second)) is (first == second or are_empty)
    if any(first):
        assert ONE.of("kind", *first) != OTHER.of("kind", *first)
        assert ONE.of("kind", *first) != ONE.of("other", *first)
        assert len(ONE.of("kind", *first)) == 32


def test_salt_is_made_once_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "new" / "salt"
    made = open_salt(path)
    assert open_salt(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert open_salt(tmp_path / "other") != made
    assert made.salt.hex() not in repr(made)


@pytest.mark.parametrize("content", ["", "abc", "00" * 31, "a patient's name"])
def test_other_file_is_no_salt(tmp_path: Path, content: str) -> None:
    (tmp_path / "salt").write_text(content)
    with pytest.raises(TableError) as caught:
        open_salt(tmp_path / "salt")
    assert caught.value.code == "table_value"
