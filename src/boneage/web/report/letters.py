"""Fonts of the PDF report in reportlab, embedded and subset (`boneage.report.fonts`)."""

from __future__ import annotations

from functools import cache
from xml.sax.saxutils import escape

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

from boneage.report.fonts import BOLD, HAN, PLAIN, font_file, spans


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
    return "".join(f'<font name="{font}">{escape(letters)}</font>' for font, letters in spans(line, latin))
