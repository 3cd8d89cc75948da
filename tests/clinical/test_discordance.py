"""Carpal discordance: the carpal bones against the others, by limits that were passed in."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage.clinical.discordance import (
    LEAST_RADIOGRAPHS,
    USUAL_SHARE,
    Direction,
    DiscordanceLimit,
    DiscordanceLimits,
    carpal_discordance,
    measure_limits,
)
from boneage.clinical.errors import ClinicalError
from boneage.sex import Sex
from boneage.strict import InvalidValueError, read, to_plain

LIMITS = DiscordanceLimits(
    {Sex.MALE: (DiscordanceLimit(24, 96, -15, 18), DiscordanceLimit(96, 150, -12, 12))},
)


@pytest.mark.parametrize(
    ("carpal", "direction", "is_beyond"),
    [
        (125.0, Direction.OLDER, True),
        (112.0, Direction.OLDER, False),
        (100.3, Direction.EQUAL, False),
        (88.0, Direction.YOUNGER, False),
        (87.9, Direction.YOUNGER, True),
    ],
)
def test_carpal_discordance(carpal: float, direction: Direction, is_beyond: bool) -> None:
    """Limits are included; the whole hand and other views do not count among the others."""
    ages = {"A": 10.0, "surroundings": 10.0, "B": carpal, "C": 98.0, "D": 102.0, "E": 100.0}
    discordance = carpal_discordance(ages, Sex.MALE, 100.0, LIMITS)
    assert discordance is not None
    assert discordance.difference_months == pytest.approx(carpal - 100)
    assert (discordance.direction, discordance.is_beyond, discordance.limits) == (direction, is_beyond, (-12, 12))


def test_carpal_discordance_averages_other_regions() -> None:
    discordance = carpal_discordance({"B": 125.0, "C": 99.0, "D": 101.0}, Sex.MALE, 96.0, LIMITS)
    assert discordance is not None
    assert (discordance.carpal_months, discordance.others_months) == (125.0, 100.0)
    assert (discordance.difference_months, discordance.is_beyond) == (25.0, True)


@pytest.mark.parametrize(("sex", "age"), [(Sex.FEMALE, 100.0), (Sex.MALE, 150.0), (Sex.MALE, 23.9), (None, 100.0)])
def test_carpal_discordance_without_limits(sex: Sex | None, age: float) -> None:
    discordance = carpal_discordance({"B": 125.0, "C": 99.0, "D": 101.0}, sex, age, LIMITS)
    assert discordance is not None
    assert (discordance.limits, discordance.is_beyond) == (None, None)


@pytest.mark.parametrize("ages", [{}, {"B": 100.0, "C": 100.0}, {"C": 100.0, "D": 100.0, "E": 100.0}, {"A": 100.0}])
def test_carpal_discordance_of_too_few_regions(ages: dict[str, float]) -> None:
    assert carpal_discordance(ages, Sex.MALE, 100.0, LIMITS) is None


@pytest.mark.parametrize(
    ("bands", "place"),
    [
        ([(96, 24, -15, 18)], "by_sex.M[0].upper_age_months"),
        ([(24, 96, 18, -15)], "by_sex.M[0].high_months"),
        ([(24, 96, -15, 18), (90, 150, -12, 12)], "by_sex.M[1].lower_age_months"),
        ([(24, 96, -15, float("inf"))], "by_sex.M[0].high_months"),
        ([(24, 96, float("nan"), 18)], "by_sex.M[0].low_months"),
    ],
)
def test_discordance_limits_invalid(bands: list[tuple[float, ...]], place: str) -> None:
    keys = ("lower_age_months", "upper_age_months", "low_months", "high_months")
    with pytest.raises(InvalidValueError) as error:
        read(DiscordanceLimits, {"by_sex": {"M": [dict(zip(keys, band, strict=True)) for band in bands]}})
    assert error.value.place == place


@given(seed=st.integers(0, 10**6), count=st.integers(2 * LEAST_RADIOGRAPHS, 1500))
def test_measure_limits_hold_their_coverage(seed: int, count: int) -> None:
    """The bands reach from 2 years to the end of the scale; a sex with few radiographs has no limits."""
    rng = np.random.default_rng(seed)
    ages = rng.uniform(0, 227, count)
    differences = rng.normal(2, 8, count)
    limits = measure_limits([Sex.MALE] * count, ages, differences)
    assert limits is not None and limits.by_sex[Sex.FEMALE] == ()
    bands = limits.by_sex[Sex.MALE]
    assert read(DiscordanceLimits, to_plain(limits)) == limits
    assert (bands[0].lower_age_months, bands[-1].upper_age_months) == (24.0, 228.0)
    assert len(bands) == np.count_nonzero(ages >= 24) // LEAST_RADIOGRAPHS
    for one, two in pairwise(bands):
        assert one.upper_age_months == two.lower_age_months
    judged = [
        carpal_discordance({"B": 100 + d, "C": 100, "D": 100}, Sex.MALE, a, limits)
        for d, a in zip(differences, ages, strict=True)
    ]
    beyond = [one.is_beyond for one in judged if one is not None and one.is_beyond is not None]
    assert np.mean(beyond) == pytest.approx(1 - USUAL_SHARE, abs=0.01)


def test_measure_limits_of_few_radiographs() -> None:
    assert measure_limits([], [], []) is None
    assert measure_limits([Sex.MALE] * 199, np.full(199, 90.0), np.zeros(199)) is None


@pytest.mark.parametrize(("ages", "differences"), [([1.0, 2.0], [0.0]), ([np.nan], [0.0]), ([1.0], [np.inf])])
def test_measure_limits_invalid(ages: list[float], differences: list[float]) -> None:
    with pytest.raises(ClinicalError) as error:
        measure_limits([Sex.MALE], ages, differences)
    assert error.value.code == "limits_invalid"
