"""Work of one process: a batch of items in, an outcome for each out. Nothing here knows the engine.

Outcomes are plain data. Errors are caught here and become rows, so that no exception has to travel between processes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property

import cv2

from boneage.archive.folders import not_opened
from boneage.archive.items import ArchiveItem, Selection, Source, SourceUnavailableError
from boneage.archive.origin import Origin, Patient, origin_of
from boneage.archive.pseudonyms import Pseudonyms
from boneage.archive.rows import ArchiveRow, RowMaker
from boneage.archive.thumbnails import thumbnail
from boneage.assessment import Assessment
from boneage.bundle.bundle import Bundle
from boneage.clinical.ages import StatedAge
from boneage.composition import assess_radiograph
from boneage.errors import BoneageError, BundleError, Rejection, RejectionCode
from boneage.files import sha256_of
from boneage.reading.radiograph import read_radiograph
from boneage.sex import Sex


@dataclass(frozen=True)
class Settings:
    """Everything by which a radiograph's row is decided, besides the radiograph.

    Attributes:
        bundle: Name of a shipped bundle, or a bundle's folder.
        pseudonyms: The pseudonyms of the run.
        selection: Which radiographs are read.
        patients: Sex and birth date by issuer and Patient ID; they precede the header. An empty issuer stands for any.
        identifiers: True to write identifiers as they are.
        existing_rows: Identities of the rows that an earlier run wrote. Their content is not assessed again, wherever
            it lies.
    """

    bundle: str
    pseudonyms: Pseudonyms
    selection: Selection = field(default_factory=Selection)
    patients: Mapping[tuple[str, str], Patient] = field(default_factory=dict, repr=False)
    identifiers: bool = False
    existing_rows: frozenset[str] = field(default=frozenset(), repr=False)


@dataclass(frozen=True)
class Outcome:
    """Outcome of an item.

    Attributes:
        item: Identity of the item (`Worker.item_key`).
        stamp: Stamp of the item when it was read (`Worker.stamp`).
        image: Cell ``image`` of the item.
        row_id: Identity of its row; empty for an item that is not selected.
        row: The row; None for an item that is not selected, and for content whose row is known.
        skipped: Reason why it is not selected; empty if it is.
        thumbnail: JPEG of the radiograph; empty without an assessment.
    """

    item: str
    stamp: str
    image: str
    row_id: str = ""
    row: ArchiveRow | None = field(default=None, repr=False)
    skipped: str = ""
    thumbnail: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class BatchOutcome:
    """Outcomes of a batch.

    Attributes:
        outcomes: Outcome of each item, in their order, up to the failure.
        failure: Error that concerns every radiograph, such as a damaged bundle; None without.
        unavailable: Message of a source that does not answer; empty without.
    """

    outcomes: Sequence[Outcome]
    failure: BundleError | None = None
    unavailable: str = ""


@dataclass(frozen=True)
class _Sexed:
    """Sex of a patient with its origin, and the birth date of a table."""

    text: str
    source: str
    birth_date: date | None = None


class Worker:
    """Worker of one process. It opens the bundle once, when it is first needed."""

    def __init__(self, source: Source, settings: Settings) -> None:
        self.source = source
        self.settings = settings
        self._rows = RowMaker(settings.pseudonyms, settings.identifiers)

    @cached_property
    def bundle(self) -> Bundle:
        """The bundle, with one thread: the processes share the cores."""
        cv2.setNumThreads(1)
        return Bundle.open(self.settings.bundle, threads=1)

    def item_key(self, item: ArchiveItem) -> str:
        """Return the identity of an item: where it lies, and what a list states about it."""
        return self.settings.pseudonyms.of("item", item.locator, _statement(item))

    def stamp(self, item: ArchiveItem) -> str:
        """Return the stamp of an item for the journal: a pseudonym, since time and size of a file may identify it."""
        return self.settings.pseudonyms.of("stamp", item.stamp)

    def run(self, items: Sequence[ArchiveItem]) -> BatchOutcome:
        """Read and assess items."""
        outcomes: list[Outcome] = []
        try:
            outcomes.extend(map(self._outcome, items))
        except BundleError as error:
            return BatchOutcome(outcomes, failure=error)
        except SourceUnavailableError as error:
            return BatchOutcome(outcomes, unavailable=str(error))
        return BatchOutcome(outcomes)

    def lost(self, item: ArchiveItem) -> Outcome:
        """Return the outcome of an item that ended the process that read it, again and again."""
        message = "The process that read this radiograph ended without an answer, several times."
        return self._rejected(item, "", Origin(), _Sexed("", ""), BoneageError("internal_error", message))

    def _outcome(self, item: ArchiveItem) -> Outcome:
        sha256, origin, sexed = "", Origin(), _Sexed("", "")
        try:
            data = self._read(item)
            sha256 = sha256_of(data)
            row_id = self._row_id(item, sha256)
            if row_id in self.settings.existing_rows:
                return replace(self._unread(item), row_id=row_id)
            origin = origin_of(data)
            sexed = self._sex(item, origin)
            origin = _dated(origin, item, sexed)
            selection = self.settings.selection
            skipped = selection.skip_reason(origin.modality, origin.body_part, origin.study_date)
            if skipped:
                return replace(self._unread(item), skipped=skipped)
            assessment = self._assess(data, item, sexed, sha256)
            shows_all = self.settings.identifiers
            picture = b"" if origin.burned_in and not shows_all else thumbnail(assessment, whole=shows_all)
        except (BundleError, SourceUnavailableError):
            raise
        except Rejection as rejection:
            return self._rejected(item, sha256, origin, sexed, rejection)
        except Exception as error:
            unforeseen = BoneageError("internal_error", f"{type(error).__name__}: {' '.join(str(error).split())}")
            return self._rejected(item, sha256, origin, sexed, unforeseen)
        row = self._rows.assessed(row_id, origin, sexed.source, assessment.document())
        return replace(self._unread(item), row_id=row_id, row=row, thumbnail=picture)

    def _unread(self, item: ArchiveItem) -> Outcome:
        """Return the outcome of an item without a row."""
        return Outcome(self.item_key(item), self.stamp(item), self._rows.image(item.locator))

    def _read(self, item: ArchiveItem) -> bytes:
        try:
            return self.source.read(item)
        except Rejection as rejection:
            if rejection.code == RejectionCode.NOT_FOUND and not self.settings.identifiers:
                raise not_opened() from None
            raise

    def _assess(self, data: bytes, item: ArchiveItem, sexed: _Sexed, sha256: str) -> Assessment:
        radiograph = read_radiograph(data)  # first, so that a file of another kind is rejected as such
        sex = _parsed(sexed.text)
        if sex is None:
            raise Rejection(
                RejectionCode.SEX_MISSING,
                "Neither a table nor the header states the sex as F or M: boys and girls mature at different ages.",
            )
        age = _age(item, sexed)
        (assessment,) = assess_radiograph(radiograph, (sex,), self.bundle, age=age, sha256=sha256, outlined=False)
        return assessment

    def _sex(self, item: ArchiveItem, origin: Origin) -> _Sexed:
        """Return the sex by a list, a table of patients or the header, in this order."""
        patients = self.settings.patients
        patient = patients.get((origin.issuer, origin.patient_id)) or patients.get(("", origin.patient_id))
        birth_date = None if patient is None else patient.birth_date
        if item.sex_text:
            return _Sexed(item.sex_text, "list", birth_date)
        if patient is not None and patient.sex_text:
            return _Sexed(patient.sex_text, "patients", birth_date)
        return _Sexed(origin.sex, "header" if origin.sex else "", birth_date)

    def _rejected(self, item: ArchiveItem, sha256: str, origin: Origin, sexed: _Sexed, error: BoneageError) -> Outcome:
        origin = _dated(origin, item, sexed)  # a file that cannot be opened has no header
        row_id, sex = self._row_id(item, sha256), _parsed(sexed.text)
        row = self._rows.rejected(row_id, origin, sexed.source, None if sex is None else sex.value, error, sha256)
        return replace(self._unread(item), row_id=row_id, row=row)

    def _row_id(self, item: ArchiveItem, sha256: str) -> str:
        """Return the identity of a row: the content, and what a list states about it.

        Content that could not be read is identified by its place.
        """
        place = () if sha256 else (item.locator,)
        return self.settings.pseudonyms.of("row", sha256, *place, _statement(item))


def _statement(item: ArchiveItem) -> str:
    """Return what a list states about an item, as one text; empty if it states nothing."""
    age = item.age.age
    stated = (
        item.sex_text,
        None if item.age.birth_date is None else item.age.birth_date.isoformat(),
        None if item.age.study_date is None else item.age.study_date.isoformat(),
        None if age is None else [age.lower_months, age.upper_months, age.precision.value],
    )
    return json.dumps(stated) if any(one is not None for one in stated) else ""


def _age(item: ArchiveItem, sexed: _Sexed) -> StatedAge:
    """Return the age as a list states it, with the birth date of a table of patients where the list has none."""
    if item.age.birth_date is not None or sexed.birth_date is None:
        return item.age
    return replace(item.age, birth_date=sexed.birth_date)


def _dated(origin: Origin, item: ArchiveItem, sexed: _Sexed) -> Origin:
    """Return the origin with the dates by which the age counts: a list and a table of patients precede the header."""
    stated = _age(item, sexed)
    return replace(
        origin,
        study_date=stated.study_date or origin.study_date,
        birth_date=stated.birth_date or origin.birth_date,
    )


def _parsed(text: str) -> Sex | None:
    try:
        return Sex.parse(text)
    except Rejection:
        return None
