"""Instances as they arrive: the bytes, and the header from which selection and identity are derived."""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING

from boneage.clinical.ages import age_in_file, latest_study_day
from boneage.files import sha256_of
from boneage.reading.dicom.bounds import BYTES, BoundedBytes, bounded_item, bounded_value, quiet_pydicom
from boneage.reading.dicom.facts import has_both_sides, is_for_processing, stated_side, study_day
from boneage.reading.dicom.object import meta_end, parse_object
from boneage.reading.dicom.tags import day, log_malformed, number, text
from boneage.reading.facts import ReadLimits, Side
from boneage.reading.rejections import damaged, rejection_of

if TYPE_CHECKING:
    from pydicom import Dataset

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_LONGEST_UID = 64
_LONGEST_IDENTIFIER = 64
"""Characters of an identifier (PS3.5, 6.2, LO). A longer one is not cut, since patients could become one."""
_LONGEST_TEXT = 256
"""Characters that are kept of a name or description."""
_DESCRIPTIONS = ("StudyDescription", "SeriesDescription", "ProtocolName", "RequestedProcedureDescription")
_SNOMED = {"SCT", "SRT", "SNM3", "99SDM"}
"""Designators of SNOMED CT and of its former codes, such as T-D8700 (PS3.16, 8)."""
_PREAMBLE = bytes(128) + b"DICM"
_LARGEST_META = 2**16


@dataclass(frozen=True)
class ReceivedInstance:
    """An instance as a peer sent it, undecoded.

    Attributes:
        sop_class_uid, sop_instance_uid: Affected SOP Class and Instance UID of the request.
        transfer_syntax_uid: transfer syntax of the presentation context.
        peer: name of the peer in the configuration.
        calling_ae_title: AE title of the caller.
        called_ae_title: AE title by which it calls the node; empty for what does not come by an association.
        address: IP address of the caller.
        file: DICOM file (PS3.10) whose data set is exactly the one that was received.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    peer: str
    calling_ae_title: str
    called_ae_title: str
    address: str
    file: bytes = field(repr=False)


@dataclass(frozen=True)
class InstanceHeader:
    """Elements that decide what is read, and to whom it belongs.

    Texts are stripped and free of control characters; absent ones are empty. Equal headers with equal `pixels_sha256`
    are one instance.

    Attributes:
        sop_class_uid, sop_instance_uid: the data set's own.
        study_uid, series_uid: Study and Series Instance UID.
        patient_id: Patient ID, at most 64 characters.
        issuer: Issuer of Patient ID, at most 64 characters.
        patient_name: Patient's Name with its components, such as ``Doe^Jane``; at most 256 characters.
        birth_date: Patient's Birth Date.
        sex: Patient's Sex as it stands: ``F``, ``M``, ``O`` or anything else.
        patient_age: Patient's Age as it stands.
        accession: Accession Number, at most 64 characters.
        study_date: Study Date, else Acquisition Date, else Content Date.
        descriptions: Study, Series, Protocol and Requested Procedure Description, those that are not empty, each of at
            most 256 characters.
        department: Institutional Department Name.
        modality: Modality as it stands.
        model: Manufacturer's Model Name.
        body_part: Body Part Examined as it stands.
        anatomic_region: SNOMED code of Anatomic Region Sequence; empty if it has none, or one of another scheme.
        side: side of the hand.
        both_sides: both sides are declared.
        view_position: View Position as it stands.
        for_processing: the radiograph is raw.
        frames: Number of Frames; 1 without it.
        series_number, instance_number: numbers that order instances; None if they are absent.
        has_pixels: there are pixels.
        data_sha256: SHA-256 of the data set as received, 64 hexadecimal digits.
        pixels_sha256: SHA-256 of Pixel Data as received; empty without pixels.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_uid: str
    series_uid: str
    patient_id: str = field(default="", repr=False)
    issuer: str = field(default="", repr=False)
    patient_name: str = field(default="", repr=False)
    birth_date: date | None = field(default=None, repr=False)
    sex: str = ""
    patient_age: str = field(default="", repr=False)
    accession: str = field(default="", repr=False)
    study_date: date | None = None
    descriptions: tuple[str, ...] = ()
    department: str = ""
    modality: str = ""
    model: str = ""
    body_part: str = ""
    anatomic_region: str = ""
    side: Side | None = None
    both_sides: bool = False
    view_position: str = ""
    for_processing: bool = False
    frames: int = 1
    series_number: int | None = None
    instance_number: int | None = None
    has_pixels: bool = True
    data_sha256: str = ""
    pixels_sha256: str = ""

    @property
    def least_age_months(self) -> float | None:
        """Lowest age at the study that the file allows, months; None if it is unknown or contradicts itself."""
        latest = latest_study_day()
        age = age_in_file(self.patient_age or None, self.birth_date, self.study_date, last_day=latest).age
        return None if age is None else age.lower_months


