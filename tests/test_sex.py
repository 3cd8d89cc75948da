"""Sex is read as people write it, and never guessed."""

from __future__ import annotations

import numpy as np
import pytest

from boneage.errors import Rejection
from boneage.sex import Sex


@pytest.mark.parametrize("text", ["F", "f", " female ", "GIRL", Sex.FEMALE])
def test_female(text: str) -> None:
    assert Sex.parse(text) is Sex.FEMALE


@pytest.mark.parametrize("text", ["M", "male", "Boy"])
def test_male(text: str) -> None:
    assert Sex.parse(text) is Sex.MALE


@pytest.mark.parametrize("text", ["", None, "O", "unknown", "True", "woman?"])
def test_anything_else_is_rejected(text: str | None) -> None:
    with pytest.raises(Rejection) as rejection:
        Sex.parse(text)
    assert rejection.value.code == "sex_missing"


@pytest.mark.parametrize("value", [float("nan"), 1, 0, True, False, b"F", ["F"]])
def test_parse_rejects_other_types(value: object) -> None:
    """NaN is what tables have for an empty cell; True may be the column ``male``, or ``female``."""
    with pytest.raises(Rejection) as rejection:
        Sex.parse(value)
    assert rejection.value.code == "sex_missing"


def test_one_hot_order() -> None:
    assert np.array_equal(Sex.FEMALE.one_hot(), [1, 0])
    assert np.array_equal(Sex.MALE.one_hot(), [0, 1])
