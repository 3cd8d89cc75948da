"""A node of a clinic with two receivers; nothing is sent over a network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from tests.node.orthanc import free_port
from tests.web.node.arrivals import configured


@pytest.fixture
def node(settings: Settings, tmp_path: Path) -> None:
    """The mode ``clinic`` as a DICOM node. Studies are quiet at once."""
    settings.CONFIGURATION = replace(
        settings.CONFIGURATION, mode="clinic", pacs=str(configured(tmp_path, port=free_port()))
    )
