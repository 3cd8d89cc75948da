"""The intended use is stated as data, and agrees with the ages at which there is an SDS."""

from __future__ import annotations

import json

from boneage.clinical.intended_use import INTENDED_USE, Contraindication


def test_intended_use_json() -> None:
    assert json.loads(json.dumps(INTENDED_USE.to_json())) == {
        "method": "Greulich & Pyle",
        "projection": "PA",
        "hands": 1,
        "youngest_months": 24.0,
        "oldest_months": {"F": 192.0, "M": 204.0},
        "user": "physician",
        "contraindications": [
            "unknown_age",
            "fused",
            "skeletal_dysplasia",
            "turner_syndrome",
            "madelung_deformity",
            "fracture",
            "cast",
        ],
    }
    assert len(INTENDED_USE.contraindications) == len(Contraindication)
