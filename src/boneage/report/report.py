"""From an `Assessment` to what people and programs read: text, JSON, CSV, picture, page."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from string import Template

import numpy as np
from numpy.typing import NDArray

from boneage.assessment import (
    NOTICE,
    Assessment,
)
from boneage.bundle.bundle import Bundle
from boneage.errors import BoneageError
from boneage.explain import Evidence, encode_picture, mark_hand, overlay, scale_colours
from boneage.file_names import UNSAFE, shown
from boneage.files import atomic_write, write_text
from boneage.hand.registration import Hand
from boneage.schema import SCHEMA, AssessmentDocument, FileDocument, RejectionDocument, RejectionReason, to_json
from boneage.severity import Severity, highest_severity
from boneage.sex import Sex
from boneage.warnings_ import ResultWarning, WarningCode
from boneage.words import age_in_words, region_in_words

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
"""What follows the stem in the names of a radiograph's files."""

_DO_NOT_USE = "Do not use this number"
_SEVERITY_TITLES = {
    Severity.CRITICAL: _DO_NOT_USE,
    Severity.CAUTION: "Please check",
    Severity.INFO: "For information",
}
_OUTSIDE = "outside 0 to 19 years"
_SEX_WORDS = {Sex.FEMALE: "female", Sex.MALE: "male"}
_WARM_STEPS = 9


@dataclass(frozen=True)
class Rejected:
    """A radiograph that was not assessed: what takes the place of its assessment in a batch's output.

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


def text(image: str, assessment: Assessment) -> str:
    """The estimate as a line for a person, and a line for each warning, the gravest first.

    Args:
        image: what to call the radiograph.
        assessment: of it.
    """
    estimate = assessment.estimate
    if estimate.outside_range and not assessment.has_warning(WarningCode.PHANTOM):
        months = f"{estimate.age_months:.1f}" if estimate.age_months else "less than 0"  # it is cut at 0
        said = f"no bone age: {_OUTSIDE} (the networks said {months} months), {assessment.sex.value}"
    else:
        months = f"{assessment.age_months:.1f} months{_error_words(assessment)}"
        said = f"{assessment.age_text} ({months}), {assessment.sex.value}"
    if assessment.has_warning(WarningCode.PHANTOM):
        said += " - a drawn phantom: this number means nothing"
    elif assessment.reading.chronological_age is not None:
        said += f"; {_chronological(assessment)}"
    if _is_void(assessment) and not assessment.is_meaningless:
        said += f" - {_DO_NOT_USE.lower()}"
    noted = [warning for warning in assessment.warnings if warning.code is not WarningCode.PHANTOM]
    regions = [] if _is_void(assessment) else [f"  {words}" for words in _region_words(assessment)]
    lines = [f"{image}: {said}", *regions, *map(_warning_line, noted)]
    return "\n".join(map(shown, lines))


def _is_void(assessment: Assessment) -> bool:
    """Whether the number is shown as one that must not be used."""
    return assessment.is_meaningless or assessment.severity is Severity.CRITICAL


def _warning_line(warning: ResultWarning) -> str:
    return f"  {warning.severity.value}: {warning.message} [{warning.code.value}]"


def _region_words(assessment: Assessment) -> Iterator[str]:
    """A line for each region: its age; none for a system that reads a single one."""
    for region, age_months in assessment.region_ages_months.items():
        months = max(age_months, 0.0)
        yield f"{region_in_words(region)}: {age_in_words(months)} ({months:.1f} months)"


def json_text(outcome: Outcome, image: str | None = None, *, indent: int | None = None) -> str:
    """An assessment by its one schema.

    A rejected radiograph has a `boneage.schema.RejectionDocument`.

    Args:
        outcome: of a radiograph.
        image: what to call the radiograph; an assessment's own name for it if not given.
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
    return UNSAFE.sub(lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text_of_value)


def csv_settings(bundle: Bundle) -> dict[str, str]:
    """Return what all rows of a table have in `SETTINGS_COLUMNS`."""
    manifest = bundle.manifest
    return dict(zip(SETTINGS_COLUMNS, (manifest.name, manifest.version, version("boneage")), strict=True))


