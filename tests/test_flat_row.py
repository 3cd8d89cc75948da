"""The row of a table holds every scalar of the JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from boneage.flat_row import BONES, COLUMNS, LEFT_OUT, REGIONS, flat_row
from boneage.hand.bones import BONES as BONES_OF_HANDS
from boneage.hand.registration import HAND_REGIONS
from boneage.strict import to_plain
from tests.documents import assessment_document, bone_documents


def scalars(value: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of JSON's values, each list as one value."""
    if isinstance(value, dict) and value:
        for key, one in value.items():
            yield from scalars(one, f"{path}_{key}" if path else key)
    else:
        yield path


def test_every_scalar_of_the_json_has_a_column() -> None:
    """A key that is added to the schema gets a column by itself, or is left out by name."""
    document = to_plain(assessment_document(chronological_months=100.0))
    for path in scalars(document):
        if any(path == name or path.startswith(f"{name}_") for name in LEFT_OUT) or path.startswith("region_ages"):
            continue
        assert any(name == path or name.startswith(f"{path}_") for name in COLUMNS), path


def test_each_bone_has_a_column() -> None:
    assert [bone.name for bone in BONES_OF_HANDS] == list(BONES)
    row = flat_row(assessment_document(bones=bone_documents()))
    assert row["bone_radius_months"] == 90.25 and row["bone_dip_5_months"] == 107.25
    assert row["bone_carpals_months"] is None
    assert row["bones_unreadable"] == "carpals:implausible"
    assert flat_row(assessment_document())["bones_unreadable"] is None


def test_cells_are_the_values_of_the_json() -> None:
    document = assessment_document(chronological_months=100.0)
    row = flat_row(document)
    assert tuple(row) == COLUMNS
    assert row["age_months"] == document.age_months
    assert row["chronological_age_months"] == 100.0
    assert (row["interval_80_months_low"], row["interval_80_months_high"]) == document.interval_80_months
    assert row["facts_spacing_mm_rows"] == (document.facts.spacing_mm or (None,))[0]
    assert row["warnings"] == "low_resolution"
    assert row["severity"] == document.warnings[0].severity


def test_missing_objects_leave_empty_cells() -> None:
    """The columns do not depend on the values, so that rows of different radiographs fit one table."""
    document = replace(assessment_document(), interval_80_months=None, hand=None, region_ages_months={})
    row = flat_row(document)
    assert tuple(row) == COLUMNS
    assert row["interval_80_months_low"] is row["hand_mirrored"] is row["region_a_months"] is None
    assert row["chronological_age_months"] is None


@pytest.mark.parametrize("region", HAND_REGIONS)
def test_regions_have_columns(region: str) -> None:
    assert region in REGIONS
    row = flat_row(replace(assessment_document(), region_ages_months={region: 93.5}))
    assert row[f"region_{region.lower()}_months"] == 93.5
