"""The combination of members' outputs to one estimate."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage.bundle.calibration import Band, Calibration, SexCalibration
from boneage.bundle.curve import central_interval
from boneage.bundle.estimate import combine, lone_region, region_ages
from boneage.bundle.manifest import Manifest, read_manifest
from boneage.bundle.member_output import MemberOutput
from boneage.bundle.stages import STAGES_MONTHS, StageWeights
from boneage.errors import BundleError
from boneage.hand.registration import HAND_REGIONS, Region
from boneage.hand.views import ViewSpec
from boneage.sex import Sex
from tests.bundles import CALIBRATION, CURVE, DISAGREEMENT, METRICS, tiny_bundle

ages = st.floats(-50, 400)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Manifest of three members with the weights 1, 2 and 3."""
    folder: Path = tiny_bundle(tmp_path_factory.mktemp("bundles") / "three", members=3)
    return read_manifest(folder)


def outputs_of(*ages_months: float) -> dict[str, MemberOutput]:
    nothing = np.zeros(1, np.float32)
    return {f"member-{number}": MemberOutput(age, nothing, nothing[None]) for number, age in enumerate(ages_months)}


@given(st.lists(ages, min_size=1, max_size=3))
def test_combine_weighted_mean_of_the_given_members(manifest: Manifest, drawn_ages: list[float]) -> None:
    weights = range(1, len(drawn_ages) + 1)
    mean = sum(w * age for w, age in zip(weights, drawn_ages, strict=True)) / sum(weights)
    estimate = combine(outputs_of(*drawn_ages), manifest)
    assert estimate.age_months == pytest.approx(max(mean, 0.0))
    assert estimate.outside_range == (not 0 <= mean <= 228)
    assert list(estimate.member_ages_months.values()) == drawn_ages


@given(ages)
def test_combine_one_member_whatever_its_weight(manifest: Manifest, age: float) -> None:
    output = outputs_of(0.0, 0.0, age)["member-2"]
    assert combine({"member-2": output}, manifest).age_months == pytest.approx(max(age, 0.0))


@pytest.mark.parametrize(
    ("age", "months", "outside"), [(-3.0, 0.0, True), (0.0, 0.0, False), (228.0, 228.0, False), (230.0, 230.0, True)]
)
def test_combine_outside_range(manifest: Manifest, age: float, months: float, outside: bool) -> None:
    estimate = combine(outputs_of(age), manifest)
    assert (estimate.age_months, estimate.outside_range) == (months, outside)


def test_combine_mad_of_the_sex(manifest: Manifest) -> None:
    assert combine(outputs_of(100.0), manifest).typical_error_months == 8.5
    assert combine(outputs_of(100.0), manifest, sex=Sex.FEMALE).typical_error_months == 8.0
    assert combine(outputs_of(100.0), manifest, sex=Sex.MALE).typical_error_months == 9.0
    overall = replace(manifest, metrics={"mad_months": 7.0, "split": "validation", "radiographs": 20})
    estimate = combine(outputs_of(100.0), overall, sex=Sex.MALE)
    assert estimate.typical_error_months == 7.0
    assert (estimate.interval_months, estimate.interval_80_months) == (None, None)


def test_combine_few_validation_radiographs_give_no_interval(manifest: Manifest) -> None:
    """The error on a handful of radiographs may be near 0 by chance, and no interval follows from it."""
    for count in (1, 19):
        few = replace(manifest, metrics={**METRICS, "rmse_months": 0.33, "mad_months": 0.33, "radiographs": count})
        for sex in (None, Sex.FEMALE):
            estimate = combine(outputs_of(100.0), few, sex=sex)
            assert (estimate.interval_months, estimate.interval_80_months) == (None, None)
            assert (estimate.consensus_interval_months, estimate.typical_error_months) == (None, None)
        assert few.consensus_share == 1.0
        calibrated = combine(outputs_of(100.0), replace(few, calibration=CALIBRATION), sex=Sex.MALE)
        assert calibrated.interval_months == (84.0, 116.0)
    enough = combine(outputs_of(100.0), replace(manifest, metrics={**METRICS, "radiographs": 20}))
    assert enough.interval_months == pytest.approx((100 - 1.96 * 11, 100 + 1.96 * 11))


