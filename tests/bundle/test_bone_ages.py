"""Ages of single bones: their mean, their calibration, and bones without an age."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from boneage.bundle.bone_ages import FEWEST_RADIOGRAPHS, BoneAge, are_implausible, bone_ages, fit_bone_powers
from boneage.bundle.manifest import Manifest, Member
from boneage.bundle.member_output import BoneOutput, MemberOutput
from boneage.geometry import Transform
from boneage.hand.bones import BONES
from boneage.hand.joints import Joints
from boneage.hand.registration import Hand
from boneage.hand.views import CellGrid, ViewSpec
from boneage.phantom import phantom_points

VIEW = ViewSpec("bones", 48, 96, "hand")
NAMES = [bone.name for bone in BONES]


def normal(mean: float, spread: float) -> NDArray[np.float32]:
    curve = np.exp(-((np.arange(240) - mean) ** 2) / (2 * spread**2))
    return np.asarray(curve / curve.sum(), np.float32)


def output(mean: float) -> MemberOutput:
    curves = np.stack([normal(mean + index, 20.0) for index in range(len(BONES))])
    weights = np.full(len(BONES), 1 / len(BONES), np.float32)
    return MemberOutput(100.0, np.zeros(4, np.float32), np.zeros((2, 2), np.float32), bones=BoneOutput(curves, weights))


def member(name: str, weight: float) -> Member:
    return Member(name, f"{name}.onnx", "0" * 64, VIEW, CellGrid(8, 0.5), 120.0, 120.0, weight=weight)


def manifest(powers: Mapping[str, float]) -> Manifest:
    return Manifest("tiny", "1", "Tiny", "2026-01-01", bone_powers=powers)


def hand() -> Hand:
    points_xy = phantom_points(height=800, width=600)
    return Hand(points_xy, np.ones((8, 6), np.uint8), Transform.scale(0.01), joints=Joints.typical())


def test_bone_ages_are_means_by_weight() -> None:
    members = [member("a", 1.0), member("b", 3.0)]
    bones = bone_ages(members, {"a": output(80), "b": output(120)}, manifest({}), hand(), {})
    assert [bone.name for bone in bones] == NAMES
    assert bones[0].age_months == pytest.approx(110, abs=0.1)
    assert bones[4].age_months == pytest.approx(114, abs=0.1)
    assert all(bone.interval_months is None for bone in bones)


def test_only_readable_bones_have_outlines() -> None:
    triangle = np.array([[1.0, 2.0], [3.04, 2.0], [1.0, 5.0]])
    outlines = {"radius": (triangle,), "ulna": (triangle,)}
    bones = bone_ages([member("a", 1.0)], {"a": output(80)}, manifest({}), hand(), {"ulna": "cut_off"}, outlines)
    assert [bone.name for bone in bones if bone.outlines_xy] == ["radius"]
    assert bones[0].document().outlines == (((1.0, 2.0), (3.0, 2.0), (1.0, 5.0)),)


@pytest.mark.parametrize(
    ("age", "spread", "expected"),
    [
        (150, 25.0, True),
        (50, 25.0, True),
        (120, 30.0, True),
        (120, 12.0, False),
        (125, 14.0, False),
        (101, 60.0, False),
    ],
)
def test_are_implausible_by_distance_and_spread(age: float, spread: float, expected: bool) -> None:
    """A bone below plaster is uncertain and far from the others; a certain one may stand apart."""
    others = [normal(100 + step, 13.0) for step in range(8)]
    marks = are_implausible(np.stack([normal(age, spread), *others]).astype(np.float64))
    assert marks.tolist() == [expected] + [False] * 8
    assert not are_implausible(np.stack([normal(age, spread), *others[:3]]).astype(np.float64)).any()


def test_implausible_bone_has_no_age_and_keeps_its_weight() -> None:
    disturbed = output(100)
    assert disturbed.bones is not None
    disturbed.bones.distributions[2] = normal(200, 30.0)
    bones = bone_ages([member("a", 1.0)], {"a": disturbed}, manifest({"carpals": 2.0}), hand(), {})
    assert [bone.unreadable for bone in bones] == [None, None, "implausible", *[None] * 15]
    assert bones[2].age_months is None and bones[2].interval_months is None and bones[2].weight > 0


def test_calibrated_bone_has_an_interval_about_its_age() -> None:
    (radius, *_) = bone_ages([member("a", 1.0)], {"a": output(100)}, manifest({"radius": 4.0}), hand(), {})
    assert radius.interval_months == pytest.approx((100 - 19.6, 100 + 19.6), abs=1.0)  # half of 20 months
    assert radius.age_months == pytest.approx(100, abs=0.1)


def test_unreadable_bone_has_a_reason_and_its_place() -> None:
    bones = bone_ages([member("a", 1.0)], {"a": output(100)}, manifest({}), hand(), {"ulna": "cut_off"})
    ulna = bones[1]
    assert (ulna.unreadable, ulna.age_months, ulna.weight) == ("cut_off", None, 0.0)
    middle = np.mean(ulna.corners_xy, axis=0)
    expected = hand().radiograph_to_frame.inverse().points(Joints.typical().at("ulna"))
    np.testing.assert_allclose(middle, expected, atol=1e-6)


def test_no_bones_without_joints_or_network() -> None:
    plain = replace(output(100), bones=None)
    assert bone_ages([member("a", 1.0)], {"a": plain}, manifest({}), hand(), {}) == ()
    assert bone_ages([member("a", 1.0)], {"a": output(100)}, manifest({}), replace(hand(), joints=None), {}) == ()


def test_fit_bone_powers_finds_the_spread_of_the_labels() -> None:
    """Curves twice as wide as the labels scatter need a power of four."""
    generator = np.random.default_rng(0)
    labels = generator.normal(120, 10, 400)
    curve = normal(120, 20.0).astype(np.float64)
    readings = [
        (BoneAge("radius", (), None, 120.0, distribution=curve), BoneAge("ulna", (), "cut_off")) for _ in labels
    ]
    powers = fit_bone_powers(labels, readings)
    assert set(powers) == {"radius"}
    assert powers["radius"] == pytest.approx(4.0, rel=0.15)
    assert fit_bone_powers(labels[: FEWEST_RADIOGRAPHS - 1], readings[: FEWEST_RADIOGRAPHS - 1]) == {}
