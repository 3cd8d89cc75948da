"""Stored assessments that are read by another chronological age."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from boneage.clinical.ages import TOLERANCE_MONTHS, age_in_file, exact_age
from boneage.clinical.documents import age_document, chronological_age, read_again
from boneage.schema import AssessmentDocument
from tests.documents import assessment_document

MONTHS = st.floats(13.0, 200.0)


def codes(document: AssessmentDocument) -> list[str]:
    return [one.code for one in document.warnings]


@given(in_file=MONTHS, ages=st.lists(MONTHS, min_size=1, max_size=3))
def test_age_that_differs_from_file(in_file: float, ages: list[float]) -> None:
    """Whatever was given before, the warning compares the present age with that of the file."""
    document = replace(assessment_document(), age_in_file=age_document(exact_age(in_file)))
    for age in ages:
        document = read_again(document, exact_age(age))
        assert document.age_in_file is not None
        differs = abs(age - document.age_in_file.lower_months) > TOLERANCE_MONTHS
        assert codes(document).count("age_differs_from_file") == differs
    for present in (document.age_in_file, None):
        assert "age_differs_from_file" not in codes(read_again(document, chronological_age(present)))


def test_file_with_whole_years() -> None:
    """Any age within the year agrees with it."""
    document = replace(assessment_document(), age_in_file=age_document(age_in_file("008Y", None, None).age))
    for months, differs in ((94.0, True), (96.0, False), (107.9, False), (110.0, True)):
        assert ("age_differs_from_file" in codes(read_again(document, exact_age(months)))) == differs
