"""Small folders of plates, drawn phantoms, for tests of atlases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from boneage.phantom import draw_hand

AGES_MONTHS = (36, 72, 96, 132, 180)


def draw_atlas(folder: Path, ages_months: Sequence[float] = AGES_MONTHS, sexes: str = "FM") -> Path:
    """Write a plate of each age and sex, and their index, into a new folder; returns the folder."""
    folder.mkdir(parents=True)
    rows = ["sex,age_months,file"]
    for age_months in ages_months:
        pixels = draw_hand(age_months / 12, height=320, width=240)
        file = f"{age_months:g}.png"
        cv2.imwrite(str(folder / file), np.rint(255 * pixels).astype(np.uint8))
        rows += [f"{sex},{age_months:g},{file}" for sex in sexes]
    (folder / "index.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder
