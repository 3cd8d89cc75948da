from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from boneage.arrays import FloatArray
from boneage.evaluate.maps import SMALLEST_MEAN, draw_maps, mean_maps
from boneage.evaluate.stages import Stage
from boneage.sex import Sex

Sample = tuple[Sex, float, FloatArray, FloatArray]


def _samples(count: int, age_months: float = 100.0, sex: Sex = Sex.FEMALE) -> Iterator[Sample]:
    generator = np.random.default_rng(int(age_months))
    for _ in range(count):
        yield sex, age_months, generator.random((12, 8)), 50 + 10 * generator.random((12, 8))


def test_mean_maps_by_stage() -> None:
    girls, boys = list(_samples(25)), list(_samples(30, 40.0, Sex.MALE))
    means = mean_maps([*girls, *boys])
    assert set(means) == {(Sex.FEMALE, Stage.EARLY_MID_PUBERTY), (Sex.MALE, Stage.PRE_PUBERTY)}
    mean = means[Sex.FEMALE, Stage.EARLY_MID_PUBERTY]
    assert mean.count == 25
    assert mean.heat is not None
    np.testing.assert_allclose(mean.heat, np.mean([heat for _, _, heat, _ in girls], axis=0))


def test_mean_maps_scales_each_radiograph() -> None:
    dark = [(sex, age, heat, radiograph) for sex, age, heat, radiograph in _samples(30)]
    bright = [(sex, age, heat, 1000 + 7 * radiograph) for sex, age, heat, radiograph in dark]
    one, other = (mean_maps(samples)[Sex.FEMALE, Stage.EARLY_MID_PUBERTY].radiograph for samples in (dark, bright))
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(one, other, atol=1e-9)


@pytest.mark.parametrize("count", [1, SMALLEST_MEAN - 1, SMALLEST_MEAN])
def test_mean_maps_withholds_small_groups(count: int) -> None:
    (mean,) = mean_maps(_samples(count)).values()
    assert mean.count == count
    assert (mean.heat is not None) is (mean.radiograph is not None) is (count >= SMALLEST_MEAN)


def test_mean_maps_counts_uniform_radiograph() -> None:
    (mean,) = mean_maps((sex, age, heat, np.ones((12, 8))) for sex, age, heat, _ in _samples(20)).values()
    assert mean.radiograph is not None
    assert mean.radiograph.max() == 0.0


@pytest.mark.parametrize(
    ("heat", "radiograph"),
    [
        (np.zeros((12, 9)), np.zeros((12, 9))),
        (np.zeros((12, 8)), np.zeros((12, 9))),
        (np.full((12, 8), 1.5), np.zeros((12, 8))),
        (np.full((12, 8), np.nan), np.zeros((12, 8))),
    ],
)
def test_mean_maps_rejects_maps_of_other_shape(heat: FloatArray, radiograph: FloatArray) -> None:
    with pytest.raises(ValueError, match="heat"):
        mean_maps([*_samples(2), (Sex.MALE, 50.0, heat, radiograph)])


def test_draw_maps_omits_small_groups(tmp_path: Path) -> None:
    large, small = mean_maps([*_samples(25), *_samples(20, 20.0)]), mean_maps([*_samples(25), *_samples(19, 20.0)])
    for name, means in (("large", large), ("small", small)):
        draw_maps(tmp_path / f"{name}.png", means)
    pictures = [cv2.imread(str(tmp_path / f"{name}.png")) for name in ("large", "small")]
    coloured = [int((np.ptp(picture.astype(int), axis=2) > 40).sum()) for picture in pictures]  # type: ignore[union-attr]
    assert coloured[0] > 1.5 * coloured[1] > 0


def test_draw_maps_without_means(tmp_path: Path) -> None:
    draw_maps(tmp_path / "few.png", mean_maps(_samples(3)))
    draw_maps(tmp_path / "none.png", {})
    assert cv2.imread(str(tmp_path / "few.png")) is not None
    assert cv2.imread(str(tmp_path / "none.png")) is not None
