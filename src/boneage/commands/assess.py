"""Command ``boneage assess`` for one or many radiographs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from boneage.commands.assess_options import (
    FilesCommand,
    checked_age,
    checked_date,
    checked_language,
    checked_sex,
    complete_language,
    complete_sex,
)
from boneage.commands.batch_items import batch_items, missing_date
from boneage.commands.each_radiograph import exit_status, sigterm_interrupts, summary, unforeseen
from boneage.commands.progress import ProgressLine, quiet_option
from boneage.commands.resume import BatchItem, errors_of, resumption
from boneage.file_names import printable_name, shown

if TYPE_CHECKING:
    from boneage.atlas import Atlas
    from boneage.bundle.bundle import Bundle
    from boneage.clinical.ages import ChronologicalAge
    from boneage.clinical.references import Reference
    from boneage.commands.report_folder import ReportFolder
    from boneage.errors import BoneageError
    from boneage.explain import Evidence
    from boneage.report.report import Outcome
    from boneage.tables.appended_table import AppendedTable

_STOPPED = 130

_Form = Literal["text", "regions", "json", "report_text"]
"""Form in which the result of a radiograph is printed."""


@click.command(
    cls=FilesCommand,
    epilog="""\
\b
Exit codes:
  0    every radiograph was assessed
  1    a radiograph failed unexpectedly, or an output cannot be written
  2    wrong usage
  3    at least one radiograph was rejected; the others were assessed
  4    the bundle is missing or damaged
  6    the list cannot be used, or the table cannot be resumed
  7    the atlas is missing or damaged
  130  stopped by Ctrl-C or SIGTERM; finished results are written

