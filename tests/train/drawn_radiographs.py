"""A small folder of drawn phantoms in RSNA's layout, for tests of training."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from boneage.phantom import draw_hand

TINY = """
title = "tiny"
[network]
name = "residual"
[network.options]
widths = [8, 16]
depths = [1, 1]
hidden = 8
dropout = 0.1
[view]
height = 64
width = 48
grey = "percentile"
[augment]
rotation_degrees = 20.0
zoom = 0.2
shift = 0.1
flip = 0.5
gain = 0.2
offset = 0.2
[data]
validation_share = 0.25
[train]
epochs = 4
batch_size = 8
optimizer = "adamw"
learning_rate = 3e-3
learning_rate_curve = "one-cycle"
average_decay = 0.9
seed = 3
workers = 0
[[train.resize]]
epochs = 1
height = 32
width = 32
"""


def draw_folder(folder: Path, count: int = 24, side: int = 160) -> Path:
    """Write `count` phantoms of 2 to 17 years and their table; returns the table's path."""
    images = folder / "radiographs"
    images.mkdir(parents=True)
    rows = ["id,boneage,male"]
    for number, years in enumerate(np.linspace(2, 17, count)):
        pixels = draw_hand(float(years), height=side, width=side * 3 // 4, seed=number)
        cv2.imwrite(str(images / f"{number}.png"), np.rint(pixels * 255).astype(np.uint8))
        rows.append(f"{number},{round(years * 12)},{number % 2 == 0}")
    table = folder / "radiographs.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return table
