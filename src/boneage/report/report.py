"""Outputs of an assessment for people and programs: text, JSON, CSV, and the files of a report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from boneage import words
from boneage.assessment import Assessment
from boneage.bundle.bundle import Bundle
from boneage.clinical.change import SerialReading
from boneage.errors import BoneageError
from boneage.explain import Evidence
from boneage.file_names import UNSAFE, shown
from boneage.files import atomic_write, write_text
from boneage.flat_row import COLUMNS, flat_row
from boneage.report.both_sexes import Assessed, BothSexesContent, both_headlines, content_of, readings_of
from boneage.report.content import ReadingContent, ReportContent, bone_rows
from boneage.report.page import HAND_LINES, Lines, overlay_png, page
from boneage.schema import (
    SCHEMA,
    AssessmentDocument,
    BothSexesDocument,
    FileDocument,
    RejectionDocument,
    RejectionReason,
)
from boneage.severity import Severity
from boneage.strict import to_plain
from boneage.warnings_ import ResultWarning, WarningCode, by_severity

CSV_COLUMNS = (*COLUMNS, "error", "message", "report", "program_version")
"""Columns of the table of a batch: every scalar of the JSON (`boneage.flat_row`) and those of the run. A rejected
radiograph has no age, and its code in ``error``; ``report`` is the stem of its files in the folder of reports."""

SETTINGS_COLUMNS = ("bundle", "bundle_version", "program_version")
"""Columns that have one value in all rows of a table (`csv_settings`)."""

OUTPUT_SUFFIXES = (".overlay.png", ".html", ".json")
"""Ends of the names of a radiograph's files, after the stem."""


@dataclass(frozen=True)
class Rejected:
    """A radiograph that was not assessed, in place of its assessment in a batch's output.

    Attributes:
        sex_text: the sex as the user wrote it.
        error: why.
        sha256: checksum of the file; None if it could not be read.
    """

    sex_text: str
    error: BoneageError
    sha256: str | None = None


Outcome = Assessed | Rejected


# --- text, JSON, CSV ------------------------------------------------------------------------------------------------


def text(image: str, assessed: Assessed, *, is_brief: bool = False, regions: bool = False) -> str:
    """Return the estimate as lines for a person in the reader's language; warnings follow, the gravest first.

    Args:
        image: name of the radiograph.
        assessed: its assessment.
        is_brief: True to print one line and the warnings, as for many radiographs.
        regions: True to print the bone age by each region and each bone as well.
    """
    content = content_of(assessed)
    if isinstance(content, BothSexesContent):
        headline = both_headlines(content.readings) if is_brief else content.explanation
        last = content.no_sds
        pairs = zip(content.readings, readings_of(assessed), strict=True)
        lines = [
            line
            for reading, one in pairs
            for line in _reading_lines(reading, _by_part(reading, one) if regions else [], is_brief=is_brief)
        ]
        lines += [f"  {content.chronological_age}"] if content.chronological_age and not is_brief else []
    else:
        headline, last = _headline(assessed, content), content.sds
        lines = [] if is_brief else [f"  {line}" for line in content.answer]
        if regions:
            lines += [f"  {line}" for line in _by_part(content.readings[0], readings_of(assessed)[0])]
    if is_brief:
        headline = "; ".join(filter(None, (headline, last)))
    return "\n".join(map(shown, (f"{image}: {headline}", *lines, *map(_warning_line, _noted(assessed)))))


