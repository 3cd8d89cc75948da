"""Warnings by what the networks for single bones could read, and by what the file declares."""

from __future__ import annotations

import pytest

from boneage.bundle.bone_ages import BoneAge
from boneage.checks.radiograph import bone_warnings, file_warnings
from boneage.hand.bones import BONES
from boneage.reading.facts import RadiographFacts
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


HANDS = ["HAND", "left hand", "LHAND", "HND", "L HND", "WRIST", "METACARPUS", "UP_EXM", "BONEAGE"]
UPPER_LIMBS = ["UPPER EXTREMITY", "UEXTREMITY", "EXTREMITY", "LEFT EXTREMITY", "INFANT EXTREMITY", "UPPERLIMB"]
HANDS_ABROAD = ["MANO", "mano izquierda", "MAIN", "MAIN_G", "MANI", "MÃO", "MUÑECA", "POIGNET", "POLSO", "PUNHO"]
LOWER_LIMBS = ["LOWER EXTREMITY", "LOWEREXTREMITY", "LOW_EXTREMITY", "LEXTREMITY", "LLEXTREMITY", "LOW_EXM"]
LOWER_LIMBS_ABROAD = ["EXTREMIDAD INFERIOR", "EXTREMITE INFERIEURE", "UNTERE EXTREMITAET"]
OTHER_PARTS = ["CHEST", "FOOT", "MANOMETRY", "REMAINDER", "DOMAIN"]


def body_part_warnings(part: str) -> list[str]:
    facts = RadiographFacts("dicom", 12, body_part=part)
    return [one.code.value for one in file_warnings(facts, None, None)]


@pytest.mark.parametrize("part", [*HANDS, *UPPER_LIMBS, *HANDS_ABROAD])
def test_file_warnings_declared_hand(part: str) -> None:
    assert body_part_warnings(part) == []


@pytest.mark.parametrize("part", [*LOWER_LIMBS, *LOWER_LIMBS_ABROAD, *OTHER_PARTS])
def test_file_warnings_declared_other_part(part: str) -> None:
    assert body_part_warnings(part) == ["other_body_part_declared"]
