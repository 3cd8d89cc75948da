"""Calibration: intervals have their coverage by sex and by age, and the correction corrects real errors only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from boneage.bundle.bands import MOST_BANDS
from boneage.bundle.calibration import (
    FEWEST_RADIOGRAPHS,
    RADIOGRAPHS_IN_A_BAND,
    Band,
    Calibration,
    Disagreement,
    SexCalibration,
    calibrate,
    disagreement,
)
from boneage.sex import Sex

Months = NDArray[np.float64]


@dataclass(frozen=True)
class Drawn:
    """Radiographs (N,): their sexes, the readers' labels, and the networks' ages (K, N)."""

    sexes: list[Sex]
    labels: Months
    networks: Months

    @property
    def out_of_fold(self) -> Months:
        """Each radiograph's age by one of the networks."""
        return self.networks[np.arange(len(self.labels)) % len(self.networks), np.arange(len(self.labels))]

    def of(self, sex: Sex) -> NDArray[np.bool]:
        return np.array([one is sex for one in self.sexes])


def drawn(count: int, seed: int, *, intercept: float = 0.0, slope: float = 1.0, apart: float = 0.0) -> Drawn:
    """Radiographs whose errors grow with age, are twice as large for boys, and have heavy tails; 5 networks.

    Args:
        count: number of radiographs.
        seed: seed of the draw.
        intercept: intercept of the line from the mean of the networks to the labels, less the error.
        slope: slope of that line.
        apart: standard deviation of the networks from one another, months.
    """
    rng = np.random.default_rng(seed)
    sexes = [Sex.FEMALE if girl else Sex.MALE for girl in rng.random(count) < 0.5]
    mean = rng.uniform(20, 220, count)
    scale = np.array([1.0 if sex is Sex.FEMALE else 2.0 for sex in sexes]) * (2 + mean / 40)
    labels = intercept + slope * mean + scale * rng.standard_t(5, count)
    away = apart * rng.standard_normal((5, count))
    return Drawn(sexes, labels, mean + away - away.mean(axis=0))


def held(calibration: Calibration, radiographs: Drawn, raw: Months) -> tuple[Months, Months]:
    """Return by radiograph whether the intervals of 80 % and of 95 % contain the label."""
    corrected = [calibration.by_sex[sex].corrected(age) for sex, age in zip(radiographs.sexes, raw, strict=True)]
    bands = [calibration.by_sex[sex].band(age) for sex, age in zip(radiographs.sexes, corrected, strict=True)]
    errors = np.abs(radiographs.labels - corrected)
    narrow = np.array([band.half_width_80_months for band in bands])
    wide = np.array([band.half_width_95_months for band in bands])
    return (errors <= narrow).astype(float), (errors <= wide).astype(float)


@pytest.mark.parametrize(("intercept", "slope"), [(0.0, 1.0), (12.0, 0.95)])
def test_calibrate_coverage_by_sex_and_age(intercept: float, slope: float) -> None:
    radiographs, new = (drawn(12_000, seed, intercept=intercept, slope=slope) for seed in (1, 2))
    calibration = calibrate(radiographs.sexes, radiographs.labels, radiographs.out_of_fold)
    shares = held(calibration, new, new.out_of_fold)
    for sex in Sex:
        assert len(calibration.by_sex[sex].bands) == MOST_BANDS
        for low in range(20, 220, 25):
            chosen = new.of(sex) & (new.out_of_fold >= low) & (new.out_of_fold < low + 25)
            narrow, wide = (float(share[chosen].mean()) for share in shares)
            assert narrow == pytest.approx(0.80, abs=0.06), (sex, low)
            assert wide == pytest.approx(0.95, abs=0.03), (sex, low)
    girls, boys = (calibration.by_sex[sex].bands for sex in Sex)
    assert girls[-1].half_width_95_months > 1.5 * girls[0].half_width_95_months
    assert boys[0].half_width_95_months > 1.5 * girls[0].half_width_95_months


def test_calibrate_intervals_of_the_mean_with_disagreement() -> None:
    radiographs, new = (drawn(12_000, seed, apart=8.0) for seed in (3, 4))
    apart = {sex: disagreement(new.networks[:, new.of(sex)]) for sex in Sex}
    mean = new.networks.mean(axis=0)
    for squares, wide in ((None, 0.972), (apart, 0.95)):
        share = held(calibrate(radiographs.sexes, radiographs.labels, radiographs.out_of_fold, squares), new, mean)[
            1
        ].mean()
        assert share == pytest.approx(wide, abs=0.008)


