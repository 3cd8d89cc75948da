"""Warnings by what the networks for single bones could read."""

from __future__ import annotations

import pytest

from boneage.bundle.bone_ages import BoneAge
from boneage.checks.radiograph import bone_warnings
from boneage.hand.bones import BONES
from boneage.severity import Severity


@pytest.mark.parametrize(
    ("unreadable", "severity"),
    [
        (0, None),
        (4, None),
        (5, Severity.CAUTION),
        (9, Severity.CAUTION),
        (10, Severity.CRITICAL),
        (18, Severity.CRITICAL),
    ],
)
def test_bone_warnings_by_number(unreadable: int, severity: Severity | None) -> None:
    """Many unreadable bones are marked, and an estimate that rests on fewer than half of them must not be used."""
    corners = ((0.0, 0.0),) * 4
    bones = [
        BoneAge(bone.name, corners, "implausible" if place < unreadable else None) for place, bone in enumerate(BONES)
    ]
    assert [one.severity for one in bone_warnings(bones)] == ([] if severity is None else [severity])


def test_bone_warnings_without_bones() -> None:
    assert not list(bone_warnings(()))
