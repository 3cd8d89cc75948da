"""Instances as the listener hands them on, and the configuration of a node."""

from __future__ import annotations

from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from boneage.atlas import Atlas
from boneage.node.instance import InstanceHeader, ReceivedInstance, read_header
from boneage.sex import Sex
from tests.radiograph_files import dicom_dataset, dicom_file, drawn_radiograph

STUDY = "1.2.826.0.1.3680043.2.1125.1"
PATIENT = {"PatientID": "4711", "IssuerOfPatientID": "HOSPITAL", "PatientSex": "F", "PatientBirthDate": "20120310"}

_PACS = """
[select]
study_quiet_seconds = {quiet}

[[peer]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs_port}
may_send = true
results = ["sr", "sc"]
commit = true
"""
"""Selection, and a receiver with storage commitment."""

CONFIGURATION = (
    """
[node]
ae_title = "BONEAGE"
port = {port}

"""
    + _PACS
    + """
[[peer]]
name = "archive"
ae_title = "ARCHIVE"
host = "127.0.0.1"
port = {pacs_port}
results = ["sc"]

[deliver]
to = ["pacs", "archive"]
"""
)
"""A node with two receivers."""

MESSAGES = """
[[peer]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
may_send = true

[[dicomweb]]
name = "archive"
url = "http://127.0.0.1:{port}/base"
results = ["sr"]
commit = true

[[fhir]]
name = "charts"
url = "http://127.0.0.1:{pacs_port}/base"

[[hl7]]
name = "ris"
host = "127.0.0.1"
port = {quiet}

[select]
study_quiet_seconds = 0

[deliver]
to = ["archive", "charts", "ris"]
"""
"""A node whose results go to a DICOMweb service, a FHIR server and an HL7 receiver."""

HOSPITAL = (
    """
[node]
port = {port}
timeout_seconds = 5

"""
    + _PACS
    + """
[[peer]]
name = "modality"
ae_title = "DXROOM1"
host = "127.0.0.1"
port = 0
may_send = true

[deliver]
to = ["pacs"]
"""
)
"""A node with a PACS that sends and receives, and a modality that sends."""


def configured(
    folder: Path, text: str = CONFIGURATION, *, quiet: float = 0, port: int = 11112, pacs_port: int = 104
) -> Path:
    """Write a configuration, and return its path."""
    path = folder / "pacs.toml"
    path.write_text(text.format(quiet=quiet, port=port, pacs_port=pacs_port), encoding="utf-8")
    return path


def radiograph(
    number: int = 1, *, study: str = STUDY, level: int = 0, is_plate: bool = False, **elements: Any
) -> bytes:
    """Return the DICOM file of a drawn radiograph.

    Args:
        number: gives the SOP Instance UID.
        study: Study Instance UID.
        level: another level gives other pixels, as patients need that are not to share a radiograph.
        is_plate: an average hand, of which the estimate is a bone age.
        elements: elements of the header besides those of `PATIENT`.
    """
    usual = {
        "SOPInstanceUID": f"{study}.9.{number}",
        "StudyInstanceUID": study,
        "SeriesInstanceUID": f"{study}.8",
        "AccessionNumber": "A-99",
        "StudyDate": "20240506",
        "BodyPartExamined": "HAND",
        **PATIENT,
    }
    pixels = (plate_pixels() if is_plate else _pixels()).copy()
    pixels[0] = level
    dataset = dicom_dataset(pixels, 12, **(usual | elements))
    return dicom_file(dataset)


@cache
def _pixels() -> Any:
    return np.asarray(drawn_radiograph(bits=12)[::8, ::8], dtype=np.uint16)


@cache
def plate_pixels() -> Any:
    """Return an average hand of the shipped atlas, uint16 of 12 bits, which is assessed like a child's radiograph."""
    atlas = Atlas.open()
    picture = atlas.picture(atlas.nearest_by_age(Sex("F"), 120))
    grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    return grey.astype(np.uint16) << 4


def received(file: bytes, peer: str = "pacs") -> tuple[ReceivedInstance, InstanceHeader]:
    """Return an instance as the listener hands it on, with its header."""
    header = read_header(file)
    instance = ReceivedInstance(
        sop_class_uid=header.sop_class_uid,
        sop_instance_uid=header.sop_instance_uid,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        peer=peer,
        calling_ae_title="PACS",
        called_ae_title="BONEAGE",
        address="127.0.0.1",
        file=file,
    )
    return instance, header


def header(number: int = 1, *, study: str = STUDY, pixels: str = "p", **changes: Any) -> InstanceHeader:
    """Return a header without a file: of a radiograph of the hand of a girl, with changes."""
    values: dict[str, Any] = {
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.1",
        "sop_instance_uid": f"{study}.9.{number}",
        "study_uid": study,
        "series_uid": f"{study}.8",
        "patient_id": "4711",
        "issuer": "HOSPITAL",
        "sex": "F",
        "birth_date": date(2012, 3, 10),
        "study_date": date(2024, 5, 6),
        "accession": "A-99",
        "modality": "DX",
        "body_part": "HAND",
        "pixels_sha256": pixels,
        **changes,
    }
    digest = "-".join(str(value) for value in (number, pixels, *sorted(changes.items())))
    return InstanceHeader(**values, data_sha256=digest[:64])


def instance(of: InstanceHeader, peer: str = "pacs", called: str = "BONEAGE") -> ReceivedInstance:
    """Return an instance whose file is nothing but the name of its header's checksum."""
    return ReceivedInstance(
        sop_class_uid=of.sop_class_uid,
        sop_instance_uid=of.sop_instance_uid,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        peer=peer,
        calling_ae_title="PACS",
        called_ae_title=called,
        address="127.0.0.1",
        file=of.data_sha256.encode(),
    )
