"""Inputs that cannot be right have a code, a field and a sentence."""

from __future__ import annotations

import math
from typing import Any

import pytest

from boneage.clinical.height import Contraindication, HeightInputError, HeightInputs, HeightSource, ParentHeight
from boneage.sex import Sex

GIRL: dict[str, Any] = {"sex": Sex.FEMALE, "age_months": 132.0, "bone_age_months": 130.0, "height_cm": 140.0}


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"age_months": 0}, "age_out_of_range", "age_months"),
        ({"age_months": 301}, "age_out_of_range", "age_months"),
        ({"age_months": math.nan}, "not_a_number", "age_months"),
        ({"age_months": 11}, "age_in_years", "age_months"),
        ({"bone_age_months": -1}, "bone_age_out_of_range", "bone_age_months"),
        ({"bone_age_months": 241}, "bone_age_out_of_range", "bone_age_months"),
        ({"bone_age_months": math.inf}, "not_a_number", "bone_age_months"),
        ({"bone_age_interval_80": (131, 140)}, "bone_age_interval", "bone_age_interval_80"),
        ({"bone_age_interval_80": (-math.inf, 140)}, "bone_age_interval", "bone_age_interval_80"),
        ({"bone_age_interval_80": (120, math.nan)}, "bone_age_interval", "bone_age_interval_80"),
        ({"bone_age_months": None, "bone_age_interval_80": (1, 2)}, "bone_age_interval", "bone_age_interval_80"),
        ({"height_cm": 1.40}, "height_in_metres", "height_cm"),
        ({"height_cm": 1400}, "height_in_millimetres", "height_cm"),
        ({"height_cm": 30}, "height_out_of_range", "height_cm"),
        ({"height_cm": 55}, "height_implausible", "height_cm"),
        ({"height_cm": math.nan}, "not_a_number", "height_cm"),
        ({"height_cm": None, "recumbent_length_cm": 141}, "length_without_height", "recumbent_length_cm"),
        ({"recumbent_length_cm": 146}, "length_and_height_disagree", "recumbent_length_cm"),
        ({"recumbent_length_cm": 1.41}, "height_in_metres", "recumbent_length_cm"),
        ({"weight_kg": 35000}, "weight_in_grams", "weight_kg"),
        ({"weight_kg": 1}, "weight_out_of_range", "weight_kg"),
        ({"weight_kg": math.nan}, "not_a_number", "weight_kg"),
        ({"mother": ParentHeight(1.65)}, "height_in_metres", "mother"),
        ({"father": ParentHeight(1780)}, "height_in_millimetres", "father"),
        ({"father": ParentHeight(70)}, "height_out_of_range", "father"),
        ({"sex": Sex.MALE, "menarche": True}, "menarche_of_boy", "menarche"),
        ({"sex": Sex.MALE, "menarche_age_months": 130}, "menarche_of_boy", "menarche"),
        ({"menarche_age_months": 133}, "menarche_age", "menarche_age_months"),
        ({"menarche": False, "menarche_age_months": 131}, "menarche_age", "menarche_age_months"),
        ({"menarche_age_months": 12}, "menarche_age", "menarche_age_months"),
    ],
)
def test_wrong_input_has_its_code(changes: dict[str, Any], code: str, field: str) -> None:
    with pytest.raises(HeightInputError) as caught:
        HeightInputs(**GIRL | changes)
    assert (caught.value.code, caught.value.field) == (code, field)
    assert caught.value.message.endswith(".")
    assert f"``{code}``" in (HeightInputError.__doc__ or "")


def test_full_inputs_are_accepted() -> None:
    inputs = HeightInputs(
        **GIRL,
        bone_age_interval_80=(120, 140),
        height_days_from_radiograph=-20,
        recumbent_length_cm=141.2,
        weight_kg=35,
        mother=ParentHeight(160, HeightSource.MEASURED),
        father=ParentHeight(180),
        menarche=True,
        menarche_age_months=131,
        contraindications=frozenset(Contraindication),
    )
    assert inputs.midparent_cm == 170
    assert inputs.parents_reported
    assert inputs.reading_half_width_80 == 10
    assert inputs.age_at_height_months == pytest.approx(132 - 20 / 30.4375)


def test_missing_interval_stands_for_a_manual_reading() -> None:
    inputs = HeightInputs(**GIRL)
    assert inputs.reading_half_width_80 == pytest.approx(8.97, abs=0.01)
    assert inputs.bone_age_range_80 == pytest.approx((130 - 8.97, 130 + 8.97), abs=0.01)
    assert HeightInputs(Sex.FEMALE, 132).bone_age_range_80 is None


def test_open_interval_counts_its_lower_half() -> None:
    assert HeightInputs(**GIRL, bone_age_interval_80=(118, math.inf)).reading_half_width_80 == 12
