"""All result objects of one assessment, as a PACS stores them beside the radiograph."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from boneage import words
from boneage.dicom.capture import draw_page, draw_rejection, secondary_capture
from boneage.dicom.encapsulated import encapsulated_pdf
from boneage.dicom.identity import ResultKey, check_source
from boneage.dicom.presentation_state import presentation_state
from boneage.dicom.structured_report import Verification, structured_report
from boneage.report.content import clinical_of, report_content
from boneage.schema import AssessmentDocument
from boneage.words import gettext

Kind = Literal["sc", "pdf", "pr", "sr"]
KINDS: tuple[Kind, ...] = ("sc", "pdf", "pr", "sr")
"""Kinds of objects in the order in which they are sent: the structured report last, since it says that all is done."""
NoteKind = Literal["ko"]
"""Kind of a rejection note (`boneage.dicom.rejection_note`), which retracts objects of the other kinds."""


@dataclass(frozen=True)
class ResultObject:
    """A result object.

    Attributes:
        kind: structured report (``sr``), Secondary Capture (``sc``), encapsulated PDF (``pdf``), presentation state
            (``pr``) or rejection note (``ko``).
        dataset: the object with its file meta information.
    """

    kind: Kind | NoteKind
    dataset: Dataset

    def to_bytes(self) -> bytes:
        """Return the object as a DICOM file (PS3.10), Explicit VR Little Endian."""
        buffer = BytesIO()
        self.dataset.save_as(buffer, enforce_file_format=True)
        return buffer.getvalue()


def result_objects(
    source: Dataset,
    document: AssessmentDocument,
    picture: NDArray[np.uint8],
    *,
    now: datetime,
    kinds: Collection[Kind] = ("sc", "sr"),
    language: str = "en",
    verification: Verification | None = None,
    predecessor: Dataset | None = None,
    decision: str = "",
    pdf: Callable[[], bytes] | None = None,
) -> Iterator[ResultObject]:
    """Yield the result objects of an assessment, in the order of `KINDS`.

    A bone age that must not be used (a critical warning, no physician's decision) gives the Secondary Capture and
    the PDF alone, which state this: no number of it becomes data.

    Args:
        source: data set of the radiograph, of which the elements of patient, study, series and image are used.
        document: its assessment.
        picture: uint8 (h, w, 3), RGB: the radiograph with outline and heat map.
        now: moment at which they are made, with a time zone.
        kinds: kinds that are wanted.
        language: language of the words on page and presentation state; codes and sentences of the report are English.
        verification: the physician's decision, if there is one.
        predecessor: data set of the report that the new one replaces: that before a decision or a correction.
        decision: identifier of the decision, which gives new UIDs.
        pdf: makes the PDF report; without it there is none.

    Raises:
        Rejection: ``unreadable`` if the radiograph lacks the identifiers to which results are attached.
        ClinicalError: the reference of the setting ``BONEAGE_REFERENCE`` cannot be read.
    """
    check_source(source)
    decided = None if verification is None else verification.decided
    key = ResultKey.of(source, document, decision=decision, language=language)
    with words.use_language(language):
        content = report_content(document, decided)
        if "sc" in kinds:
            page = draw_page(document, content, picture, is_verified=decided is not None)
            yield ResultObject("sc", secondary_capture(source, key, page, is_verified=decided is not None, now=now))
        if "pdf" in kinds and pdf is not None:
            yield ResultObject("pdf", encapsulated_pdf(source, key, pdf(), title=content.title, now=now))
        if "pr" in kinds and not content.is_void:
            text = gettext("Bone age: %(age)s") % {"age": content.age}
            state = presentation_state(source, document, key, text=text, now=now)
            if state is not None:
                yield ResultObject("pr", state)
    if "sr" in kinds and not content.is_void:
        clinical = clinical_of(document, decided)
        report = structured_report(
            source, document, clinical, key, now=now, verification=verification, predecessor=predecessor
        )
        yield ResultObject("sr", report)


def rejection_object(
    source: Dataset, key: ResultKey, title: str, advice: str, *, now: datetime, language: str = "en"
) -> ResultObject:
    """Return a Secondary Capture which states that a radiograph was not assessed.

    Args:
        source: data set of the radiograph.
        key: key of the rejection.
        title: reason as a sentence in that language.
        advice: the remedy as a sentence.
        now: moment at which it is made, with a time zone.
        language: language of the words on the page.

    Raises:
        Rejection: ``unreadable`` if the radiograph lacks the identifiers to which results are attached.
    """
    check_source(source)
    with words.use_language(language):
        page = draw_rejection(title, advice)
    made = secondary_capture(source, key, page, is_verified=False, now=now)
    made.DerivationDescription = "Statement that the radiograph was not assessed"
    made.ImageComments = "Not assessed"
    return ResultObject("sc", made)
