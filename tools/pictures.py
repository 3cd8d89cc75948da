#!/usr/bin/env python
"""Brings screenshots into docs/images, small: `make pictures` takes them from the browser tests."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"

SHOWN = {"viewer": "result", "follow-up": "follow-up", "clinic-dark-1440-cases": "worklist"}
"""Names of screenshots (`tests/web/browser/looks.py`), and of the pictures that pages of the documentation show."""

WIDTH, COLOURS, TALLEST = 1100, 128, 1.1
"""Pixels, colours, and height as a share of the width."""


def main(folder: Path) -> None:
    """Write the pictures that are shown."""
    IMAGES.mkdir(exist_ok=True)
    for screenshot, name in SHOWN.items():
        whole = Image.open(folder / f"{screenshot}.png").convert("RGB")
        small = whole.resize((WIDTH, round(whole.height * WIDTH / whole.width)), Image.Resampling.LANCZOS)
        small = small.crop((0, 0, WIDTH, min(small.height, round(TALLEST * WIDTH))))
        small.quantize(COLOURS, dither=Image.Dither.NONE).save(IMAGES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
