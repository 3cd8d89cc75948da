"""Items of an archive: where a file lies, what a table states about it, and which radiographs are selected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol

from boneage.clinical.ages import StatedAge


@dataclass(frozen=True)
class ArchiveItem:
    """One file or object of an archive.

    Attributes:
        locator: Name of the item, unique in its source: a path, or the UIDs of an object. It may identify a patient.
        stamp: Text that changes when the content changes: size and time of modification of a file; empty for an object
            of a PACS, whose content is fixed by its UID.
        sex_text: Sex as a list states it; None to take it from a table of patients or the header.
        age: Dates and age as a list states them.
    """

    locator: str
    stamp: str = ""
    sex_text: str | None = None
    age: StatedAge = field(default_factory=StatedAge)


@dataclass(frozen=True)
class Selection:
    """Selection of radiographs by their headers. Files without a DICOM header are always selected.

    Attributes:
        modalities: Modalities in upper case; empty for all.
        body_parts: Words in upper case, one of which Body Part Examined must contain; empty for all. A radiograph that
            states no body part is selected.
        first_date, last_date: First and last study date; None for no bound. A radiograph without a date is selected.
    """

    modalities: tuple[str, ...] = ()
    body_parts: tuple[str, ...] = ()
    first_date: date | None = None
    last_date: date | None = None

    def skip_reason(self, modality: str, body_part: str, study_date: date | None) -> str:
        """Return why a radiograph is not selected: ``modality``, ``body_part`` or ``study_date``; empty if it is."""
        if self.modalities and modality and modality.upper() not in self.modalities:
            return "modality"
        if self.body_parts and body_part and not any(part in body_part.upper() for part in self.body_parts):
            return "body_part"
        if study_date is not None and (
            (self.first_date is not None and study_date < self.first_date)
            or (self.last_date is not None and study_date > self.last_date)
        ):
            return "study_date"
        return ""


class Source(Protocol):
    """Source of radiographs. It is sent to other processes, so that it can be pickled.

    Attributes:
        description: Kind of source, for the report, without names that may identify a patient.
        expected: Number of items, as far as it is known or can be estimated; None before.
    """

    @property
    def description(self) -> str:
        """Kind of source."""
        ...

    @property
    def expected(self) -> int | None:
        """Number of items."""
        ...

    def items(self) -> Iterator[ArchiveItem]:
        """Yield all items, in an order that is the same for the same content."""
        ...

    def read(self, item: ArchiveItem) -> bytes:
        """Return the content of an item.

        Raises:
            Rejection: ``not_found``, ``too_large``.
            SourceUnavailableError: The source does not answer now; the item may be read later.
        """
        ...


class SourceUnavailableError(Exception):
    """A source that does not answer now."""
