"""A run over an archive: items that are missing go to the engine, and their outcomes into the journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path

from boneage.archive.engine import Engine, open_engine
from boneage.archive.figures import FigureCounter
from boneage.archive.folders import STATE, FileSource, ensure_own_results, ensure_reachable
from boneage.archive.items import ArchiveItem, Selection, Source
from boneage.archive.journal import Journal
from boneage.archive.origin import read_patients
from boneage.archive.page import archive_page
from boneage.archive.pseudonyms import open_salt
from boneage.archive.table import final_rows, write_tables
from boneage.archive.uncertain import UncertainSheet
from boneage.archive.work import Outcome, Settings, Worker
from boneage.bundle.bundle import Bundle
from boneage.bundle.manifest import MANIFEST_NAME
from boneage.clinical.references import configured_reference
from boneage.errors import NodeError
from boneage.files import sha256_of, write_text

BATCH_ITEMS = 8
"""Items of a batch: few enough that little is lost, and enough that distributing them costs little."""

_SHOWN_EACH = 1000
"""Items that were finished before, after which progress is shown."""


@dataclass
class Counts:
    """Counts of a run.

    Attributes:
        before: Items that an earlier run finished.
        done: Items that this run finished.
        copies: Those whose content had a row, so that they were not assessed again.
        unreachable: Items that an earlier run finished, and that cannot be opened now. Their rows stay.
        absent: Rows of earlier runs whose items the source does not have. They stay.
        rejected: Rejections of this run by code.
        skipped: Items of this run that are not selected, by reason.
    """

    before: int = 0
    done: int = 0
    copies: int = 0
    unreachable: int = 0
    absent: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.done += 1
        if outcome.skipped:
            self.skipped[outcome.skipped] += 1
        elif outcome.row is None:
            self.copies += 1
        elif outcome.row.get("error"):
            self.rejected[str(outcome.row["error"])] += 1


Progress = Callable[[Counts], None]
"""Function that is called after each batch, and now and then while items are passed over."""


@dataclass(frozen=True)
class ArchiveOptions:
    """Options of a run.

    Attributes:
        salt: File with the key of the pseudonyms; made if it is missing.
        bundle: Name of a shipped bundle, or a bundle's folder.
        selection: Which radiographs are read.
        patients: Table of patients (`boneage.archive.origin.read_patients`); None without.
        identifiers: True to write identifiers and dates as they are.
        thumbnails: True to keep a picture of every assessed radiograph.
        workers: Number of processes on this machine.
        address: Address of a Dask scheduler, whose workers are used instead; None without.
    """

    salt: Path
    bundle: str = "default"
    selection: Selection = field(default_factory=Selection)
    patients: Path | None = None
    identifiers: bool = False
    thumbnails: bool = False
    workers: int = 2
    address: str | None = None


def read_archive(source: Source, out: Path, options: ArchiveOptions, progress: Progress = lambda _: None) -> Counts:
    """Read an archive, and write its tables and its report. Interrupted anywhere, the same call continues.

    Args:
        source: The source. Results of runs in its folder are not part of it.
        out: Folder of the results.
        options: The options. Those that decide a row must be the same when a run continues.
        progress: See `Progress`.

    Raises:
        BundleError: The bundle is missing or damaged.
        ConfigurationError: As in `boneage.archive.engine.open_engine`.
        NodeError: ``peer_not_ready`` if the source does not answer any more.
        TableError: As in `boneage.archive.journal.Journal`, `boneage.archive.pseudonyms.open_salt` and
            `boneage.archive.origin.read_patients`; ``table_image_missing`` if no file of the source can be found;
            ``table_exists`` if the results would replace files of the user.
        OSError: The folder cannot be written.
    """
    bundle = Bundle.open(options.bundle, threads=1)
    ensure_own_results(out, [options.patients, source.table if isinstance(source, FileSource) else None])
    if isinstance(source, FileSource):
        source.leave_out(options.salt)
    ensure_reachable(source)
    patients = {} if options.patients is None else read_patients(options.patients)
    settings = Settings(
        options.bundle, open_salt(options.salt), options.selection, patients, identifiers=options.identifiers
    )
    with Journal(out / STATE, _fixed(bundle, settings, options)) as journal:
        rows = journal.rows(journal.current_rows().values())
        sheet = UncertainSheet(out / "thumbnails", rows, keep_all=options.thumbnails)
        items: set[str] = set()
        now = replace(settings, existing_rows=journal.existing_rows())
        counts = _read_missing(source, now, journal, sheet, options, progress, items)
        present = {one.row_id for item, one in journal.entries.items() if item in items}
        counts.absent = len(journal.current_rows().keys() - present)
        _write_results(out, source, bundle, journal, sheet, items)
    return counts


def _read_missing(
    source: Source,
    settings: Settings,
    journal: Journal,
    sheet: UncertainSheet,
    options: ArchiveOptions,
    progress: Progress,
    items: set[str],
) -> Counts:
    """Read all items that the journal does not have, and note all identities. The engine is started if needed."""
    counts = Counts()
    missing = _missing(source, Worker(source, settings), journal, counts, progress, items)
    first = next(missing, None)
    if first is not None:
        with open_engine(source, settings, workers=options.workers, address=options.address) as engine:
            work_through(chain([first], missing), engine, journal, sheet, counts, progress)
    journal.withdraw_replaced(items)
    progress(counts)
    return counts


def work_through(
    items: Iterator[ArchiveItem],
    engine: Engine,
    journal: Journal,
    sheet: UncertainSheet,
    counts: Counts,
    progress: Progress = lambda _: None,
) -> None:
    """Have items assessed, and add every outcome to the journal.

    Raises:
        BundleError: The bundle failed, as it would for the next radiograph.
        NodeError: ``peer_not_ready`` if the source does not answer any more.
        OSError: The journal cannot be written.
    """
    for _, outcomes in engine.assess(_batches(items)):
        for outcome in outcomes.outcomes:
            if journal.outlasts(outcome):
                counts.unreachable += 1
                continue
            sheet.offer(outcome)
            journal.add(outcome)
            counts.add(outcome)
        progress(counts)
        if outcomes.failure is not None:
            raise outcomes.failure
        if outcomes.unavailable:
            raise NodeError("peer_not_ready", outcomes.unavailable)
    journal.flush()


def _missing(
    source: Source, worker: Worker, journal: Journal, counts: Counts, progress: Progress, items: set[str]
) -> Iterator[ArchiveItem]:
    """Yield the items that no earlier run finished with the content that they have now, and note all identities."""
    for item in source.items():
        key = worker.item_key(item)
        items.add(key)
        if journal.is_finished(key, worker.stamp(item)):
            counts.before += 1
            if counts.before % _SHOWN_EACH == 0:
                progress(counts)
        else:
            yield item


def _batches(items: Iterator[ArchiveItem]) -> Iterator[Sequence[ArchiveItem]]:
    while batch := list(islice(items, BATCH_ITEMS)):
        yield batch


def _fixed(bundle: Bundle, settings: Settings, options: ArchiveOptions) -> dict[str, str]:
    """Return everything that must be the same for all rows of a folder."""
    return {
        "bundle": bundle.manifest.name,
        "bundle_version": bundle.manifest.version,
        "bundle_sha256": sha256_of(bundle.directory / MANIFEST_NAME),
        "program_version": version("boneage"),
        "reference": configured_reference().sha256,
        "salt": settings.pseudonyms.fingerprint,
        "identifiers": str(settings.identifiers),
        "selection": repr(settings.selection),
        "thumbnails": str(options.thumbnails),
        "patients": "" if options.patients is None else sha256_of(options.patients),
    }


def _write_results(
    out: Path, source: Source, bundle: Bundle, journal: Journal, sheet: UncertainSheet, items: Set[str]
) -> None:
    """Write tables and report. Both are made from the journal, so that a killed run leaves nothing incomplete."""
    counter, uncertain = FigureCounter(), sheet.finish()
    write_tables(out, counter.passing(final_rows(journal, items)))
    skipped = Counter(entry.skipped for entry in journal.entries.values() if entry.skipped)
    manifest = bundle.manifest
    notes = [
        f"Source: {source.description}. Bundle: {manifest.name} {manifest.version}. Program: {version('boneage')}.",
        *(f"Not selected by {reason}: {count:,} files or objects." for reason, count in sorted(skipped.items())),
    ]
    places = journal.current_rows()
    rows = list(journal.rows(places[row_id] for row_id in uncertain if row_id in places))
    write_text(out / "report.html", archive_page(counter.figures(), notes, rows, out / "thumbnails"))
