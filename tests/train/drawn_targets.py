"""Masks and key points of drawn phantoms, and tiny recipes that learn them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from boneage.hand.mask import whole_hand
from boneage.hand.registration import POINT_NAMES
from boneage.phantom import phantom_points
from boneage.reading.radiograph import read_radiograph
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.recipe import Recipe, parse_recipe

EDGE = 0.2
"""Grey level between the phantoms' hands and the air about them."""


def draw_targets(radiographs: Sequence[LabelledRadiograph], folder: Path) -> dict[str, Path]:
    """Write the tables ``mask`` and ``points`` of radiographs of upright phantoms; their paths."""
    masks = ["id,mask"]
    points = [",".join(["id", *(f"{name}_{axis}" for name in POINT_NAMES for axis in "xy")])]
    for radiograph in radiographs:
        pixels = read_radiograph(radiograph.image).pixels
        height, width = pixels.shape
        cv2.imwrite(str(folder / f"{radiograph.id}.png"), 255 * whole_hand((pixels > EDGE).astype(np.float32)))
        masks.append(f"{radiograph.id},{radiograph.id}.png")
        fractions = phantom_points(height=height, width=width) / (width, height)
        points.append(",".join([radiograph.id, *(f"{value:.6f}" for value in fractions.ravel())]))
    for name, lines in (("mask", masks), ("points", points)):
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {name: folder / f"{name}.csv" for name in ("mask", "points")}


def recipe_for(task: str, targets: Path, **changes: dict[str, Any]) -> Recipe:
    """A tiny network for a hand's mask or key points, on views of 32 x 32; `changes` by the recipe's parts."""
    network = {"mask": "unet", "points": "key-points"}[task]
    table: dict[str, Any] = {
        "title": f"tiny {task}",
        "task": task,
        "network": {"name": network, "options": {"widths": [6, 8], "fold": 2}},
        "view": {"height": 32, "width": 32, "grey": "percentile"},
        "augment": {"rotation_degrees": 5.0, "shift": 0.05, "frame": 0.2, "negative": 0.1, "pair": 0.1},
        "data": {"targets": str(targets), "held_out": 3},
        "train": {
            **{"epochs": 3, "views_per_epoch": 24, "batch_size": 6, "learning_rate": 0.02, "optimizer": "adamw"},
            **{"learning_rate_curve": "one-cycle", "average_decay": 0.8, "seed": 2, "workers": 0},
        },
    }
    for part, values in changes.items():
        table[part] = {**table[part], **values}
    return parse_recipe(table)
