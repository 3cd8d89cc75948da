"""Fonts of the PDF report, embedded and subset: which font prints which letter.

The fonts come with the package (``fonts/README.md``). A letter that neither holds is replaced by its base letter, or by
a question mark; `has_replacements` lets the report say so.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import groupby
from xml.sax.saxutils import escape

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

from boneage.report.fonts import BOLD, HAN, PLAIN, font_file

_UNKNOWN = "?"


@cache
def register_fonts() -> None:
    """Make the fonts available to reportlab."""
    for name in (PLAIN, BOLD, HAN):
        pdfmetrics.registerFont(TTFont(name, font_file(name)))


def marked_up(line: str, latin: str) -> str:
    """Return a line as reportlab's markup, in which each letter has a font that holds it.

    Args:
        line: plain text.
        latin: font of the letters that are not Chinese or Japanese: `PLAIN` or `BOLD`.
    """
    spans = groupby(printable(line), key=lambda letter: HAN if _font_of(letter) == HAN else latin)
    return "".join(f'<font name="{font}">{escape("".join(letters))}</font>' for font, letters in spans)


def printable(line: str) -> Iterator[str]:
    """Yield the letters of a line, those that no font holds replaced by their base letter or a question mark."""
    for letter in line:
        if _font_of(letter):
            yield letter
        else:
            base = unicodedata.normalize("NFKD", letter)[:1]
            yield base if _font_of(base) else _UNKNOWN


def has_replacements(texts: Iterable[str]) -> bool:
    """Return True if a letter of the texts cannot be printed as it is."""
    return any(not _font_of(letter) for text in texts for line in text.splitlines() for letter in line)


def _font_of(letter: str) -> str:
    """Return the font that holds a letter; empty if none does."""
    register_fonts()
    for name in (PLAIN, HAN):
        if letter and letter.isprintable() | (letter == "\N{NO-BREAK SPACE}") and ord(letter) in _letters(name):
            return name
    return ""


@cache
def _letters(name: str) -> frozenset[int]:
    font = pdfmetrics.getFont(name)
    return frozenset(code for code, glyph in font.face.charToGlyph.items() if glyph)
