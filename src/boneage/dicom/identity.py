"""Identity of result objects: patient and study of the source, reproducible UIDs, and the equipment that wrote them.

Patient and study are copied element by element from the source and never taken from a database: a PACS that sees other
values would split the patient.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from io import BytesIO

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from boneage.dicom.codes import schemes
from boneage.errors import Rejection, RejectionCode
from boneage.files import sha256_of
from boneage.reading.dicom.facts import stated_side
from boneage.schema import AssessmentDocument

MANUFACTURER = "The boneage developers"
MODEL = "boneage"
_NAMESPACE = uuid.UUID("5a0c44de-3d2c-5d0c-9be2-3c6f9a7a3c11")

_PATIENT_AND_STUDY = (
    # Patient (PS3.3, C.7.1.1)
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "TypeOfPatientID",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "PatientBirthDate",
    "PatientBirthTime",
    "PatientSex",
    "EthnicGroup",
    "QualityControlSubject",
    "PatientSpeciesDescription",
    "PatientSpeciesCodeSequence",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    # Clinical trial (C.7.1.3)
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    # General Study and Patient Study (C.7.2.1, C.7.2.2)
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName",
    "ProcedureCodeSequence",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "AdmissionID",
    "IssuerOfAdmissionIDSequence",
    # SOP Common (C.12.1)
    "TimezoneOffsetFromUTC",
)
_REQUIRED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""Elements of type 2: empty where the source has none."""

_IMAGE = (
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "ModalityLUTSequence",
    "WindowCenter",
    "WindowWidth",
    "WindowCenterWidthExplanation",
    "VOILUTFunction",
    "VOILUTSequence",
)


@dataclass(frozen=True)
class ResultKey:
    """Everything by which the content of a result object is decided.

    Equal keys give equal UIDs, so that a renderer that was interrupted repeats itself. Any other result is a new
    object, since a PACS keeps the first bytes of a SOP Instance UID and answers success to all others.

    Attributes:
        source_uid: SOP Instance UID of the radiograph.
        source_sha256: checksum of the data set that was assessed, 64 hexadecimal digits.
        bundle, program: name and version of each.
        sex: sex by which it was read.
        age_months: chronological age by which it was read, or None.
        decision: identifier of the physician's decision; empty before one.
        language: language of the words.
    """

    source_uid: str
    source_sha256: str
    bundle: str
    program: str
    sex: str
    age_months: float | None
    decision: str
    language: str

    @classmethod
    def of(
        cls, source: Dataset, document: AssessmentDocument, *, decision: str = "", language: str = "en"
    ) -> ResultKey:
        """Return the key of an assessment.

        Args:
            source: data set of the radiograph.
            document: its assessment.
            decision: identifier of the physician's decision, if there is one.
            language: language of the words.
        """
        age = document.chronological_age
        return cls(
            source_uid=str(source.SOPInstanceUID),
            source_sha256=document.radiograph.sha256 or _sha256_of_dataset(source),
            bundle=f"{document.bundle.name} {document.bundle.version}",
            program=version("boneage"),
            sex=document.sex,
            age_months=None if age is None else age.months,
            decision=decision,
            language=language,
        )

    def uid(self, kind: str) -> UID:
        """Return the UID for an object, a series or anything else of this result (PS3.5, B.2).

        Args:
            kind: name of the thing, unique within the result.
        """
        return derived_uid(kind, *vars(self).values())


def derived_uid(*parts: object) -> UID:
    """Return the UID that follows from some values, which JSON can hold."""
    name = json.dumps(parts, ensure_ascii=True)
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, name).int}")


def _sha256_of_dataset(source: Dataset) -> str:
    buffer = BytesIO()
    source.save_as(buffer, enforce_file_format=False)
    return sha256_of(buffer.getvalue())


DEVICE_UID = UID(f"2.25.{uuid.uuid5(_NAMESPACE, MODEL).int}")
"""UID of the program as an observer (PS3.16, TID 1004)."""


def check_source(source: Dataset) -> None:
    """Check that results can be attached to a radiograph.

    Raises:
        Rejection: ``unreadable`` without SOP class, SOP Instance UID, Study or Series Instance UID.
    """
    needed = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    missing = [keyword for keyword in needed if not source.get(keyword)]
    if missing:
        raise Rejection(
            RejectionCode.UNREADABLE,
            f"The radiograph has no {', '.join(missing)}, so that no result can be attached to it. Send the original"
            " object of the PACS.",
        )


