"""The report as a PDF: one A4 page, in the active language.

Fonts are named, not embedded: Helvetica, and for letters that it lacks the Adobe-GB1 font of Chinese, for which viewers
take one of the system's. So a name in Chinese or Cyrillic letters prints in a report in any language.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from io import BytesIO
from itertools import groupby
from typing import Any
from xml.sax.saxutils import escape

from django.utils.translation import get_language, gettext
from reportlab import rl_config
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.platypus import Flowable, Image, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from boneage.severity import Severity
from boneage.web.models import Assessment
from boneage.web.report.content import Figure, Report, report_of

rl_config.useA85 = 0  # binary streams: a fifth smaller, and every program has read them for decades

_MARGIN = 14 * mm
_WIDTH = A4[0] - 2 * _MARGIN
_HEIGHT = A4[1] - 2 * _MARGIN
_HIGHEST_FIGURE, _LOWEST_FIGURE = 98 * mm, 45 * mm
_GAP = 4 * mm

_LATIN, _LATIN_BOLD, _WIDE = "Helvetica", "Helvetica-Bold", "STSong-Light"
_SOFT, _LINE = colors.HexColor("#47525e"), colors.HexColor("#b9c0c8")
_CAUTION, _CRITICAL = colors.HexColor("#7d4600"), colors.HexColor("#9b1c1c")


def pdf_bytes(assessment: Assessment) -> bytes:
    """Return the report on a finished assessment, with the content of the page.

    The document's own fields (title, author) hold no patient data.
    """
    return draw(report_of(assessment))


def draw(report: Report) -> bytes:
    """Draw a report as a PDF. Long notes that do not fit on one page continue on the next."""
    _register_fonts()
    file = BytesIO()
    document = SimpleDocTemplate(
        file,
        pagesize=A4,
        leftMargin=_MARGIN - 6,  # a frame has a padding of 6 points
        rightMargin=_MARGIN - 6,
        topMargin=_MARGIN - 6,
        bottomMargin=_MARGIN - 6,
        title=report.content.title,
        author="boneage",
        lang=get_language() or "en",
    )
    above, below = _above(report), _below(report)
    left = _HEIGHT - sum(_height(one) for one in (*above, *below)) - 2 * mm
    figures = _figures(report.figures, min(_HIGHEST_FIGURE, max(_LOWEST_FIGURE, left)))
    document.build([*above, *figures, *below])
    return file.getvalue()


# --- parts ------------------------------------------------------------------------------------------------------------


def _above(report: Report) -> list[Flowable]:
    """Draw the parts above the pictures."""
    head = _row([_text(report.content.title, "head"), _text(report.printed_at, "right")], [0.6, 0.4])
    answer = [
        _text(gettext("Bone age"), "term"),
        _text(report.content.age, "void" if report.content.is_void else "age"),
    ]
    answer += [_text(report.content.stamp, "stamp")] if report.content.stamp else []
    answer += [_text(line) for line in report.content.answer]
    decision = [_text(gettext("Decision"), "term"), *(_text(line) for line in report.decision)]
    if report.content.regions:
        decision.append(_text(gettext("Bone age by region"), "term", space_before=4))
        decision += [
            _text(gettext("%(label)s: %(age)s") % {"label": term, "age": age}) for term, age in report.content.regions
        ]
    parts = [head, _rule(), *_facts(report.patient, 3), Spacer(0, 2 * mm), _row([answer, decision], [0.5, 0.5])]
    for group in report.content.warnings:
        kind = "soft" if group.severity is Severity.INFO else "plain"
        sentences = [_text(f"• {sentence}", kind) for sentence in group.sentences]
        parts += [Spacer(0, 2 * mm), _text(group.title, group.severity.value), *sentences]
    return [*parts, Spacer(0, 3 * mm)]


def _below(report: Report) -> list[Flowable]:
    """Draw the parts below the pictures."""
    parts = [_text(report.map_note, "soft"), Spacer(0, 2 * mm), *_facts(report.facts, 4), Spacer(0, 3 * mm)]
    return [
        *parts,
        *(_text(sentence, "bold") for sentence in report.content.notice),
        _text(" ".join(report.content.intended_use), "soft"),
        Spacer(0, 13 * mm),
        _signature(report.signature),
    ]


def _figures(figures: Sequence[Figure], height: float) -> list[Flowable]:
    """Draw the pictures side by side, equally high, with their captions."""
    if not figures:
        return []
    gaps = _GAP * len(figures)
    shares = [figure.width / figure.height for figure in figures]
    high = (_WIDTH - gaps) / sum(shares)
    captions = [_text(figure.caption, "caption") for figure in figures]
    for_captions = max(one.wrap(share * high, _HEIGHT)[1] for one, share in zip(captions, shares, strict=True))
    high = min(high, height - for_captions)
    widths = [share * high for share in shares]
    pictures = [Image(BytesIO(figure.jpeg), width, high) for figure, width in zip(figures, widths, strict=True)]
    spare = (_WIDTH - gaps - sum(widths)) / len(figures)
    table = Table([pictures, captions], colWidths=[width + _GAP + spare for width in widths])
    table.setStyle(
        TableStyle(
            [
                ("ALIGN", (0, 0), (-1, -1), "CENTER"),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (-1, -1), _GAP / 2),
                ("RIGHTPADDING", (0, 0), (-1, -1), _GAP / 2),
                ("TOPPADDING", (0, 0), (-1, -1), 0),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
            ]
        )
    )
    return [table]


def _facts(rows: Sequence[tuple[str, str]], columns: int) -> list[Flowable]:
    """Draw terms above their values, in columns."""
    cells = [[_text(term, "term"), _text(value)] for term, value in rows]
    lines = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    return [_row([*line, *[""] * (columns - len(line))], [1 / columns] * columns) for line in lines]


def _row(cells: Sequence[Any], shares: Sequence[float]) -> Table:
    """Arrange parts side by side."""
    table = Table([list(cells)], colWidths=[_WIDTH * share for share in shares])
    table.setStyle(
        TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("RIGHTPADDING", (0, 0), (-2, -1), 6),
                ("RIGHTPADDING", (-1, 0), (-1, -1), 0),
                ("TOPPADDING", (0, 0), (-1, -1), 1),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
            ]
        )
    )
    return table


def _signature(words: Sequence[str]) -> Table:
    """Draw a line to write on above each word."""
    cells: list[Any] = [_text(word, "soft") for word in words]
    for place in range(len(words) - 1, 0, -1):
        cells.insert(place, "")  # this keeps the lines from touching
    free = _WIDTH - _GAP * (len(words) - 1)
    widths = [_GAP if not cell else free / len(words) for cell in cells]
    table = Table([cells], colWidths=widths)
    lines = [("LINEABOVE", (i, 0), (i, 0), 0.6, colors.black) for i in range(0, len(cells), 2)]
    table.setStyle(TableStyle([("LEFTPADDING", (0, 0), (-1, -1), 0), *lines]))
    return table


def _rule() -> Table:
    table = Table([[""]], colWidths=[_WIDTH], rowHeights=[4])
    table.setStyle(TableStyle([("LINEABOVE", (0, 0), (-1, -1), 0.6, _LINE)]))
    return table


def _height(one: Flowable) -> float:
    return float(one.wrap(_WIDTH, 10 * _HEIGHT)[1])


# --- text -------------------------------------------------------------------------------------------------------------

_SIZES = {"head": 15, "age": 20, "void": 20, "stamp": 10, "term": 7.5, "soft": 7.5, "caption": 7.5}
_COLOURS = {"term": _SOFT, "soft": _SOFT, "caption": _SOFT, "void": _SOFT, "right": _SOFT, "stamp": _CRITICAL}
_COLOURS |= {"critical": _CRITICAL, "caution": _CAUTION, "info": _SOFT}
_BOLD = ("head", "age", "stamp", "bold", "critical", "caution")


def _text(content: str, kind: str = "plain", space_before: float = 0) -> Paragraph:
    """Return a paragraph; its line breaks are kept."""
    size = _SIZES.get(kind, 8.5)
    style = ParagraphStyle(
        kind,
        fontName=_LATIN,
        fontSize=size,
        leading=1.28 * size,
        textColor=_COLOURS.get(kind, colors.black),
        alignment={"right": 2, "caption": 1}.get(kind, 0),
        spaceBefore=space_before,
        wordWrap="CJK" if (get_language() or "").startswith("zh") else None,
    )
    # The Chinese font has no bold: bold numbers among its letters would look like a mistake.
    is_bold = kind in _BOLD and not style.wordWrap
    lines = (_marked_up(line, _LATIN_BOLD if is_bold else _LATIN) for line in content.splitlines())
    markup = "<br/>".join(lines)
    return Paragraph(f"<strike>{markup}</strike>" if kind == "void" else markup, style)


def _marked_up(line: str, latin: str) -> str:
    """Return a line in which each letter has a font that holds it."""
    spans = groupby(_printable(line), key=lambda letter: latin if _is_latin(letter) else _WIDE)
    return "".join(f'<font name="{font}">{escape("".join(letters))}</font>' for font, letters in spans)


def _printable(line: str) -> Iterable[str]:
    """Yield the letters of a line, those that no font holds replaced by their base letter, or by a question mark."""
    for letter in line:
        if letter == "\N{MINUS SIGN}":  # no font holds it
            yield "\N{EN DASH}"
        elif _is_latin(letter) or _encodes(letter, "gbk"):
            yield letter
        else:
            base = unicodedata.normalize("NFKD", letter)[:1]
            yield base if _is_latin(base) or _encodes(base, "gbk") else "?"


def _is_latin(letter: str) -> bool:
    return _encodes(letter, "cp1252") or letter == "\N{NO-BREAK SPACE}"


def _encodes(letter: str, encoding: str) -> bool:
    try:
        letter.encode(encoding)
    except UnicodeEncodeError:
        return False
    return letter.isprintable()


@cache
def _register_fonts() -> None:
    pdfmetrics.registerFont(UnicodeCIDFont(_WIDE))
