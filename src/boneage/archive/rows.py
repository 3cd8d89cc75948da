"""Columns of an archive's table, and the row of one radiograph.

A row holds every scalar of the assessment (`boneage.flat_row`), or the reason of its rejection, and the origin. Without
`Settings.identifiers` it names nobody: identifiers and checksums are pseudonyms, of the dates only the year of the
study remains, and messages that could quote a file are replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from types import MappingProxyType

from boneage.archive.origin import Origin
from boneage.archive.pseudonyms import Pseudonyms
from boneage.clinical.ages import latest_study_day
from boneage.errors import BoneageError, RejectionCode
from boneage.file_names import shown
from boneage.flat_row import COLUMN_TYPES
from boneage.schema import AssessmentDocument

Cell = str | float | int | bool | None
"""A cell of a row; a date is a text in the form ``2014-03-10``."""
ArchiveRow = dict[str, Cell]

_PLACES = ("image", "facts_study_date")
"""Columns of an assessment that stand among those of the origin, or are left out."""
_FIRST: Mapping[str, type] = MappingProxyType(
    {
        "id": str,
        "image": str,
        "copies": int,
        "patient": str,
        "study": str,
        "series": str,
        "instance": str,
        "accession": str,
        "study_date": date,
        "study_year": int,
        "birth_date": date,
        "manufacturer": str,
        "model": str,
        "device": str,
        "sex_source": str,
        "error": str,
        "message": str,
    }
)
IDENTIFYING = ("accession", "study_date", "birth_date")
"""Columns that are empty unless identifiers were requested."""

ARCHIVE_COLUMNS: Mapping[str, type] = MappingProxyType(
    dict(_FIRST) | {name: kind for name, kind in COLUMN_TYPES.items() if name not in _PLACES} | {"program_version": str}
)
"""Types of the columns of an archive's table, in their order."""

_MESSAGES = {
    RejectionCode.NOT_FOUND.value: "The file cannot be opened.",
    "internal_error": "This should not have happened.",
}
"""Messages in place of those that quote a file name or an exception."""


@dataclass(frozen=True)
class RowMaker:
    """Maker of rows.

    Attributes:
        pseudonyms: The pseudonyms of the run.
        identifiers: True to write identifiers and dates as they stand in the header.
    """

    pseudonyms: Pseudonyms
    identifiers: bool = False

    def image(self, locator: str) -> str:
        """Return the cell ``image`` of an item."""
        return shown(locator) if self.identifiers else self.pseudonyms.of("image", locator)

    def assessed(self, identifier: str, origin: Origin, sex_source: str, document: AssessmentDocument) -> ArchiveRow:
        """Return the row of an assessment.

        Args:
            identifier: Identity of the row.
            origin: Origin by the header.
            sex_source: Origin of the sex: ``list``, ``patients`` or ``header``.
            document: The assessment.
        """
        from boneage.flat_row import flat_row  # noqa: PLC0415

        row = self._origin(identifier, origin, sex_source)
        row |= {name: _plain(cell) for name, cell in flat_row(document).items() if name not in _PLACES}
        row |= {name: shown(cell) for name, cell in row.items() if name.startswith("facts_") and isinstance(cell, str)}
        return row | {"radiograph_sha256": self._sha256(document.radiograph.sha256 or "")}

    def rejected(
        self, identifier: str, origin: Origin, sex_source: str, sex: str | None, error: BoneageError, sha256: str
    ) -> ArchiveRow:
        """Return the row of a radiograph that was not assessed.

        Args:
            identifier: Identity of the row.
            origin: Origin by the header.
            sex_source: Origin of the sex; empty if nothing states it.
            sex: The sex, if it is known.
            error: Reason of the rejection.
            sha256: Checksum of the content; empty if it could not be read.
        """
        message = error.message if self.identifiers else _MESSAGES.get(error.code, error.message)
        return self._origin(identifier, origin, sex_source) | {
            "sex": sex,
            "error": error.code,
            "message": shown(message),
            "radiograph_sha256": self._sha256(sha256),
            "facts_modality": shown(origin.modality) or None,
            "facts_body_part": shown(origin.body_part) or None,
        }

    def _origin(self, identifier: str, origin: Origin, sex_source: str) -> ArchiveRow:
        device = (origin.institution, origin.station, origin.serial_number)
        cells: ArchiveRow = {
            "id": identifier,
            "patient": self._identifier("patient", origin.issuer, origin.patient_id) if origin.patient_id else None,
            "study": self._identifier("uid", origin.study_uid),
            "series": self._identifier("uid", origin.series_uid),
            "instance": self._identifier("uid", origin.instance_uid),
            "study_year": _year(origin.study_date),
            "manufacturer": shown(origin.manufacturer),
            "model": shown(origin.model),
            "device": self._identifier("device", *device),
            "sex_source": sex_source,
            "program_version": version("boneage"),
        }
        if self.identifiers:
            cells |= {
                "accession": shown(origin.accession),
                "study_date": None if origin.study_date is None else origin.study_date.isoformat(),
                "birth_date": None if origin.birth_date is None else origin.birth_date.isoformat(),
            }
        return {name: cell or None for name, cell in cells.items()}

    def _identifier(self, kind: str, *parts: str) -> str:
        return shown(" ".join(filter(None, parts))) if self.identifiers else self.pseudonyms.of(kind, *parts)

    def _sha256(self, sha256: str) -> str | None:
        return (sha256 if self.identifiers else self.pseudonyms.of("sha256", sha256)) or None


def _year(study_date: date | None) -> int | None:
    """Return the year of a study. A date in the future is an error of entry and gives none."""
    return None if study_date is None or study_date > latest_study_day() else study_date.year


def _plain(cell: object) -> Cell:
    if isinstance(cell, date):
        return cell.isoformat()
    if cell is None or isinstance(cell, str | float | int | bool):
        return str(cell) if isinstance(cell, str) else cell
    raise TypeError(f"a cell must not be of the type {type(cell).__name__}")