def dicom_file(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, data: bytes) -> bytes:
    """Return a data set as a DICOM file (PS3.10): preamble, File Meta Information, and the data set unchanged.

    Args:
        sop_class_uid: SOP class for the File Meta Information.
        sop_instance_uid: SOP Instance UID for it.
        transfer_syntax_uid: transfer syntax in which the data set is encoded.
        data: encoded data set.
    """
    from pydicom.dataset import FileMetaDataset  # noqa: PLC0415  # slow to import
    from pydicom.filebase import DicomBytesIO  # noqa: PLC0415
    from pydicom.filewriter import write_file_meta_info  # noqa: PLC0415
    from pydicom.uid import UID  # noqa: PLC0415

    meta = FileMetaDataset()
    with quiet_pydicom():
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(sop_class_uid), UID(sop_instance_uid)
        meta.TransferSyntaxUID = UID(transfer_syntax_uid)
        written = DicomBytesIO()
        write_file_meta_info(written, meta)
    return b"".join((_PREAMBLE, written.getvalue(), data))


@dataclass(frozen=True)
class FileMeta:
    """File Meta Information of a DICOM file (PS3.10, 7.1).

    Attributes:
        sop_class_uid, sop_instance_uid: Media Storage SOP Class and Instance UID.
        transfer_syntax_uid: transfer syntax of the data set.
        length: bytes before the data set.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    length: int


def read_meta(file: bytes) -> FileMeta:
    """Read the File Meta Information of a file.

    Args:
        file: DICOM file with preamble.

    Raises:
        Rejection: ``unreadable`` if there is none, or one of its UIDs is missing or malformed.
    """
    from pydicom.filereader import read_dataset  # noqa: PLC0415  # slow to import

    start = len(_PREAMBLE)
    if file[128:start] != b"DICM" or len(file) < start + 12:
        raise damaged("the file has no preamble of DICOM, or ends after it")
    end = start + meta_end(file[start : start + 12])
    if end > len(file) or end - start > _LARGEST_META:
        raise damaged("the DICOM file meta group is longer than the file, or than any real one")
    try:
        with quiet_pydicom():
            meta = read_dataset(BoundedBytes(file[start:end]), False, True)
            keywords = ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")
            sop_class, instance, syntax = (_uid(meta, keyword) for keyword in keywords)
    except Exception as error:  # a damaged file makes pydicom raise nearly every kind of error
        raise rejection_of(error) from None
    return FileMeta(sop_class, instance, syntax, end)


def read_header(file: bytes, largest_bytes: int = 256 * 2**20) -> InstanceHeader:
    """Read the header of an instance, within the bounds of `boneage.reading.dicom.bounds`. No pixel is decoded.

    Args:
        file: DICOM file with preamble.
        largest_bytes: largest size of the file, and of the data set that a deflated one holds, bytes.

    Raises:
        Rejection: ``unreadable`` if it cannot be parsed, lacks an identifier of SOP class, instance, study or series,
            or has an identifier that is too long; ``too_large``.
    """
    limits = ReadLimits(max_bytes=largest_bytes)
    limits.check_bytes(len(file))
    try:
        start = len(_PREAMBLE) + meta_end(file[len(_PREAMBLE) :][:12])
        with quiet_pydicom():
            header, pixels = _read(parse_object(file, limits))
    # A damaged file makes pydicom raise nearly every kind of error.
    except Exception as error:
        raise rejection_of(error) from None
    return replace(
        header,
        data_sha256=hashlib.sha256(memoryview(file)[start:]).hexdigest(),
        pixels_sha256="" if pixels is None else sha256_of(pixels),
    )


def _read(dataset: Dataset) -> tuple[InstanceHeader, bytes | None]:
    """Return the header without checksums, and the bytes of Pixel Data, if there are any."""
    pixels, _ = bounded_value(dataset, "PixelData", BYTES, longest=sys.maxsize) or (None, "")
    frames, series_number, instance_number = (
        number(dataset, keyword) for keyword in ("NumberOfFrames", "SeriesNumber", "InstanceNumber")
    )
    header = InstanceHeader(
        sop_class_uid=_uid(dataset, "SOPClassUID"),
        sop_instance_uid=_uid(dataset, "SOPInstanceUID"),
        study_uid=_uid(dataset, "StudyInstanceUID"),
        series_uid=_uid(dataset, "SeriesInstanceUID"),
        patient_id=_identifier(dataset, "PatientID"),
        issuer=_identifier(dataset, "IssuerOfPatientID"),
        patient_name=_text(dataset, "PatientName"),
        birth_date=day(dataset, "PatientBirthDate"),
        sex=_text(dataset, "PatientSex"),
        patient_age=_text(dataset, "PatientAge"),
        accession=_identifier(dataset, "AccessionNumber"),
        study_date=study_day(dataset),
        descriptions=tuple(filter(None, (_text(dataset, keyword) for keyword in _DESCRIPTIONS))),
        department=_text(dataset, "InstitutionalDepartmentName"),
        modality=_text(dataset, "Modality"),
        model=_text(dataset, "ManufacturerModelName"),
        body_part=_text(dataset, "BodyPartExamined"),
        anatomic_region=_region(dataset),
        side=stated_side(dataset),
        both_sides=has_both_sides(dataset),
        view_position=_text(dataset, "ViewPosition"),
        for_processing=is_for_processing(dataset),
        frames=1 if frames is None else int(frames),
        series_number=None if series_number is None else int(series_number),
        instance_number=None if instance_number is None else int(instance_number),
        has_pixels=isinstance(pixels, bytes),
    )
    return header, pixels if isinstance(pixels, bytes) else None


def is_uid(value: str) -> bool:
    """Return whether a text is a UID (PS3.5, 9.1); leading zeros of a component, which occur, are allowed."""
    return len(value) <= _LONGEST_UID and _UID.fullmatch(value) is not None


def _uid(dataset: Dataset, keyword: str) -> str:
    value = text(dataset, keyword) or ""
    if not is_uid(value):
        raise damaged(f"the DICOM object has no proper {keyword}")
    return value


def _identifier(dataset: Dataset, keyword: str) -> str:
    value = _clean(text(dataset, keyword))
    if len(value) > _LONGEST_IDENTIFIER:
        raise damaged(f"the DICOM object has a {keyword} of more than {_LONGEST_IDENTIFIER} characters")
    return value


def _text(dataset: Dataset, keyword: str) -> str:
    return _clean(text(dataset, keyword))[:_LONGEST_TEXT]


def _clean(value: str | None) -> str:
    """Return a text without control characters and halves of surrogate pairs, which databases reject."""
    return "".join(one for one in value or "" if one.isprintable()).strip()


def _region(dataset: Dataset) -> str:
    """Return the SNOMED code of the first item of Anatomic Region Sequence, or an empty text."""
    try:
        item = bounded_item(dataset, "AnatomicRegionSequence")
    except Exception:  # the sequence is damaged: nearly any error
        log_malformed("AnatomicRegionSequence")
        return ""
    if item is None or _text(item, "CodingSchemeDesignator") not in _SNOMED:
        return ""
    return _text(item, "CodeValue")
