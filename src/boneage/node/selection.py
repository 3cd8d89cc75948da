"""Which instances of a study are read, in which order, and why the others are skipped. Everything here is pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from boneage.node.configuration import Selection
from boneage.node.instance import InstanceHeader
from boneage.reading.dicom.uids import RADIOGRAPH_CLASSES, STANDARD_ROOT

OWN_MODEL = "boneage"
"""Manufacturer's Model Name of the program's own result objects (`boneage.dicom.identity.MODEL`)."""

_REGIONS: Mapping[str, str] = {
    "85562004": "HAND",
    "T-D8700": "HAND",
    "74670003": "WRIST",
    "T-15460": "WRIST",
    "8205005": "WRIST",
    "T-D8600": "WRIST",
}
"""Body parts by the codes of Anatomic Region Sequence, SNOMED CT and the former SNOMED-RT (PS3.16, annexes L and O)."""
_OTHER_REGION = "OTHER"
_LATERAL_VIEWS = {"LL", "RL", "LLD", "LLO", "RLD", "RLO", "LATERAL", "LAT", "ML", "LM", "OBLIQUE", "OBL"}
"""View positions that show the hand from the side (PS3.3, C.8.1.1 and C.8.11.5; the words occur in files)."""
_FRONTAL_VIEWS = {"PA", "AP"}
_NO_LETTER = re.compile(r"[\W_]+")


class SkipReason(StrEnum):
    """Reason why an instance is not read."""

    STORAGE_CLASS = "storage_class"
    """It is of a storage class that holds no radiograph."""
    OWN_RESULT = "own_result"
    """It is a result of this program that came back."""
    MODALITY = "modality"
    """Its modality is not among the selected ones."""
    NO_PIXELS = "no_pixels"
    """It holds no pixels."""
    SEVERAL_FRAMES = "several_frames"
    """It holds several frames."""
    BODY_PART = "body_part"
    """It states another body part."""
    BODY_PART_UNSTATED = "body_part_unstated"
    """It states no body part, and the configuration does not try such radiographs."""
    LATERAL_VIEW = "lateral_view"
    """It shows the hand from the side."""
    FOR_PROCESSING = "for_processing"
    """It is raw, and the study has a processed radiograph of the hand, or raw radiographs are never read."""
    AGE = "age"
    """The patient is older than the limit."""
    ANOTHER_PREFERRED = "another_preferred"
    """Another radiograph of the study is read."""


@dataclass(frozen=True)
class StudySelection:
    """Choice of the instances of a study that are read.

    Attributes:
        candidates: SOP Instance UIDs by result that is wanted, usually one. Of each tuple the first is read; the next
            only if the one before is rejected, and the rest is skipped as `SkipReason.ANOTHER_PREFERRED`.
        skipped: reason by SOP Instance UID of those that are never read.
    """

    candidates: tuple[tuple[str, ...], ...]
    skipped: Mapping[str, SkipReason]


def is_private_class(sop_class_uid: str) -> bool:
    """Return whether a storage class is a manufacturer's own. It may hold radiographs; the modality decides."""
    return not sop_class_uid.startswith(STANDARD_ROOT)


def is_read_class(sop_class_uid: str) -> bool:
    """Return whether instances of a storage class are parsed at all."""
    return sop_class_uid in RADIOGRAPH_CLASSES or is_private_class(sop_class_uid)


def skip_reason(header: InstanceHeader, selection: Selection) -> SkipReason | None:
    """Return why an instance is not read whatever else its study holds, or None if it may be read."""
    age = header.least_age_months
    view = header.view_position.upper()
    rules = {
        SkipReason.STORAGE_CLASS: not is_read_class(header.sop_class_uid),
        SkipReason.OWN_RESULT: header.model.casefold() == OWN_MODEL,
        SkipReason.MODALITY: header.modality.upper() not in {one.upper() for one in selection.modalities},
        SkipReason.NO_PIXELS: not header.has_pixels,
        SkipReason.SEVERAL_FRAMES: header.frames > 1,
        SkipReason.AGE: age is not None and age >= 12 * selection.max_age_years,
        SkipReason.FOR_PROCESSING: header.for_processing and selection.for_processing == "never",
        SkipReason.LATERAL_VIEW: view in _LATERAL_VIEWS,
    }
    return next((reason for reason, applies in rules.items() if applies), _body_part_reason(header, selection))


def select(headers: Iterable[InstanceHeader], selection: Selection) -> StudySelection:
    """Return which instances of one study are read.

    Args:
        headers: headers of all instances of the study, in any order; the last of those with one UID counts.
        selection: the rules.
    """
    by_uid = {header.sop_instance_uid: header for header in headers}
    reasons = {uid: skip_reason(header, selection) for uid, header in by_uid.items()}
    skipped = {uid: reason for uid, reason in reasons.items() if reason is not None}
    readable = [header for uid, header in by_uid.items() if uid not in skipped]
    if selection.for_processing == "if_alone":
        processed = [header for header in readable if not header.for_processing]
        for header in readable:
            if header.for_processing and any(_may_be_same_hand(header, other) for other in processed):
                skipped[header.sop_instance_uid] = SkipReason.FOR_PROCESSING
        readable = [header for header in readable if header.sop_instance_uid not in skipped]
    ordered = sorted(readable, key=lambda header: _rank(header, selection))
    return StudySelection(_groups(ordered, selection), skipped)


def _body_part_reason(header: InstanceHeader, selection: Selection) -> SkipReason | None:
    descriptions = [_folded(one) for one in header.descriptions]
    wanted = [_folded(one) for one in selection.descriptions]
    if any(one in description for one in wanted for description in descriptions):
        return None
    stated = [_folded(header.body_part)]
    if header.anatomic_region:
        stated.append(_folded(_REGIONS.get(header.anatomic_region, _OTHER_REGION)))
    if any(_folded(part) in one for part in selection.body_parts for one in stated):
        return None
    if any(stated):
        return SkipReason.BODY_PART
    return None if selection.unstated_body_part == "try" else SkipReason.BODY_PART_UNSTATED


def _folded(value: str) -> str:
    """Return the letters and digits of a text in words, without accents and upper case."""
    plain = unicodedata.normalize("NFKD", value).casefold()
    return _NO_LETTER.sub(" ", "".join(one for one in plain if not unicodedata.combining(one))).strip()


def _may_be_same_hand(first: InstanceHeader, second: InstanceHeader) -> bool:
    return first.side is None or second.side is None or first.side == second.side


def _rank(header: InstanceHeader, selection: Selection) -> tuple[object, ...]:
    """Return the key by which radiographs of a study are ordered, the preferred one first."""
    first = "R" if selection.sides == "right_first" else "L"
    side = 0 if header.side == first else 1 if header.side is not None else 2
    frontal = header.view_position.upper() in _FRONTAL_VIEWS
    numbers = [10**9 if one is None else one for one in (header.series_number, header.instance_number)]
    return side, header.for_processing, not frontal, *numbers, header.sop_instance_uid


def _groups(ordered: Sequence[InstanceHeader], selection: Selection) -> tuple[tuple[str, ...], ...]:
    if selection.sides != "both":
        uids = tuple(header.sop_instance_uid for header in ordered)
        return (uids,) if uids else ()
    stated = [[header for header in ordered if header.side == side] for side in ("L", "R")]
    groups = stated if any(stated) else [list(ordered)]
    unstated = [header for header in ordered if header.side is None] if any(stated) else []
    for group in groups:
        if group:
            group.extend(unstated)  # they may show this hand, and are read if its own radiographs are rejected
    return tuple(tuple(header.sop_instance_uid for header in group) for group in groups if group)
