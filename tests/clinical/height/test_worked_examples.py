"""Examples that the publications, or their comparison, work out."""

from __future__ import annotations

import pytest

from boneage.clinical.height import (
    BandMeaning,
    HeightInputs,
    HeightPrediction,
    Method,
    Note,
    ParentHeight,
    height_sds,
    khamis_roche,
    predict_adult_height,
    reinehr,
    rwt,
    target_height,
)
from boneage.clinical.height import bayley_pinneau as bp
from boneage.sex import Sex


def _only(inputs: HeightInputs, method: Method) -> HeightPrediction:
    (row,) = predict_adult_height(inputs).rows_of(method)
    return row


def test_rwt_1975_example_of_the_article() -> None:
    prediction = rwt.predict_1975(Sex.MALE, 75, 108.7, 17.4, 169.0, 5.4 * 12)
    assert prediction == pytest.approx(168.839, abs=0.001)


def test_rwt_1975_example_with_its_printed_limits() -> None:
    inputs = HeightInputs(
        Sex.MALE,
        75,
        bone_age_months=5.4 * 12,
        bone_age_interval_80=(5.4 * 12, 5.4 * 12),
        height_cm=107.45,
        weight_kg=17.4,
        mother=ParentHeight(163),
        father=ParentHeight(175),
    )
    row = _only(inputs, Method.RWT_1975)
    assert row.prediction_cm == pytest.approx(168.839, abs=0.001)
    assert (row.lower_cm, row.upper_cm) == pytest.approx((164.1, 173.5), abs=0.05)
    assert row.band is BandMeaning.PRINTED_90
    assert Note.LENGTH_FROM_STATURE in row.notes


def test_rwt_1975_measured_length_is_taken_as_it_is() -> None:
    inputs = HeightInputs(
        Sex.MALE,
        75,
        bone_age_months=5.4 * 12,
        bone_age_interval_80=(60, 70),
        height_cm=107.0,
        recumbent_length_cm=108.7,
        weight_kg=17.4,
        mother=ParentHeight(163),
        father=ParentHeight(175),
    )
    row = _only(inputs, Method.RWT_1975)
    assert row.prediction_cm == pytest.approx(168.839, abs=0.001)
    assert Note.LENGTH_FROM_STATURE not in row.notes


def test_rwt_1993_example_at_18_and_as_adult() -> None:
    assert rwt.predict_1993_at_18(Sex.MALE, 120, 135, 35, 168, 108) == pytest.approx(174.01, abs=0.005)
    inputs = HeightInputs(
        Sex.MALE,
        120,
        bone_age_months=108,
        height_cm=135,
        weight_kg=35,
        mother=ParentHeight(160),
        father=ParentHeight(176),
    )
    row = _only(inputs, Method.RWT_ADJUSTED_1993)
    assert row.prediction_cm == pytest.approx(174.81, abs=0.005)
    assert Note.INCREMENT_AFTER_18 in row.notes


@pytest.mark.parametrize(("inches", "bone_age", "adult_inches"), [(42, 84, 60.4), (43, 90, 60.6), (46, 87, 65.5)])
def test_bayley_pinneau_cells_of_table_iia(inches: float, bone_age: float, adult_inches: float) -> None:
    prediction = bp.predict(Sex.MALE, bp.Group.AVERAGE, bone_age, inches * 2.54)
    assert prediction is not None
    assert prediction / 2.54 == pytest.approx(adult_inches, abs=0.051)


def test_bayley_pinneau_girl_of_eight() -> None:
    inputs = HeightInputs(Sex.FEMALE, 96, bone_age_months=96, bone_age_interval_80=(90, 102), height_cm=120)
    row = _only(inputs, Method.BAYLEY_PINNEAU)
    assert row.variant == "average"
    assert row.prediction_cm == pytest.approx(151.9, abs=0.05)


def test_height_sds_of_a_boy_of_ten() -> None:
    assert height_sds(Sex.MALE, 120, 130.0) == pytest.approx(-1.22, abs=0.005)


def test_khamis_roche_first_row_by_hand() -> None:
    """Boys of 4 years: 40 inches, 35 pounds, midparent 68 inches."""
    by_hand = -10.2567 + 1.23812 * 40 - 0.087235 * 35 + 0.50286 * 68
    prediction = khamis_roche.predict(Sex.MALE, 48, 40 * 2.54, 35 * 0.45359237, 68 * 2.54)
    assert prediction == pytest.approx(by_hand * 2.54)


def test_reinehr_cell_by_hand() -> None:
    assert reinehr.predict(reinehr.DelayGroup.TWO_YEARS_OR_MORE, 170, 144, 150) == pytest.approx(150 / 0.858)


@pytest.mark.parametrize(("sex", "target"), [(Sex.MALE, 178.0), (Sex.FEMALE, 165.0)])
def test_target_height_formula(sex: Sex, target: float) -> None:
    assert target_height(sex, 165, 178) == target
    row = _only(HeightInputs(sex, 100, mother=ParentHeight(165), father=ParentHeight(178)), Method.TARGET_HEIGHT)
    assert (row.lower_cm, row.prediction_cm, row.upper_cm) == (target - 8.5, target, target + 8.5)
    assert row.band is BandMeaning.TARGET_RANGE
