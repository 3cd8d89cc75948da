"""The configuration of the node, which the setting ``BONEAGE_PACS`` names."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from boneage.node.configuration import NodeConfiguration, read_configuration
from boneage.web.models import configuration


def is_on() -> bool:
    """Return whether this installation is a DICOM node."""
    return bool(configuration().pacs)


def takes_stow() -> bool:
    """Return whether the service accepts radiographs by STOW-RS."""
    return is_on() and node_configuration().node.stow


def node_configuration() -> NodeConfiguration:
    """Return the configuration, which each process reads once.

    Raises:
        ConfigurationError: ``pacs_invalid``.
    """
    return _read(Path(configuration().pacs).expanduser())


@cache
def _read(path: Path) -> NodeConfiguration:
    return read_configuration(path)
