"""Radiographs of a study are read in one order, and the others are skipped with a reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage.dicom.identity import MODEL
from boneage.node.configuration import Selection
from boneage.node.instance import InstanceHeader
from boneage.node.selection import OWN_MODEL, SkipReason, is_read_class, select, skip_reason

DX, DX_RAW = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1.1"
DEFAULT = Selection()


def header(uid: str = "1.1", **changes: Any) -> InstanceHeader:
    """Return the header of a radiograph of a hand that is read."""
    usual: dict[str, Any] = {"modality": "DX", "body_part": "HAND", "view_position": "PA"}
    return InstanceHeader(DX, uid, "1.2", "1.3", **(usual | changes))


# --- single instances ---


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"modality": "CR"}, None),
        ({"modality": "cr"}, None),
        ({"modality": "OT"}, SkipReason.MODALITY),
        ({"modality": ""}, SkipReason.MODALITY),
        ({"modality": "MG"}, SkipReason.MODALITY),
        ({"model": "boneage"}, SkipReason.OWN_RESULT),
        ({"has_pixels": False}, SkipReason.NO_PIXELS),
        ({"frames": 2}, SkipReason.SEVERAL_FRAMES),
        ({"view_position": "LL"}, SkipReason.LATERAL_VIEW),
        ({"view_position": "lateral"}, SkipReason.LATERAL_VIEW),
        ({"view_position": "AP"}, None),
        ({"view_position": ""}, None),
        ({"body_part": "WRIST"}, None),
        ({"body_part": "Left Hand"}, None),
        ({"body_part": "LHAND"}, None),
        ({"body_part": "CHEST"}, SkipReason.BODY_PART),
        ({"body_part": "CHEST", "descriptions": ("Bone-Age study",)}, None),
        ({"body_part": "EXTREMITY", "descriptions": ("Âge  osseux, main gauche",)}, None),
        ({"body_part": "", "descriptions": ("RX IDADE ÓSSEA",)}, None),
        ({"body_part": "", "descriptions": ("EDAD_OSEA",)}, None),
        ({"body_part": "", "descriptions": ("Knochenalter",)}, None),
        ({"body_part": "", "descriptions": ("骨龄测定",)}, None),
        ({"body_part": ""}, None),
        ({"body_part": "", "anatomic_region": "85562004"}, None),
        ({"body_part": "", "anatomic_region": "T-D8700"}, None),
        ({"body_part": "", "anatomic_region": "51185008"}, SkipReason.BODY_PART),
        ({"for_processing": True}, None),
        ({"birth_date": date(2005, 1, 2), "study_date": date(2024, 1, 1)}, None),
        ({"birth_date": date(2005, 1, 1), "study_date": date(2024, 1, 1)}, SkipReason.AGE),
        ({"patient_age": "045Y"}, SkipReason.AGE),
        ({"patient_age": "018Y"}, None),
        ({"patient_age": "045Y", "birth_date": date(2014, 1, 1), "study_date": date(2024, 1, 1)}, None),  # unknown
    ],
)
def test_skip_reason(changes: dict[str, Any], reason: SkipReason | None) -> None:
    assert skip_reason(header(**changes), DEFAULT) is reason


def test_skip_reason_by_configuration() -> None:
    raw = header(for_processing=True)
    assert skip_reason(raw, Selection(for_processing="never")) is SkipReason.FOR_PROCESSING
    assert skip_reason(header(body_part=""), Selection(unstated_body_part="skip")) is SkipReason.BODY_PART_UNSTATED
    assert skip_reason(header(modality="OT"), Selection(modalities=("OT",))) is None
    assert skip_reason(header(body_part="FOOT"), Selection(body_parts=("FOOT",))) is None


def test_skip_reason_of_other_classes() -> None:
    """A structured report, a presentation state and a CT are never read, whatever they state."""
    for uid in ("1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.11.1", "1.2.840.10008.5.1.4.1.1.2"):
        assert not is_read_class(uid)
        assert skip_reason(replace(header(), sop_class_uid=uid), DEFAULT) is SkipReason.STORAGE_CLASS
    assert is_read_class("1.3.46.670589.1")  # a manufacturer's


def test_own_model_is_that_of_results() -> None:
    assert OWN_MODEL == MODEL


# --- studies ---


def test_select_whole_study() -> None:
    """A study as a PACS sends it: report, chest, lateral view, both hands, raw twins."""
    study = [
        replace(header("1.sr"), sop_class_uid="1.2.840.10008.5.1.4.1.1.88.22"),
        header("1.chest", body_part="CHEST"),
        header("1.lateral", side="L", view_position="LL"),
        header("1.right", side="R"),
        header("1.left", side="L"),
        header("1.left-ap", side="L", view_position="AP", series_number=2),
        header("1.left-other", side="L", view_position="", series_number=1),
        header("1.unstated"),
        header("1.raw", side="L", for_processing=True),
    ]
    chosen = select(study, DEFAULT)
    assert chosen.candidates == (("1.left-ap", "1.left", "1.left-other", "1.right", "1.unstated"),)
    assert chosen.skipped == {
        "1.sr": SkipReason.STORAGE_CLASS,
        "1.chest": SkipReason.BODY_PART,
        "1.lateral": SkipReason.LATERAL_VIEW,
        "1.raw": SkipReason.FOR_PROCESSING,
    }


def test_select_raw_radiograph_alone() -> None:
    """A raw radiograph is read if the study has no processed one of the same hand."""
    raw, other = header("1.raw", side="L", for_processing=True), header("1.right", side="R")
    assert select([raw], DEFAULT).candidates == (("1.raw",),)
    assert select([raw, other], DEFAULT).candidates == (("1.raw", "1.right"),)
    both = select([raw, header("1.left", side="L")], Selection(for_processing="always"))
    assert both.candidates == (("1.left", "1.raw"),)


@pytest.mark.parametrize(
    ("sides", "candidates"),
    [
        ("left_first", (("1.l", "1.r", "1.u"),)),
        ("right_first", (("1.r", "1.l", "1.u"),)),
        ("both", (("1.l", "1.u"), ("1.r", "1.u"))),
    ],
)
def test_select_sides(sides: Any, candidates: tuple[tuple[str, ...], ...]) -> None:
    study = [header("1.r", side="R"), header("1.u"), header("1.l", side="L")]
    assert select(study, Selection(sides=sides)).candidates == candidates


def test_select_both_sides_unstated() -> None:
    assert select([header("1.b"), header("1.a")], Selection(sides="both")).candidates == (("1.a", "1.b"),)


def test_select_nothing() -> None:
    assert select([], DEFAULT).candidates == ()
    assert select([header(body_part="KNEE")], DEFAULT).candidates == ()


HEADERS = st.lists(
    st.builds(
        header,
        st.integers(1, 8).map(lambda number: f"1.{number}"),
        modality=st.sampled_from(["DX", "CR", "OT"]),
        side=st.sampled_from([None, "L", "R"]),
        for_processing=st.booleans(),
        body_part=st.sampled_from(["HAND", "CHEST", ""]),
        view_position=st.sampled_from(["PA", "LL", ""]),
        series_number=st.none() | st.integers(0, 3),
    ),
    max_size=8,
    unique_by=lambda one: one.sop_instance_uid,
)
SELECTIONS = st.builds(
    Selection,
    sides=st.sampled_from(["left_first", "right_first", "both"]),
    for_processing=st.sampled_from(["never", "if_alone", "always"]),
    unstated_body_part=st.sampled_from(["try", "skip"]),
)


@given(HEADERS, SELECTIONS, st.randoms())
def test_select_accounts_for_every_instance(headers: list[InstanceHeader], selection: Selection, random: Any) -> None:
    """Each instance is a candidate or skipped, never both; the order of arrival makes no difference."""
    chosen = select(headers, selection)
    candidates = {uid for group in chosen.candidates for uid in group}
    assert candidates | set(chosen.skipped) == {one.sop_instance_uid for one in headers}
    assert not candidates & set(chosen.skipped)
    assert all(chosen.candidates)
    shuffled = list(headers)
    random.shuffle(shuffled)
    assert select(shuffled, selection) == chosen