def report_text(outcome: Outcome, earlier: SerialReading | None = None) -> str:
    """Return lines for a radiology information system, in the reader's language. They name no patient.

    There are four lines, and one for each critical warning and each caution that they do not state. A rejected
    radiograph has one line with the reason.

    Args:
        outcome: outcome of a radiograph.
        earlier: reading of an earlier radiograph of the child, with which it is compared.

    Raises:
        ClinicalError: ``reading_order`` if the earlier radiograph is known to be the later one.
    """
    if isinstance(outcome, Rejected):
        reason = outcome.error.message.rstrip(".")
        return shown(words.sentences(words.gettext("No bone age is reported"), reason))
    content = content_of(outcome, earlier)
    stated = "\n".join(content.report_text)
    warnings = [
        f"{words.severity_word(group.severity.value)}: {sentence}"
        for group in content.warnings
        if group.severity is not Severity.INFO
        for sentence in group.sentences
        if sentence.rstrip(".。") not in stated
    ]
    return "\n".join(map(shown, (*content.report_text, *warnings)))


def _reading_lines(reading: ReadingContent, parts: Sequence[str], *, is_brief: bool) -> list[str]:
    """Return the lines of one of two readings, those of its parts last; none if they would repeat the only line."""
    if is_brief and not parts:
        return []
    age = f"{reading.age} - {reading.stamp}" if reading.stamp else reading.age
    below = [*(() if is_brief else reading.lines), *parts]
    return [f"  {reading.heading}: {age}", *(f"    {line}" for line in below)]


def _by_part(reading: ReadingContent, assessment: Assessment) -> list[str]:
    """Return the bone age by each region and each bone; nothing for a number that must not be used."""
    bones = () if reading.is_void else bone_rows(assessment.document())
    return [f"{part}: {age}" for part, age in (*reading.regions, *bones)]


def _headline(assessed: Assessed, content: ReportContent) -> str:
    """Return the bone age with its stamp, or the stamp alone for a number outside of bone ages."""
    if not content.stamp:
        return content.age
    is_outside = isinstance(assessed, Assessment) and assessed.estimate.outside_range
    return content.stamp if is_outside else f"{content.age} - {content.stamp}"


def _noted(assessed: Assessed) -> list[ResultWarning]:
    """Return the warnings, each once, but that of the phantom, which the stamp states."""
    warnings = dict.fromkeys(warning for reading in readings_of(assessed) for warning in reading.warnings)
    return [warning for warning in by_severity(list(warnings)) if warning.code is not WarningCode.PHANTOM]


def _warning_line(warning: ResultWarning) -> str:
    severity = words.severity_word(warning.severity.value)
    return f"  {severity}: {words.warning(warning.document())} [{warning.code.value}]"


def json_text(outcome: Outcome, image: str | None = None, *, indent: int | None = None) -> str:
    """Return an assessment by its one schema as JSON.

    A radiograph that was read for both sexes has a `boneage.schema.BothSexesDocument`, and a rejected one a
    `boneage.schema.RejectionDocument`.

    Args:
        outcome: outcome of a radiograph.
        image: name to give the radiograph; an assessment's own name for it if not given.
        indent: spaces to indent by; one line if None.
    """
    document: AssessmentDocument | BothSexesDocument | RejectionDocument
    if isinstance(outcome, Rejected):
        document = RejectionDocument(
            schema=SCHEMA,
            image=image,
            sex=outcome.sex_text,
            error=RejectionReason(code=outcome.error.code, message=outcome.error.message),
            radiograph=FileDocument(sha256=outcome.sha256),
        )
    else:
        document = outcome.document()
        document = document if image is None else replace(document, image=image)
    value = to_plain(document)
    text_of_value = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    return UNSAFE.sub(lambda match: match[0] if match[0] == "\n" else f"\\u{ord(match[0]):04x}", text_of_value)


def csv_settings(bundle: Bundle) -> dict[str, str]:
    """Return what all rows of a table have in `SETTINGS_COLUMNS`."""
    manifest = bundle.manifest
    return dict(zip(SETTINGS_COLUMNS, (manifest.name, manifest.version, version("boneage")), strict=True))


