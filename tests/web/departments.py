"""An installation with two departments, and what belongs to each of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

TEXT = """
[[department]]
name = "paediatrics"
title = "Paediatric radiology"
groups = ["kids-radiology"]
department_names = ["Kinderradiologie"]
called_ae_titles = ["BONEAGE_KIDS"]

[[department]]
name = "trauma"
groups = ["trauma-radiology", "trauma-nurses"]
department_names = ["Unfallchirurgie"]
called_ae_titles = ["BONEAGE_TRAUMA"]
calling_ae_titles = ["DXROOM1"]
"""


def configured(folder: Path, text: str = TEXT) -> Path:
    """Write a file of departments, and return its path."""
    path = folder / "departments.toml"
    path.write_text(text, encoding="utf-8")
    return path


def with_departments(settings: Any, folder: Path) -> None:
    """Change the configuration of the tests to the mode ``clinic`` with two departments."""
    path = str(configured(folder))
    settings.CONFIGURATION = replace(settings.CONFIGURATION, mode="clinic", departments=path)
