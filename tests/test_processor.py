"""The processor of this machine."""

from __future__ import annotations

import os

from boneage.processor import cores


def test_cores() -> None:
    """There is a core."""
    assert 1 <= cores() <= (os.cpu_count() or 1)
