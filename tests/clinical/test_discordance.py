"""Carpal discordance: the carpal bones against the others, by limits that were passed in."""

from __future__ import annotations

import numpy as np
import pytest

from boneage.clinical.discordance import (
    Direction,
    DiscordanceLimit,
    DiscordanceLimits,
    carpal_discordance,
    measure_limits,
)
from boneage.clinical.errors import ClinicalError
from boneage.sex import Sex

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
    "bands",
    [
        (DiscordanceLimit(96, 24, -15, 18),),
        (DiscordanceLimit(24, 96, 18, -15),),
        (DiscordanceLimit(24, 96, -15, 18), DiscordanceLimit(90, 150, -12, 12)),
        (DiscordanceLimit(24, 96, -15, float("inf")),),
        (DiscordanceLimit(24, 96, float("nan"), 18),),
    ],
)
def test_discordance_limits_invalid(bands: tuple[DiscordanceLimit, ...]) -> None:
    with pytest.raises(ClinicalError) as error:
        DiscordanceLimits({Sex.MALE: bands})
    assert error.value.code == "limits_invalid"


def test_measure_limits_hold_their_coverage() -> None:
    """95 % of the radiographs lie within; a band with few radiographs, and a sex without any, have no limits."""
    rng = np.random.default_rng(0)
    ages = np.concatenate([rng.uniform(24, 120, 2000), rng.uniform(120, 180, 99)])
    differences = rng.normal(2, 8, ages.size)
    limits = measure_limits([Sex.FEMALE] * ages.size, ages, differences, [24, 120, 180])
    (band,) = limits.by_sex[Sex.FEMALE]
    assert limits.by_sex[Sex.MALE] == ()
    young = differences[ages < 120]
    assert np.mean((young >= band.low_months) & (young <= band.high_months)) == pytest.approx(0.95, abs=0.001)
    assert (band.low_months, band.high_months) == pytest.approx((2 - 1.96 * 8, 2 + 1.96 * 8), abs=1.5)


@pytest.mark.parametrize(
    ("ages", "edges", "coverage"),
    [
        ([1.0, 2.0], [0, 3], 0.95),
        ([1.0], [3, 0], 0.95),
        ([1.0], [0], 0.95),
        ([np.nan], [0, 3], 0.95),
        ([1.0], [0, 3], 1),
    ],
)
def test_measure_limits_invalid(ages: list[float], edges: list[float], coverage: float) -> None:
    with pytest.raises(ClinicalError) as error:
        measure_limits([Sex.MALE], ages, [0.0], edges, coverage)
    assert error.value.code == "limits_invalid"
