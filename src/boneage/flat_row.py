"""An assessment as one row of a table: every scalar of its JSON, by the schema.

A column's name is the path of the key, joined by underscores: ``chronological_age_months`` is
``chronological_age.months``. A pair of bounds has two columns, ending in ``_low`` and ``_high``. The order is that of
the schema.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import date
from enum import Enum
from functools import cache
from typing import Any

from boneage.schema import AssessmentDocument, Document, WarningDocument
from boneage.severity import highest_severity

REGIONS = ("A", "B", "C", "D", "E")
"""Regions whose ages have a column each."""

BONES = (
    *("radius", "ulna", "carpals", "metacarpal_1", "mcp_1", "ip_1"),
    *(f"{joint}_{ray}" for joint in ("mcp", "pip", "dip") for ray in (2, 3, 4, 5)),
)
"""Bones and joints whose ages have a column each (`boneage.hand.bones.BONES`)."""

LEFT_OUT = frozenset(
    {
        "schema",
        "member_ages_months",  # its keys depend on the bundle
        "age_distribution",  # 240 values
        "nearest_plates",
        "hand_points",
        "hand_outline_xy",
        "hand_boxes_xy",
        "timings_ms",
        "notice",
        "bundle_name",  # `_BUNDLE` has them under shorter names
        "bundle_version",
    }
)
"""Paths of the schema without a column of their own."""

_PAIR = {"facts_spacing_mm": ("rows", "columns")}
"""Ends of the names of a pair of numbers that are no bounds."""
_BOUNDS = ("low", "high")
_SCALARS = {float, int, bool, str, date}
_BUNDLE = ("bundle", "bundle_version")
"""Last columns: name and version of the bundle."""


def _inner(hint: Any) -> Any:
    """Return the type of a value that may be null."""
    is_union = typing.get_origin(hint) in {typing.Union, types.UnionType}
    rest = [one for one in typing.get_args(hint) if one is not type(None)] if is_union else [hint]
    return rest[0] if len(rest) == 1 else hint


@cache
def _hints(document: Any) -> dict[str, Any]:
    return {name: _inner(hint) for name, hint in typing.get_type_hints(document).items()}


def _cells(document: Any, value: Document | None, prefix: str = "") -> Iterator[tuple[str, type, object]]:
    """Yield columns, their types and cells of a document of a class; the cells of a missing one are None."""
    for field in fields(document):
        path, hint = prefix + field.name, _hints(document)[field.name]
        one = None if value is None else getattr(value, field.name)
        if path in LEFT_OUT:
            continue
        if is_dataclass(hint):
            yield from _cells(hint, one, f"{path}_")
        elif path == "region_ages_months":
            yield from ((f"region_{name.lower()}_months", float, (one or {}).get(name)) for name in REGIONS)
        elif path == "bones":
            read = {bone.name: bone.age_months for bone in one or ()}
            yield from ((f"bone_{name}_months", float, read.get(name)) for name in BONES)
            unread = (f"{bone.name}:{bone.unreadable}" for bone in one or () if bone.unreadable is not None)
            yield "bones_unreadable", str, " ".join(unread) or None
        elif hint == tuple[float, float]:
            for end, bound in zip(_PAIR.get(path, _BOUNDS), one or (None, None), strict=True):
                yield f"{path}_{end}", float, bound
        elif path == "warnings":
            listed: tuple[WarningDocument, ...] = one or ()
            yield path, str, " ".join(warning.code for warning in listed) or None
            yield "severity", str, highest_severity(warning.severity for warning in listed)
        elif typing.get_origin(hint) is tuple:
            yield path, str, " ".join(map(str, one or ())) or None
        else:
            yield path, hint if hint in _SCALARS else str, one.value if isinstance(one, Enum) else one


COLUMN_TYPES: Mapping[str, type] = types.MappingProxyType(
    {name: kind for name, kind, _ in _cells(AssessmentDocument, None)} | dict.fromkeys(_BUNDLE, str)
)
"""Type of the cells of each column that are not None: `float`, `int`, `bool`, `str` or `date`."""
COLUMNS: tuple[str, ...] = tuple(COLUMN_TYPES)
"""Columns of `flat_row`, in its order."""


def flat_row(document: AssessmentDocument) -> Mapping[str, object]:
    """Return the cells of an assessment's row by column, in the order of `COLUMNS`.

    A cell is a text, number, boolean or date, or None. Codes of warnings and of other lists are parted by spaces.
    """
    bundle = zip(_BUNDLE, (document.bundle.name, document.bundle.version), strict=True)
    return {name: cell for name, _, cell in _cells(AssessmentDocument, document)} | dict(bundle)
