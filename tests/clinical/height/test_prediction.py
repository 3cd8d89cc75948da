"""The table of methods: reasons, notes, groups and ranges."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from boneage.clinical.height import (
    CITATIONS,
    BandMeaning,
    Contraindication,
    HeightInputs,
    HeightPrediction,
    HeightSource,
    Method,
    Note,
    ParentHeight,
    Reason,
    predict_adult_height,
)
from boneage.clinical.height import bayley_pinneau as bp
from boneage.clinical.height import height_sds as sds_of
from boneage.clinical.height.bands import LEAST_HALF_WIDTH_CM, combined_half_width
from boneage.clinical.height.who_2007 import who_table
from boneage.sex import Sex
from boneage.strict import to_plain

BOY = HeightInputs(
    Sex.MALE,
    132.0,
    bone_age_months=126.0,
    bone_age_interval_80=(121.0, 131.0),
    height_cm=140.0,
    height_days_from_radiograph=0,
    weight_kg=34.0,
    mother=ParentHeight(165.0, HeightSource.MEASURED),
    father=ParentHeight(178.0, HeightSource.MEASURED),
    contraindications=frozenset(),
)
DELAYED = replace(BOY, age_months=170.0, bone_age_months=150.0, bone_age_interval_80=(148, 152), height_cm=150.0)
PREDICTIONS = tuple(method for method in Method if method is not Method.TARGET_HEIGHT)
WITH_BONE_AGE = (Method.BAYLEY_PINNEAU, Method.RWT_1975, Method.RWT_ADJUSTED_1993)


def _first(inputs: HeightInputs, method: Method) -> HeightPrediction:
    return predict_adult_height(inputs).rows_of(method)[0]


@st.composite
def _inputs(draw: st.DrawFn) -> HeightInputs:
    """Draw a child with a height within 4 SD, a bone age within 4 years, and gaps in what is known."""
    sex = draw(st.sampled_from(list(Sex)))
    age = draw(st.floats(12, 240))
    bone_age = draw(st.none() | st.floats(max(0, age - 48), min(240, age + 48)))
    interval = None
    if bone_age is not None:
        interval = draw(st.none() | st.tuples(st.floats(0, 20), st.floats(0, 20) | st.just(math.inf)))
        interval = interval and (bone_age - interval[0], bone_age + interval[1])
    _, median, spread = who_table(sex).at(min(max(age, 61), 228))
    height = median * (1 + spread * draw(st.floats(-4, 4))) * (1 if age >= 61 else (0.5 + 0.5 * age / 61))
    parents = st.none() | st.builds(ParentHeight, st.floats(140, 200), st.sampled_from(HeightSource))
    return HeightInputs(
        sex,
        age,
        age_exact=draw(st.sampled_from([True, True, True, False])),
        bone_age_months=bone_age,
        bone_age_interval_80=interval,
        height_cm=draw(st.just(height) | st.none()),
        height_days_from_radiograph=draw(st.none() | st.integers(-200, 200)),
        weight_kg=draw(st.none() | st.floats(8, 120)),
        mother=draw(parents),
        father=draw(parents),
        contraindications=draw(st.sampled_from([None, frozenset(), frozenset({Contraindication.TURNER_SYNDROME})])),
    )


def test_all_methods_stand_side_by_side_in_order() -> None:
    table = predict_adult_height(BOY)
    assert list(dict.fromkeys(row.method for row in table.rows)) == list(Method)
    assert {row.method: row.reason for row in table.rows if row.reason} == {Method.REINEHR_2019: Reason.NEEDS_DELAY}
    assert table.notes == ()
    assert set(CITATIONS) == set(Method)


@pytest.mark.parametrize(
    ("changes", "method", "reason"),
    [
        ({"bone_age_months": None, "bone_age_interval_80": None}, Method.BAYLEY_PINNEAU, Reason.NEEDS_BONE_AGE),
        ({"bone_age_months": None, "bone_age_interval_80": None}, Method.RWT_1975, Reason.NEEDS_BONE_AGE),
        ({"height_cm": None}, Method.BAYLEY_PINNEAU, Reason.NEEDS_HEIGHT),
        ({"height_cm": None}, Method.KHAMIS_ROCHE_1995, Reason.NEEDS_HEIGHT),
        ({"weight_kg": None}, Method.RWT_1975, Reason.NEEDS_WEIGHT),
        ({"weight_kg": None}, Method.RWT_ADJUSTED_1993, Reason.NEEDS_WEIGHT),
        ({"weight_kg": None}, Method.KHAMIS_ROCHE_1995, Reason.NEEDS_WEIGHT),
        ({"mother": None}, Method.RWT_1975, Reason.NEEDS_PARENTS_HEIGHTS),
        ({"father": None}, Method.KHAMIS_ROCHE_1995, Reason.NEEDS_PARENTS_HEIGHTS),
        ({"father": None}, Method.TARGET_HEIGHT, Reason.NEEDS_PARENTS_HEIGHTS),
        ({"age_exact": False}, Method.BAYLEY_PINNEAU, Reason.NEEDS_EXACT_AGE),
        ({"height_days_from_radiograph": 93}, Method.BAYLEY_PINNEAU, Reason.NEEDS_CURRENT_HEIGHT),
        ({"height_days_from_radiograph": -93}, Method.RWT_ADJUSTED_1993, Reason.NEEDS_CURRENT_HEIGHT),
        ({"sex": Sex.FEMALE}, Method.REINEHR_2019, Reason.BOYS_ONLY),
        ({"age_months": 211.0}, Method.KHAMIS_ROCHE_1995, Reason.NO_TABLE),
        ({"age_months": 47.0, "height_cm": 100.0}, Method.KHAMIS_ROCHE_1995, Reason.NO_TABLE),
        ({"age_months": 190.0, "height_cm": 165.0}, Method.RWT_1975, Reason.NO_TABLE),
        ({"age_months": 23.0, "height_cm": 85.0}, Method.RWT_1975, Reason.UNDER_TWO_YEARS),
        (
            {"age_months": 185.0, "height_cm": 172.0, "bone_age_months": 192.0, "bone_age_interval_80": (188, 196)},
            Method.RWT_1975,
            Reason.NEAR_MATURITY,
        ),
        (
            {"age_months": 168.0, "height_cm": 200.0, "weight_kg": 90.0, "bone_age_months": 180.0}
            | {"bone_age_interval_80": (175, 185)},
            Method.RWT_1975,
            Reason.BELOW_PRESENT_HEIGHT,
        ),
    ],
)
def test_method_gives_its_reason(changes: dict[str, Any], method: Method, reason: Reason) -> None:
    row = _first(replace(BOY, **changes), method)
    assert row.reason is reason
    assert (row.prediction_cm, row.lower_cm, row.upper_cm, row.band) == (None, None, None, None)


@pytest.mark.parametrize("condition", list(Contraindication))
def test_contraindication_leaves_target_height_and_sds(condition: Contraindication) -> None:
    table = predict_adult_height(replace(DELAYED, contraindications=frozenset({condition})))
    assert table.contraindications == (condition,)
    for method in PREDICTIONS:
        assert {row.reason for row in table.rows_of(method)} == {Reason.CONTRAINDICATED}
    (target,) = table.rows_of(Method.TARGET_HEIGHT)
    assert target.prediction_cm == 178
    assert Note.CONTRAINDICATION_PRESENT in target.notes
    assert table.sds_for_age.sds is not None


def test_unrecorded_contraindications_are_noted() -> None:
    table = predict_adult_height(replace(BOY, contraindications=None, height_days_from_radiograph=None))
    assert table.notes == (Note.HEIGHT_DATE_UNKNOWN, Note.CONTRAINDICATIONS_NOT_RECORDED)


@pytest.mark.parametrize(
    ("difference", "group"),
    [
        (-12.0, bp.Group.RETARDED),
        (-11.99, bp.Group.AVERAGE),
        (0.0, bp.Group.AVERAGE),
        (11.99, bp.Group.AVERAGE),
        (12.0, bp.Group.ACCELERATED),
    ],
)
def test_group_bounds_are_inclusive(difference: float, group: bp.Group) -> None:
    assert bp.group_of(120.0, 120.0 + difference) is group


def test_interval_that_crosses_a_bound_shows_both_groups() -> None:
    """A boy of 12 with a bone age of 11 and 140 cm: 174.1 cm as average, 170.1 cm as retarded."""
    inputs = replace(BOY, age_months=143.5, bone_age_months=132.0, bone_age_interval_80=(126, 138))
    late, average = predict_adult_height(inputs).rows_of(Method.BAYLEY_PINNEAU)
    assert (late.variant, average.variant) == ("retarded", "average")
    assert (late.prediction_cm, average.prediction_cm) == pytest.approx((170.1, 174.1), abs=0.05)
    assert late.notes == (Note.SEVERAL_GROUPS,)
    assert average.notes == (Note.SEVERAL_GROUPS, Note.GROUP_OF_ESTIMATE)


def test_wide_interval_shows_three_groups() -> None:
    rows = predict_adult_height(replace(BOY, bone_age_interval_80=(110, math.inf))).rows_of(Method.BAYLEY_PINNEAU)
    assert [row.variant for row in rows] == ["retarded", "average", "accelerated"]


def test_retarded_boys_past_13_have_no_table() -> None:
    rows = predict_adult_height(
        replace(BOY, age_months=175.0, bone_age_months=160.0, bone_age_interval_80=(155, 165), height_cm=158.0)
    ).rows_of(Method.BAYLEY_PINNEAU)
    assert [(row.variant, row.reason) for row in rows] == [("retarded", Reason.NO_TABLE), ("average", None)]


def test_reinehr_serves_delayed_boys_from_12() -> None:
    row = _first(DELAYED, Method.REINEHR_2019)
    assert row.variant == "delay_1_to_2_years"
    assert row.prediction_cm == pytest.approx(150 / 0.872)
    assert row.notes == (Note.ONLY_IF_CONSTITUTIONAL_DELAY,)
    uncertain = _first(replace(DELAYED, bone_age_interval_80=(142, 158)), Method.REINEHR_2019)
    assert Note.DELAY_UNCERTAIN in uncertain.notes
    young = replace(
        DELAYED, age_months=143.9, bone_age_months=131.5, bone_age_interval_80=(131.4, 131.6), height_cm=140
    )
    assert _first(young, Method.REINEHR_2019).reason is Reason.NO_TABLE
    exactly_one_year = replace(DELAYED, age_months=162.0)
    assert _first(exactly_one_year, Method.REINEHR_2019).reason is Reason.NEEDS_DELAY


def test_reinehr_shows_both_groups_at_two_years() -> None:
    rows = predict_adult_height(replace(DELAYED, bone_age_interval_80=(144, 156))).rows_of(Method.REINEHR_2019)
    assert [row.variant for row in rows] == ["delay_1_to_2_years", "delay_2_years_or_more"]


@pytest.mark.parametrize("bone_age", [130.9, 168.1, 174.0])
def test_reinehr_does_not_use_its_extrapolated_ages(bone_age: float) -> None:
    inputs = replace(DELAYED, age_months=190.0, bone_age_months=bone_age, bone_age_interval_80=None, height_cm=155.0)
    assert {row.reason for row in predict_adult_height(inputs).rows_of(Method.REINEHR_2019)} == {Reason.NO_TABLE}


def test_reported_parents_and_assumed_error_are_noted() -> None:
    inputs = replace(BOY, mother=ParentHeight(165.0), bone_age_interval_80=None, height_days_from_radiograph=40)
    table = predict_adult_height(inputs)
    for method in (Method.RWT_1975, Method.RWT_ADJUSTED_1993):
        (row,) = table.rows_of(method)
        wanted = {Note.PARENTS_HEIGHTS_REPORTED, Note.READING_ERROR_ASSUMED, Note.HEIGHT_NOT_SAME_DAY}
        assert wanted <= set(row.notes)
    assert table.rows_of(Method.KHAMIS_ROCHE_1995)[0].notes == (Note.PARENTS_HEIGHTS_REPORTED,)


def test_uncertain_coefficient_is_noted() -> None:
    girl = replace(BOY, sex=Sex.FEMALE, age_months=165.0, bone_age_months=160.0, bone_age_interval_80=(156, 164))
    assert Note.TABLE_VALUE_UNCERTAIN in _first(replace(girl, height_cm=155.0), Method.RWT_1975).notes


def test_unusual_bone_age_is_noted_for_regressions() -> None:
    inputs = replace(BOY, bone_age_months=108.0, bone_age_interval_80=(106, 110))
    assert Note.UNUSUAL_BONE_AGE in _first(inputs, Method.RWT_1975).notes


def test_near_maturity_has_the_least_range() -> None:
    inputs = replace(
        BOY, age_months=195.0, bone_age_months=204.0, bone_age_interval_80=(203, 205), height_cm=175.0, weight_kg=60
    )
    row = _first(inputs, Method.BAYLEY_PINNEAU)
    assert row.prediction_cm == pytest.approx(175 / 0.991)
    assert row.band is BandMeaning.LEAST
    assert row.lower_cm == 175.0
    assert {Note.NEAR_MATURITY, Note.LIMITED_BY_PRESENT_HEIGHT} <= set(row.notes)
    assert _first(inputs, Method.RWT_ADJUSTED_1993).band is BandMeaning.LEAST
    without_radiograph = _first(inputs, Method.KHAMIS_ROCHE_1995)
    assert without_radiograph.band is BandMeaning.ASSUMED_90
    assert Note.NEAR_MATURITY in without_radiograph.notes


def test_range_grows_with_the_error_of_the_reading() -> None:
    widths = []
    for half in (0.0, 5.0, 11.0):
        row = _first(replace(BOY, bone_age_interval_80=(126 - half, 126 + half)), Method.RWT_ADJUSTED_1993)
        assert row.upper_cm is not None and row.prediction_cm is not None
        widths.append(row.upper_cm - row.prediction_cm)
    assert widths == sorted(widths)
    assert widths[0] == pytest.approx(5.87, abs=0.01)
    slope = 2.32959 / 12
    assert widths[1] == pytest.approx(math.hypot(5.875, 5 * slope * 1.2835), abs=0.01)


def test_combined_error_is_never_below_the_least() -> None:
    assert combined_half_width(0.0, 0.0) == LEAST_HALF_WIDTH_CM
    assert combined_half_width(3.0, 4.0 * 1.2815515655446004 / 1.6448536269514722) == pytest.approx(5.0)


def test_height_sds_for_both_ages() -> None:
    table = predict_adult_height(BOY)
    assert table.sds_for_age.sds == pytest.approx(sds_of(Sex.MALE, 132, 140))
    assert table.sds_for_bone_age.sds == pytest.approx(sds_of(Sex.MALE, 126, 140))
    later = predict_adult_height(replace(BOY, height_days_from_radiograph=200))
    assert later.sds_for_age.sds == pytest.approx(sds_of(Sex.MALE, 132 + 200 / 30.4375, 140))
    assert later.sds_for_bone_age.reason is Reason.NEEDS_CURRENT_HEIGHT
    young = predict_adult_height(replace(BOY, age_months=60.9, height_cm=110))
    assert young.sds_for_age.reason is Reason.NO_TABLE
    bare = predict_adult_height(HeightInputs(Sex.FEMALE, 120, age_exact=False))
    assert (bare.sds_for_age.reason, bare.sds_for_bone_age.reason) == (Reason.NEEDS_EXACT_AGE, Reason.NEEDS_BONE_AGE)
    assert predict_adult_height(HeightInputs(Sex.FEMALE, 120)).sds_for_age.reason is Reason.NEEDS_HEIGHT


@pytest.mark.parametrize("height", [85.0, 190.0])
def test_height_sds_stays_plain_beyond_three(height: float) -> None:
    _, median, spread = who_table(Sex.MALE).at(120)
    assert sds_of(Sex.MALE, 120, height) == pytest.approx((height / median - 1) / spread)


@given(_inputs())
def test_each_row_has_a_prediction_or_a_reason(inputs: HeightInputs) -> None:
    table = predict_adult_height(inputs)
    assert {row.method for row in table.rows} == set(Method)
    to_plain(table)  # no number is infinite or NaN
    for row in table.rows:
        assert (row.prediction_cm is None) is (row.reason is not None)
        if row.prediction_cm is None or row.lower_cm is None or row.upper_cm is None:
            continue
        assert row.lower_cm <= row.prediction_cm
        assert row.upper_cm - row.prediction_cm >= LEAST_HALF_WIDTH_CM - 1e-9
        if row.method is not Method.TARGET_HEIGHT:
            assert inputs.height_cm is not None
            assert inputs.height_cm <= row.lower_cm


@given(_inputs())
def test_nothing_is_extrapolated(inputs: HeightInputs) -> None:
    ends = {
        Method.RWT_1975: (24, 189 if inputs.sex is Sex.MALE else 168),
        Method.RWT_ADJUSTED_1993: (36, 210),
        Method.KHAMIS_ROCHE_1995: (48, 210),
    }
    for row in predict_adult_height(inputs).rows:
        if row.prediction_cm is None or row.method is Method.TARGET_HEIGHT:
            continue
        if row.method in ends:
            assert ends[row.method][0] <= inputs.age_at_height_months <= ends[row.method][1]
            continue
        assert inputs.bone_age_months is not None
        if row.method is Method.REINEHR_2019:
            assert inputs.sex is Sex.MALE
            assert inputs.age_months >= 144
            assert 132 <= inputs.bone_age_months <= 168
            assert inputs.age_months - inputs.bone_age_months > 12
        else:
            assert bp.percent_tables()[(inputs.sex.value, row.variant or "")].holds(inputs.bone_age_months)


@given(_inputs(), st.floats(0.1, 8))
def test_predictions_rise_with_height(inputs: HeightInputs, more: float) -> None:
    assume(inputs.height_cm is not None)
    assert inputs.height_cm is not None
    taller = replace(inputs, height_cm=inputs.height_cm + more)
    for row, tall in zip(predict_adult_height(inputs).rows, predict_adult_height(taller).rows, strict=True):
        if row.prediction_cm is None or tall.prediction_cm is None:
            continue
        if row.method is Method.TARGET_HEIGHT:
            assert tall.prediction_cm == row.prediction_cm
        else:
            assert tall.prediction_cm > row.prediction_cm


@given(st.sampled_from(list(Sex)), st.floats(72, 216), st.floats(0.5, 30), st.floats(100, 180))
def test_bayley_pinneau_falls_as_the_bones_mature(sex: Sex, bone_age: float, later: float, height: float) -> None:
    for group in bp.Group:
        first, second = (bp.predict(sex, group, age, height) for age in (bone_age, bone_age + later))
        if first is not None and second is not None:
            assert second <= first + 1e-9
            assert second >= height - 1e-9


@given(_inputs())
def test_bone_age_is_never_replaced(inputs: HeightInputs) -> None:
    table = predict_adult_height(replace(inputs, bone_age_months=None, bone_age_interval_80=None))
    for method in WITH_BONE_AGE:
        assert all(row.prediction_cm is None for row in table.rows_of(method))
    (without,), (with_bone_age,) = (t.rows_of(Method.KHAMIS_ROCHE_1995) for t in (table, predict_adult_height(inputs)))
    assert without.prediction_cm == with_bone_age.prediction_cm
