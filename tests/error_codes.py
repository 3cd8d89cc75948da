"""The code of the error that a call raises."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from boneage.errors import BoneageError


def code_of(act: Callable[[], object]) -> str:
    """Return the code of the error of this package that a call raises; the test fails if it raises none."""
    with pytest.raises(BoneageError) as caught:
        act()
    return caught.value.code
