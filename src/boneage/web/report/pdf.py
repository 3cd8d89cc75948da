"""The report as a PDF for archives (PDF/A-2b): one A4 page, in the active language.

Fonts are embedded and subset (`boneage.web.report.letters`), so that a name in Chinese or Cyrillic letters prints in a
report in any language.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

from django.utils.translation import get_language, gettext
from reportlab import rl_config
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Image, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from boneage.report.content import ReadingContent
from boneage.report.fonts import BOLD, PLAIN, has_replacements
from boneage.severity import Severity
from boneage.web.letterhead import Letterhead
from boneage.web.models import Assessment
from boneage.web.report.archive import make_archivable, with_line_ends
from boneage.web.report.content import Report, report_of
from boneage.web.report.figures import Figure
from boneage.web.report.letters import marked_up, register_fonts

rl_config.useA85 = 0  # binary streams: a fifth smaller, and every program has read them for decades

_MARGIN = 14 * mm
_WIDTH = A4[0] - 2 * _MARGIN
_HEIGHT = A4[1] - 2 * _MARGIN
_HIGHEST_FIGURE, _LOWEST_FIGURE = 98 * mm, 36 * mm
_GAP = 4 * mm
_LOGO_HEIGHT, _LOGO_WIDTH = 16 * mm, 50 * mm

_SOFT, _LINE = colors.HexColor("#47525e"), colors.HexColor("#b9c0c8")
_CAUTION, _CRITICAL = colors.HexColor("#7d4600"), colors.HexColor("#9b1c1c")


def pdf_bytes(assessment: Assessment) -> bytes:
    """Return the report on a finished assessment, with the content of the page.

    The document's own fields (title, author) hold no patient data.
    """
    return draw(report_of(assessment))


def draw(report: Report) -> bytes:
    """Draw a report as a PDF. Long notes that do not fit on one page continue on the next."""
    register_fonts()
    language = get_language() or "en"
    file = BytesIO()

    def archivable(*args: Any, **options: Any) -> Canvas:
        canvas = Canvas(*args, **options)
        make_archivable(canvas, report.created, language)
        return canvas

    document = SimpleDocTemplate(
        file,
        pagesize=A4,
        leftMargin=_MARGIN - 6,  # a frame has a padding of 6 points
        rightMargin=_MARGIN - 6,
        topMargin=_MARGIN - 6,
        bottomMargin=_MARGIN - 6,
        title=report.content.title,
        author="boneage",
        creator="boneage",
        lang=language,
        initialFontName=PLAIN,
    )
    above, below = _above(report), _below(report)
    left = _HEIGHT - sum(_height(one) for one in (*above, *below)) - 2 * mm
    figures = _figures(report.figures, min(_HIGHEST_FIGURE, max(_LOWEST_FIGURE, left)))
    document.build([*above, *figures, *below], canvasmaker=archivable)
    return with_line_ends(file.getvalue())


# --- parts ------------------------------------------------------------------------------------------------------------


def _above(report: Report) -> list[Flowable]:
    """Draw the parts above the pictures."""
    head = _row([_text(report.content.title, "head"), _text(report.printed_at, "right")], [0.6, 0.4])
    readings = report.content.readings
    is_one = len(readings) == 1
    columns = [[*_reading(one, is_one), *([] if is_one else _parts(one))] for one in readings]
    decision = [_text(gettext("Decision"), "term"), *(_text(line) for line in report.decision)]
    decision += _parts(readings[0]) if is_one else []
    shares = [0.58, 0.42] if is_one else [0.41, 0.41, 0.18]
    parts = [head, _rule(), *_facts(report.patient, 3), Spacer(0, 2 * mm), _row([*columns, decision], shares)]
    parts += [_text(line) for line in report.shared]
    for group in report.content.warnings:
        kind = "soft" if group.severity is Severity.INFO else "plain"
        sentences = [_text(f"• {sentence}", kind) for sentence in group.sentences]
        parts += [Spacer(0, 2 * mm), _text(group.title, group.severity.value), *sentences]
    return [*_letterhead(report.letterhead), *parts, Spacer(0, 3 * mm)]


def _reading(reading: ReadingContent, is_only: bool) -> list[Flowable]:
    """Draw a bone age with the lines below it, smaller if there is another one beside it."""
    kind = ("void" if reading.is_void else "age") if is_only else ("second void" if reading.is_void else "second age")
    parts = [_text(reading.heading, "term"), _text(reading.age, kind)]
    parts += [_text(reading.stamp, "stamp")] if reading.stamp else []
    return [*parts, *(_text(line) for line in reading.lines)]


def _parts(reading: ReadingContent) -> list[Flowable]:
    """Draw the bone ages by region and by bone; nothing without any."""
    return [
        *_rows_below(gettext("Bone age by region"), reading.regions),
        *_rows_below(gettext("Bone age by bone"), reading.bones, "soft"),
    ]


def _rows_below(title: str, rows: Sequence[tuple[str, str]], kind: str = "plain") -> list[Flowable]:
    if not rows:
        return []
    lines = (gettext("%(label)s: %(age)s") % {"label": term, "age": age} for term, age in rows)
    return [_text(title, "term", space_before=4), *(_text(line, kind) for line in lines)]


def _below(report: Report) -> list[Flowable]:
    """Draw the parts below the pictures."""
    note = [_text(report.map_note, "soft"), Spacer(0, 2 * mm)] if report.map_note else []
    return [
        *note,
        *_facts(report.facts, 4),
        Spacer(0, 3 * mm),
        *(_text(sentence, "bold") for sentence in report.content.notice),
        _text(" ".join(report.content.intended_use), "soft"),
        *_replaced(report),
        Spacer(0, 13 * mm),
        _signature(report.signature),
    ]


def _replaced(report: Report) -> list[Flowable]:
    """Draw a sentence where letters of the report cannot be printed."""
    if not has_replacements(report.texts()):
        return []
    sentence = gettext(
        "The fonts of this PDF lack some letters; base letters or question marks stand for them. The page shows them."
    )
    return [_text(sentence, "caution")]


def _letterhead(letterhead: Letterhead) -> list[Flowable]:
    """Draw the lines of the letterhead, its first one bold, with the logo to the right."""
    lines = [_text(line, "letterhead" if number == 0 else "soft") for number, line in enumerate(letterhead.lines)]
    if not lines:
        return []
    logo: list[Flowable] = []
    if letterhead.logo_jpeg:
        height, width = letterhead.logo_shape
        zoom = min(_LOGO_HEIGHT / height, _LOGO_WIDTH / width)
        logo.append(Image(BytesIO(letterhead.logo_jpeg), zoom * width, zoom * height))
    widths = [0.7 * _WIDTH, 0.3 * _WIDTH]
    return [_table([[lines, logo]], widths, ("ALIGN", ((1, 0), (1, 0)), "RIGHT")), Spacer(0, 2 * mm), _rule()]


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
    commands = [("ALIGN", _ALL, "CENTER"), ("LEFTPADDING", _ALL, _GAP / 2), ("RIGHTPADDING", _ALL, _GAP / 2)]
    return [_table([pictures, captions], [width + _GAP + spare for width in widths], *commands)]


def _facts(rows: Sequence[tuple[str, str]], columns: int) -> list[Flowable]:
    """Draw terms above their values, in columns."""
    cells = [[_text(term, "term"), _text(value)] for term, value in rows]
    lines = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    return [_row([*line, *[""] * (columns - len(line))], [1 / columns] * columns) for line in lines]


def _row(cells: Sequence[Any], shares: Sequence[float]) -> Table:
    """Arrange parts side by side."""
    commands = [("RIGHTPADDING", ((0, 0), (-2, -1)), 6), ("TOPPADDING", _ALL, 1)]
    return _table([list(cells)], [_WIDTH * share for share in shares], *commands)


def _signature(words: Sequence[str]) -> Table:
    """Draw a line to write on above each word."""
    cells: list[Any] = [_text(word, "soft") for word in words]
    for place in range(len(words) - 1, 0, -1):
        cells.insert(place, "")  # this keeps the lines from touching
    free = _WIDTH - _GAP * (len(words) - 1)
    lines = [("LINEABOVE", ((i, 0), (i, 0)), 0.6, colors.black) for i in range(0, len(cells), 2)]
    return _table([cells], [_GAP if not cell else free / len(words) for cell in cells], ("TOPPADDING", _ALL, 3), *lines)


def _rule() -> Table:
    return _table([[""]], [_WIDTH], ("LINEABOVE", _ALL, 0.6, _LINE), heights=[4])


_Command = tuple[str, tuple[tuple[int, int], tuple[int, int]], *tuple[Any, ...]]
"""Command of a table's style, with the cells that it is for."""

