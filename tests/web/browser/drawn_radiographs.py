"""Radiographs for the browser: plates of the shipped atlas, which show no one patient, and files that are no
radiograph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from boneage.atlas import Atlas
from boneage.sex import Sex
from tests.radiograph_files import dicom_dataset, dicom_file


def plate(folder: Path, sex: str, age_months: float) -> tuple[Path, float]:
    """The plate nearest to this age as a PNG file, and its age in months."""
    atlas = Atlas.open()
    reference = atlas.nearest_by_age(Sex(sex), age_months)
    path = folder / f"plate-{reference.key}.png"
    cv2.imwrite(str(path), atlas.picture(reference))
    return path, reference.age_months


def dicom(
    folder: Path, name: str, sex: str, age_months: float, *, stated_sex: str | None, bits: int = 8, **elements: Any
) -> Path:
    """The plate nearest to this age as a DICOM file of these bits that states ``stated_sex``, if there is one."""
    atlas = Atlas.open()
    picture = atlas.picture(atlas.nearest_by_age(Sex(sex), age_months))
    grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    levels = np.ascontiguousarray(grey) if bits == 8 else grey.astype(np.uint16) << (bits - 8)
    dataset = dicom_dataset(levels, bits, PatientSex=stated_sex or "")
    del dataset.PatientAge, dataset.StudyDate
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    path = folder / name
    path.write_bytes(dicom_file(dataset))
    return path


def no_hand(folder: Path) -> Path:
    """A grey picture with a box and rings on it."""
    picture = np.tile(np.linspace(20, 90, 600).astype(np.uint8), (800, 1))
    cv2.rectangle(picture, (120, 150), (480, 620), 180, 30)
    for radius in range(20, 200, 30):
        cv2.circle(picture, (300, 400), radius, 230, 6)
    noisy = picture + np.random.default_rng(0).integers(0, 20, picture.shape, dtype=np.uint8)
    path = folder / "no-hand.png"
    cv2.imwrite(str(path), noisy)
    return path


def broken(folder: Path) -> Path:
    """The first kilobyte of a PNG."""
    whole, _ = plate(folder, "F", 100)
    path = folder / "broken.png"
    path.write_bytes(whole.read_bytes()[:1000])
    return path
