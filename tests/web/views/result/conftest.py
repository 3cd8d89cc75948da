"""An atlas of drawn plates, which every result is compared with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from boneage.phantom import sample_png

PLATES = [("F", 82), ("F", 94), ("F", 106), ("M", 94)]


@pytest.fixture(autouse=True)
def _plates(tmp_path: Path, settings: Settings) -> None:
    """An atlas of a few drawn plates, of the name that results of `answer_of_phantom` say."""
    (tmp_path / "plate.png").write_bytes(sample_png())
    rows = [f"{sex},{months},plate.png,25" for sex, months in PLATES]
    (tmp_path / "index.csv").write_text("\n".join(["sex,age_months,file,count", *rows, ""]))
    (tmp_path / "atlas.json").write_text(json.dumps({"name": "open", "title": "Drawn plates"}))
    settings.CONFIGURATION = replace(settings.CONFIGURATION, atlas=str(tmp_path))
