"""Phantoms bent smoothly, each otherwise, so that a mean of them can be held against the straight one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.phantom import draw_hand
from boneage.sex import Sex
from boneage.tables.radiographs import LabelledRadiograph

HEIGHT, WIDTH = 320, 240
BEND_PIXELS = 4.0
_LITTLE_PIXELS = 2.5  # the drawn networks find such hands


def bent_hand(age_months: float, seed: int, bend_pixels: float = BEND_PIXELS) -> NDArray[np.float32]:
    """The phantom, every place moved by about `bend_pixels`, with its own contrast, float32 (HEIGHT, WIDTH), 0..1."""
    generator = np.random.default_rng(seed)
    coarse = generator.normal(size=(2, 7, 6)).astype(np.float32) * np.float32(bend_pixels)
    by_x, by_y = (cv2.resize(field, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) for field in coarse)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    radiograph = draw_hand(age_months / 12, height=HEIGHT, width=WIDTH, seed=seed)
    radiograph = np.asarray(
        cv2.remap(radiograph, x + by_x, y + by_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    )
    return np.asarray(np.clip(radiograph, 0, 1) ** generator.uniform(0.8, 1.2), np.float32)


def bent_radiographs(folder: Path, ages_months: Sequence[float], sex: Sex = Sex.FEMALE) -> list[LabelledRadiograph]:
    """Write a bent phantom of each age into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    radiographs = []
    for number, age_months in enumerate(ages_months):
        path = folder / f"{sex.value}{number}.png"
        cv2.imwrite(str(path), np.rint(255 * bent_hand(age_months, number, _LITTLE_PIXELS)).astype(np.uint8))
        radiographs.append(LabelledRadiograph(path.stem, path, sex, age_months, "train"))
    return radiographs
