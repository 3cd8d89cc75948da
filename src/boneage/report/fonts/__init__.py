"""Fonts of PDF reports and of pages for a PACS, in six languages (README.md beside this file)."""

from __future__ import annotations

from pathlib import Path

PLAIN, BOLD, HAN = "BoneageSans-Regular", "BoneageSans-Bold", "BoneageHan-Regular"
"""Names of the fonts: Latin, Greek and Cyrillic letters, the same in bold, and Chinese letters."""


def font_file(name: str) -> Path:
    """Return the file of a font.

    Args:
        name: `PLAIN`, `BOLD` or `HAN`.
    """
    return Path(__file__).parent / f"{name}.ttf"