def csv_row(image: str, outcome: Outcome, settings: Mapping[str, str], stem: str = "") -> list[str]:
    """The row of a radiograph, as `CSV_COLUMNS`.

    Args:
        image: the radiograph's path as the user gave it, so that the table can be joined with theirs.
        outcome: an assessment, or why there is none.
        settings: of the table (`csv_settings`).
        stem: of the radiograph's files in the folder of reports; empty if it has none.
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
    """Write ``<stem>.overlay.png``, ``<stem>.html`` and ``<stem>.json``, each in one piece. Returns their paths.

    Args:
        assessment: to write.
        directory: made if it is missing.
        stem: of the names; see `may_write`.
        evidence: of the heat map; see `boneage.explain.heat_map`.
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
        rejected: with its checksum.
        directory: made if it is missing.
        stem: of the names; see `may_write`.
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
    """The paths that `write_files` writes to."""
    overlay_path, page_path, data = (directory / f"{stem}{suffix}" for suffix in OUTPUT_SUFFIXES)
    return overlay_path, page_path, data


def may_write(directory: Path, stem: str, sha256: str | None) -> bool:
    """Whether no other radiograph's report has this stem: its files are not there, or its JSON names this very
    radiograph.

    Args:
        directory: of the reports; need not exist.
        stem: of the names.
        sha256: checksum of the radiograph's file. Files that do not say whose they are count as another radiograph's.

    Raises:
        OSError: the folder may not be looked into.
    """
    data = outputs_of(directory, stem)[-1]
    try:
        said = json.loads(data.read_text(encoding="utf-8"))
        return sha256 is not None and bool(said["radiograph"]["sha256"] == sha256)
    except OSError:
        return not any(path.exists() for path in outputs_of(directory, stem))
    except (ValueError, KeyError, TypeError):
        return False


def overlay_png(assessment: Assessment, evidence: Evidence = "both", *, outline: bool = True) -> bytes:
    """The radiograph with its heat map and the colour scale, as PNG; with `outline`, also where the hand was found."""
    drawn = overlay(assessment.picture, assessment.heat_map(evidence=evidence))
    width = assessment.picture.shape[1]  # the colour scale stands beside the radiograph
    return encode_picture(".png", np.hstack([_marked(assessment, drawn[:, :width], outline), drawn[:, width:]]))


def _marked(assessment: Assessment, drawn: NDArray[np.uint8], outline: bool) -> NDArray[np.uint8]:
    """A picture of the radiograph's with the hand's outline, its points, and the boxes of the regions that were
    read.
    """
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
    """One A4 page in HTML that needs nothing beside itself: estimate, warnings, radiograph and overlay, facts.

    Everything that comes from a file is escaped, and the page forbids itself scripts and any network.

    Args:
        assessment: to show.
        created: date and time to print; now if not given.
        evidence: of the heat map; see `boneage.explain.heat_map`.
        outline: draw over the heat map where the hand was found, if it was.
    """
    moment = (created or datetime.now().astimezone()).strftime("%Y-%m-%d %H:%M %Z").strip()
    name = assessment.source_name or "radiograph"
    return _PAGE.substitute(
        title=escape(f"Bone age: {name}"),
        name=escape(name),
        created=escape(moment),
        answer=_answer_html(assessment),
        warnings=_warnings_html(assessment),
        pictures=_pictures_html(assessment, evidence, outline),
        facts="".join(
            f"<div><dt>{escape(term)}</dt><dd>{escape(value)}</dd></div>" for term, value in _facts(assessment)
        ),
        notice=escape(NOTICE),
        map_note=escape(_MAP_NOTES[evidence]),
    )


def escape(text: str) -> str:
    """Return a text for HTML, with what is unsafe to print replaced."""
    return html.escape(shown(text))


def _error_words(assessment: Assessment) -> str:
    error = assessment.estimate.typical_error_months
    return "" if error is None or _is_void(assessment) else f", typical error {error:.1f}"