@given(ages)
def test_combine_interval_within_the_readers_range(manifest: Manifest, age: float) -> None:
    estimate = combine(outputs_of(age), manifest)
    for interval, errors in ((estimate.interval_months, 1.96), (estimate.interval_80_months, 1.2816)):
        assert interval is not None
        low, high = interval
        assert 0 <= low <= estimate.age_months <= high
        reach = errors * 11.0
        if estimate.age_months > 228:  # no number to trust, and so flagged
            assert high == pytest.approx(estimate.age_months + reach)
        else:
            assert high == pytest.approx(min(estimate.age_months + reach, 228.0))


@given(ages, st.sampled_from(Sex))
def test_combine_calibrated_by_sex(manifest: Manifest, age: float, sex: Sex) -> None:
    estimate = combine(outputs_of(age), replace(manifest, calibration=CALIBRATION), sex=sex)
    corrected = 4.0 + 0.95 * age if sex is Sex.FEMALE else age
    assert estimate.is_calibrated
    assert estimate.member_ages_months == {"member-0": age}
    assert estimate.age_months == pytest.approx(max(corrected, 0.0))
    assert estimate.outside_range == (not 0 <= corrected <= 228)
    band = CALIBRATION.by_sex[sex].bands[int(sex is Sex.FEMALE and corrected >= 100.0)]
    assert estimate.typical_error_months == band.typical_error_months
    wide, narrow = estimate.interval_months, estimate.interval_80_months
    assert wide is not None and narrow is not None
    for (low, high), half in ((wide, band.half_width_95_months), (narrow, band.half_width_80_months)):
        assert low == pytest.approx(max(estimate.age_months - half, 0.0))
        assert high == pytest.approx(
            estimate.age_months + half if estimate.age_months > 228 else min(estimate.age_months + half, 228.0)
        )
    assert 0 <= wide[0] <= narrow[0] <= estimate.age_months <= narrow[1] <= wide[1]


def test_combine_weighs_regions_by_stage(five_regions: Manifest) -> None:
    """Weights follow the plain mean; a region that did not run leaves its weight to the others."""
    count = len(STAGES_MONTHS)
    fingers = tuple(month / STAGES_MONTHS[-1] for month in STAGES_MONTHS)
    weights: dict[Region, tuple[float, ...]] = {"B": tuple(1 - share for share in fingers), "D": fingers}
    stages = StageWeights(weights, (5.0,) * count)
    calibration = Calibration({sex: SexCalibration(0.0, 1.0, (Band(None, 300, 8, 15, 6),), stages) for sex in Sex})
    manifest = replace(five_regions, calibration=calibration, curve=None)
    members = {member.view.region: member.name for member in manifest.members}
    of_hand = {members[region]: outputs_of(114.0)["member-0"] for region in ("A", "C", "E")}
    both = combine(
        of_hand | {members["B"]: outputs_of(104.0)["member-0"], members["D"]: outputs_of(124.0)["member-0"]},
        manifest,
        sex=Sex.MALE,
    )
    assert both.age_months == pytest.approx(114.0 + 5.0, abs=0.2)
    assert both.member_weights[members["B"]] == pytest.approx(0.5, abs=0.01)
    assert sum(both.member_weights.values()) == pytest.approx(1.0)
    without = combine(of_hand | {members["D"]: outputs_of(124.0)["member-0"]}, manifest, sex=Sex.MALE)
    assert without.age_months == pytest.approx(124.0 + 5.0)
    neither = combine(of_hand, manifest, sex=Sex.MALE)
    assert neither.age_months == pytest.approx(114.0 + 5.0)
    plain = {member.name: member.weight for member in manifest.members if member.name in of_hand}
    shares = {name: weight / sum(plain.values()) for name, weight in plain.items()}
    assert neither.member_weights == pytest.approx(shares), "none of them has a weight at this stage"


