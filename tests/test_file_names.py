"""Every name can be written, and read back."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage.file_names import name_of, printable_name, safe_stem, shown

ANY_NAMES = st.binary(max_size=30).map(os.fsdecode) | st.text(
    st.sampled_from("a \\xu0f\x1b\n\u00a0\u009b\u202eü\udcff\ud800"), max_size=12
)


@given(ANY_NAMES)
def test_printable_name_round_trip(name: str) -> None:
    """A printable name is one clean line that can be reversed."""
    text = printable_name(name)
    assert name_of(text) == name
    assert text == text.strip() and len(text.splitlines()) <= 1 and shown(text) == text
    text.encode()


@pytest.mark.parametrize(
    "name", ["hand.png", "über/ä.dcm", "日本 1.png", "C:\\radiographs\\a.png", "-x.png", "=1+1.png", "'a"]
)
def test_printable_name_ordinary_name(name: str) -> None:
    assert printable_name(name) == name == name_of(name) == shown(name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (os.fsdecode(b"\xff.png"), "\\xff.png"),
        ("a\x1b[31m.png", "a\\x1b[31m.png"),
        ("a\nb", "a\\x0ab"),
        ("gnp.\u202ea", "gnp.\\u202ea"),
        ("\x9b", "\\u009b"),
        (" a ", "\\x20a\\x20"),
        ("a\\xff", "a\\\\xff"),
        ("\\\n", "\\\\\\x0a"),
    ],
)
def test_printable_name_unsafe_characters(name: str, text: str) -> None:
    """Unsafe characters are escaped."""
    assert printable_name(name) == text


@given(ANY_NAMES | st.text(max_size=400))
def test_safe_stem_any_text(stem: str) -> None:
    """A safe stem is a name that file systems accept."""
    safe = safe_stem(stem)
    assert 0 < len(safe.encode()) <= 200
    assert safe[0] not in "-." and safe == safe.strip() and shown(safe) == safe
    assert not set(safe) & set('/\\:*?"<>|')


@pytest.mark.parametrize("stem", ["hand", "a.overlay", "ä 1", "IM0001-2"])
def test_safe_stem_ordinary_stem(stem: str) -> None:
    assert safe_stem(stem) == stem
