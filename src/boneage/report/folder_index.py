"""The index of a folder of reports: one page with a row for each radiograph, made from the reports' JSON.

The index is a function of the folder. A run that was killed leaves an older index, and the next run makes it again
from all reports, those of earlier runs included.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from boneage import words
from boneage.clinical.documents import chronological_age
from boneage.files import write_text
from boneage.report.content import ReportContent, determination, intended_use, notice, report_content
from boneage.report.page import escape
from boneage.report.page_template import INDEX_MARK, INDEX_PAGE, INDEX_SCRIPT
from boneage.report.report import OUTPUT_SUFFIXES
from boneage.schema import (
    SCHEMA,
    AssessmentDocument,
    BothSexesDocument,
    RejectionDocument,
    WarningDocument,
)
from boneage.severity import Severity, highest_severity
from boneage.strict import InvalidValueError, parse_json, read
from boneage.words import gettext, marked

INDEX_NAME = "index.html"
"""Name of the index within its folder."""

_PICTURE, _PAGE, _DATA = OUTPUT_SUFFIXES

_LARGEST_BYTES = 10_000_000
"""Size from which a JSON file is no report; reports have about 30 kB."""

_MARK_WITHIN = 2_000
"""Characters at the beginning of an index that hold its mark."""

ReportDocument = AssessmentDocument | BothSexesDocument | RejectionDocument
"""Content of the JSON of a report."""


@dataclass(frozen=True)
class IndexEntry:
    """A radiograph of the index.

    Attributes:
        stem: stem of its files.
        document: content of its JSON; None for a report of another version of the schema, of which the index shows the
            name only.
        has_page: True if its page is in the folder.
        has_picture: True if its overlay is in the folder.
    """

    stem: str
    document: ReportDocument | None
    has_page: bool
    has_picture: bool


# --- the folder -------------------------------------------------------------------------------------------------------


def index_is_foreign(folder: Path) -> bool:
    """Return whether the folder has an ``index.html`` that this program has not made.

    Raises:
        OSError: The file cannot be read.
    """
    path = folder / INDEX_NAME
    if not os.path.lexists(path):
        return False
    if not path.is_file():
        return True
    with path.open(encoding="utf-8", errors="replace") as file:
        return INDEX_MARK not in file.read(_MARK_WITHIN)


def write_index(folder: Path) -> None:
    """Write ``index.html`` atomically from all reports of a folder, in the reader's language.

    A folder without reports gets none.

    Raises:
        OSError: The folder cannot be read or written.
    """
    entries = read_entries(folder)
    if entries:
        write_text(folder / INDEX_NAME, index_page(entries, folder.resolve().name))


def read_entries(folder: Path) -> list[IndexEntry]:
    """Return the reports of a folder by name. JSON files that are no reports are left out.

    Raises:
        OSError: The folder cannot be read.
    """
    names = {entry.name for entry in os.scandir(folder) if entry.is_file()}
    stems = sorted(name.removesuffix(_DATA) for name in names if name.endswith(_DATA) and not name.startswith("."))
    entries = []
    for stem in stems:
        value = _report_value(folder / f"{stem}{_DATA}")
        if value is not None:
            page, picture = (f"{stem}{suffix}" in names for suffix in (_PAGE, _PICTURE))
            entries.append(IndexEntry(stem, _document(value), page, picture))
    return entries


def _report_value(path: Path) -> dict[str, Any] | None:
    """Return the JSON of a report, or None for another file."""
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            return None
        value = parse_json(path.read_bytes())
    except (OSError, ValueError):  # removed meanwhile, or no JSON
        return None
    return value if isinstance(value, dict) and {"schema", "image", "sex", "radiograph"} <= value.keys() else None


def _document(value: dict[str, Any]) -> ReportDocument | None:
    """Return plain JSON as the document that it is, or None for one of another version."""
    try:
        if value["schema"] != SCHEMA:
            return None
        if "by_sex" in value:
            return read(BothSexesDocument, value)
        return read(RejectionDocument, value) if "error" in value else read(AssessmentDocument, value)
    except InvalidValueError:
        return None


# --- the page ---------------------------------------------------------------------------------------------------------


def index_page(entries: Sequence[IndexEntry], name: str, created: datetime | None = None) -> str:
    """Return the index as one page in HTML, in the reader's language.

    Everything that comes from a file is escaped. The page loads the overlays beside it, runs the script that sorts its
    table, and forbids itself any other script and any network.

    Args:
        entries: radiographs, in the order of the rows.
        name: name of the folder.
        created: date and time to print; now if not given.
    """
    return INDEX_PAGE.substitute(
        language=escape(words.language().replace("_", "-")),
        title=escape(f"{gettext('Radiographs')}: {name}"),
        heading=escape(gettext("Radiographs")),
        name=escape(f"{name} ({words.number(len(entries), 0)})"),
        created=escape(words.moment(created or datetime.now().astimezone())),
        heads="".join(_heads()),
        rows="\n".join(map(_row, entries)),
        notice=escape(" ".join(notice())),
        intended_use=escape(" ".join(intended_use())),
        script=INDEX_SCRIPT,
    )


_HEADS = (
    (marked("Radiograph"), False),
    (marked("Sex"), False),
    (marked("Chronological age"), True),
    (marked("Bone age, likely range"), True),
    (marked("SDS"), True),
    (marked("Warnings"), True),
)
"""Heads of the columns, and True for those whose keys are numbers."""
_LABELS = {"chronological": "Chronological age", "age": "Bone age", "sds": "SDS"}
"""Heads that are repeated in cells of a narrow screen, by the kind of the cell."""


def _heads() -> Iterator[str]:
    yield "<td></td>"
    for head, is_number in _HEADS:
        kind = " data-number" if is_number else ""
        yield f'<th scope="col"{kind}><button type="button">{escape(gettext(head))}</button></th>'


def _row(entry: IndexEntry) -> str:
    """Return a row. The keys of cells are what the table is sorted by: a text, a number, or nothing."""
    document = entry.document
    name = entry.stem if document is None else document.image or entry.stem
    link = _address(entry.stem, _PAGE if entry.has_page else _DATA)
    source = escape(_address(entry.stem, _PICTURE))
    # The picture is beside its name, so that it needs no words of its own.
    picture = f'<img src="{source}" alt="" loading="lazy">' if entry.has_picture else ""
    cells = [
        f'<td class="picture">{picture}</td>',
        _cell("name", name, f'<a href="{escape(link)}">{escape(name)}</a>'),
    ]
    if document is None:
        cells += [_cell(kind, None, "") for kind in ("sex", "chronological", "age", "sds", "warnings")]
    else:
        cells += [_cell("sex", document.sex, escape(words.sex(document.sex) or document.sex)), *_result_cells(document)]
    return f"<tr>{''.join(cells)}</tr>"


def _result_cells(document: ReportDocument) -> list[str]:
    if isinstance(document, RejectionDocument):
        return _rejected_cells(document)
    if isinstance(document, BothSexesDocument):
        return _reading_cells((document.by_sex.F, document.by_sex.M))
    return _reading_cells((document,))


def _rejected_cells(document: RejectionDocument) -> list[str]:
    reason = f'<p lang="en">{escape(document.error.message)} [{escape(document.error.code)}]</p>'
    return [
        _cell("chronological", None, ""),
        _cell("age rejected", None, escape(gettext("Not assessed"))),
        _cell("sds", None, ""),
        _cell("warnings rejected", len(Severity), reason),
    ]


def _reading_cells(readings: Sequence[AssessmentDocument]) -> list[str]:
    """Return the cells of one reading, or of both readings below one another. They are sorted by the first one."""
    first = readings[0]
    contents = [report_content(one) for one in readings]
    named = [f"{words.sex(one.sex)}: " if len(readings) > 1 else "" for one in readings]
    age_at_study = first.chronological_age
    sds = "" if first.sds is None else f"<p>{words.signed(first.sds, 2)}</p>{_soft(determination(first))}"
    warnings = {one.message: one for reading in readings for one in reading.warnings}.values()
    gravest = highest_severity(one.severity for one in warnings)
    return [
        _cell(
            "chronological",
            None if age_at_study is None else age_at_study.months,
            escape(words.chronological_age(chronological_age(age_at_study))),
        ),
        _cell("age", None if contents[0].is_void else first.age_months, "".join(map(_age, readings, contents, named))),
        _cell("sds", first.sds, sds),
        _cell(
            "warnings",
            None if gravest is None else gravest.rank,
            "".join(map(_warning, sorted(warnings, key=lambda one: -one.severity.rank))),
        ),
    ]


def _age(document: AssessmentDocument, content: ReportContent, name: str) -> str:
    """Return the bone age after a name, with its likely range; or struck through, with its stamp."""
    if content.is_void:
        age = f'<p>{escape(name)}<span class="void">{escape(content.age)}</span></p>'
        return f'{age}<p class="critical">{escape(content.stamp)}</p>'
    return f'<p>{escape(name)}<span class="estimate">{escape(content.age)}</span></p>{_soft(_range(document))}'


def _soft(text: str) -> str:
    """Return a second line of a cell."""
    return f'<p class="info">{escape(text)}</p>'


def _range(document: AssessmentDocument) -> str:
    """Return the 80 % prediction interval, open above near maturity."""
    if document.interval_80_months is None:
        return ""
    if document.near_maturity is not None and document.near_maturity.is_near:
        return f"≥ {words.age(document.interval_80_months[0])}"
    return words.ages_between(document.interval_80_months)


def _warning(document: WarningDocument) -> str:
    severity = words.severity_word(document.severity.value)
    return f'<p class="{document.severity.value}">{escape(f"{severity}: {words.warning(document)}")}</p>'


def _cell(kind: str, key: str | float | None, content: str) -> str:
    """Return a cell. On a narrow screen, where cells stand below each other, numbers have the head as a label."""
    label = f' data-label="{escape(gettext(_LABELS[kind]))}"' if kind in _LABELS and content else ""
    return f'<td class="{kind}" data-key="{"" if key is None else escape(str(key))}"{label}>{content}</td>'


def _address(stem: str, suffix: str) -> str:
    """Return the relative address of a report's file, which no name turns into another scheme or folder."""
    return f"./{quote(os.fsencode(f'{stem}{suffix}'))}"
