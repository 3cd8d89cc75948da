"""SDS and determination: worked examples, bounds, nodes, ends, and why there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from boneage.clinical.ages import ChronologicalAge, entered_age, exact_age, parse_patient_age
from boneage.clinical.errors import ClinicalError
from boneage.clinical.references import SHIPPED_REFERENCES, load_reference, shipped_reference
from boneage.clinical.sds import (
    OLDEST_MONTHS,
    Determination,
    NormalRange,
    WithheldReason,
    classify,
    judge,
    normal_range,
    sds_range,
    standard_score,
)
from boneage.sex import Sex

BRUSH, DEFAULT = shipped_reference("brush"), shipped_reference()
SEXES = st.sampled_from(list(Sex))
REFERENCES = st.sampled_from([shipped_reference(one) for one in SHIPPED_REFERENCES])
AGES = st.floats(24, 192)
DELAYED, NORMAL, ADVANCED = Determination.DELAYED, Determination.NORMAL, Determination.ADVANCED


@pytest.mark.parametrize(
    ("sex", "age", "bone", "identifier", "expected"),
    [
        (Sex.MALE, 167.5, 171.2, "brush", 0.16),
        (Sex.MALE, 167.5, 171.2, "gp-brush-sd", 0.35),
        (Sex.MALE, 156.0, 171.2, "brush", 1.23),
        (Sex.FEMALE, 132.0, 137.87, "brush", 0.0),
    ],
)
def test_judge_worked_examples(sex: Sex, age: float, bone: float, identifier: str, expected: float) -> None:
    result = judge(bone, None, exact_age(age), sex, shipped_reference(identifier))
    assert (result.sds, result.determination, result.reason) == (expected, NORMAL, None)


@pytest.mark.parametrize("reference", [BRUSH, DEFAULT], ids=lambda one: one.id)
@pytest.mark.parametrize("sex", list(Sex))
def test_judge_bounds_inclusive_at_every_node(reference: object, sex: Sex) -> None:
    """Exactly 2 SD below or above the mean is delayed or advanced, also where floating point is a little off."""
    table = BRUSH if reference is BRUSH else DEFAULT
    for node in table.nodes[sex]:
        if node.age_months < 24:
            continue
        age = exact_age(node.age_months)
        low, high = node.mean_months - 2 * node.sd_months, node.mean_months + 2 * node.sd_months
        assert judge(low, None, age, sex, table).determination is DELAYED
        assert judge(high, None, age, sex, table).determination is ADVANCED
        assert judge(low + 0.01 * node.sd_months, None, age, sex, table).determination is NORMAL
        assert judge(high - 0.01 * node.sd_months, None, age, sex, table).determination is NORMAL
        assert judge(node.mean_months, None, age, sex, table).sds == 0


@pytest.mark.parametrize(
    ("score", "expected"), [(-2.01, DELAYED), (-2, DELAYED), (-1.99, NORMAL), (1.99, NORMAL), (2, ADVANCED)]
)
def test_classify(score: float, expected: Determination) -> None:
    assert classify(score) is expected


@pytest.mark.parametrize(
    ("interval", "determination", "candidates"),
    [
        (None, NORMAL, (NORMAL,)),
        ((110.0, 130.0), NORMAL, (NORMAL,)),
        ((100.42, 130.0), Determination.BORDERLINE, (DELAYED, NORMAL)),
        ((110.0, 139.58), Determination.BORDERLINE, (NORMAL, ADVANCED)),
        ((100.0, 140.0), Determination.BORDERLINE, (DELAYED, NORMAL, ADVANCED)),
    ],
)
def test_judge_borderline(
    interval: tuple[float, float] | None, determination: Determination, candidates: tuple[Determination, ...]
) -> None:
    """A boy of 10 years, where the SD is 9.79 months, so that 2 SD lie at 100.42 and 139.58."""
    result = judge(120.0, interval, exact_age(120.0), Sex.MALE, DEFAULT)
    assert (result.determination, result.candidates) == (determination, candidates)
    assert (result.interval_80 is None) is (interval is None)


def test_judge_interval_wholly_delayed() -> None:
    result = judge(85.0, (75.0, 95.0), exact_age(120.0), Sex.MALE, DEFAULT)
    assert (result.sds, result.interval_80, result.range) == (-3.58, (-4.6, -2.55), None)
    assert (result.determination, result.candidates) == (Determination.DELAYED, (Determination.DELAYED,))
    assert result.reason is None


def test_judge_reversed_interval() -> None:
    with pytest.raises(ClinicalError) as error:
        judge(120.0, (130.0, 110.0), exact_age(120.0), Sex.MALE, DEFAULT)
    assert error.value.code == "estimate_invalid"


@pytest.mark.parametrize(
    ("age", "sex", "reason"),
    [
        (None, Sex.MALE, WithheldReason.AGE_UNKNOWN),
        (None, None, WithheldReason.SEX_UNKNOWN),
        (exact_age(120), None, WithheldReason.SEX_UNKNOWN),
        (exact_age(23.9), Sex.MALE, WithheldReason.UNDER_TWO_YEARS),
        (exact_age(10), None, WithheldReason.UNDER_TWO_YEARS),
        (entered_age(1), Sex.FEMALE, WithheldReason.UNDER_TWO_YEARS),
        (exact_age(204.01), Sex.MALE, WithheldReason.OVER_REFERENCE_AGE),
        (exact_age(192.01), Sex.FEMALE, WithheldReason.OVER_REFERENCE_AGE),
        (entered_age(17), Sex.MALE, WithheldReason.OVER_REFERENCE_AGE),
        (exact_age(228.01), Sex.MALE, WithheldReason.BEYOND_SCALE),
        (exact_age(216.01), Sex.FEMALE, WithheldReason.BEYOND_SCALE),
        (exact_age(400), None, WithheldReason.BEYOND_SCALE),
        (parse_patient_age("013Y"), Sex.MALE, WithheldReason.AGE_IN_WHOLE_YEARS),
    ],
)
def test_judge_reason(age: ChronologicalAge | None, sex: Sex | None, reason: WithheldReason) -> None:
    result = judge(120.0, (110.0, 130.0), age, sex, DEFAULT)
    assert (result.sds, result.interval_80, result.determination, result.candidates) == (None, None, None, ())
    assert result.reason is reason
    assert normal_range(age, sex, DEFAULT) is None


@pytest.mark.parametrize("sex", list(Sex))
def test_judge_at_both_ends(sex: Sex) -> None:
    """The second birthday and the last age of the reference still have an SDS."""
    for age in (24.0, OLDEST_MONTHS[sex]):
        assert judge(age, None, exact_age(age), sex, BRUSH).reason is None


def test_judge_outside_own_reference(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("sex,age_months,mean,sd\nF,72,72,8\nF,120,120,9\n", encoding="utf-8")
    own = load_reference(path)
    assert judge(72, None, exact_age(72), Sex.FEMALE, own).sds == 0
    assert judge(72, None, exact_age(71.9), Sex.FEMALE, own).reason is WithheldReason.OUTSIDE_REFERENCE
    assert judge(72, None, exact_age(100), Sex.MALE, own).reason is WithheldReason.OUTSIDE_REFERENCE
    assert standard_score(72, 100, Sex.MALE, own) is None
    assert sds_range(72, entered_age(9), Sex.MALE, own) is None


def test_judge_month_counts_by_its_middle() -> None:
    entered = judge(171.2, None, entered_age(13, 11), Sex.MALE, BRUSH)
    assert entered.sds == judge(171.2, None, exact_age(167.5), Sex.MALE, BRUSH).sds == 0.16


def test_sds_range_of_whole_years() -> None:
    """13 years allow every score from that of 13 y 0 m to that of the 14th birthday."""
    result = judge(171.2, None, parse_patient_age("013Y"), Sex.MALE, BRUSH)
    assert result.range == (0.11, 1.23)
    assert sds_range(200, entered_age(16), Sex.MALE, BRUSH) is not None
    assert sds_range(190, entered_age(16), Sex.FEMALE, BRUSH) is None


@given(SEXES, REFERENCES, st.integers(2, 15), st.floats(0, 1), st.floats(0, 228))
def test_sds_range_holds_every_age_of_the_year(
    sex: Sex, reference: object, year: int, part: float, bone: float
) -> None:
    table = BRUSH if reference == BRUSH else DEFAULT
    bounds = sds_range(bone, entered_age(year), sex, table)
    score = standard_score(bone, 12 * (year + part), sex, table)
    assert bounds is not None
    assert score is not None
    assert bounds[0] - 0.006 <= score <= bounds[1] + 0.006


@given(SEXES, AGES, st.floats(0, 228), st.floats(0, 228))
def test_score_rises_with_bone_age(sex: Sex, age: float, one: float, other: float) -> None:
    low, high = sorted((one, other))
    first, second = (standard_score(bone, age, sex, BRUSH) for bone in (low, high))
    assert first is not None
    assert second is not None
    assert first <= second


@given(SEXES, AGES, AGES, st.floats(0, 228))
def test_default_score_changes_sign_with_the_age(sex: Sex, one: float, other: float, bone: float) -> None:
    """A child is ahead of the default reference exactly if the bone age is above the age."""
    score = standard_score(bone, one, sex, DEFAULT)
    assert score is not None
    assume(abs(bone - one) > 1e-6)
    assert (score > 0) is (bone > one)


@given(SEXES, AGES, st.floats(0, 228), st.floats(0, 40), st.floats(0, 40))
def test_judge_interval_holds_the_score(sex: Sex, age: float, bone: float, below: float, above: float) -> None:
    """The class of the score is among the candidates, and one candidate only is never borderline."""
    result = judge(bone, (bone - below, bone + above), exact_age(age), sex, BRUSH)
    assert result.interval_80 is not None
    assert result.sds is not None
    assert result.interval_80[0] <= result.sds <= result.interval_80[1]
    assert classify(result.sds) in result.candidates
    assert (result.determination is Determination.BORDERLINE) is (len(result.candidates) > 1)


@given(SEXES, REFERENCES, AGES)
def test_normal_range_is_two_deviations(sex: Sex, reference: object, age: float) -> None:
    """Its ends have scores of minus and plus 2, unless the scale ends before."""
    table = BRUSH if reference == BRUSH else DEFAULT
    limits = normal_range(exact_age(age), sex, table)
    assert limits is not None
    assert 0 <= limits.lower_months < age < limits.upper_months
    assert standard_score(limits.lower_months, age, sex, table) == pytest.approx(-2)
    if not limits.is_open_above:
        assert standard_score(limits.upper_months, age, sex, table) == pytest.approx(2)


def test_normal_range_example() -> None:
    limits = normal_range(exact_age(120), Sex.MALE, DEFAULT)
    assert limits is not None
    assert (limits.lower_months, limits.upper_months) == pytest.approx((100.42, 139.58), abs=0.005)
    assert not limits.is_open_above


def test_normal_range_ends_with_the_scale() -> None:
    assert normal_range(exact_age(204), Sex.MALE, DEFAULT) == NormalRange(204 - 26.1, 228.0, is_open_above=True)