def test_combine_stand_ins_by_plain_weights(five_regions: Manifest) -> None:
    """Stand-ins leave the ordinary estimate as it is, and have neither weights nor a correction by stage."""
    count = len(STAGES_MONTHS)
    weights: dict[Region, tuple[float, ...]] = {"A": (0.25,) * count, "B": (0.75,) * count}
    stages = StageWeights(weights, (5.0,) * count)
    calibration = Calibration({sex: SexCalibration(0.0, 1.0, (Band(None, 300, 8, 15, 6),), stages) for sex in Sex})
    plain = replace(five_regions, calibration=calibration, curve=None)
    first = plain.members[0]
    added = (replace(first, name="soft-1", robust=True, weight=9.0), replace(first, name="soft-2", robust=True))
    mixed = replace(plain, members=(*plain.members, *added))
    assert mixed.stand_ins == {"soft-1", "soft-2"}
    assert mixed.ordinary_members == plain.members
    outputs = {one.name: outputs_of(80.0 + 10 * number)["member-0"] for number, one in enumerate(plain.members)}
    before, after = (combine(outputs, manifest, sex=Sex.MALE) for manifest in (plain, mixed))
    assert after == before
    soft = {"soft-1": outputs_of(100.0)["member-0"], "soft-2": outputs_of(120.0)["member-0"]}
    estimate = combine(soft, mixed, sex=Sex.MALE)
    assert estimate.age_months == pytest.approx(102.0)
    assert estimate.member_weights == pytest.approx({"soft-1": 0.9, "soft-2": 0.1})


def test_robust_members_alone_are_no_stand_ins(manifest: Manifest) -> None:
    every = replace(manifest, members=tuple(replace(one, robust=True) for one in manifest.members))
    assert every.stand_ins == frozenset()
    assert every.ordinary_members == every.members


def test_combine_without_sex_is_not_calibrated(manifest: Manifest) -> None:
    assert combine(outputs_of(100.0), replace(manifest, calibration=CALIBRATION)) == combine(
        outputs_of(100.0), manifest
    )


def test_combine_calibrated_without_metrics(manifest: Manifest) -> None:
    estimate = combine(outputs_of(100.0), replace(manifest, metrics={}, calibration=CALIBRATION), sex=Sex.MALE)
    assert (estimate.typical_error_months, estimate.interval_months) == (6.0, (84.0, 116.0))


def test_combine_without_metrics_has_no_error(manifest: Manifest) -> None:
    estimate = combine(outputs_of(100.0), replace(manifest, metrics={}), sex=Sex.MALE)
    assert estimate.typical_error_months is None
    assert estimate.interval_months is None


def test_combine_no_or_foreign_outputs(manifest: Manifest) -> None:
    for outputs in ({}, outputs_of(1, 2, 3, 4)):
        with pytest.raises(BundleError) as caught:
            combine(outputs, manifest)
        assert caught.value.code == "bundle_mismatch"


@pytest.mark.parametrize("age", [math.nan, math.inf, -math.inf])
def test_combine_age_that_is_not_finite(manifest: Manifest, age: float) -> None:
    with pytest.raises(BundleError) as caught:
        combine(outputs_of(100.0, age), manifest)
    assert caught.value.code == "bundle_output"


@given(st.lists(ages, min_size=3, max_size=3))
def test_region_ages_weighted_mean_of_members(manifest: Manifest, drawn_ages: list[float]) -> None:
    first, second, third = manifest.members  # of the weights 1, 2 and 3
    carpal, hand = ViewSpec("B", 48, 48, "hand"), ViewSpec("A", 64, 48, "hand")
    members = (replace(first, view=carpal), replace(second, view=hand), replace(third, view=carpal))
    regions = region_ages(
        combine(outputs_of(*drawn_ages), manifest).member_ages_months, replace(manifest, members=members)
    )
    assert list(regions) == ["B", "A"]
    assert regions["A"] == pytest.approx(drawn_ages[1]) and regions["B"] == pytest.approx(
        (drawn_ages[0] + 3 * drawn_ages[2]) / 4
    )
    assert list(
        region_ages({"member-1": drawn_ages[1], "member-2": drawn_ages[2]}, replace(manifest, members=members))
    ) == [
        "A",
        "B",
    ]


def test_region_ages_of_one_region(manifest: Manifest) -> None:
    assert region_ages({"member-0": 90.0, "member-1": 100.0}, manifest) == {}


