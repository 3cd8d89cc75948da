"""Words on adult height: every code has its words, and each row states its prediction or its reason."""

from __future__ import annotations

import re

import pytest

from boneage.clinical.height import (
    BandMeaning,
    Contraindication,
    HeightInputError,
    HeightInputs,
    Method,
    Note,
    ParentHeight,
    Reason,
    predict_adult_height,
)
from boneage.clinical.height.bayley_pinneau import Group
from boneage.clinical.height.reinehr import DelayGroup
from boneage.report import adult_height
from boneage.report.adult_height import adult_height_content, input_error
from boneage.sex import Sex


def boy(**changes: object) -> HeightInputs:
    """A boy of 12 years whose bone age is a year and a half behind."""
    values: dict[str, object] = {
        "sex": Sex.MALE,
        "age_months": 144.0,
        "bone_age_months": 126.0,
        "bone_age_interval_80": (117.0, 135.0),
        "height_cm": 143.5,
        "height_days_from_radiograph": 0,
        "weight_kg": 36.0,
        "mother": ParentHeight(165.0),
        "father": ParentHeight(178.0),
        "contraindications": frozenset(),
    }
    return HeightInputs(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("codes", "texts"),
    [
        (Method, adult_height.METHODS),
        (Reason, adult_height.REASONS),
        (Note, adult_height._NOTES),
        (BandMeaning, adult_height._BANDS),
        (Contraindication, adult_height.CONTRAINDICATIONS),
        ([*Group, *DelayGroup], adult_height._VARIANTS),
    ],
)
def test_every_code_has_words(codes: object, texts: object) -> None:
    """Nothing that the core may return lacks a sentence."""
    assert set(codes) == set(texts)  # type: ignore[call-overload]


def test_every_input_error_has_words() -> None:
    """The codes are those of the error's own documentation."""
    codes = re.findall(r"``(\w+)``: ", HeightInputError.__doc__ or "")
    assert set(codes) == set(adult_height.INPUT_ERRORS)
    with pytest.raises(HeightInputError) as caught:
        boy(height_cm=1.435)
    assert input_error(caught.value) == "This looks like metres. Enter centimetres."


def test_rows_state_prediction_or_reason() -> None:
    """Two groups of Bayley & Pinneau where the interval crosses the bound, and no row without a statement."""
    content = adult_height_content(predict_adult_height(boy()))
    assert all(bool(row.prediction) != bool(row.reason) for row in content.rows)
    assert all(bool(row.interval) == bool(row.meaning) == bool(row.prediction) for row in content.rows)
    groups = [row.group for row in content.rows if row.method == "Bayley & Pinneau 1952"]
    assert groups == ["table for a bone age one year or more behind", "table for a bone age within one year of the age"]
    assert content.rows[-1].prediction == "178.0 cm"
    assert "error of the bone age" not in next(row for row in content.rows if "Khamis & Roche" in row.method).meaning
    assert content.lines[-1].startswith("No row is the child's adult height")


def test_contraindication_is_stated() -> None:
    """The condition is named, and no method of prediction is offered."""
    treated = boy(contraindications=frozenset({Contraindication.UNDER_TREATMENT}))
    content = adult_height_content(predict_adult_height(treated))
    assert "Present: Treatment that changes growth or skeletal maturation" in content.notes
    assert [row.method for row in content.rows if row.prediction] == ["Target height by the parents' heights"]