def test_calibrate_line_as_steep_as_that_of_the_mean() -> None:
    radiographs = drawn(12_000, 5, intercept=-6.0, slope=1.06, apart=15.0)
    girls = radiographs.of(Sex.FEMALE)
    squares = {sex: disagreement(radiographs.networks[:, radiographs.of(sex)]) for sex in Sex}
    plain, steeper = (
        calibrate(radiographs.sexes, radiographs.labels, radiographs.out_of_fold, by).by_sex[Sex.FEMALE].slope
        for by in (None, squares)
    )
    assert steeper == pytest.approx(1.06, abs=0.01)
    assert steeper / plain == pytest.approx(
        1 / (1 - squares[Sex.FEMALE] / radiographs.out_of_fold[girls].var()), abs=1e-4
    )


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10**6), count=st.integers(FEWEST_RADIOGRAPHS, 180))
def test_calibrate_conformal_quantile(seed: int, count: int) -> None:
    """Each order of n residuals and a new one is equally likely, so rank ceil((n + 1) level) bounds it often enough."""
    radiographs = drawn(count, seed)
    calibration = calibrate(
        [Sex.FEMALE] * count,
        radiographs.labels,
        radiographs.labels + 3.0 * (radiographs.networks[0] - radiographs.labels),
    )
    bands = {calibration.by_sex[sex].bands for sex in Sex}
    if count < 100:
        assert len(bands) == 1  # nobody has residuals of their own
    residuals = np.sort(3.0 * np.abs(radiographs.labels - radiographs.networks[0]))
    (band,) = calibration.by_sex[Sex.MALE].bands
    if calibration.by_sex[Sex.FEMALE].slope != 1.0:
        return  # the residuals are others then
    assert (band.upper_months, band.radiographs) == (None, count)
    for width, percent in ((band.half_width_80_months, 80), (band.half_width_95_months, 95)):
        within = int((residuals <= width + 1e-9).sum())
        assert 100 * within >= percent * (count + 1)
        assert 100 * (int((residuals < width - 0.01).sum()) + 1) < percent * (count + 1) + 100
    assert band.typical_error_months == pytest.approx(residuals.mean(), abs=0.006)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10**6), count=st.sampled_from([25, 150, 1500]))
def test_calibrate_order_does_not_matter(seed: int, count: int) -> None:
    radiographs = drawn(count, 7, slope=0.9, intercept=10.0)
    other = np.random.default_rng(seed).permutation(count)
    shuffled = calibrate(
        [radiographs.sexes[place] for place in other], radiographs.labels[other], radiographs.out_of_fold[other]
    )
    assert shuffled == calibrate(radiographs.sexes, radiographs.labels, radiographs.out_of_fold)


@settings(deadline=None, max_examples=20)
@given(count=st.integers(20, 3000), ties=st.sampled_from([0.0, 1.0, 24.0, 500.0]), ages=st.lists(st.floats(-1e6, 1e6)))
def test_calibrate_bands_cover_all_ages(count: int, ties: float, ages: list[float]) -> None:
    radiographs = drawn(count, 8)
    raw = radiographs.out_of_fold if ties == 0.0 else np.round(radiographs.out_of_fold / ties) * ties
    calibration = calibrate(radiographs.sexes, radiographs.labels, raw)
    for sex in Sex:
        own, bands = int(radiographs.of(sex).sum()), calibration.by_sex[sex].bands
        assert sum(band.radiographs for band in bands) == (own if own >= 100 else count)
        assert len(bands) == 1 or min(band.radiographs for band in bands) >= RADIOGRAPHS_IN_A_BAND
        uppers = [band.upper_months for band in bands]
        assert uppers[-1] is None
        for age in ages:
            band = calibration.by_sex[sex].band(age)
            below = [upper for upper in uppers if upper is not None and upper <= age]
            assert band is bands[len(below)]


def test_calibrate_without_a_useless_line() -> None:
    radiographs = drawn(3000, 9)
    for calibrated in calibrate(radiographs.sexes, radiographs.labels, radiographs.out_of_fold).by_sex.values():
        assert (calibrated.intercept_months, calibrated.slope) == (0.0, 1.0)
        assert calibrated.corrected(97.25) == 97.25


def test_calibrate_line_by_sex_is_robust_to_outliers() -> None:
    radiographs = drawn(4000, 10)
    girls, rng = radiographs.of(Sex.FEMALE), np.random.default_rng(0)
    labels = np.where(girls, -8.0 + 1.08 * radiographs.labels, radiographs.labels)
    labels[girls & (radiographs.labels > 150) & (rng.random(4000) < 0.05)] -= 50.0
    by_sex = calibrate(radiographs.sexes, labels, radiographs.out_of_fold).by_sex
    assert by_sex[Sex.MALE].slope == 1.0
    assert by_sex[Sex.FEMALE].corrected(120.0) == pytest.approx(-8.0 + 1.08 * 120.0, abs=1.0)
    assert by_sex[Sex.FEMALE].slope == pytest.approx(1.08, abs=0.02)


