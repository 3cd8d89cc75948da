"""The benchmark of calibration: coverage by sex and band, borderline determinations and plates."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from boneage.atlas import Atlas
from boneage.clinical.references import shipped_reference
from boneage.sex import Sex
from tests.programs import load_program


@pytest.fixture(scope="module")
def calibration() -> ModuleType:
    return load_program("benchmarks/calibration.py")


@pytest.fixture(scope="module")
def readings(calibration: ModuleType) -> Any:
    """Radiographs whose curves are normal distributions with the spread of the errors, 8 months."""
    rng, months = np.random.default_rng(0), np.arange(240)
    ages = rng.uniform(60, 180, 400)
    curves = np.exp(-0.5 * ((months - ages[:, None]) / 8) ** 2)
    curves /= curves.sum(axis=1, keepdims=True)
    sexes = tuple(Sex.FEMALE if number % 2 else Sex.MALE for number in range(400))
    return calibration.Readings(sexes, ages + 8 * rng.standard_normal(400), ages, curves)


def test_coverage_lines_of_calibrated_curves(calibration: ModuleType, readings: Any) -> None:
    lines = calibration.coverage_lines(readings, 0.5)
    cells = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    assert cells[:2] == ["all", "400"]
    assert float(cells[2].rstrip(" %")) == pytest.approx(80, abs=5)
    assert float(cells[5].rstrip(" %")) == pytest.approx(95, abs=3)
    assert (float(cells[3]), float(cells[4])) == pytest.approx((20.5, 10.3), abs=0.2)
    counts = [int(line.split("|")[2]) for line in lines[2:]]
    assert sum(counts[3::3]) == counts[1] + counts[2] == 400  # the bands divide the radiographs, and so do the sexes


def test_borderline_share_falls_with_the_width(calibration: ModuleType, readings: Any) -> None:
    wide, narrow, none = (
        calibration.borderline_share(readings, Sex.MALE, share, shipped_reference()) for share in (1.0, 0.7, 0.0)
    )
    assert 0.6 > wide > narrow > none == 0.0


def test_plate_lines_state_their_probability(calibration: ModuleType, readings: Any) -> None:
    for line in calibration.plate_lines(readings, Atlas.open())[2:]:
        held, stated = (float(cell.strip(" %")) for cell in line.split("|")[2:4])
        assert held == pytest.approx(stated, abs=8)
