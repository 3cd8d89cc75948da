"""Outputs of an `Assessment` for people and programs: text, JSON, CSV, picture, page."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boneage import words
from boneage.assessment import Assessment
from boneage.bundle.bundle import Bundle
from boneage.clinical.change import SerialReading
from boneage.errors import BoneageError
from boneage.explain import Evidence, encode_picture, mark_hand, overlay, scale_colours
from boneage.file_names import UNSAFE, shown
from boneage.files import atomic_write, write_text
from boneage.report.content import ReportContent, report_content
from boneage.report.page_template import PAGE
from boneage.schema import SCHEMA, AssessmentDocument, FileDocument, RejectionDocument, RejectionReason, to_json
from boneage.severity import highest_severity
from boneage.warnings_ import ResultWarning, WarningCode
from boneage.words import gettext, marked

CSV_COLUMNS = (
    "image",
    "sex",
    "age_months",
    "age_text",
    "typical_error_months",
    "chronological_age_months",
    "chronological_age_precision",
    "difference_months",
    "reference",
    "sds",
    "sds_80_low",
    "sds_80_high",
    "determination",
    "determination_reason",
    "warnings",
    "severity",
    "bundle",
    "bundle_version",
    "error",
    "message",
    "report",
    "program_version",
)
"""Columns of the table of a batch. A radiograph that was rejected has no age, and its code in ``error``. ``warnings``
has the codes of the warnings, parted by spaces, ``severity`` the gravest among them, and ``report`` the stem of the
radiograph's files in the folder of reports."""

SETTINGS_COLUMNS = ("bundle", "bundle_version", "program_version")
"""Columns that have one value in all rows of a table (`csv_settings`)."""

OUTPUT_SUFFIXES = (".overlay.png", ".html", ".json")
"""Ends of the names of a radiograph's files, after the stem."""

_WARM_STEPS = 9


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


Outcome = Assessment | Rejected


# --- text, JSON, CSV ------------------------------------------------------------------------------------------------


def text(image: str, assessment: Assessment, *, is_brief: bool = False) -> str:
    """Return the estimate as lines for a person in the reader's language; warnings follow, the gravest first.

    Args:
        image: name of the radiograph.
        assessment: its assessment.
        is_brief: True to print one line and the warnings, as for many radiographs.
    """
    content = report_content(assessment.document())
    if is_brief:
        reading = "; ".join(filter(None, (_headline(assessment, content), content.sds)))
        return "\n".join(map(shown, (f"{image}: {reading}", *map(_warning_line, _noted(assessment)))))
    answer = [f"  {line}" for line in content.answer]
    regions = [f"  {region}: {words_of_age}" for region, words_of_age in content.regions]
    lines = [f"{image}: {_headline(assessment, content)}", *answer, *regions, *map(_warning_line, _noted(assessment))]
    return "\n".join(map(shown, lines))


def report_text(assessment: Assessment, earlier: SerialReading | None = None) -> str:
    """Return four lines for a radiology information system, in the reader's language. They name no patient.

    Args:
        assessment: the assessment.
        earlier: reading of an earlier radiograph of the child, with which it is compared.

    Raises:
        ClinicalError: ``reading_order`` if the earlier radiograph is known to be the later one.
    """
    return "\n".join(map(shown, report_content(assessment.document(), earlier=earlier).report_text))


def _headline(assessment: Assessment, content: ReportContent) -> str:
    """Return the bone age with its stamp, or the stamp alone for a number outside of bone ages."""
    if not content.stamp:
        return content.age
    return content.stamp if assessment.estimate.outside_range else f"{content.age} - {content.stamp}"


def _noted(assessment: Assessment) -> list[ResultWarning]:
    """Return the warnings but that of the phantom, which the stamp states."""
    return [warning for warning in assessment.warnings if warning.code is not WarningCode.PHANTOM]


def _warning_line(warning: ResultWarning) -> str:
    severity = words.severity_word(warning.severity.value)
    return f"  {severity}: {words.warning(warning.document())} [{warning.code.value}]"


def json_text(outcome: Outcome, image: str | None = None, *, indent: int | None = None) -> str:
    """Return an assessment by its one schema as JSON.

    A rejected radiograph has a `boneage.schema.RejectionDocument`.

    Args:
        outcome: outcome of a radiograph.
        image: name to give the radiograph; an assessment's own name for it if not given.
        indent: spaces to indent by; one line if None.
    """
    document: AssessmentDocument | RejectionDocument
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
    value = to_json(document)
    text_of_value = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    return UNSAFE.sub(lambda match: match[0] if match[0] == "\n" else f"\\u{ord(match[0]):04x}", text_of_value)


