from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage.evaluate.stages import STAGE_STARTS_MONTHS, Stage, stage_of
from boneage.sex import Sex

AGES = st.floats(-50, 400)


@pytest.mark.parametrize(
    ("sex", "age_months", "stage"),
    [
        (Sex.FEMALE, 0, Stage.INFANCY),
        (Sex.FEMALE, 9.99, Stage.INFANCY),
        (Sex.FEMALE, 10, Stage.TODDLER),
        (Sex.FEMALE, 2 * 12, Stage.PRE_PUBERTY),
        (Sex.FEMALE, 7 * 12, Stage.EARLY_MID_PUBERTY),
        (Sex.FEMALE, 13 * 12, Stage.LATE_PUBERTY),
        (Sex.FEMALE, 15 * 12, Stage.POST_PUBERTY),
        (Sex.MALE, 13.99, Stage.INFANCY),
        (Sex.MALE, 14, Stage.TODDLER),
        (Sex.MALE, 3 * 12, Stage.PRE_PUBERTY),
        (Sex.MALE, 9 * 12, Stage.EARLY_MID_PUBERTY),
        (Sex.MALE, 14 * 12, Stage.LATE_PUBERTY),
        (Sex.MALE, 16 * 12, Stage.POST_PUBERTY),  # the book begins at 17; see the module
        (Sex.MALE, 300, Stage.POST_PUBERTY),
        (Sex.FEMALE, -3, Stage.INFANCY),
    ],
)
def test_stage_bounds_match_gilsanz_and_ratib(sex: Sex, age_months: float, stage: Stage) -> None:
    assert stage_of(age_months, sex) is stage


@given(one=AGES, other=AGES, sex=st.sampled_from(Sex))
def test_stages_rise_with_age(one: float, other: float, sex: Sex) -> None:
    order = list(Stage)
    younger, older = sorted((one, other))
    assert order.index(stage_of(younger, sex)) <= order.index(stage_of(older, sex))


@given(age=AGES)
def test_stage_of_girls_never_behind_boys(age: float) -> None:
    order = list(Stage)
    assert order.index(stage_of(age, Sex.FEMALE)) >= order.index(stage_of(age, Sex.MALE))


@pytest.mark.parametrize("sex", Sex)
def test_bounds_rise_and_cover_all_stages(sex: Sex) -> None:
    starts = STAGE_STARTS_MONTHS[sex]
    assert tuple(starts) == tuple(Stage)
    assert all(earlier < later for earlier, later in pairwise(starts.values()))


def test_stage_rejects_nan() -> None:
    with pytest.raises(ValueError, match="not a number"):
        stage_of(math.nan, Sex.MALE)


def test_labels_differ() -> None:
    assert len({stage.label for stage in Stage}) == len(Stage)