def csv_rows(image: str, outcome: Outcome, settings: Mapping[str, str], stem: str = "") -> list[list[str]]:
    """Return the rows of a radiograph, in the order of `CSV_COLUMNS`.

    There is one row, or one for girls and one for boys if the radiograph was read for both sexes. The row of a rejected
    radiograph has the checksum of the file too, if the file could be read.

    Args:
        image: the radiograph's path as the user gave it, so that the table can be joined with theirs.
        outcome: an assessment, or why there is none.
        settings: settings of the table (`csv_settings`).
        stem: stem of the radiograph's files in the folder of reports; empty if it has none.
    """
    shared: dict[str, object] = {"image": image, "report": stem, **settings}
    if isinstance(outcome, Rejected):
        error = {"sex": outcome.sex_text, "error": outcome.error.code, "message": outcome.error.message}
        return [_csv_cells({**shared, **error, "radiograph_sha256": outcome.sha256})]
    return [_csv_cells({**flat_row(reading.document()), **shared}) for reading in readings_of(outcome)]


def _csv_cells(cells: Mapping[str, object]) -> list[str]:
    values = [cells.get(column) for column in CSV_COLUMNS]
    return ["" if value is None else str(value) for value in values]


# --- files ----------------------------------------------------------------------------------------------------------


def write_files(
    assessed: Assessed, directory: Path, stem: str, evidence: Evidence = "both", *, lines: Lines = HAND_LINES
) -> list[Path]:
    """Write ``<stem>.overlay.png``, ``<stem>.html`` and ``<stem>.json``, each in one piece, and return their paths.

    Args:
        assessed: assessment to write.
        directory: folder of the reports; made if it is missing.
        stem: stem of the names; see `may_write`.
        evidence: evidence of the heat map; see `boneage.explain.HeatMap.of`.
        lines: lines on the pictures, as far as the assessment has them.

    Raises:
        OSError: the folder cannot be written to.
    """
    picture, page_path, data = outputs_of(directory, stem)
    drawn = overlay_png(assessed, evidence, lines=lines)
    shown = page(assessed, evidence=evidence, lines=lines)
    # First the file that says whose files these are.
    write_text(data, json_text(assessed, indent=2) + "\n")
    with atomic_write(picture) as temporary:
        temporary.write_bytes(drawn)
    write_text(page_path, shown)
    return [picture, page_path, data]


def write_rejection(rejected: Rejected, directory: Path, stem: str, image: str) -> Path:
    """Write why a radiograph was not assessed to ``<stem>.json``, and remove page and overlay of an earlier assessment
    of it.

    So no age stands in the folder for a radiograph that is rejected now.

    Args:
        rejected: rejected radiograph with its checksum.
        directory: folder of the reports; made if it is missing.
        stem: stem of the names; see `may_write`.
        image: the radiograph's name.

    Raises:
        OSError: the folder cannot be written to.
    """
    picture, page_path, data = outputs_of(directory, stem)
    write_text(data, json_text(rejected, image, indent=2) + "\n")
    picture.unlink(missing_ok=True)
    page_path.unlink(missing_ok=True)
    return data


def outputs_of(directory: Path, stem: str) -> tuple[Path, Path, Path]:
    """Return the paths that `write_files` writes to."""
    overlay_path, page_path, data = (directory / f"{stem}{suffix}" for suffix in OUTPUT_SUFFIXES)
    return overlay_path, page_path, data


def may_write(directory: Path, stem: str, sha256: str | None) -> bool:
    """Return True if no other radiograph's report has this stem: its files are missing, or its JSON names this very
    radiograph.

    Args:
        directory: folder of the reports; need not exist.
        stem: stem of the names.
        sha256: checksum of the radiograph's file. Files that do not say whose they are count as another radiograph's.

    Raises:
        OSError: the folder may not be looked into.
    """
    data = outputs_of(directory, stem)[-1]
    try:
        content = json.loads(data.read_text(encoding="utf-8"))
        return sha256 is not None and bool(content["radiograph"]["sha256"] == sha256)
    except OSError:
        return not any(path.exists() for path in outputs_of(directory, stem))
    except (ValueError, KeyError, TypeError):
        return False
