"""Radiographs that the tests of an assessment draw, and changes of the answers of networks."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from boneage.assessment import (
    Assessment,
)
from boneage.bundle.bundle import Bundle
from boneage.reading.radiograph import Radiograph, read_radiograph
from boneage.warnings_ import WarningCode

FloatArray = NDArray[np.floating]


def radiograph(shape: tuple[int, int] = (400, 300)) -> FloatArray:
    """Not the phantom: a bright blob on dark, with some texture."""
    noise = np.random.default_rng(3).random(shape, dtype=np.float32)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    distance = np.hypot(rows / shape[0] - 0.5, columns / shape[1] - 0.4)
    lit: FloatArray = np.clip(0.1 + 0.7 * np.exp(-((distance / 0.22) ** 4)) + 0.05 * noise, 0, 1)
    return lit


def save(path: Path, pixels: FloatArray) -> Path:
    assert cv2.imwrite(str(path), np.rint(pixels * 255).astype(np.uint8))
    return path


def codes(assessment: Assessment) -> set[WarningCode]:
    return {warning.code for warning in assessment.warnings}


def change_answers(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    run = Bundle.run
    monkeypatch.setattr(Bundle, "run", lambda *arguments: replace(run(*arguments), **changes))


TURNS: dict[str, tuple[Callable[[FloatArray], FloatArray], float]] = {
    "upright": (lambda radiograph: radiograph, 0.0),
    "quarter": (lambda radiograph: np.rot90(radiograph, -1), 90.0),
    "half": (lambda radiograph: radiograph[::-1, ::-1], 180.0),
    "mirrored": (lambda radiograph: radiograph[:, ::-1], 0.0),
    "inverted": (lambda radiograph: 1 - radiograph, 0.0),
    "upside down and inverted": (lambda radiograph: 1 - radiograph[::-1], 180.0),
}


def change_facts(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    def read(source: Path) -> Radiograph:
        radiograph = read_radiograph(source)
        return replace(radiograph, facts=replace(radiograph.facts, **changes))

    monkeypatch.setattr("boneage.composition.read_radiograph", read)
