"""SOP classes of result objects, and structured reports in simpler classes for receivers that need them."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from copy import deepcopy
from types import MappingProxyType

from pydicom import Dataset
from pydicom.uid import UID

from boneage.node.destinations import NoteKind, ResultKind

SR_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.88.34",  # Comprehensive 3D SR
    "1.2.840.10008.5.1.4.1.1.88.33",  # Comprehensive SR
    "1.2.840.10008.5.1.4.1.1.88.22",  # Enhanced SR
)
"""SOP classes of structured reports in the order of preference."""

RESULT_CLASSES: Mapping[ResultKind | NoteKind, tuple[str, ...]] = MappingProxyType(
    {
        "sr": SR_CLASSES,
        "sc": ("1.2.840.10008.5.1.4.1.1.7",),  # Secondary Capture
        "pdf": ("1.2.840.10008.5.1.4.1.1.104.1",),  # Encapsulated PDF
        "pr": ("1.2.840.10008.5.1.4.1.1.11.1",),  # Grayscale Softcopy Presentation State
        "ko": ("1.2.840.10008.5.1.4.1.1.88.59",),  # Key Object Selection Document, a rejection note
    }
)
"""SOP classes in which each kind of result may be sent, the preferred one first."""


def classes_of(sop_class_uid: str) -> tuple[str, ...]:
    """Return the SOP classes in which an object of a class may be sent, the preferred one first."""
    return SR_CLASSES if sop_class_uid == SR_CLASSES[0] else (sop_class_uid,)


def in_accepted_class(report: Dataset, accepted: Collection[str]) -> Dataset | None:
    """Return an object in the first of its classes that a receiver accepts, or None if it accepts none.

    The reports of the program have two-dimensional coordinates only, which all three classes allow. A report in another
    class is another instance: its UID is derived from that of the original and the class, so that it repeats itself.

    Args:
        report: the object with its file meta information.
        accepted: UIDs of the accepted classes.
    """
    own = str(report.SOPClassUID)
    chosen = next((uid for uid in classes_of(own) if uid in accepted), None)
    if chosen is None or chosen == own:
        return None if chosen is None else report
    made = deepcopy(report)
    made.SOPClassUID = UID(chosen)
    made.SOPInstanceUID = UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'{report.SOPInstanceUID} {chosen}').int}")
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    return made
