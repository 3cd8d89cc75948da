"""The numbers of the Brush Foundation study, against what is known of growth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage.sex import Sex
from boneage.web.plots.brush_foundation import mean_and_deviation, range_months

# From the printed tables: (sex, age, mean, deviation), months.
PRINTED = [
    (Sex.MALE, 3, 3.01, 0.69),
    (Sex.MALE, 120, 125.68, 9.79),
    (Sex.MALE, 204, 206.21, 13.05),
    (Sex.FEMALE, 54, 60.06, 10.73),
    (Sex.FEMALE, 132, 137.87, 11.94),
    (Sex.FEMALE, 192, 189.44, 7.31),
]


@pytest.mark.parametrize(("sex", "age", "mean", "deviation"), PRINTED)
def test_mean_and_deviation_printed_numbers(sex: Sex, age: float, mean: float, deviation: float) -> None:
    """Printed numbers."""
    means, deviations = mean_and_deviation(sex, [age])
    assert (means[0], deviations[0]) == (mean, deviation)


@pytest.mark.parametrize("sex", list(Sex))
def test_mean_increases_with_age(sex: Sex) -> None:
    """The mean rises, stays within seven months of the age, and the deviation within 3.5 to 25 % of it."""
    ages = np.arange(*range_months(sex))
    means, deviations = mean_and_deviation(sex, ages)
    assert np.all(np.diff(means) > 0)
    assert np.all(np.abs(means - ages) < 7)
    assert np.all((deviations > 0.035 * ages) & (deviations < 0.25 * ages))


@given(st.sampled_from(list(Sex)), st.floats(-50, 400))
def test_mean_and_deviation_outside_range(sex: Sex, months: float) -> None:
    """Ages that were not studied have no values."""
    low, high = range_months(sex)
    means, deviations = mean_and_deviation(sex, months)
    assert np.isnan(means) == np.isnan(deviations) == (not low <= months <= high)
