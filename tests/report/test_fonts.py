"""Fonts of reports: which letter is in which of them."""

from __future__ import annotations

import pytest
from reportlab.pdfbase.ttfonts import TTFont

from boneage.report.fonts import BOLD, HAN, PLAIN, code_points, font_file, font_of, spans


@pytest.mark.parametrize("name", [PLAIN, BOLD, HAN])
def test_code_points_of_the_file(name: str) -> None:
    """They are those with a glyph by another reader of fonts."""
    glyphs = TTFont(name, font_file(name)).face.charToGlyph
    assert code_points(name) == {code for code, glyph in glyphs.items() if glyph}


def test_spans_have_fonts_that_hold_them() -> None:
    """Latin, Greek and Chinese letters; others are replaced."""
    assert list(spans("Müller ± σ", BOLD)) == [(BOLD, "Müller ± σ")]
    assert list(spans("骨龄 10 岁", PLAIN)) == [(HAN, "骨龄"), (PLAIN, " 10 "), (HAN, "岁")]
    for font, letters in spans("a\N{ARABIC LETTER BEH}\N{FULLWIDTH LATIN CAPITAL LETTER A}\x07", PLAIN):
        assert all(ord(letter) in code_points(font) for letter in letters)
    assert font_of("") == font_of("\N{ARABIC LETTER BEH}") == ""