def _chronological(assessment: Assessment) -> str:
    """The age that the file gives and, if they can be compared, how far the bone age is from it."""
    age, difference = assessment.reading.chronological_age, assessment.reading.difference
    assert age is not None  # noqa: S101 - the callers asked; for the type checker
    words = f"chronological age {age_in_words(12 * age.completed.years + age.completed.months)}"
    if difference is None or difference.months is None or _is_void(assessment):
        return words
    return f"{words}: bone age is {_compared(difference.months)}"


def _compared(difference_months: float) -> str:
    if round(difference_months) == 0:
        return "the same"
    return f"{age_in_words(abs(difference_months))} {'ahead' if difference_months > 0 else 'behind'}"


def _answer_html(assessment: Assessment) -> str:
    void = _is_void(assessment)
    lines = [f'<p class="age{" void" if void else ""}">{escape(assessment.age_text)}</p>']
    if assessment.has_warning(WarningCode.PHANTOM):
        lines.append('<p class="stamp">Drawn phantom: this number means nothing</p>')
    elif void:
        reason = f"No bone age: {_OUTSIDE}" if assessment.estimate.outside_range else _DO_NOT_USE
        lines.append(f'<p class="stamp">{reason}</p>')
    lines.append(f"<p>{assessment.age_months:.1f} months, read as {_SEX_WORDS[assessment.sex]}</p>")
    lines += [] if void else [*_error_html(assessment), *_regions_html(assessment)]
    if assessment.reading.chronological_age is not None and not assessment.has_warning(WarningCode.PHANTOM):
        said = _chronological(assessment)
        lines.append(f"<p>{escape(said[0].upper() + said[1:])}</p>")
    return "\n".join(lines)


def _error_html(assessment: Assessment) -> Iterator[str]:
    """How far to trust the number."""
    estimate = assessment.estimate
    if estimate.typical_error_months is not None:
        error = f"Typical error <b>{estimate.typical_error_months:.1f} months</b>"
        radiographs = (
            "radiographs of this sex and near this age" if estimate.is_calibrated else "validation radiographs"
        )
        yield f"<p>{error} (mean absolute difference from readers on {radiographs})</p>"
    if estimate.interval_months is not None:
        yield f"<p>{_range_html(95, estimate.interval_months)} ({_interval_words(assessment)})</p>"
    if estimate.interval_80_months is not None:
        yield f"<p>{_range_html(80, estimate.interval_80_months)}</p>"


def _range_html(percent: int, bounds: tuple[float, float]) -> str:
    low, high = (escape(age_in_words(bound)) for bound in bounds)
    return f"{percent} % range <b>{low}</b> to <b>{high}</b>"


def _regions_html(assessment: Assessment) -> Iterator[str]:
    """The bone age by each region alone."""
    items = "".join(f"<li>{escape(words)}</li>" for words in _region_words(assessment))
    if items:
        yield f'<ul class="regions" aria-label="Bone age by region">{items}</ul>'


def _interval_words(assessment: Assessment) -> str:
    """What the interval is, and what it held where that was measured."""
    is_calibrated, coverage = assessment.estimate.is_calibrated, assessment.interval_coverage
    width = "calibrated by sex and age" if is_calibrated else "± 1.96 RMSE of validation, the same for every age"
    return width if coverage is None else f"{width}; held {100 * coverage:.1f} % of the validation radiographs"


def _warnings_html(assessment: Assessment) -> str:
    """A section for each severity, the gravest first."""
    sections = []
    for severity in reversed(Severity):
        items = "".join(
            f"<li><b>{escape(warning.code.value.replace('_', ' '))}</b> {escape(warning.message)}</li>"
            for warning in assessment.warnings
            if warning.severity is severity
        )
        if items:
            title = _SEVERITY_TITLES[severity]
            head = f'<section class="warnings {severity.value}" aria-label="{title}"><h2>{title}</h2>'
            sections.append(f"{head}<ul>{items}</ul></section>")
    return "\n".join(sections)


