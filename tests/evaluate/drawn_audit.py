"""Assessed radiographs that no network assessed."""

from __future__ import annotations

import math

import numpy as np

from boneage.evaluate.audit_table import AuditTable
from boneage.severity import Severity
from boneage.sex import Sex


def drawn_table(count: int = 200, seed: int = 0, *, shift: float = 0.0, reach: float = 15.0) -> AuditTable:
    """Draw readings with errors of 6 months; the last one is rejected. Children of ward B are shifted."""
    generator = np.random.default_rng(seed)
    chronological = generator.uniform(60, 180, count)
    labels = np.clip(chronological + generator.normal(0, 12, count), 24, 200)
    wards = tuple("AB"[number % 2] for number in range(count))
    estimates = labels + generator.normal(0, 6, count) + shift * np.array([ward == "B" for ward in wards])
    estimates[-1] = math.nan
    return AuditTable(
        ids=tuple(str(number) for number in range(count)),
        sexes=tuple(Sex.FEMALE if number % 3 else Sex.MALE for number in range(count)),
        boneage_months=labels,
        age_months=estimates,
        intervals={95: np.stack([estimates - reach, estimates + reach], axis=1)},
        errors=("",) * (count - 1) + ("no_hand",),
        severities=(Severity.CAUTION, Severity.INFO, Severity.CRITICAL) + (None,) * (count - 3),
        chronological_months=chronological,
        groups={"ward": wards},
    )