@pytest.mark.parametrize("slope", [0.02, -1.0, 30.0])
def test_calibrate_broken_networks_are_not_corrected(slope: float) -> None:
    radiographs = drawn(1000, 11)
    calibrated = calibrate(
        radiographs.sexes, 100.0 + slope * (radiographs.labels - 100.0), radiographs.out_of_fold
    ).by_sex[Sex.FEMALE]
    assert (calibrated.intercept_months, calibrated.slope) == (0.0, 1.0)


def test_calibrate_constant_network_without_a_line() -> None:
    radiographs = drawn(1000, 12)
    by_sex = calibrate(radiographs.sexes, radiographs.labels, np.full(1000, 120.0)).by_sex
    for sex in Sex:
        (band,) = by_sex[sex].bands
        assert by_sex[sex].slope == 1.0
        assert band.radiographs == radiographs.of(sex).sum()


def test_calibrate_sex_with_few_radiographs() -> None:
    radiographs = drawn(1000, 13)
    few = radiographs.of(Sex.FEMALE) | (np.arange(1000) < 60)
    sexes = [sex for sex, chosen in zip(radiographs.sexes, few, strict=True) if chosen]
    by_sex = calibrate(sexes, radiographs.labels[few], radiographs.out_of_fold[few], dict.fromkeys(Sex, 0.5)).by_sex
    assert sexes.count(Sex.MALE) < 100 <= sexes.count(Sex.FEMALE)
    assert by_sex[Sex.MALE].bands[0].radiographs == len(sexes)
    assert by_sex[Sex.FEMALE].bands[0].radiographs == sexes.count(Sex.FEMALE)


@given(st.integers(2, 6), st.integers(1, 30), st.integers(0, 10**6))
def test_disagreement_is_the_difference_of_squared_errors(networks: int, radiographs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, ages = rng.uniform(0, 228, radiographs), rng.uniform(0, 228, (networks, radiographs))
    of_one = np.mean((ages - labels) ** 2)
    assert of_one == pytest.approx(np.mean((ages.mean(axis=0) - labels) ** 2) + disagreement(ages))


def test_band_on_an_edge_is_the_upper_one() -> None:
    low, high = Band(100.0, 300, 8.0, 14.0, 5.0), Band(None, 300, 9.0, 16.0, 6.0)
    calibrated = SexCalibration(0.0, 1.0, (low, high))
    assert [calibrated.band(age) for age in (-5.0, 99.99, 100.0, 1e9)] == [low, low, high, high]


@pytest.mark.parametrize(
    ("count", "labels", "ages", "apart"),
    [
        (FEWEST_RADIOGRAPHS - 1, 100.0, 90.0, 0.0),
        (200, np.nan, 90.0, 0.0),
        (200, 100.0, np.inf, 0.0),
        (200, 100.0, 90.0, 100.0),  # they differ as much as they err
        (200, 100.0, 90.0, -1.0),
        (200, 100.0, 90.0, np.nan),
    ],
)
def test_calibrate_invalid_input(count: int, labels: float, ages: float, apart: float) -> None:
    with pytest.raises(ValueError, match=r"must be|cannot have"):
        calibrate([Sex.MALE] * count, np.full(count, labels), np.full(count, ages), {Sex.MALE: apart})


def test_calibrate_arrays_of_other_lengths() -> None:
    for sexes, labels, ages in ((30, 30, 29), (30, 31, 30), (29, 30, 30)):
        with pytest.raises(ValueError, match="one length"):
            calibrate([Sex.MALE] * sexes, np.zeros(labels), np.zeros(ages))


@pytest.mark.parametrize("ages", [np.zeros((1, 5)), np.zeros((2, 0)), np.zeros(5), np.full((2, 2), np.nan)])
def test_disagreement_needs_two_networks_and_a_radiograph(ages: Months) -> None:
    with pytest.raises(ValueError, match="two networks"):
        disagreement(ages)


# --- disagreement of regions ---


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), count=st.integers(100, 1000))
def test_disagreement_limits_are_rarely_exceeded(seed: int, count: int) -> None:
    spreads = np.random.default_rng(seed).gamma(2.0, 6.0, count)
    limits = Disagreement.of(spreads)
    assert np.count_nonzero(spreads > limits.caution_months) <= np.ceil(0.01 * count)
    assert np.count_nonzero(spreads > limits.critical_months) <= np.ceil(0.002 * count)
    assert 0 < limits.caution_months <= limits.critical_months