def _pictures_html(assessment: Assessment, evidence: Evidence, outline: bool) -> str:
    radiograph = _data_uri(assessment.picture)
    heat = assessment.heat_map(evidence=evidence)
    found = assessment.hand is not None and outline
    figures = [_figure(radiograph, "The radiograph", "Radiograph, grey levels stretched for display")]
    if not heat.is_empty:
        tinted = _marked(assessment, overlay(assessment.picture, heat, scale_bar=False), outline)
        caption = _MAP_CAPTIONS[evidence] + (f"; {_OUTLINE_WORDS}" if found else "")
        figures.append(_figure(_data_uri(tinted), "The radiograph with the heat map", caption, _scale_html()))
        return "\n".join(figures)
    if found:
        marked = _data_uri(_marked(assessment, assessment.picture, outline))
        figures.append(_figure(marked, "The radiograph with the hand's outline", _OUTLINE_WORDS.capitalize()))
    figures.append(f"<p>{_NO_MAP[evidence]}</p>")
    return "\n".join(figures)


def _figure(uri: str, alternative: str, caption: str, below: str = "") -> str:
    caption_html = f"<figcaption>{escape(caption)}{below}</figcaption>"
    return f'<figure><img src="{uri}" alt="{escape(alternative)}">{caption_html}</figure>'


def _scale_html() -> str:
    stops = ", ".join(f"rgb({red} {green} {blue})" for red, green, blue in scale_colours(_WARM_STEPS))
    ramp = f'<i style="background: linear-gradient(to right, {stops})"></i>'
    return f'<span class="scale">weak {ramp} strongest on this radiograph</span>'


def _data_uri(picture: NDArray[np.uint8]) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(encode_picture(".jpg", picture)).decode("ascii")


def _facts(assessment: Assessment) -> Iterator[tuple[str, str]]:
    """What the page says of the radiograph and of the system: (term, value); what is not known is left out."""
    facts = assessment.facts
    height, width = assessment.radiograph_shape
    values: list[tuple[str, object]] = [
        ("Sex, as given", _SEX_WORDS[assessment.sex]),
        ("Sex in the file", None if facts.sex is None else _SEX_WORDS[facts.sex]),
        ("Study date", facts.study_date),
        ("Side in the file", facts.side),
        ("Body part", facts.body_part),
        ("Radiograph", f"{width} × {height} pixels, {facts.format}"),
        ("Bits stored", facts.bits_stored),
        (
            "Pixel spacing",
            None if facts.spacing_mm is None else " × ".join(f"{x:.3f}" for x in facts.spacing_mm) + " mm",
        ),
        ("Modality", facts.modality),
        ("Photometric", facts.photometric),
        ("Hand on the radiograph", None if assessment.hand is None else _hand_words(assessment.hand)),
        ("Bundle", f"{assessment.bundle_name} {assessment.bundle_version}"),
        ("Networks", len(assessment.estimate.member_ages_months)),
    ]
    return ((term, str(value)) for term, value in values if value is not None)


def _hand_words(hand: Hand) -> str:
    """How the hand lies on its radiograph."""
    degrees = round(hand.rotation_degrees)
    turned = f"turned by {abs(degrees)}° {'clockwise' if degrees > 0 else 'anticlockwise'}" if degrees else "upright"
    notes = [turned, *(["mirrored"] if hand.mirrored else []), *(["bone dark"] if hand.inverted else [])]
    return ", ".join(notes)


_OUTLINE_WORDS = "lines: the hand as found, its key points, the regions read"

_MAP_CAPTIONS: dict[Evidence, str] = {
    "both": "Where the networks looked (Grad-CAM)",
    "raising": "What raised the age (Grad-CAM, positive part)",
}
_NO_MAP: dict[Evidence, str] = {
    "both": "No heat map: no place of the radiograph moved the age.",
    "raising": "No heat map: no place of the radiograph raised the age.",
}
_MAP_NOTES: dict[Evidence, str] = {
    "both": "The heat map shows which places moved the estimate, up or down, not whether it is right.",
    "raising": "The heat map shows which places raised the estimate, not which lowered it nor whether it is right.",
}

_PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2430; --soft: #5a6675; --line: #dde2e8; --accent: #14507a;
  --caution: #8a4b00; --caution-paper: #fff6e8; --critical: #9b1c1c; --critical-paper: #fdecec; }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #12161b; --ink: #e4e8ed; --soft: #9aa6b4;
  --line: #2b333d; --accent: #8cc4ef; --caution: #ffc577; --caution-paper: #2a2114;
  --critical: #ff9d9d; --critical-paper: #331a1c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 860px; margin: 0 auto; padding: 28px 24px; }
header { display: flex; justify-content: space-between; align-items: baseline; gap: 16px;
  border-bottom: 1px solid var(--line); padding-bottom: 10px; }
h1 { font-size: 17px; font-weight: 600; margin: 0; overflow-wrap: anywhere; }
h1 span { color: var(--soft); font-weight: 400; }
time { color: var(--soft); white-space: nowrap; font-size: 13px; }
.answer { padding: 16px 0 12px; }
.answer p { margin: 2px 0; }
.answer .age { font-size: 36px; line-height: 1.15; font-weight: 600; letter-spacing: -0.01em; color: var(--accent);
  margin: 0 0 6px; }
.answer .regions { list-style: none; margin: 8px 0 0; padding: 0; display: flex; flex-wrap: wrap; gap: 2px 22px;
  color: var(--soft); font-size: 14px; }
.answer .void { color: var(--soft); text-decoration: line-through; text-decoration-thickness: 2px; }
.answer .stamp { color: var(--critical); font-weight: 600; margin-bottom: 6px; }
.warnings { --ink-of-it: var(--soft); border-left: 4px solid var(--ink-of-it); padding: 8px 14px; margin: 4px 0 10px; }
.warnings.caution { --ink-of-it: var(--caution); background: var(--caution-paper); }
.warnings.critical { --ink-of-it: var(--critical); background: var(--critical-paper); }
.warnings h2 { font-size: 13px; margin: 0 0 2px; color: var(--ink-of-it); }
.warnings ul { margin: 0; padding-left: 18px; }
.warnings b::first-letter { text-transform: uppercase; }
.warnings b::after { content: ":"; }
.pictures { display: grid; grid-template-columns: 1fr 1fr; gap: 14px; }
figure { margin: 0; min-width: 0; }
figure img { display: block; width: 100%; max-height: 560px; object-fit: contain; background: #000;
  border-radius: 4px; }
figcaption { font-size: 13px; color: var(--soft); padding-top: 5px; }
.scale { display: flex; align-items: center; gap: 8px; padding-top: 4px; white-space: nowrap; }
.scale i { flex: 0 1 160px; height: 9px; border-radius: 2px;
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(185px, 1fr)); gap: 6px 18px;
  margin: 16px 0; padding: 12px 0; border: solid var(--line); border-width: 1px 0; }
dl div { min-width: 0; }
dt { font-size: 12px; color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
.reader { display: none; }
footer { color: var(--soft); font-size: 13px; }
footer b { color: var(--ink); }
@media (max-width: 560px) { .pictures { grid-template-columns: 1fr; } header { flex-wrap: wrap; } }
@page { size: A4; margin: 13mm 15mm; }
@media print {
  :root { color-scheme: light; }
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  .answer .age { font-size: 25pt; }
  figure img { max-height: 108mm; }
  .warnings ~ .pictures img { max-height: 72mm; }
  dl { grid-template-columns: repeat(4, 1fr); margin: 10px 0; padding: 8px 0; }
  .warnings { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .warnings, figure, dl, footer { break-inside: avoid; }
  .reader { display: grid; grid-template-columns: 2fr 3fr 2fr; gap: 14px; margin: 14px 0 16px; }
  .reader span { border-bottom: 1px solid #888; padding-bottom: 16px; font-size: 9pt; color: var(--soft); }
}
</style>
</head>
<body>
<main>
<header><h1>Bone age <span>$name</span></h1><time>$created</time></header>
<section class="answer" aria-label="Bone age">
$answer
</section>
$warnings
<section class="pictures" aria-label="Pictures">
$pictures
</section>
<dl>$facts</dl>
<p class="reader"><span>Reader's bone age</span><span>Reason, if it differs</span><span>Date, signature</span></p>
<footer><b>$notice</b> $map_note</footer>
</main>
</body>
</html>
""")
