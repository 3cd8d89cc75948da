"""The model bundle and the reference plates of the installation, each opened once per process."""

from __future__ import annotations

from functools import cache

from boneage.atlas import Atlas
from boneage.bundle.bundle import Bundle
from boneage.web.models import configuration


def bundle() -> Bundle:
    """Return the model bundle. Opening reads its manifest; a network is loaded when it is first used.

    Raises:
        BundleError: it is missing or cannot be used.
    """
    return _bundle(configuration().bundle)


def atlas() -> Atlas:
    """Return the reference plates.

    Raises:
        AtlasError: they are missing or cannot be used.
    """
    return _atlas(configuration().atlas)


@cache
def _bundle(name: str) -> Bundle:
    return Bundle.open(name, threads=1)  # there are as many workers as cores


@cache
def _atlas(name: str) -> Atlas:
    return Atlas.open(name)
