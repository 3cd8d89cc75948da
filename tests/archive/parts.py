"""Drawn archives for tests, and an engine within the process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boneage.archive.items import ArchiveItem, Source
from boneage.archive.journal import Journal
from boneage.archive.pseudonyms import Pseudonyms
from boneage.archive.run import Counts, work_through
from boneage.archive.table import final_rows, write_tables
from boneage.archive.uncertain import UncertainSheet
from boneage.archive.work import BatchOutcome, Settings, Worker
from boneage.phantom import draw_hand
from tests.radiograph_files import dicom_dataset, dicom_file

PSEUDONYMS = Pseudonyms(bytes(range(32)))
NAME, PATIENT, BIRTH = "Quincey^Morris", "PAT-4711", "20100301"
"""Identifiers that must not appear in pseudonymous results."""


@cache
def hand(years: float = 8.0) -> NDArray[np.uint16]:
    """Draw a hand of 12 bits."""
    drawn = draw_hand(years, height=240, width=180)
    return np.asarray(np.rint(drawn / drawn.max() * 4095), dtype=np.uint16)


def dicom_radiograph(number: int, **elements: Any) -> bytes:
    """Return a drawn radiograph of a patient as a DICOM file, with UIDs by its number."""
    usual = {
        "SOPInstanceUID": f"1.2.3.{number}.9",
        "StudyInstanceUID": f"1.2.3.{number}",
        "SeriesInstanceUID": f"1.2.3.{number}.8",
        "PatientName": NAME,
        "PatientID": PATIENT,
        "PatientBirthDate": BIRTH,
        "PatientSex": "F",
        "PatientAge": "",
        "StudyDate": f"{2015 + number % 5}0506",
        "AccessionNumber": "ACC-0815",
        "BodyPartExamined": "HAND",
        "Manufacturer": "Rays & Sons",
        "ManufacturerModelName": f"Model {number % 2}",
        "StationName": "ROOM-1",
    }
    pixels = hand(6.0 + number % 5).copy()
    pixels[0, 0] = number
    return dicom_file(dicom_dataset(pixels, 12, **(usual | elements)))


def draw_archive(folder: Path, count: int = 6) -> Path:
    """Write radiographs, a copy, and files that are rejected, into folders."""
    for number in range(count):
        path = folder / f"{NAME}-{number % 3}" / f"{number}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dicom_radiograph(number))
    (folder / "copy.dcm").write_bytes(dicom_radiograph(0))
    (folder / "no-sex.dcm").write_bytes(dicom_radiograph(100, PatientSex="O"))
    (folder / "notes.txt").write_text("no radiograph")
    (folder / "DICOMDIR").write_bytes(b"left out")
    (folder / ".hidden").write_bytes(b"left out")
    return folder


class SerialEngine:
    """An engine that works item by item, and can be stopped."""

    def __init__(self, worker: Worker, stop_after: int | None = None) -> None:
        self.worker = worker
        self._left = stop_after

    def assess(self, batches: Iterable[Sequence[ArchiveItem]]) -> Iterator[tuple[Sequence[ArchiveItem], BatchOutcome]]:
        """Work through the items, or up to the one at which the test ends the program."""
        for batch in ([item] for whole in batches for item in whole):
            if self._left is not None:
                if self._left == 0:
                    raise KeyboardInterrupt
                self._left -= 1
            yield batch, self.worker.run(batch)


def settings(bundle: Path, **changes: Any) -> Settings:
    """Return settings with fixed pseudonyms."""
    return Settings(str(bundle), **({"pseudonyms": PSEUDONYMS} | changes))


def run_through(source: Source, out: Path, worker: Worker, stop_after: int | None = None) -> Counts:
    """Read what the journal of a folder does not have, in batches of one."""
    counts = Counts()
    with Journal(out / "state", {"salt": "fixed"}) as journal:
        sheet = UncertainSheet(out / "thumbnails", journal.rows(journal.places.values()))
        items = {worker.item_key(one): one for one in source.items()}
        missing = (one for key, one in items.items() if not journal.is_finished(key, worker.stamp(one)))
        work_through(missing, SerialEngine(worker, stop_after), journal, sheet, counts)
        journal.withdraw_replaced(items.keys())
    return counts


def tables_of(out: Path, items: Iterable[str] | None = None) -> dict[str, bytes]:
    """Write the tables of a journal, and return the bytes of all files.

    Args:
        out: Folder of the results.
        items: Identities of the items of the source; by default all that the journal has.
    """
    with Journal(out / "state", {"salt": "fixed"}) as journal:
        write_tables(out, final_rows(journal, set(journal.entries if items is None else items)))
    parquet = {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.glob("radiographs.parquet/**/*.*"))}
    return parquet | {"csv": (out / "radiographs.csv").read_bytes()}
