"""Command ``boneage archive`` for whole archives of radiographs."""

from __future__ import annotations

import sys
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from boneage.commands.assess_options import checked_date
from boneage.commands.each_radiograph import counted, sigterm_interrupts
from boneage.commands.progress import ProgressLine, progress_words, quiet_option
from boneage.file_names import shown

if TYPE_CHECKING:
    from boneage.archive.items import Selection, Source
    from boneage.archive.run import Counts

_STOPPED = 130
_LOG_SECONDS = 300.0
"""Time between two lines of progress where standard error is no terminal."""


@click.command(
    epilog="""\
\b
Exit codes:
  0    the tables are complete; rejected radiographs have their reason in them
  1    a file cannot be written, on a full disk for example; the same command continues
  4    the bundle is missing or damaged
  6    a table cannot be used, no file can be found, or the folder has other files or results of other settings
  8    the cluster does not answer, or has another version of the program
  10   the PACS does not answer any more; the same command continues
  130  stopped by Ctrl-C or SIGTERM; the same command continues"""
)
@click.argument("source", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the results.")
@click.option("--dicomweb", metavar="URL", help="Root of a PACS's DICOMweb services, instead of SOURCE.")
@click.option(
    "--auth",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with one line for the PACS: user:password, or the value of the header Authorization, such as"
    " 'Bearer ...'. By default the variable BONEAGE_DICOMWEB_AUTH holds it, if it is set.",
)
@click.option("--modality", multiple=True, help="Read only this modality; may be given several times.")
@click.option(
    "--body-part",
    multiple=True,
    metavar="WORD",
    help="Read only radiographs whose body part contains this word, or that state none; may be given several times.",
)
@click.option("--from", "first", metavar="YYYY-MM-DD", callback=checked_date, help="First study date.")
@click.option("--to", "last", metavar="YYYY-MM-DD", callback=checked_date, help="Last study date.")
@click.option(
    "--patients",
    type=click.Path(dir_okay=False, path_type=Path),
    help="CSV table patient_id,sex,birth_date, and issuer where several hospitals number patients. Its values precede"
    " those of the header.",
)
@click.option(
    "--salt",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with the key of the pseudonyms; made if it is missing. [default: OUT.salt, beside the folder]",
)
@click.option(
    "--identifiers",
    is_flag=True,
    help="Write personal data instead of pseudonyms: names of files, Patient ID, UIDs, accession number, study date,"
    " birth date and number of the device. Whoever gets the tables can then tell who the patients are.",
)
@click.option(
    "--thumbnails", is_flag=True, help="Keep a small picture of every radiograph, with the outline of the hand."
)
@click.option(
    "--bundle", "bundle_name", default="default", show_default=True, help="Name of a shipped bundle, or a folder."
)
@click.option(
    "--workers", type=click.IntRange(min=1), help="Number of processes on this machine. [default: number of cores]"
)
@click.option("--address", metavar="URL", help="Address of a Dask scheduler, whose workers are used instead.")
@quiet_option
def archive(  # click passes options by name
    *,
    source: Path | None,
    out: Path,
    dicomweb: str | None,
    auth: Path | None,
    modality: tuple[str, ...],
    body_part: tuple[str, ...],
    first: date | None,
    last: date | None,
    patients: Path | None,
    salt: Path | None,
    identifiers: bool,
    thumbnails: bool,
    bundle_name: str,
    workers: int | None,
    address: str | None,
    quiet: bool,
) -> int:
    """Assess a whole archive: SOURCE is a folder with all below it, a list (CSV), or the index of a CD (DICOMDIR).

    The command writes radiographs.csv, radiographs.parquet (a folder for each year of study) and report.html to
    --out. The tables have one row for each radiograph: every scalar of its assessment, or the reason of its
    rejection. Files with equal content have one row, unless a list states something else about them.

    It may be interrupted at any time. The same command continues; what was finished is recognised by its content.
    A radiograph that failed unexpectedly, or that could not be opened, is tried again.

    The sex comes from the list, from --patients or from the DICOM header, and is required. So do birth dates.

    The results are pseudonymous: identifiers, UIDs and checksums are hashes with the key of --salt, and of the dates
    only the year remains. Keep the key apart from the results.

    \b
    Examples:
      boneage archive /archive/hands --out hands
      boneage archive list.csv --out hands --thumbnails
      boneage archive --dicomweb https://pacs/dicom-web --modality DX --modality CR --body-part HAND --out hands
    """
    from boneage.archive.folders import SALT_SUFFIX
    from boneage.archive.items import Selection

    if (source is None) == (dicomweb is None):
        raise click.UsageError("Give either SOURCE or --dicomweb.")
    if dicomweb is None and auth is not None:
        raise click.UsageError("--auth belongs to --dicomweb.")
    if address is not None and workers is not None:
        raise click.UsageError("--workers starts processes on this machine, and --address uses others: give one.")
    if first is not None and last is not None and last < first:
        raise click.UsageError("--to must not be before --from.")
    selection = Selection(_upper(modality), _upper(body_part), first, last)
    salt = salt or out.absolute().with_name(f"{out.absolute().name}{SALT_SUFFIX}")
    if salt.absolute().is_relative_to(out.absolute()):
        raise click.UsageError("--salt must lie outside of --out, which others may get.")
    from boneage.archive.run import ArchiveOptions, read_archive
    from boneage.processor import cores

    options = ArchiveOptions(
        salt=salt,
        bundle=bundle_name,
        selection=selection,
        patients=patients,
        identifiers=identifiers,
        thumbnails=thumbnails,
        workers=workers or cores(),
        address=address,
    )
    opened = _source(source, dicomweb, auth, selection)
    progress = _Progress(opened, quiet=quiet)
    try:
        with sigterm_interrupts():
            counts = read_archive(opened, out, options, progress.show)
    except KeyboardInterrupt:
        progress.clear()
        click.echo("error: Stopped. The same command continues. [stopped]", err=True)
        return _STOPPED
    finally:
        progress.clear()
    click.echo(_summary(counts))
    click.echo(shown(f"Tables and report: {out}"))
    return 0


def _upper(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return words in upper case, each once and in one order, so that equal selections are equal."""
    return tuple(sorted({word.upper() for word in words}))


def _source(path: Path | None, dicomweb: str | None, auth: Path | None, selection: Selection) -> Source:
    from boneage.archive.folders import DICOMDIR, dicomdir_source, folder_source, list_source

    if dicomweb is not None:
        from boneage.archive.dicomweb import DicomwebSource, authorization

        return DicomwebSource(dicomweb, authorization(auth), selection)
    assert path is not None  # noqa: S101 - one of the two was given; for the type checker
    if path.is_dir():
        return folder_source(path)
    if path.name.upper() == DICOMDIR:
        return dicomdir_source(path)
    listed = list_source(path)
    for warning in listed.warnings:
        click.echo(f"warning: {shown(str(path))}: {warning}", err=True)
    return listed


def _summary(counts: Counts) -> str:
    """Return the counts in words: ``292 done now, 0 before; 6 rejected (unreadable 4, no_contrast 2)``."""
    parts = [f"{counts.done} done now, {counts.before} before"]
    parts += (
        [f"{counts.rejected.total()} rejected now ({counted(counts.rejected.elements())})"] if counts.rejected else []
    )
    parts += [f"{counts.skipped.total()} not selected ({counted(counts.skipped.elements())})"] if counts.skipped else []
    parts += [f"{counts.copies} copies of radiographs with a row"] if counts.copies else []
    parts += [f"{counts.unreachable} cannot be opened now, and keep their rows"] if counts.unreachable else []
    parts += [f"{counts.absent} are no longer in the source, and keep their rows"] if counts.absent else []
    return "; ".join(parts)


class _Progress:
    """Progress on a terminal in place, elsewhere as a line every few minutes."""

    def __init__(self, source: Source, *, quiet: bool) -> None:
        self._source, self._quiet = source, quiet
        self._line: ProgressLine | None = None
        self._start = self._logged = time.monotonic()

    def show(self, counts: Counts) -> None:
        """Show the counts."""
        total = self._source.expected
        done = counts.before + counts.done + counts.unreachable
        if self._quiet or not total:
            return
        if sys.stderr.isatty():
            self._line = self._line or ProgressLine(total, before=counts.before, start=self._start)
            self._line.update(done, total, counts.before)
        elif time.monotonic() - self._logged >= _LOG_SECONDS:
            self._logged = time.monotonic()
            click.echo(progress_words(done, total, self._logged - self._start, counts.before), err=True)

    def clear(self) -> None:
        """Remove the line."""
        if self._line is not None:
            self._line.clear()
