"""The structured report holds the values of the assessment, on the radiograph itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from boneage.dicom.identity import ResultKey
from boneage.dicom.structured_report import Verification, outline_on, structured_report
from boneage.report.comparison import Decided
from boneage.report.content import clinical_of
from boneage.schema import AssessmentDocument
from tests.dicom.sources import NOW, content_items, document, number_of, source
from tests.documents import bone_documents


def report(
    given: Dataset,
    made: AssessmentDocument,
    verification: Verification | None = None,
    predecessor: Dataset | None = None,
) -> Dataset:
    """Return the report of an assessment."""
    decided = None if verification is None else verification.decided
    key = ResultKey.of(given, made, decision="" if decided is None else "1")
    clinical = clinical_of(made, decided)
    return structured_report(given, made, clinical, key, now=NOW, verification=verification, predecessor=predecessor)


def test_structured_report_values() -> None:
    """Every number is that of the assessment, months with one decimal."""
    made = document(age_months=94.26, sex="M")
    written = report(source(), made)
    assert made.interval_months is not None
    assert made.difference is not None
    assert made.difference.months is not None
    assert made.sds is not None
    assert made.chronological_age is not None
    assert number_of(written, "Bone age") == round(made.age_months, 1)
    assert number_of(written, "95 % interval, lower bound") == round(made.interval_months[0], 1)
    assert number_of(written, "95 % interval, upper bound") == round(made.interval_months[1], 1)
    assert number_of(written, "Bone age minus chronological age") == round(made.difference.months, 1)
    assert number_of(written, "Z-score of measurement") == made.sds
    assert number_of(written, "Subject Age") == round(made.chronological_age.months, 1)
    assert content_items(written, "Subject Sex")[0].ConceptCodeSequence[0].CodeValue == "M"
    assert made.determination is not None
    (determination,) = content_items(written, "Bone age determination")
    assert determination.ConceptCodeSequence[0].CodeValue == made.determination.upper()
    assert content_items(written, "Reference of healthy children")[0].TextValue == made.reference.name


def test_structured_report_state() -> None:
    """An automatic estimate is complete, unverified and preliminary, and belongs to the study of its radiograph."""
    given = source()
    written = report(given, document())
    assert (written.CompletionFlag, written.VerificationFlag, written.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    assert written.StudyInstanceUID == given.StudyInstanceUID
    assert str(written.PatientName) == str(given.PatientName)
    assert (written.SeriesNumber, written.ContentDate, written.ContentTime) == (990, "20240506", "090000")
    assert "not verified" in content_items(written, "Comment")[0].TextValue


@pytest.mark.parametrize(("side", "laterality"), [("L", ["Left"]), ("R", ["Right"]), ("B", []), (None, [])])
def test_structured_report_finding_site(side: str | None, laterality: list[str]) -> None:
    """The hand has a side only if the radiograph states one."""
    written = report(source(ImageLaterality=side), document())
    (site,) = content_items(written, "Finding Site")
    assert site.ConceptCodeSequence[0].CodeMeaning == "Hand"
    assert [one.ConceptCodeSequence[0].CodeMeaning for one in site.get("ContentSequence", [])] == laterality


def test_structured_report_method_modifies_its_concept() -> None:
    """The method of the bone age has the relationship that TID 300 demands."""
    (method,) = content_items(report(source(), document()), "Measurement Method")
    assert method.RelationshipType == "HAS CONCEPT MOD"


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_outline_on_pixels_that_are_not_square(scale: float) -> None:
    """The outline is closed, lies on the image, and is scaled to the stored pixels."""
    given, made = source(), document()
    assert made.hand is not None
    stretched = replace(made, radiograph=replace(made.radiograph, height_pixels=round(given.Rows * scale)))
    outline = outline_on(given, stretched)
    assert outline is not None
    np.testing.assert_array_equal(outline[0], outline[-1])
    np.testing.assert_allclose(outline[:-1, 1], np.array(made.hand.outline_xy)[:, 1] / scale)
    assert (outline >= 0).all()
    assert (outline <= [given.Columns, given.Rows]).all()


def test_structured_report_outline_is_the_region() -> None:
    """The region of the measurements is the outline, and refers to the radiograph."""
    given, made = source(), document()
    (region,) = content_items(report(given, made), "Image Region")
    outline = outline_on(given, made)
    assert outline is not None
    assert region.GraphicType == "POLYLINE"
    np.testing.assert_allclose(np.reshape(region.GraphicData, (-1, 2)), outline, atol=1e-3)
    (image,) = region.ContentSequence
    assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == given.SOPInstanceUID


def test_structured_report_without_hand() -> None:
    """Without an outline the measurements refer to the whole radiograph."""
    given = source()
    written = report(given, document(hand=None))
    assert content_items(written, "Image Region") == []
    assert number_of(written, "Bone age") == 94.0
    (image,) = content_items(written, "Source of Measurement")
    assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == given.SOPInstanceUID


@pytest.mark.parametrize("missing", ["PatientOrientation", "ImagerPixelSpacing", "Modality"])
def test_structured_report_sparse_radiograph(missing: str) -> None:
    """Elements that radiographs may lack are not needed."""
    assert number_of(report(source(**{missing: None}), document()), "Bone age") == 94.0


def test_structured_report_age_in_whole_years() -> None:
    """An age in whole years stays one, and gives neither difference nor SDS."""
    from boneage.clinical.ages import age_in_file
    from boneage.clinical.documents import read_again

    made = read_again(document(), age_in_file("008Y", None, None).age)
    written = report(source(), made)
    (age,) = content_items(written, "Subject Age")
    assert age.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue == "a"
    assert number_of(written, "Subject Age") == 8
    for absent in ("Bone age minus chronological age", "Z-score of measurement", "Bone age determination"):
        assert content_items(written, absent) == []


def test_structured_report_near_maturity_has_no_upper_bound() -> None:
    """At the end of the scale the interval is open above."""
    from boneage.schema import NearMaturityDocument

    near = NearMaturityDocument(is_near=True, reasons=("estimate",), probability_mature=None)
    written = report(source(), document(near_maturity=near))
    assert len(content_items(written, "95 % interval, lower bound")) == 1
    assert content_items(written, "95 % interval, upper bound") == []


def test_structured_report_warnings() -> None:
    """Warnings stand in the report with their severity."""
    from tests.documents import assessment_document

    made = assessment_document()
    warnings = content_items(report(source(), made), "Warning on the estimate")
    assert [one.TextValue for one in warnings] == [f"{one.severity}: {one.message}" for one in made.warnings]


def test_structured_report_has_a_group_for_each_bone() -> None:
    """Each bone that was read has its age, its interval, its site with the side, and its tile as region."""
    given, made = source(), document(bones=bone_documents())
    written = report(given, made)
    groups = {
        content_items(group, "Tracking Identifier")[0].TextValue: group
        for group in content_items(written, "Measurement Group")
    }
    read = {bone.name: bone for bone in made.bones if bone.age_months is not None}
    assert groups.keys() == {"Hand", *read}
    for name, bone in read.items():
        assert bone.age_months is not None and bone.interval_months is not None
        assert number_of(groups[name], "Bone age by this bone alone") == round(bone.age_months, 1)
        assert number_of(groups[name], "95 % interval, lower bound") == round(bone.interval_months[0], 1)
        assert number_of(groups[name], "95 % interval, upper bound") == round(bone.interval_months[1], 1)
        (region,) = content_items(groups[name], "Image Region")
        assert len(region.GraphicData) == 10 and region.GraphicData[:2] == region.GraphicData[-2:]
        assert [one.ConceptCodeSequence[0].CodeMeaning for one in content_items(groups[name], "Laterality")] == ["Left"]
    (site,) = content_items(groups["pip_3"], "Finding Site")
    assert (site.ConceptCodeSequence[0].CodeMeaning, site.ConceptCodeSequence[0].CodingSchemeDesignator) == (
        "Middle finger",
        "SCT",
    )
    (part,) = content_items(groups["pip_3"], "Topographical modifier")
    assert part.ConceptCodeSequence[0].CodeMeaning == "Proximal interphalangeal joint"
    (unread,) = content_items(written, "Bone that was not read")
    assert unread.TextValue.startswith("carpal bones: its bone age is uncertain")
    assert number_of(written, "Bone age") == 94.0, "the bone age of the hand stays the only one with its code"


def test_structured_report_of_a_correction_has_no_bones() -> None:
    made = document(bones=bone_documents())
    written = report(source(), made, Verification(Decided(110.0, is_corrected=True), "Curie^Marie", "Hospital"))
    assert content_items(written, "Bone age by this bone alone") == []


@pytest.mark.parametrize("is_corrected", [False, True])
def test_structured_report_verified(is_corrected: bool) -> None:
    """A decision gives a new, verified report with its reader and its predecessor."""
    given, made = source(), document()
    before = report(given, made)
    decided = Decided(110.0 if is_corrected else made.age_months, is_corrected)
    written = report(given, made, Verification(decided, "Curie^Marie", "Hospital"), before)
    assert (written.VerificationFlag, written.PreliminaryFlag) == ("VERIFIED", "FINAL")
    assert written.SOPInstanceUID != before.SOPInstanceUID
    (observer,) = written.VerifyingObserverSequence
    assert (str(observer.VerifyingObserverName), observer.VerifyingOrganization) == ("Curie^Marie", "Hospital")
    assert content_items(written, "Person Observer Name")[0].PersonName == "Curie^Marie"
    assert number_of(written, "Bone age") == decided.age_months
    clinical = clinical_of(made, decided)
    assert number_of(written, "Z-score of measurement") == clinical.sds
    bounds = content_items(written, "95 % interval, lower bound")
    assert len(bounds) == (0 if is_corrected else 1), "the interval of the estimate is not that of a correction"
    (study,) = written.PredecessorDocumentsSequence
    reference: Any = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert reference.ReferencedSOPInstanceUID == before.SOPInstanceUID
