"""A small mining of drawn phantoms, for tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from boneage.train.mining.outlines import start, write_mask
from boneage.train.mining.state import Settings, changing, mask_path

TRIANGLE = [[0.25, 0.9], [0.5, 0.1], [0.75, 0.9]]
"""An outline that holds about what a phantom's hand does."""

TINY = (
    *("view.height=64", "view.width=64", "network.options.widths=[4,8]", "train.epochs=1", "train.views_per_epoch=8"),
    *("train.batch_size=4", "train.precision='32-true'"),
)
"""Changes of the recipe that train a small network for one epoch."""


def write_outlines(path: Path, count: int) -> Path:
    outlines = {str(number): [{"exterior": TRIANGLE, "interior": []}] for number in range(count)}
    path.write_text(json.dumps(outlines), encoding="utf-8")
    return path


def begin_mining(parent: Path, table: Path, outlines: int = 4, held_out: int = 1) -> Path:
    """Start a mining project below `parent`, in which the first radiographs have outlines; return its folder."""
    folder = parent / "mining"
    start(folder, Settings(table, None, seed=0), write_outlines(parent / "outlines.json", outlines), held_out)
    return folder


def add_pending(folder: Path, uncertainties: dict[str, float], number: int = 1) -> None:
    """Give radiographs a predicted mask, as a round's network would."""
    for radiograph_id in uncertainties:
        mask = np.zeros((160, 120), np.uint8)
        mask[40:140, 30:90] = 1
        write_mask(folder / mask_path(f"round-{number}", radiograph_id), mask)
    with changing(folder) as masks:
        for radiograph_id, uncertainty in uncertainties.items():
            masks[radiograph_id] = masks[radiograph_id].predicted(
                number, uncertainty, mask_path(f"round-{number}", radiograph_id)
            )
