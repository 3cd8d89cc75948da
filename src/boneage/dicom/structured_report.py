"""The result as Comprehensive 3D SR: imaging measurement report (TID 1500) with the hand's outline.

The measurements stand in one planar ROI group (TID 1410) whose region is the outline of the hand, so that a viewer
draws outline and value on the radiograph itself. Without an outline they stand in a group without a region (TID 1501).
Each single bone that was read has a further planar ROI group. Its region is the tile of the bone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.codedict import codes as standard
from pydicom.sr.coding import Code

from boneage import words
from boneage.clinical.documents import counted_warnings
from boneage.clinical.intended_use import METHOD
from boneage.dicom import codes
from boneage.dicom.identity import (
    DEVICE_UID,
    MANUFACTURER,
    MODEL,
    ResultKey,
    add_origin,
    laterality,
    local_time,
    reference_to,
)
from boneage.report.comparison import Decided, counted_months
from boneage.report.numbers import result_numbers
from boneage.schema import AssessmentDocument, ClinicalDocument, Point

SERIES_NUMBER = 990

Group = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations | hd.sr.MeasurementsAndQualitativeEvaluations
"""Measurement group with a region, or without one."""


@dataclass(frozen=True)
class Verification:
    """A physician's decision, by which a report is verified.

    Attributes:
        decided: bone age that counts.
        reader: name of the physician, DICOM person name ``Family^Given``, with a credential as its suffix.
        organization: organization of the physician.
        at: moment of the decision, with a time zone; None for that of the report.
    """

    decided: Decided
    reader: str
    organization: str
    at: datetime | None = None


def structured_report(
    source: Dataset,
    document: AssessmentDocument,
    clinical: ClinicalDocument,
    key: ResultKey,
    *,
    now: datetime,
    verification: Verification | None = None,
    predecessor: Dataset | None = None,
) -> Dataset:
    """Return the report of an assessment.

    Args:
        source: data set of the radiograph; pixels are not needed.
        document: its assessment, without a critical warning.
        clinical: clinical reading of the bone age that counts.
        key: key of the result.
        now: moment at which it is made, with a time zone.
        verification: the physician's decision; without it the report is unverified and preliminary.
        predecessor: data set of the report that this one replaces, if there is one.
    """
    content = _report(source, document, clinical, key, verification)
    report: Dataset = hd.sr.Comprehensive3DSR(
        evidence=[reference_to(source)],
        content=content,
        series_instance_uid=key.uid("series sr"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=key.uid("sr"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=verification is not None,
        is_verified=verification is not None,
        verifying_observer_name=None if verification is None else verification.reader,
        verifying_organization=None if verification is None else verification.organization,
        previous_versions=None if predecessor is None else [predecessor],
    )
    when = add_origin(report, source, key, now)
    report.SeriesDate = report.ContentDate = when.strftime("%Y%m%d")
    report.SeriesTime = report.ContentTime = when.strftime("%H%M%S")
    verified = when if verification is None or verification.at is None else local_time(source, verification.at)
    for observer in report.get("VerifyingObserverSequence", []):
        observer.VerificationDateTime = verified.strftime("%Y%m%d%H%M%S")
    for equipment in report.get("ContributingEquipmentSequence", []):  # highdicom's own, with the time of this call
        equipment.ContributionDateTime = when.strftime("%Y%m%d%H%M%S")
    return report


def _report(
    source: Dataset,
    document: AssessmentDocument,
    clinical: ClinicalDocument,
    key: ResultKey,
    verification: Verification | None,
) -> hd.sr.MeasurementReport:
    reader = None
    if verification is not None:
        reader = hd.sr.ObserverContext(
            standard.DCM.Person,
            hd.sr.PersonObserverIdentifyingAttributes(verification.reader, organization_name=verification.organization),
        )
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(
            observer_person_context=reader, observer_device_context=device_observer(key.program)
        ),
        procedure_reported=codes.PROCEDURE,
        imaging_measurements=[
            _group(source, document, clinical, key, verification),
            *_bone_groups(source, document, key, verification),
        ],
        title=standard.DCM.ImagingMeasurementReport,
        language_of_content_item_and_descendants=hd.sr.LanguageOfContentItemAndDescendants(
            hd.sr.CodedConcept.from_code(codes.ENGLISH)
        ),
    )
    items = report[0].ContentSequence
    relations = [item.RelationshipType for item in items]
    items.insert(relations.index("CONTAINS"), _image_library(source))
    after_observers = len(relations) - relations[::-1].index("HAS OBS CONTEXT")
    for item in reversed(list(_subject(clinical, document))):
        items.insert(after_observers, item)
    return report


def device_observer(program: str) -> hd.sr.ObserverContext:
    """Return the program as an observer (TID 1004).

    Args:
        program: version of the program.
    """
    return hd.sr.ObserverContext(
        standard.DCM.Device,
        hd.sr.DeviceObserverIdentifyingAttributes(
            DEVICE_UID, name=MODEL, manufacturer_name=MANUFACTURER, model_name=MODEL, serial_number=program
        ),
    )


def _image_library(source: Dataset) -> hd.sr.ContainerContentItem:
    """Return the library of the one image (TID 1600), by the elements that the radiograph has.

    highdicom's own needs elements that radiographs of hospitals may lack.
    """
    contains, context = hd.sr.RelationshipTypeValues.CONTAINS, hd.sr.RelationshipTypeValues.HAS_ACQ_CONTEXT
    image = hd.sr.ImageContentItem(codes.SOURCE, source.SOPClassUID, source.SOPInstanceUID, relationship_type=contains)
    image.ContentSequence = hd.sr.ContentSequence()
    modality = codes.MODALITIES.get(str(source.get("Modality", "")))
    if modality is not None:
        image.ContentSequence.append(hd.sr.CodeContentItem(standard.DCM.Modality, modality, context))
    sizes = ((standard.DCM.PixelDataRows, source.Rows), (standard.DCM.PixelDataColumns, source.Columns))
    for name, count in sizes:
        image.ContentSequence.append(hd.sr.NumContentItem(name, int(count), codes.PIXELS, relationship_type=context))
    library, group = (
        hd.sr.ContainerContentItem(name, relationship_type=contains)
        for name in (standard.DCM.ImageLibrary, standard.DCM.ImageLibraryGroup)
    )
    group.ContentSequence, library.ContentSequence = hd.sr.ContentSequence([image]), hd.sr.ContentSequence([group])
    return library


def _subject(clinical: ClinicalDocument, document: AssessmentDocument) -> Iterator[Dataset]:
    """Yield the subject as it was read: the patient, the sex that was used, and the age (TID 1006 and 1007)."""
    relation = hd.sr.RelationshipTypeValues.HAS_OBS_CONTEXT
    yield hd.sr.CodeContentItem(codes.SUBJECT_CLASS, codes.PATIENT, relation)
    yield hd.sr.CodeContentItem(codes.SUBJECT_SEX, codes.SEXES[document.sex], relation)
    age = clinical.chronological_age
    if age is not None and age.completed_months is not None:
        yield hd.sr.NumContentItem(codes.SUBJECT_AGE, round(age.months, 1), codes.MONTHS, relationship_type=relation)
    elif age is not None:
        yield hd.sr.NumContentItem(codes.SUBJECT_AGE, age.years, codes.YEARS, relationship_type=relation)


def _group(
    source: Dataset,
    document: AssessmentDocument,
    clinical: ClinicalDocument,
    key: ResultKey,
    verification: Verification | None,
) -> Group:
    decided = None if verification is None else verification.decided
    region = _region(source, document)
    kind: Callable[..., Group]
    if region is None:
        images = [hd.sr.SourceImageForMeasurementGroup(source.SOPClassUID, source.SOPInstanceUID)]
        kind = partial(hd.sr.MeasurementsAndQualitativeEvaluations, source_images=images)
    else:
        kind = partial(hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations, referenced_region=region)
    group = kind(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=key.uid("hand"), identifier="Hand"),
        finding_type=codes.FINDING,
        algorithm_id=_algorithm(document, key),
        finding_sites=[hd.sr.FindingSite(codes.HAND, laterality=codes.SIDES.get(laterality(source)))],
        measurements=list(_measurements(document, clinical, decided)),
        qualitative_evaluations=list(_evaluations(clinical)),
    )
    for name, text in _texts(document, clinical, decided):
        group[0].ContentSequence.append(hd.sr.TextContentItem(name, text, hd.sr.RelationshipTypeValues.CONTAINS))
    return group


def _algorithm(document: AssessmentDocument, key: ResultKey) -> hd.sr.AlgorithmIdentification:
    return hd.sr.AlgorithmIdentification(
        name=f"{MODEL} {document.bundle.name}",
        version=f"{key.program} ({document.bundle.version})",
        family=codes.ARTIFICIAL_INTELLIGENCE,
        manufacturer=MANUFACTURER,
    )


def _bone_groups(
    source: Dataset, document: AssessmentDocument, key: ResultKey, verification: Verification | None
) -> Iterator[Group]:
    """Yield a group for each single bone that was read; none beside a corrected bone age."""
    if verification is not None and verification.decided.is_corrected:
        return
    image = hd.sr.SourceImageForRegion(source.SOPClassUID, source.SOPInstanceUID)
    for bone in document.bones:
        if bone.age_months is None:
            continue
        corners = _closed_on(source, document, bone.corners)
        site, part = codes.bone_site(bone.name)
        measurements = [_with_method(_months(codes.BONE_AGE_BY_BONE, bone.age_months, method=codes.METHOD))]
        if bone.interval_months is not None:
            low, high = bone.interval_months
            measurements += [_months(codes.NUMBERS["BA95L"], low), _months(codes.NUMBERS["BA95U"], high)]
        yield hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=hd.sr.TrackingIdentifier(uid=key.uid(f"bone {bone.name}"), identifier=bone.name),
            referenced_region=hd.sr.ImageRegion(hd.sr.GraphicTypeValues.POLYLINE, corners, image),
            finding_type=codes.FINDING,
            algorithm_id=_algorithm(document, key),
            finding_sites=[
                hd.sr.FindingSite(site, laterality=codes.SIDES.get(laterality(source)), topographical_modifier=part)
            ],
            measurements=measurements,
        )


def _months(concept: Code, months: float, method: Code | None = None) -> hd.sr.Measurement:
    """Return a measurement in months, with one decimal."""
    return hd.sr.Measurement(concept, round(months, 1), codes.MONTHS, method=method)


def _region(source: Dataset, document: AssessmentDocument) -> hd.sr.ImageRegion | None:
    outline = outline_on(source, document)
    if outline is None:
        return None
    image = hd.sr.SourceImageForRegion(source.SOPClassUID, source.SOPInstanceUID)
    return hd.sr.ImageRegion(hd.sr.GraphicTypeValues.POLYLINE, outline, image)


def outline_on(source: Dataset, document: AssessmentDocument) -> NDArray[np.float64] | None:
    """Return the closed outline of the hand, (N, 2), x and y in pixels of the source; None without one.

    A radiograph whose pixels are not square was resampled before it was read. Points are clipped to the image. Both
    coordinate systems count from the upper left corner of the first pixel (PS3.3, C.10.5.1.2).

    Args:
        source: data set of the radiograph.
        document: its assessment.
    """
    if document.hand is None or len(document.hand.outline_xy) < 3:
        return None
    return _closed_on(source, document, document.hand.outline_xy)


def _closed_on(source: Dataset, document: AssessmentDocument, points_xy: Sequence[Point]) -> NDArray[np.float64]:
    """Return points on the radiograph as a closed line on the source, clipped to the image."""
    read, rows, columns = document.radiograph, int(source.Rows), int(source.Columns)
    points = np.array(points_xy) * [columns / read.width_pixels, rows / read.height_pixels]
    closed = np.vstack([points, points[:1]])
    return np.asarray(closed.clip([0, 0], [columns, rows]))


def _measurements(
    document: AssessmentDocument, clinical: ClinicalDocument, decided: Decided | None
) -> Iterator[hd.sr.Measurement]:
    """Yield bone age, bounds, difference and SDS beside one another, months with one decimal."""
    months = counted_months(document, decided)
    yield _with_method(_months(codes.BONE_AGE, months, method=codes.METHOD))
    for number in result_numbers(document, clinical, decided):
        if number.code in codes.NUMBERS:
            yield hd.sr.Measurement(codes.NUMBERS[number.code], number.value, codes.UNITS[number.unit])


def _with_method(measurement: hd.sr.Measurement) -> hd.sr.Measurement:
    """Return a measurement whose method modifies its concept (TID 300, row 3)."""
    for item in measurement[0].ContentSequence:
        item.RelationshipType = "HAS CONCEPT MOD"
    return measurement


def _evaluations(clinical: ClinicalDocument) -> Iterator[hd.sr.QualitativeEvaluation]:
    if clinical.determination is not None:
        yield hd.sr.QualitativeEvaluation(codes.DETERMINATION, codes.DETERMINATIONS[clinical.determination])


def _texts(
    document: AssessmentDocument, clinical: ClinicalDocument, decided: Decided | None
) -> Iterator[tuple[Code, str]]:
    """Yield English sentences: the reference, warnings, and the notice."""
    with words.use_language("en"):
        if clinical.sds is not None:
            yield codes.REFERENCE, clinical.reference.name
        for bone in document.bones:
            if bone.unreadable is not None:
                yield codes.UNREADABLE_BONE, f"{words.bone(bone.name)}: {words.unreadable(bone.unreadable)}"
        for warning in counted_warnings(document, clinical):
            yield codes.WARNING, f"{warning.severity}: {warning.message}"
        if decided is None:
            yield codes.COMMENT, f"Automatic estimate ({METHOD}), not verified by a physician. {document.notice}"
