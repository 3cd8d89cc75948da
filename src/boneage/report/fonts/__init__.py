"""Fonts of PDF reports and of pages for a PACS, in six languages: which font prints which letter.

The fonts come with the package (README.md beside this file). A letter that none of them holds is replaced by its base
letter, or by a question mark; `has_replacements` lets a report say so.
"""

from __future__ import annotations

import struct
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import groupby
from pathlib import Path

PLAIN, BOLD, HAN = "BoneageSans-Regular", "BoneageSans-Bold", "BoneageHan-Regular"
"""Names of the fonts: Latin, Greek and Cyrillic letters, the same in bold, and Chinese letters."""

_UNKNOWN = "?"


def font_file(name: str) -> Path:
    """Return the file of a font.

    Args:
        name: `PLAIN`, `BOLD` or `HAN`.
    """
    return Path(__file__).parent / f"{name}.ttf"


def spans(line: str, latin: str) -> Iterator[tuple[str, str]]:
    """Yield the parts of a line as (font, letters); letters that no font holds are replaced.

    Args:
        line: plain text.
        latin: font of the letters that are not Chinese or Japanese: `PLAIN` or `BOLD`.
    """
    for font, letters in groupby(printable(line), key=lambda letter: HAN if font_of(letter) == HAN else latin):
        yield font, "".join(letters)


def printable(line: str) -> Iterator[str]:
    """Yield the letters of a line, those that no font holds replaced by their base letter or a question mark."""
    for letter in line:
        if font_of(letter):
            yield letter
        else:
            base = unicodedata.normalize("NFKD", letter)[:1]
            yield base if font_of(base) else _UNKNOWN


def has_replacements(texts: Iterable[str]) -> bool:
    """Return True if a letter of the texts cannot be printed as it is."""
    return any(not font_of(letter) for text in texts for line in text.splitlines() for letter in line)


def font_of(letter: str) -> str:
    """Return the font that holds a letter, `PLAIN` or `HAN`; empty if none does."""
    is_printable = bool(letter) and (letter.isprintable() or letter == "\N{NO-BREAK SPACE}")
    return next((name for name in (PLAIN, HAN) if is_printable and ord(letter) in code_points(name)), "")


@cache
def code_points(name: str) -> frozenset[int]:
    """Return the code points of a font: those of its table ``cmap`` in the formats 4 and 12 (OpenType 1.9)."""
    data = font_file(name).read_bytes()
    (tables,) = struct.unpack_from(">H", data, 4)
    offsets = {data[at : at + 4]: struct.unpack_from(">I", data, at + 8)[0] for at in range(12, 12 + 16 * tables, 16)}
    cmap = offsets[b"cmap"]
    (subtables,) = struct.unpack_from(">H", data, cmap + 2)
    starts = {cmap + struct.unpack_from(">I", data, cmap + 8 + 8 * number)[0] for number in range(subtables)}
    return frozenset(code for start in starts for code in _code_points(data, start))


def _code_points(data: bytes, start: int) -> Iterator[int]:
    """Yield the code points with a glyph in one subtable of ``cmap``; none of other formats than 4 and 12."""
    (kind,) = struct.unpack_from(">H", data, start)
    if kind == 12:
        (groups,) = struct.unpack_from(">I", data, start + 12)
        for number in range(groups):
            first, last, glyph = struct.unpack_from(">III", data, start + 16 + 12 * number)
            yield from range(first if glyph else first + 1, last + 1)
    if kind == 4:
        (double,) = struct.unpack_from(">H", data, start + 6)
        ends, firsts = start + 14, start + 16 + double
        for segment in range(0, double, 2):
            last, first = (struct.unpack_from(">H", data, at + segment)[0] for at in (ends, firsts))
            delta, offset = (struct.unpack_from(">H", data, firsts + part * double + segment)[0] for part in (1, 2))
            for code in range(first, last + 1):
                at = firsts + 2 * double + segment + offset + 2 * (code - first)
                glyph = code if not offset else struct.unpack_from(">H", data, at)[0]
                if glyph and (glyph + delta) % 0x10000 and code != 0xFFFF:
                    yield code
