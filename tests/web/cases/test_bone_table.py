"""Single bones on the page of a result: their names, ages, reasons, and those that stand apart."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from boneage import words
from boneage.hand.bones import BONES
from boneage.schema import BoneDocument
from boneage.web.cases.bone_table import bone_rows
from tests.documents import assessment_document

CORNERS = ((0.0, 0.0), (9.0, 0.0), (9.0, 9.0), (0.0, 9.0))


def bone(name: str = "mcp_3", **changes: object) -> BoneDocument:
    """Return a bone that was read as 94 months."""
    usual = BoneDocument(
        name=name, age_months=94.0, interval_months=(80.0, 110.0), weight=0.1, unreadable=None, corners=CORNERS
    )
    return replace(usual, **changes)  # type: ignore[arg-type]


def test_rows_state_age_and_interval() -> None:
    (row,) = bone_rows(replace(assessment_document(94.0), bones=(bone(),)))
    assert row.name == "metacarpophalangeal joint 3"
    assert row.text == "metacarpophalangeal joint 3: 7 years 10 months; 6 years 8 months to 9 years 2 months"
    assert row.corners == CORNERS
    assert not row.stands_apart


@pytest.mark.parametrize(("interval", "apart"), [((95.0, 110.0), True), ((60.0, 93.0), True), ((94.0, 94.0), False)])
def test_bone_stands_apart(interval: tuple[float, float], apart: bool) -> None:
    """The estimate lies outside of its interval; the ends belong to it."""
    (row,) = bone_rows(replace(assessment_document(94.0), bones=(bone(interval_months=interval),)))
    assert row.stands_apart is apart
    assert ("stands apart" in row.text) is apart


@pytest.mark.parametrize("reason", ["cut_off", "joints_uncertain", "no_contrast", "implausible"])
def test_bone_that_cannot_be_read(reason: str) -> None:
    """It has its reason in words, and no age."""
    unread = bone(age_months=None, interval_months=None, unreadable=reason)
    (row,) = bone_rows(replace(assessment_document(94.0), bones=(unread,)))
    assert row.age == row.interval == ""
    assert row.reason == words.unreadable(reason)
    assert row.reason != reason


@pytest.mark.parametrize("language", words.languages())
def test_every_bone_has_a_name_in_every_language(language: str) -> None:
    with words.use_language(language):
        names = {words.bone(bone.name) for bone in BONES}
    assert len(names) == len(BONES)
    assert not any("_" in name or "%" in name for name in names)


def test_rulers_share_one_scale() -> None:
    """The ruler of a bone holds its age within its interval, and the line of the estimate is at one place in all."""
    bones = (bone(), bone("dip_2", age_months=60.0, interval_months=(40.0, 90.0)))
    rows = bone_rows(replace(assessment_document(94.0), bones=bones))
    lines = [re.search(r'class="estimate" x1="([\d.]+)"', row.ruler) for row in rows]
    assert lines[0] is not None and lines[1] is not None and lines[0][1] == lines[1][1]
    ages = [re.search(r'class="bone" d="M([\d.]+)', row.ruler) for row in rows]
    assert ages[0] is not None and ages[1] is not None and float(ages[0][1]) > float(ages[1][1])
    (unread,) = bone_rows(replace(assessment_document(94.0), bones=(bone(age_months=None, interval_months=None),)))
    assert unread.ruler == ""
