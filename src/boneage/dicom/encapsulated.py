"""The PDF report as an encapsulated PDF in the study of the radiograph (PS3.3, A.45.1)."""

from __future__ import annotations

from datetime import datetime

from pydicom import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from boneage.dicom import codes
from boneage.dicom.identity import ResultKey, instance_reference, new_object

SERIES_NUMBER = 992


def encapsulated_pdf(source: Dataset, key: ResultKey, pdf: bytes, *, title: str, now: datetime) -> Dataset:
    """Return a PDF report as a DICOM object.

    Args:
        source: data set of the radiograph.
        key: key of the result.
        pdf: the file.
        title: title of the report.
        now: moment at which the object is made, with a time zone.
    """
    made = new_object(
        source, key, "pdf", sop_class=EncapsulatedPDFStorage, modality="DOC", series_number=SERIES_NUMBER, now=now
    )
    made.ConversionType = "WSD"
    made.AcquisitionDateTime = ""
    made.BurnedInAnnotation = "YES"
    made.DocumentTitle = title
    made.ConceptNameCodeSequence = [codes.coded(codes.REPORT)]
    made.SourceInstanceSequence = [instance_reference(source)]
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    made.EncapsulatedDocumentLength = len(pdf)
    made.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    return made