_ALL = ((0, 0), (-1, -1))


def _table(
    cells: Sequence[Sequence[Any]], widths: Sequence[float], *commands: _Command, heights: Sequence[float] | None = None
) -> Table:
    """Return a table without padding at the sides, in a font that is embedded (even an empty cell names one)."""
    base: tuple[_Command, ...] = (
        ("FONTNAME", _ALL, PLAIN),
        ("VALIGN", _ALL, "TOP"),
        ("LEFTPADDING", _ALL, 0),
        ("RIGHTPADDING", _ALL, 0),
        ("TOPPADDING", _ALL, 0),
        ("BOTTOMPADDING", _ALL, 2),
    )
    table = Table(cells, colWidths=widths, rowHeights=heights)
    table.setStyle(TableStyle([(name, *cells_of_it, *values) for name, cells_of_it, *values in (*base, *commands)]))
    return table


def _height(one: Flowable) -> float:
    return float(one.wrap(_WIDTH, 10 * _HEIGHT)[1])


# --- text -------------------------------------------------------------------------------------------------------------

_SIZES = {
    "head": 15,
    "age": 20,
    "void": 20,
    "second age": 15,
    "second void": 15,
    "stamp": 10,
    "letterhead": 11,
    "term": 7.5,
    "soft": 7.5,
    "caption": 7.5,
}
_COLOURS = {
    "term": _SOFT,
    "soft": _SOFT,
    "caption": _SOFT,
    "void": _SOFT,
    "second void": _SOFT,
    "right": _SOFT,
    "stamp": _CRITICAL,
}
_COLOURS |= {"critical": _CRITICAL, "caution": _CAUTION, "info": _SOFT}
_BOLD = ("head", "letterhead", "age", "second age", "stamp", "bold", "critical", "caution")


def _text(content: str, kind: str = "plain", space_before: float = 0) -> Paragraph:
    """Return a paragraph; its line breaks are kept."""
    size = _SIZES.get(kind, 8.5)
    style = ParagraphStyle(
        kind,
        fontName=PLAIN,
        fontSize=size,
        leading=1.28 * size,
        textColor=_COLOURS.get(kind, colors.black),
        alignment={"right": 2, "caption": 1}.get(kind, 0),
        spaceBefore=space_before,
        wordWrap="CJK" if (get_language() or "").startswith("zh") else None,
    )
    # The Chinese font has no bold: bold numbers among its letters would look like a mistake.
    is_bold = kind in _BOLD and not style.wordWrap
    lines = (marked_up(line, BOLD if is_bold else PLAIN) for line in content.splitlines())
    markup = "<br/>".join(lines)
    return Paragraph(f"<strike>{markup}</strike>" if kind in {"void", "second void"} else markup, style)
