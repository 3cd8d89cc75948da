"""Values for the places of every warning's sentence (`boneage.warnings_.WARNING_TEXTS`)."""

from __future__ import annotations

_MONTHS = {
    "oldest_months": 228.0,
    "age_months": 230.4,
    "spread_months": 33.0,
    "limit_months": 20.2,
    "months": 61.7,
}
_SIZES = {"width": 90, "height": 80, "view_width": 192, "view_height": 256, "pixels": 99.6, "view_pixels": 300.0}

WARNING_VALUES: dict[str, str | float] = {
    **_MONTHS,
    **_SIZES,
    "percent": 5.0,
    "count": 7.0,
    "total": 18.0,
    "given_age": "12 years 5 months",
    "file_age": "10 years",
    "highest": "whole hand",
    "lowest": "carpal bones",
    "part": "CHEST",
    "region": "middle and distal phalanges",
    "regions": "carpal bones, radius and ulna",
    "given": "F",
    "said": "M",
}
