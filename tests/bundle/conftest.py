"""Tiny bundles that tests only read, and a copy that a test may damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from boneage.bundle.bundle import Bundle
from tests.bundles import REGION_VIEWS, tiny_bundle


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of two members that tests only read."""
    return Bundle.open(tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny", members=2))


@pytest.fixture
def folder(tmp_path: Path, shared: Bundle) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(shared.directory, tmp_path / "copy"))


@pytest.fixture(scope="session")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle like `shared` whose members also read mirror images."""
    folder = tmp_path_factory.mktemp("bundles") / "mirrored"
    return Bundle.open(tiny_bundle(folder, members=2, mirror=True, distribution=True))


@pytest.fixture(scope="session")
def finder(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle with hand networks and a member for each region, that tests only read."""
    folder = tmp_path_factory.mktemp("bundles") / "finder"
    return Bundle.open(tiny_bundle(folder, name="finder", views=REGION_VIEWS, hand=True), threads=1)
