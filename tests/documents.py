"""Documents of the schema for tests: an assessment of the drawn phantom, with changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from boneage.clinical.ages import exact_age
from boneage.clinical.documents import clinical_document, clinical_values
from boneage.clinical.reading import BoneAgeEstimate, clinical_reading
from boneage.hand.bones import BONES
from boneage.schema import (
    AssessmentDocument,
    BoneDocument,
    BundleDocument,
    FactsDocument,
    HandDocument,
    PointsDocument,
    RadiographDocument,
)
from boneage.sex import Sex
from boneage.warnings_ import ResultWarning, WarningCode

WIDTH, HEIGHT = 600, 800


def bone_documents() -> tuple[BoneDocument, ...]:
    """Return single bones of different ages, of which the carpal bones were not read."""
    return tuple(
        BoneDocument(
            name=bone.name,
            age_months=None if bone.name == "carpals" else 90.25 + place,
            interval_months=None if bone.name == "carpals" else (70.25 + place, 110.75 + place),
            weight=0.0556,
            unreadable="implausible" if bone.name == "carpals" else None,
            corners=((10.0, 20.0), (60.0, 20.0), (60.0, 70.0), (10.0, 70.0)),
            outlines=() if bone.name == "carpals" else (((20.0, 30.0), (40.5, 30.0), (30.0, 45.0)),),
        )
        for place, bone in enumerate(BONES)
    )


def assessment_document(
    age_months: float = 94.0, *, chronological_months: float | None = None, **changes: Any
) -> AssessmentDocument:
    """Return a document of a girl's radiograph in which every field has a plausible value, with changes."""
    low_resolution = ResultWarning.of(
        WarningCode.LOW_RESOLUTION, width=WIDTH, height=HEIGHT, view_width=192, view_height=256
    )
    reading = clinical_reading(
        BoneAgeEstimate(
            age_months,
            (age_months - 12, age_months + 12),
            (age_months - 19, age_months + 19),
            (age_months - 9, age_months + 9),
        ),
        sex=Sex(changes.get("sex", "F")),
        age=None if chronological_months is None else exact_age(chronological_months),
    )
    document = AssessmentDocument(
        schema=1,
        image="radiograph.png",
        sex="F",
        age_months=age_months,
        age_text="7 years 10 months",
        is_meaningless=False,
        typical_error_months=7.5,
        interval_months=(age_months - 19, age_months + 19),
        interval_80_months=(age_months - 12, age_months + 12),
        consensus_interval_months=(age_months - 14, age_months + 14),
        consensus_interval_80_months=(age_months - 9, age_months + 9),
        interval_calibrated=False,
        interval_coverage=0.945,
        **clinical_values(clinical_document(reading)),
        member_ages_months={"whole": age_months, "carpals": age_months - 3, "fingers": age_months + 2},
        region_ages_months={"A": age_months, "B": age_months - 3, "C": age_months + 2},
        age_distribution=None,
        nearest_plates=None,
        regions=("A", "B", "C"),
        hand=hand_document(WIDTH, HEIGHT),
        warnings=(low_resolution.document(),),
        facts=FactsDocument(
            format="png",
            bits_stored=8,
            photometric=None,
            inverted=False,
            spacing_mm=None,
            side=None,
            body_part=None,
            sex=None,
            study_date=None,
            modality=None,
        ),
        age_in_file=None,
        radiograph=RadiographDocument(height_pixels=HEIGHT, width_pixels=WIDTH, sha256="0" * 64),
        bundle=BundleDocument(name="tiny", version="1", repeat_sd_months=1.3),
        timings_ms={"total": 200.0},
        notice="Not a medical device.",
    )
    return replace(document, **changes)


def hand_document(width: int, height: int) -> HandDocument:
    """Return an upright left hand that fills most of a radiograph of this size, pixels."""
    outline = [(0.2, 0.9), (0.2, 0.3), (0.5, 0.1), (0.9, 0.5), (0.7, 0.9)]
    carpals = [(0.3, 0.6), (0.7, 0.6), (0.7, 0.9), (0.3, 0.9)]
    return HandDocument(
        points=PointsDocument(
            middle_tip=(width * 0.5, height * 0.1),
            thumb_tip=(width * 0.85, height * 0.5),
            capitate=(width * 0.5, height * 0.75),
        ),
        mirrored=False,
        inverted=False,
        rotation_degrees=0.0,
        length_pixels=height * 0.65,
        spread=0.01,
        side_certain=True,
        outline_xy=tuple((width * x, height * y) for x, y in outline),
        boxes_xy={"B": tuple((width * x, height * y) for x, y in carpals)},
    )
