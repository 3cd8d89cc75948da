"""The installation's networks and reference plates, each opened once in a process."""

from __future__ import annotations

from functools import cache

from boneage.atlas import Atlas
from boneage.bundle.bundle import Bundle
from boneage.web.models import configuration


def bundle() -> Bundle:
    """The networks. Opening reads what the bundle says of itself; a network is loaded when it is first asked.

    Raises:
        BundleError: it is missing or cannot be used.
    """
    return _bundle(configuration().bundle)


def atlas() -> Atlas:
    """The reference plates.

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