def csv_settings(bundle: Bundle) -> dict[str, str]:
    """Return what all rows of a table have in `SETTINGS_COLUMNS`."""
    manifest = bundle.manifest
    return dict(zip(SETTINGS_COLUMNS, (manifest.name, manifest.version, version("boneage")), strict=True))


def csv_row(image: str, outcome: Outcome, settings: Mapping[str, str], stem: str = "") -> list[str]:
    """Return the row of a radiograph, in the order of `CSV_COLUMNS`.

    Args:
        image: the radiograph's path as the user gave it, so that the table can be joined with theirs.
        outcome: an assessment, or why there is none.
        settings: settings of the table (`csv_settings`).
        stem: stem of the radiograph's files in the folder of reports; empty if it has none.
    """
    cells: dict[str, object] = {"image": image, "report": stem, **settings}
    if isinstance(outcome, Rejected):
        cells |= {"sex": outcome.sex_text, "error": outcome.error.code, "message": outcome.error.message}
    else:
        cells = {**document_cells(outcome.document()), **cells}
    values = [cells.get(column) for column in CSV_COLUMNS]
    return ["" if value is None else str(value) for value in values]


def document_cells(document: AssessmentDocument) -> dict[str, object]:
    """Return the cells of an assessment's row that its document gives, by column.

    Columns such as ``chronological_age_months`` hold the keys of inner objects, here ``chronological_age.months``.
    """
    age = document.chronological_age
    sds_low, sds_high = document.sds_interval_80 or (None, None)
    return {
        "image": document.image,
        "sex": document.sex,
        "age_months": document.age_months,
        "age_text": document.age_text,
        "typical_error_months": document.typical_error_months,
        "chronological_age_months": None if age is None else age.months,
        "chronological_age_precision": None if age is None else age.precision,
        "difference_months": None if document.difference is None else document.difference.months,
        "reference": document.reference.id,
        "sds": document.sds,
        "sds_80_low": sds_low,
        "sds_80_high": sds_high,
        "determination": document.determination,
        "determination_reason": document.determination_reason,
        "warnings": " ".join(warning.code for warning in document.warnings),
        "severity": highest_severity(warning.severity for warning in document.warnings),
    }


# --- files ----------------------------------------------------------------------------------------------------------


def write_files(
    assessment: Assessment, directory: Path, stem: str, evidence: Evidence = "both", *, outline: bool = True
) -> list[Path]:
    """Write ``<stem>.overlay.png``, ``<stem>.html`` and ``<stem>.json``, each in one piece, and return their paths.

    Args:
        assessment: assessment to write.
        directory: folder of the reports; made if it is missing.
        stem: stem of the names; see `may_write`.
        evidence: evidence of the heat map; see `boneage.explain.heat_map`.
        outline: draw where the hand was found, if it was.

    Raises:
        OSError: the folder cannot be written to.
    """
    picture, page_path, data = outputs_of(directory, stem)
    drawn = overlay_png(assessment, evidence, outline=outline)
    shown = page(assessment, evidence=evidence, outline=outline)
    # First the file that says whose files these are.
    write_text(data, json_text(assessment, indent=2) + "\n")
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


def overlay_png(assessment: Assessment, evidence: Evidence = "both", *, outline: bool = True) -> bytes:
    """Return the radiograph with its heat map, the colour scale and, with `outline`, the found hand, as PNG."""
    drawn = overlay(assessment.picture, assessment.heat_map(evidence=evidence))
    width = assessment.picture.shape[1]  # the colour scale stands beside the radiograph
    return encode_picture(".png", np.hstack([_marked(assessment, drawn[:, :width], outline), drawn[:, width:]]))


def _marked(assessment: Assessment, drawn: NDArray[np.uint8], outline: bool) -> NDArray[np.uint8]:
    """Mark the hand's outline, its points, and the boxes of the regions that were read on the radiograph's picture."""
    if assessment.hand is None or not outline:
        return drawn
    return mark_hand(drawn, assessment.hand, assessment.radiograph_to_picture, assessment.regions)


# --- the page -------------------------------------------------------------------------------------------------------


def page(
    assessment: Assessment,
    *,
    created: datetime | None = None,
    evidence: Evidence = "both",
    outline: bool = True,
) -> str:
    """Return one self-contained A4 page in HTML: estimate, warnings, radiograph and overlay, facts.

    Everything that comes from a file is escaped, and the page forbids itself scripts and any network.

    Args:
        assessment: assessment to show.
        created: date and time to print; now if not given.
        evidence: evidence of the heat map; see `boneage.explain.heat_map`.
        outline: draw over the heat map where the hand was found, if it was.
    """
    name = assessment.source_name or gettext("radiograph")
    content = report_content(assessment.document())
    return PAGE.substitute(
        language=escape(words.language().replace("_", "-")),
        title=escape(f"{content.title}: {name}"),
        heading=escape(content.title),
        name=escape(name),
        created=escape(words.moment(created or datetime.now().astimezone())),
        answer=_answer_html(content),
        warnings=_warnings_html(content),
        pictures=_pictures_html(assessment, evidence, outline),
        facts="".join(f"<div><dt>{escape(term)}</dt><dd>{escape(value)}</dd></div>" for term, value in content.facts),
        notice=escape(" ".join(content.notice)),
        intended_use=escape(" ".join(content.intended_use)),
        map_note=escape(gettext(_MAP_NOTES[evidence])),
        reader="".join(f"<span>{escape(gettext(term))}</span>" for term in _BY_HAND),
    )