@given(st.integers(0, 239), st.integers(0, 239), st.booleans())
def test_combine_distribution_is_the_weighted_mean(
    manifest: Manifest, first: int, third: int, third_gives: bool
) -> None:
    outputs = outputs_of(100.0, 110.0, 120.0)
    certain = np.eye(240, dtype=np.float32)
    outputs["member-0"] = replace(outputs["member-0"], age_distribution=certain[first])
    if third_gives:
        outputs["member-2"] = replace(outputs["member-2"], age_distribution=certain[third])
    expected = certain[first] / 4 + 3 * certain[third] / 4 if third_gives else certain[first]
    spread = combine(outputs, manifest).age_distribution
    assert spread is not None and spread.shape == (240,)
    np.testing.assert_allclose(spread, expected, atol=1e-12)
    assert combine(outputs_of(100.0), manifest).age_distribution is None


@given(first=st.integers(0, 239), second=st.integers(0, 239), age=st.floats(-20, 260), sex=st.sampled_from(Sex))
def test_combine_intervals_are_parts_of_the_calibrated_curve(
    manifest: Manifest, first: int, second: int, age: float, sex: Sex
) -> None:
    """They hold the estimate and lie within the ages of readers, whatever the networks give."""
    certain = np.eye(240, dtype=np.float32)
    outputs = outputs_of(age, age)
    for name, month in (("member-0", first), ("member-1", second)):
        outputs[name] = replace(outputs[name], age_distribution=0.9 * certain[month] + 0.1 / 240)
    estimate = combine(outputs, replace(manifest, curve=CURVE), sex=sex)
    assert estimate.is_calibrated
    curve = estimate.age_distribution
    assert curve is not None and curve.sum() == pytest.approx(1)
    raw = combine(outputs, replace(manifest, curve=CURVE))
    assert not raw.is_calibrated and raw.age_distribution is not None
    np.testing.assert_allclose(CURVE.calibrated(raw.age_distribution, sex, estimate.age_months), curve)
    for percent, interval, consensus in (
        (95, estimate.interval_months, estimate.consensus_interval_months),
        (80, estimate.interval_80_months, estimate.consensus_interval_80_months),
    ):
        assert interval is not None and consensus is not None
        ends = central_interval(curve, percent)
        assert interval[0] == pytest.approx(max(min(ends[0], estimate.age_months), 0.0))
        assert 0 <= interval[0] <= consensus[0] <= estimate.age_months <= consensus[1] <= interval[1]
        if estimate.age_months <= 228:
            assert interval[1] == pytest.approx(min(max(ends[1], estimate.age_months), 228.0))


@given(age=st.floats(40, 180))
def test_combine_consensus_interval_is_narrower_by_its_share(manifest: Manifest, age: float) -> None:
    estimate = combine(outputs_of(age), manifest, sex=Sex.MALE)
    share = math.sqrt(1 - (6 / 11) ** 2)  # the RMSE of the metrics is 11
    for interval, consensus in (
        (estimate.interval_months, estimate.consensus_interval_months),
        (estimate.interval_80_months, estimate.consensus_interval_80_months),
    ):
        assert interval is not None and consensus is not None
        assert consensus == pytest.approx([age + share * (end - age) for end in interval])


@pytest.fixture(scope="module")
def five_regions(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    views = [ViewSpec(region, 48, 48, "hand") for region in HAND_REGIONS]
    folder = tiny_bundle(tmp_path_factory.mktemp("bundles") / "five", views=views, hand=True)
    return replace(read_manifest(folder), disagreement=DISAGREEMENT)


@pytest.mark.parametrize(
    ("ages_months", "alone"),
    [
        ((100, 102, 150, 98, 101), "C"),
        ((100, 102, 50, 98, 101), "C"),
        ((100, 102, 125, 98, 101), None),  # not far
        ((100, 150, 150, 98, 101), None),  # not alone
        ((60, 120, 180, 98, 101), None),  # nor do the others agree
        ((100, 100, 100, 100, 100), None),
    ],
)
def test_lone_region(five_regions: Manifest, ages_months: tuple[float, ...], alone: Region | None) -> None:
    drawn_ages = dict(zip(HAND_REGIONS, map(float, ages_months), strict=True))
    assert lone_region(drawn_ages, five_regions) == alone
    assert lone_region(drawn_ages, replace(five_regions, disagreement=None)) is None
    of_three = {region: drawn_ages[region] for region in HAND_REGIONS[:3]}
    assert lone_region(of_three, five_regions) is None