Standard error has one line with a stable code for each rejected radiograph, and a count at the end.""",
)
@click.argument("files", nargs=-1, type=click.Path(readable=False))
@click.option(
    "--sex",
    metavar="F|M|both",
    callback=checked_sex,
    shell_complete=complete_sex,
    help="Sex of the patient of all FILES. Required with FILES; never taken from the file. With both, for a sex that is"
    " unknown or other, each radiograph is read by female and by male standards, without an SDS.",
)
@click.option(
    "--birth-date",
    metavar="YYYY-MM-DD",
    callback=checked_date,
    help="Date of birth of the patient of all FILES. The study date comes from the file or from --study-date.",
)
@click.option(
    "--study-date",
    metavar="YYYY-MM-DD",
    callback=checked_date,
    help="Date of the study of all FILES.",
)
@click.option(
    "--age",
    "stated_age",
    metavar="YEARS|13y6m",
    callback=checked_age,
    help="Chronological age at the study of all FILES, instead of a date of birth. Without months it counts as known in"
    " whole years, and there is no SDS.",
)
@click.option(
    "--list",
    "listed",
    type=click.Path(readable=False, path_type=Path),
    help="CSV table with the columns image,sex, or id,male in RSNA's layout, instead of FILES. It may have the columns"
    " birth_date,study_date,age; others are named in a warning.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object for each radiograph, each on its own line."
)
@click.option(
    "--csv",
    "table",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a table: image,sex,age_months,... An earlier table stays as TABLE.previous until it is complete.",
)
@click.option("--resume", is_flag=True, help="Resume the table of --csv, after an interruption or a correction.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the overlay, the page and the JSON of each radiograph, and an index of all.",
)
@click.option(
    "--steps",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for pictures of every step of one radiograph, from the hand's mask to the maps.",
)
@click.option(
    "--evidence",
    type=click.Choice(["both", "raising"]),
    default="both",
    show_default=True,
    help="Pixels in the heat map: those that moved the age up or down, or only those that raised it (Grad-CAM).",
)
@click.option(
    "--outline/--no-outline",
    default=True,
    show_default=True,
    help="Draw the outline of the hand on overlay and page, if the bundle locates the hand.",
)
@click.option(
    "--epiphyses",
    is_flag=True,
    help="Draw the outlines of epiphyses and carpal bones on overlay and page as well. The bundle needs a network for"
    " them.",
)
@click.option("--regions", is_flag=True, help="Print the bone age by each region and each bone as well.")
@click.option(
    "--report-text",
    is_flag=True,
    help="Print four lines and the warnings for a radiology information system instead; they name no patient. With"
    " --list or several FILES, a heading names each file.",
)
@click.option(
    "--language",
    metavar="CODE",
    default="en",
    show_default=True,
    callback=checked_language,
    shell_complete=complete_language,
    help="Language of printed lines and pages: en, de, es, fr, pt_BR or zh_Hans. JSON and tables stay English.",
)
@click.option(
    "--bundle", "bundle_name", default="default", show_default=True, help="Name of a shipped bundle, or a folder."
)
@click.option(
    "--atlas",
    "atlas_name",
    default="default",
    show_default=True,
    help="Name of a shipped atlas, or a folder. The JSON has its most probable plates.",
)
@click.option(
    "--threads", type=click.IntRange(min=1), default=2, show_default=True, help="Number of threads for the networks."
)
@quiet_option
def assess(  # click passes options by name
    files: tuple[str, ...],
    sex: str | None,
    birth_date: date | None,
    study_date: date | None,
    stated_age: ChronologicalAge | None,
    listed: Path | None,
    as_json: bool,
    table: Path | None,
    resume: bool,
    out: Path | None,
    steps: Path | None,
    evidence: Evidence,
    outline: bool,
    epiphyses: bool,
    regions: bool,
    report_text: bool,
    language: str,
    bundle_name: str,
    atlas_name: str,
    threads: int,
    quiet: bool,
) -> int:
    r"""Assess the bone age on radiographs of the hand: DICOM, PNG, TIFF, JPEG, JPEG 2000, WebP, BMP.

    The option --csv TABLE writes each row as soon as it is finished. A radiograph that is read for both sexes has two
    rows. After an interruption, the same command with --resume assesses the missing radiographs. It repeats those that
    were not found or failed unexpectedly, and those whose file, chronological age or reference has changed. It rejects
    a table of another bundle or version, a different sex of a radiograph, radiographs outside of the list, and reports
    without --out.

    The option --out DIR writes <name>.overlay.png, <name>.html and <name>.json for each radiograph. A name that another
    radiograph uses, in this run or an earlier one, gets a number. The JSON identifies the radiograph by its checksum,
    and only reports of the same radiograph are replaced. A rejected radiograph gets its JSON with the reason, and an
    earlier page and overlay of it are removed. The page index.html lists all reports of the folder, those of earlier
    runs included, in a table that can be sorted.

    The option --steps DIR writes 01_original.png, 02_mask.png and so on for one radiograph, and all of them on a sheet,
    steps.png. A radiograph that is rejected because of its hand gets the first two.

    File names may contain any bytes. Control characters and bytes outside UTF-8 are printed as \xff and \u202e. A list
    accepts these escapes too.
    """
    from boneage.clinical.ages import StatedAge
    from boneage.clinical.references import configured_reference

    if stated_age is not None and (birth_date is not None or study_date is not None):
        raise click.UsageError("Give --age, or --birth-date and --study-date, but not both.")
    items = batch_items(files, sex, listed, StatedAge(birth_date, study_date, stated_age))
    inputs = [*(item.path for item in items), *([listed] if listed else [])]
    _reject_overwriting(table, inputs, out)
    if report_text and as_json:
        raise click.UsageError("Give --report-text or --json, but not both.")
    if regions and (report_text or as_json):
        raise click.UsageError("--regions adds to the printed lines: leave out --report-text and --json.")
    if resume and table is None:
        raise click.UsageError("--resume continues a table: give --csv too.")
    if epiphyses and out is None:
        raise click.UsageError("--epiphyses draws on overlay and page: give --out too.")
    if steps is not None:
        _reject_steps_of(items, steps)

    from boneage.atlas import Atlas
    from boneage.bundle.bundle import Bundle
    from boneage.commands.report_folder import ReportFolder
    from boneage.report.folder_index import INDEX_NAME
    from boneage.report.page import Lines
    from boneage.report.report import CSV_COLUMNS
    from boneage.tables.appended_table import AppendedTable
    from boneage.words import use_language

    reference = configured_reference()  # fails before the first radiograph if it cannot be read
    bundle, atlas = Bundle.open(bundle_name, threads=threads), Atlas.open(atlas_name)
    if steps is not None and not bundle.finds_hands:
        raise click.UsageError(
            f"The bundle {bundle.manifest.name} does not locate the hand, so that there are no steps to show."
        )
    if epiphyses and bundle.manifest.outlines is None:
        raise click.UsageError(
            f"The bundle {bundle.manifest.name} has no network for outlines of bones: leave out --epiphyses."
        )
    lines, reserved = Lines(outline, epiphyses), [*inputs, *([table] if table else [])]
    reports = None if out is None else ReportFolder(out, evidence, lines, reserved)
    form: _Form = "json" if as_json else "report_text" if report_text else "regions" if regions else "text"
    with (
        use_language(language),
        nullcontext() if table is None else AppendedTable(table, CSV_COLUMNS, resume=resume) as rows,
        nullcontext() if reports is None else reports,
    ):
        batch = _Batch(items, bundle, atlas, reports, rows, reference)
        output = _Output(len(items), batch.done, form, is_list=listed is not None, quiet=quiet)
        if batch.work_through(output, steps, evidence):
            if out is not None and not quiet:
                click.echo(shown(f"Reports: {out / INDEX_NAME}"), err=True)
            if len(items) > 1:
                click.echo(summary(len(items), batch.errors), err=True)
            return exit_status(batch.errors)
    kept = f"; {table} has these, and --resume continues" if table is not None else ""
    if rows is not None and rows.previous.exists():
        kept += f"; {rows.previous} has the earlier rows"
    click.echo(f"error: {shown(f'Stopped after {batch.done} of {len(items)}{kept}')}. [stopped]", err=True)
    return _STOPPED


# --- outputs that must not be overwritten ----------------------------------------------------------------------------


def _reject_overwriting(table: Path | None, inputs: Sequence[Path], out: Path | None) -> None:
    if table is None:
        return
    from boneage.file_names import comparable
    from boneage.tables.appended_table import previous_table

    if not set(map(comparable, (table, previous_table(table)))).isdisjoint(map(comparable, inputs)):
        raise click.UsageError(f"--csv {table} would overwrite an input.")
    if out is None:
        return
    from boneage.report.folder_index import INDEX_NAME
    from boneage.report.report import OUTPUT_SUFFIXES

    if comparable(table) == comparable(out):
        raise click.UsageError("--csv and --out are the same path, but one is a file and the other a folder.")
    is_report = table.name.endswith(OUTPUT_SUFFIXES) and table.exists()
    if comparable(table.parent) == comparable(out) and (is_report or table.name.casefold() == INDEX_NAME):
        raise click.UsageError(f"--csv {table} would overwrite a report.")


def _reject_steps_of(items: Sequence[BatchItem], folder: Path) -> None:
    """Reject steps of several radiographs or readings, and steps that would overwrite the radiograph."""
    from boneage.sex import is_both_sexes

    if len(items) != 1:
        raise click.UsageError(f"--steps shows the steps of one radiograph, not of {len(items)}.")
    if is_both_sexes(items[0].sex_text):
        raise click.UsageError("--steps shows one reading: give --sex F or --sex M.")
    from boneage.file_names import comparable
    from boneage.report.steps import STEP_FILE

    radiograph = items[0].path
    if comparable(radiograph.parent) == comparable(folder) and STEP_FILE.fullmatch(radiograph.name):
        raise click.UsageError(f"--steps {folder} would overwrite the radiograph.")


# --- the work -------------------------------------------------------------------------------------------------------


class _Batch:
    """Radiographs to assess, and the outputs for each.

    Attributes:
        done: Number of radiographs with row and report, including those of an interrupted run.
        errors: Errors of those that were not assessed.
    """

    def __init__(
        self,
        items: Sequence[BatchItem],
        bundle: Bundle,
        atlas: Atlas,
        reports: ReportFolder | None,
        table: AppendedTable | None,
        reference: Reference,
    ) -> None:
        """Determine the remaining radiographs, and remove rows that must be made again from the table.

        Raises:
            OSError: If the table cannot be written.
            TableError: Same as in `boneage.commands.resume.resumption`.
        """
        from boneage.report.report import csv_settings

        self._bundle, self._atlas, self._reports, self._table = bundle, atlas, reports, table
        self._settings = csv_settings(bundle)
        rows = [] if table is None else table.rows
        plan = resumption(rows, items, self._settings, reference, with_reports=reports is not None)
        if table is not None and len(plan.kept) < len(rows):
            table.select(plan.kept)
        rows = [rows[number] for number in plan.kept]
        self._left, self._places = plan.left, plan.places
        self.done = len(items) - len(self._left)
        self.errors = errors_of(rows)
        if reports is not None:
            for row in rows:
                reports.reserve(row.cells["report"])

    def work_through(self, output: _Output, steps: Path | None, evidence: Evidence) -> bool:
        """Assess the remaining radiographs, and return False if a signal stopped the work.

        Raises:
            BundleError: If the bundle failed, as it would for the next radiograph.
            OSError: If an output cannot be written, as for the next radiograph.
        """
        from boneage.report.report import Rejected, csv_rows

        try:
            with sigterm_interrupts(), output:
                for item in self._left:
                    output.begin(item)
                    data, outcome, stem = self._assess(item)
                    if self._table is not None:
                        rows = csv_rows(item.image, outcome, self._settings, stem)[item.rows_written :]
                        self._table.append(*rows)
                        self._places += [item.place] * len(rows)
                    self.done += 1
                    self.errors += [outcome.error] if isinstance(outcome, Rejected) else []
                    output.report(item, outcome)
                    if steps is not None and data is not None:
                        _draw_steps(data, outcome, self._bundle, steps, evidence)
        except KeyboardInterrupt:
            return False
        if self._table is not None:
            order = sorted(range(len(self._places)), key=self._places.__getitem__)
            if order != list(range(len(order))):  # rows that were made again stand at the end
                self._table.select(order)
            self._table.complete()
        return True

    def _assess(self, item: BatchItem) -> tuple[bytes | None, Outcome, str]:
        """Return the bytes of a file if they could be read, the outcome, and the stem of its report."""
        from boneage.errors import BundleError
        from boneage.report.report import Rejected

        data, outcome = _outcome(item, self._bundle, self._atlas)
        if self._reports is None:
            return data, outcome, ""
        try:
            return data, outcome, self._reports.write(item.path, outcome)
        except (BundleError, OSError):
            raise
        except Exception as error:
            outcome = Rejected(item.sex_text, unforeseen(error), _sha256(data))
            return data, outcome, self._reports.write(item.path, outcome)


def _outcome(item: BatchItem, bundle: Bundle, atlas: Atlas) -> tuple[bytes | None, Outcome]:
    """Return the bytes of a file, which is read once, and its assessment or rejection."""
    from boneage.composition import assess, assess_for_both_sexes
    from boneage.errors import BundleError, Rejection
    from boneage.reading.radiograph import read_file
    from boneage.report.report import Rejected
    from boneage.sex import is_both_sexes

    data: bytes | None = None
    try:
        data = read_file(item.path)
        name = printable_name(item.path.name)
        if is_both_sexes(item.sex_text):
            return data, assess_for_both_sexes(data, bundle, atlas=atlas, age=item.age, name=name)
        return data, assess(data, item.sex_text, bundle, atlas=atlas, age=item.age, name=name)
    except BundleError:
        raise
    except Rejection as rejection:
        error: BoneageError = rejection
    except Exception as unknown:
        error = unforeseen(unknown)
    return data, Rejected(item.sex_text, error, _sha256(data))


def _sha256(data: bytes | None) -> str | None:
    from boneage.files import sha256_of

    return None if data is None else sha256_of(data)


def _draw_steps(data: bytes, outcome: Outcome, bundle: Bundle, folder: Path, evidence: Evidence) -> None:
    """Write the pictures of a radiograph's steps, or radiograph and mask if the hand was rejected.

    Raises:
        OSError: If the folder is not writable.
    """
    from boneage.assessment import Assessment
    from boneage.errors import RejectionCode
    from boneage.reading.radiograph import read_radiograph
    from boneage.report.report import Rejected
    from boneage.report.steps import draw_rejected, draw_steps, write_steps

    looked_for_hand = (RejectionCode.NO_HAND, RejectionCode.SEVERAL_HANDS, RejectionCode.POINTS_UNCERTAIN)
    if isinstance(outcome, Assessment):
        write_steps(folder, draw_steps(read_radiograph(data).pixels, outcome, evidence))
    elif isinstance(outcome, Rejected) and outcome.error.code in looked_for_hand:
        write_steps(folder, draw_rejected(read_radiograph(data).pixels, bundle.hand_networks()))


class _Output(logging.Handler):
    """Results on standard output, and rejections, log warnings and progress on standard error.

    It is a log handler, which adds the name of the radiograph to each warning.
    """

    def __init__(self, total: int, done: int, form: _Form, *, is_list: bool, quiet: bool) -> None:
        super().__init__()
        self._form, self._is_brief = form, total > 1
        self._has_headings, self._is_first = is_list or total > 1, True
        self._progress = ProgressLine(total, before=done, quiet=quiet)
        self._image = ""

    def __enter__(self) -> None:
        logging.getLogger("boneage").addHandler(self)

    def __exit__(self, *_raised: object) -> None:
        logging.getLogger("boneage").removeHandler(self)
        self._progress.clear()

    def begin(self, item: BatchItem) -> None:
        """Start a radiograph."""
        self._image = item.image or printable_name(str(item.path))

    def emit(self, record: logging.LogRecord) -> None:
        """Print a warning with the radiograph's name."""
        self._print(f"{record.levelname.lower()}: {self._image}: {' '.join(record.getMessage().split())}")
        self._progress.draw()

    def report(self, item: BatchItem, outcome: Outcome) -> None:
        """Print the outcome of a radiograph, and advance the progress."""
        from boneage.report.report import Rejected, json_text, text

        self._progress.clear()
        if isinstance(outcome, Rejected):
            self._print(f"error: {self._image}: {outcome.error.message} [{outcome.error.code}]")
        if self._form == "json":
            click.echo(json_text(outcome, item.image))
        elif self._form == "report_text":
            self._print_report_text(outcome)
        elif not isinstance(outcome, Rejected):
            regions = self._form == "regions"
            click.echo(text(self._image, outcome, is_brief=self._is_brief, regions=regions))
        if not isinstance(outcome, Rejected) and (hint := missing_date(item.age, outcome)):
            self._print(f"warning: {self._image}: {hint}")
        self._progress.advance()

    def _print_report_text(self, outcome: Outcome) -> None:
        """Print the lines of a radiograph, below its name if there may be several.

        A rejection without a heading is on standard error alone.
        """
        from boneage.report.report import Rejected, report_text

        if self._has_headings:
            if not self._is_first:
                click.echo()
            self._is_first = False
            click.echo(shown(f"{self._image}:"))
        if self._has_headings or not isinstance(outcome, Rejected):
            click.echo(report_text(outcome))

    def _print(self, line: str) -> None:
        self._progress.clear()
        click.echo(shown(line), err=True)
