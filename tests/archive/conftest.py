"""Fixtures of the archive's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.archive.parts import draw_archive
from tests.bundles import tiny_bundle


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny bundle that finds hands."""
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny", hand=True)


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a drawn archive; tests must not change it."""
    return draw_archive(tmp_path_factory.mktemp("archive"))