def copy_patient_and_study(source: Dataset, target: Dataset) -> None:
    """Copy patient and study of a radiograph, with the issuers of their identifiers.

    Text is decoded by the source's character set and written as UTF-8 by the target's.

    Args:
        source: data set of the radiograph.
        target: result object, whose own values are replaced.
    """
    source.decode()
    target.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _PATIENT_AND_STUDY:
        if keyword in source:
            element = source[keyword]
            value = str(element.value) if element.VR == "PN" and element.VM == 1 else element.value
            setattr(target, keyword, value)
        elif keyword in target:
            delattr(target, keyword)
    for keyword in _REQUIRED:
        if keyword not in target:
            setattr(target, keyword, "")


def reference_to(source: Dataset) -> Dataset:
    """Return a radiograph without its pixels: patient, study, series, SOP instance, and how its pixels are shown.

    Args:
        source: data set of the radiograph.
    """
    reference = Dataset()
    copy_patient_and_study(source, reference)
    for keyword in _IMAGE:
        if keyword in source:
            setattr(reference, keyword, source[keyword].value)
    return reference


def instance_reference(source: Dataset) -> Dataset:
    """Return the item of a sequence that refers to a radiograph by its SOP class and SOP Instance UID."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    return item


def local_time(source: Dataset, now: datetime) -> datetime:
    """Return a moment in the time zone of a radiograph (Timezone Offset From UTC), or in its own without one.

    Args:
        source: data set of the radiograph.
        now: moment with a time zone.
    """
    offset = str(source.get("TimezoneOffsetFromUTC", "") or "")
    if len(offset) == 5 and offset[0] in "+-" and offset[1:].isdigit():
        minutes = int(offset[1:3]) * 60 + int(offset[3:])
        return now.astimezone(timezone(timedelta(minutes=minutes if offset[0] == "+" else -minutes)))
    return now


def new_object(
    source: Dataset, key: ResultKey, kind: str, *, sop_class: UID, modality: str, series_number: int, now: datetime
) -> Dataset:
    """Return a result object with patient, study, series, equipment and SOP Common, to which content is added.

    Args:
        source: data set of the radiograph.
        key: key of the result.
        kind: name of the kind of object.
        sop_class: its SOP class.
        modality: its modality.
        series_number: number of its series in the study.
        now: moment at which it is made, with a time zone.
    """
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = sop_class, key.uid(kind)
    made.Modality, made.SeriesNumber, made.InstanceNumber = modality, series_number, 1
    made.SeriesInstanceUID = key.uid(f"series {kind}")
    when = add_origin(made, source, key, now)
    made.SeriesDate = made.ContentDate = when.strftime("%Y%m%d")
    made.SeriesTime = made.ContentTime = when.strftime("%H%M%S")
    made.file_meta.MediaStorageSOPClassUID, made.file_meta.MediaStorageSOPInstanceUID = sop_class, made.SOPInstanceUID
    return made


def add_origin(made: Dataset, source: Dataset, key: ResultKey | None, now: datetime) -> datetime:
    """Add what every result object says of its origin: patient and study, the program as equipment, time of creation.

    Args:
        made: result object, whose own values are replaced.
        source: data set of the radiograph, or of another object of its study.
        key: key of the result; None for an object without an estimate, which the installed program makes.
        now: moment at which it is made, with a time zone.

    Returns:
        That moment in the time zone of the radiograph.
    """
    copy_patient_and_study(source, made)
    made.Manufacturer, made.ManufacturerModelName = MANUFACTURER, MODEL
    program = version("boneage") if key is None else key.program
    made.SoftwareVersions = f"{MODEL} {program}" if key is None else [f"{MODEL} {program}", key.bundle]
    made.DeviceSerialNumber = program
    made.CodingSchemeIdentificationSequence = schemes()
    made.SeriesDescription = f"Bone age ({MODEL})"
    when = local_time(source, now)
    made.InstanceCreationDate, made.InstanceCreationTime = when.strftime("%Y%m%d"), when.strftime("%H%M%S")
    return when


def laterality(source: Dataset) -> str:
    """Return the side of the hand as the radiograph states it: ``L``, ``R`` or an empty string."""
    return stated_side(source) or ""
