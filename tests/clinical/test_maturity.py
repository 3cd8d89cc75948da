"""Both ends of the scale: the limits belong to the side that the design names, by sex."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage.clinical.ages import entered_age, exact_age, parse_patient_age
from boneage.clinical.errors import ClinicalError
from boneage.clinical.maturity import (
    AgeDistribution,
    AgeZone,
    NearMaturityReason,
    age_zone,
    near_maturity,
)
from boneage.sex import Sex


def distribution(share: float, above: int) -> AgeDistribution:
    """Return a distribution with a share in the first month above a limit, and the rest at 12 years."""
    shares = np.zeros(240)
    shares[144], shares[above] = 1 - share, share
    return AgeDistribution.by_month(shares)


@pytest.mark.parametrize(("sex", "limit"), [(Sex.FEMALE, 180.0), (Sex.MALE, 192.0), (None, 180.0)])
def test_near_maturity_by_estimate(sex: Sex | None, limit: float) -> None:
    assert near_maturity(limit, sex).reasons == (NearMaturityReason.ESTIMATE,)
    assert not near_maturity(limit - 0.01, sex).is_near


@pytest.mark.parametrize(("sex", "month"), [(Sex.FEMALE, 205), (Sex.MALE, 217)])
def test_near_maturity_by_distribution(sex: Sex, month: int) -> None:
    """More than one fifth above 17 or 18 years; exactly one fifth is not more, nor does the month below count."""
    maturity = near_maturity(170.0, sex, distribution(0.21, month))
    assert maturity.reasons == (NearMaturityReason.DISTRIBUTION,)
    assert maturity.probability_mature == pytest.approx(0.21)
    assert not near_maturity(170.0, sex, distribution(0.2, month)).is_near
    assert not near_maturity(170.0, sex, distribution(0.9, month - 1)).is_near


def test_near_maturity_without_distribution() -> None:
    maturity = near_maturity(100.0, Sex.MALE)
    assert (maturity.is_near, maturity.reasons, maturity.probability_mature) == (False, (), None)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=240).filter(lambda shares: sum(shares) > 0))
def test_probability_above_falls_with_age(shares: list[float]) -> None:
    probabilities = [AgeDistribution.by_month(shares).probability_above(age) for age in range(-1, 242)]
    assert probabilities[0] == pytest.approx(1)
    assert probabilities[-1] == 0
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(probabilities))


@pytest.mark.parametrize(
    ("ages", "shares"),
    [
        ((), ()),
        ((0.5,), (0.0,)),
        ((0.5, 1.5), (1.0,)),
        ((1.5, 0.5), (0.5, 0.5)),
        ((0.5, 1.5), (-0.5, 1.5)),
        ((0.5, 1.5), (float("nan"), 1.0)),
        ((0.5, float("inf")), (0.5, 0.5)),
    ],
)
def test_distribution_invalid(ages: tuple[float, ...], shares: tuple[float, ...]) -> None:
    with pytest.raises(ClinicalError) as error:
        AgeDistribution(ages, shares)
    assert error.value.code == "estimate_invalid"


@pytest.mark.parametrize(("sex", "end"), [(Sex.FEMALE, 216.0), (Sex.MALE, 228.0), (None, 228.0)])
def test_age_zone_exact(sex: Sex | None, end: float) -> None:
    """A child is within from the second birthday up to the end of the scale, both included."""
    assert age_zone(exact_age(23.99), sex) is AgeZone.UNDER_TWO_YEARS
    assert age_zone(exact_age(24.0), sex) is AgeZone.WITHIN
    assert age_zone(exact_age(end), sex) is AgeZone.WITHIN
    assert age_zone(exact_age(end + 0.01), sex) is AgeZone.BEYOND_SCALE


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("001Y", AgeZone.UNDER_TWO_YEARS),
        ("023M", AgeZone.UNDER_TWO_YEARS),
        ("002Y", AgeZone.WITHIN),
        ("024M", AgeZone.WITHIN),
        ("018Y", AgeZone.WITHIN),
        ("019Y", AgeZone.BEYOND_SCALE),
        ("228M", AgeZone.BEYOND_SCALE),
    ],
)
def test_age_zone_of_intervals(text: str, zone: AgeZone) -> None:
    assert age_zone(parse_patient_age(text), Sex.MALE) is zone


def test_age_zone_of_girls_ends_a_year_earlier() -> None:
    assert age_zone(entered_age(17), Sex.FEMALE) is AgeZone.WITHIN
    assert age_zone(entered_age(18), Sex.FEMALE) is AgeZone.BEYOND_SCALE
