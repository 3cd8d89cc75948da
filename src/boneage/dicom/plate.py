"""A reference plate as a DICOM radiograph, to try a program or a PACS on: an average hand of no patient."""

from __future__ import annotations

import calendar
import uuid
from datetime import date
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ComputedRadiographyImageStorage, ExplicitVRLittleEndian

STUDY_DATE = date(2024, 5, 6)
_NAMESPACE = uuid.UUID("f1a9b1d0-6a52-5a2e-9d0b-6a1a3b7f4f60")
_BITS = 12


def plate_file(key: str, grey: NDArray[np.uint8], sex: str, age_months: float) -> bytes:
    """Return a plate as a DICOM file (CR Image, PS3.3, A.2; 12 bits, MONOCHROME2).

    Patient and study are invented: the Patient ID is the plate's key, and the date of birth makes the child as old as
    the plate at the study. The same plate gives the same bytes.

    Args:
        key: name of the plate.
        grey: uint8 (H, W), bone bright, the left hand.
        sex: ``F`` or ``M``.
        age_months: age of the plate, whole months.
    """
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = _uid(f"instance {key}")
    made.StudyInstanceUID, made.SeriesInstanceUID = _uid(f"study {key}"), _uid(f"series {key}")
    made.SpecificCharacterSet = "ISO_IR 100"
    made.ImageType = ["ORIGINAL", "PRIMARY"]
    made.PatientName, made.PatientID = f"Plate^{key}", key
    made.PatientSex = sex
    made.PatientBirthDate = _born(round(age_months)).strftime("%Y%m%d")
    made.StudyDate = made.SeriesDate = made.AcquisitionDate = made.ContentDate = STUDY_DATE.strftime("%Y%m%d")
    made.StudyTime = made.SeriesTime = made.AcquisitionTime = made.ContentTime = "101500"
    made.AccessionNumber, made.StudyID, made.SeriesNumber, made.InstanceNumber = f"A-{key}", "1", 1, 1
    made.ReferringPhysicianName = made.PatientOrientation = ""
    made.StudyDescription, made.Manufacturer = "Bone age", "The boneage developers"
    made.Modality, made.BodyPartExamined, made.ViewPosition = "CR", "HAND", "PA"
    made.Laterality = "L"
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows, made.Columns = grey.shape
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, _BITS, _BITS - 1, 0
    levels = np.rint(grey.astype(np.float64) * ((1 << _BITS) - 1) / 255).astype("<u2")
    made.add_new("PixelData", "OW", levels.tobytes())
    file = BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _uid(name: str) -> UID:
    """Return a UID by the name (PS3.5, B.2)."""
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, name).int}")


def _born(months: int) -> date:
    """Return the day of the study so many months earlier, or the last day of that month."""
    year, month = divmod(STUDY_DATE.year * 12 + STUDY_DATE.month - 1 - months, 12)
    return date(year, month + 1, min(STUDY_DATE.day, calendar.monthrange(year, month + 1)[1]))