def escape(text: str) -> str:
    """Return a text for HTML, with what is unsafe to print replaced."""
    return html.escape(shown(text))


def _answer_html(content: ReportContent) -> str:
    lines = [f'<p class="age{" void" if content.is_void else ""}">{escape(content.age)}</p>']
    lines += [f'<p class="stamp">{escape(content.stamp)}</p>'] if content.stamp else []
    lines += [f"<p>{escape(line)}</p>" for line in content.answer]
    items = "".join(f"<li>{escape(region)}: {escape(age)}</li>" for region, age in content.regions)
    if items:
        lines.append(f'<ul class="regions" aria-label="{escape(gettext("Bone age by region"))}">{items}</ul>')
    return "\n".join(lines)


def _warnings_html(content: ReportContent) -> str:
    """Return a section for each severity, the gravest first."""
    sections = []
    for group in content.warnings:
        items = "".join(f"<li>{escape(sentence)}</li>" for sentence in group.sentences)
        title = escape(group.title)
        head = f'<section class="warnings {group.severity.value}" aria-label="{title}"><h2>{title}</h2>'
        sections.append(f"{head}<ul>{items}</ul></section>")
    return "\n".join(sections)


def _pictures_html(assessment: Assessment, evidence: Evidence, outline: bool) -> str:
    radiograph = _data_uri(assessment.picture)
    heat = assessment.heat_map(evidence=evidence)
    is_outlined = assessment.hand is not None and outline
    figures = [
        _figure(radiograph, gettext("The radiograph"), gettext("Radiograph (grey values stretched for display)"))
    ]
    lines = gettext("Lines: outline, key points and regions of the hand")
    if not heat.is_empty:
        tinted = _marked(assessment, overlay(assessment.picture, heat, scale_bar=False), outline)
        caption = gettext(_MAP_CAPTIONS[evidence]) + (f" · {lines}" if is_outlined else "")
        alternative = gettext("The radiograph with the heat map")
        figures.append(_figure(_data_uri(tinted), alternative, caption, _scale_html()))
        return "\n".join(figures)
    if is_outlined:
        outlined = _data_uri(_marked(assessment, assessment.picture, outline))
        figures.append(_figure(outlined, gettext("The radiograph with the outline of the hand"), lines))
    figures.append(f"<p>{escape(gettext(_NO_MAP[evidence]))}</p>")
    return "\n".join(figures)


def _figure(uri: str, alternative: str, caption: str, below: str = "") -> str:
    caption_html = f"<figcaption>{escape(caption)}{below}</figcaption>"
    return f'<figure><img src="{uri}" alt="{escape(alternative)}">{caption_html}</figure>'


def _scale_html() -> str:
    stops = ", ".join(f"rgb({red} {green} {blue})" for red, green, blue in scale_colours(_WARM_STEPS))
    ramp = f'<i style="background: linear-gradient(to right, {stops})"></i>'
    weak, strong = escape(gettext("weak")), escape(gettext("strongest on this radiograph"))
    return f'<span class="scale">{weak} {ramp} {strong}</span>'


def _data_uri(picture: NDArray[np.uint8]) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(encode_picture(".jpg", picture)).decode("ascii")


_BY_HAND = (marked("Reader's bone age"), marked("Reason, if it differs"), marked("Date, signature"))
"""Terms that a reader fills in by hand on the printed page."""

_MAP_CAPTIONS: dict[Evidence, str] = {
    "both": marked("Heat map (Grad-CAM): places that influenced the estimate"),
    "raising": marked("Heat map (Grad-CAM, positive part): places that raised the estimate"),
}
_NO_MAP: dict[Evidence, str] = {
    "both": marked("There is no heat map: no place of the radiograph influenced the estimate."),
    "raising": marked("There is no heat map: no place of the radiograph raised the estimate."),
}
_MAP_NOTES: dict[Evidence, str] = {
    "both": marked("The heat map shows which places raised or lowered the estimate, not whether it is right."),
    "raising": marked("The heat map shows which places raised the estimate, not whether it is right."),
}
