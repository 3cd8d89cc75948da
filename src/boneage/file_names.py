"""File names as people and programs may safely read them, and back.

A file system takes any bytes for a name: bytes that are not UTF-8 (Python holds these as lone surrogates), line breaks,
and the control characters that steer a terminal. None of these is printed or written into a table.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line separators, characters that change the direction of writing, and bytes that are not UTF-8.
"""

_AT_ENDS = re.compile(r"^\s+|\s+$")
"""White space that a reader of tables removes."""

_ESCAPE = re.compile(r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4})")
_ESCAPE_OR_BACKSLASH = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|\\)")

_NOT_IN_REPORT_NAMES = re.compile(r'[\\/:*?"<>|\ufffd]')
"""Characters that some file systems and archives do not accept."""

_LONGEST_STEM_BYTES = 200
"""Longest stem. A name has at most 255 bytes; a number and a suffix follow the stem."""

_BYTE_SURROGATES = 0xDC00
"""First surrogate for bytes. Python holds the byte 0xff of a name that is not UTF-8 as U+DCFF (PEP 383)."""


def shown(text: str) -> str:
    r"""Return a text with unsafe characters escaped: ``\xff`` for a byte, ``\u202e`` for a character."""
    return UNSAFE.sub(lambda match: _escaped(match[0]), text)


def printable_name(name: str) -> str:
    """Return a name as one line of valid UTF-8, which `name_of` reverses.

    Ordinary names stay unchanged. In a name that has escapes, or a part that looks like one, each backslash is doubled.

    Args:
        name: Name of a file, or a path.
    """
    if not (UNSAFE.search(name) or _AT_ENDS.search(name) or _ESCAPE.search(name)):
        return name
    ends = _AT_ENDS.sub(lambda match: "".join(map(_escaped, match[0])), name.replace("\\", "\\\\"))
    return shown(ends)


def name_of(text: str) -> str:
    """Return the name from which `printable_name` made a text. A text without escapes is the name itself."""
    return _ESCAPE_OR_BACKSLASH.sub(_unescaped, text) if _ESCAPE.search(text) else text


def safe_stem(stem: str) -> str:
    """Return a stem for the names of a file's reports that every file system accepts and that does not look like an
    option.

    Different stems may become equal; the caller numbers them.
    """
    kept = _NOT_IN_REPORT_NAMES.sub("_", UNSAFE.sub("_", stem)).strip()
    if kept[:1] in {"-", "."} or not kept:
        kept = f"_{kept}"
    return kept.encode()[:_LONGEST_STEM_BYTES].decode(errors="ignore").rstrip()


def _escaped(character: str) -> str:
    number = ord(character)
    is_byte = _BYTE_SURROGATES + 0x80 <= number <= _BYTE_SURROGATES + 0xFF
    if is_byte or number < 0x80:
        return f"\\x{number & 0xFF:02x}"
    return f"\\u{number:04x}"


def _unescaped(match: re.Match[str]) -> str:
    byte, number = match[1], match[2]
    if byte is None:
        return "\\" if number is None else chr(int(number, 16))
    value = int(byte, 16)
    return chr(value if value < 0x80 else _BYTE_SURROGATES + value)


def comparable(path: Path) -> str:
    """Return a text that is equal for all paths of one file, also on file systems that ignore case."""
    try:
        return os.path.realpath(path).casefold()
    except ValueError:  # the path is impossible for a file
        return str(path).casefold()
