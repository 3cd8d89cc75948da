"""Retraction of result objects that were sent in error: a Key Object Selection as rejection note (IHE RAD TF, IOCM).

The note refers to result objects of this program only, never to the radiograph: an archive hides what a note rejects.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from importlib.metadata import version

import highdicom as hd
from pydicom import Dataset

from boneage.dicom import codes
from boneage.dicom.identity import MANUFACTURER, MODEL, add_origin, derived_uid, reference_to
from boneage.dicom.structured_report import device_observer

SERIES_NUMBER = 994
DESCRIPTION = "These results were sent in error and must not be used."
"""Text of the note, in English like those of the structured report."""

_IDENTITY = ("StudyInstanceUID", "PatientID", "IssuerOfPatientID")


def rejection_note(sent: Sequence[Dataset], *, cause: str, now: datetime) -> Dataset:
    """Return the note that retracts result objects of one patient and study.

    Patient and study are those of the objects, so that the note comes to them in the archive. Equal arguments give
    equal bytes.

    Args:
        sent: result objects as they are read from their files, with the UIDs under which they were sent, at least one.
            Pixels are not needed.
        cause: name of the occasion, such as the receiver with the revision, which gives the note its UIDs.
        now: moment at which it is made, with a time zone.

    Raises:
        ValueError: the objects belong to several patients or studies, or one of them is not of this program.
    """
    if len(by_study(sent)) != 1:
        raise ValueError("a rejection note is about objects of one patient and study")
    if any(one.get("ManufacturerModelName") != MODEL for one in sent):
        raise ValueError("only objects of this program can be retracted")
    uids, evidence = [str(one.SOPInstanceUID) for one in sent], [reference_to(one) for one in sent]
    content = hd.ko.KeyObjectSelection(
        codes.REJECTED,
        evidence,
        observer_device_context=device_observer(version("boneage")),
        description=DESCRIPTION,
    )
    note: Dataset = hd.ko.KeyObjectSelectionDocument(
        evidence=evidence,
        content=content,
        series_instance_uid=derived_uid("series ko", cause, *uids),
        series_number=SERIES_NUMBER,
        sop_instance_uid=derived_uid("ko", cause, *uids),
        instance_number=1,
        manufacturer=MANUFACTURER,
    )
    for item in note.ContentSequence:
        if item.ValueType in {"IMAGE", "COMPOSITE"}:  # highdicom names a purpose, which TID 2010 forbids
            del item.ConceptNameCodeSequence
    when = add_origin(note, sent[0], None, now)
    note.SeriesDescription = f"Bone age ({MODEL}), retracted results"
    note.ContentDate, note.ContentTime = when.strftime("%Y%m%d"), when.strftime("%H%M%S")
    for equipment in note.get("ContributingEquipmentSequence", []):  # highdicom's own, with the time of this call
        equipment.ContributionDateTime = when.strftime("%Y%m%d%H%M%S")
    return note


def by_study(sent: Iterable[Dataset]) -> list[list[Dataset]]:
    """Return objects in groups, each of one patient and study, in their order."""
    groups: dict[tuple[str, ...], list[Dataset]] = defaultdict(list)
    for one in sent:
        groups[tuple(str(one.get(keyword, "")) for keyword in _IDENTITY)].append(one)
    return list(groups.values())
