"""The drawn hand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.phantom import draw_hand, phantom_points, sample_png, write_sample

SIZE = {"height": 500, "width": 375}


@settings(max_examples=20, deadline=None)
@given(
    age_years=st.floats(0, 20),
    height=st.integers(16, 400),
    width=st.integers(16, 400),
    seed=st.integers(0, 2**31),
)
def test_draw_hand_size_and_determinism(age_years: float, height: int, width: int, seed: int) -> None:
    radiograph = draw_hand(age_years, height=height, width=width, seed=seed)
    assert radiograph.shape == (height, width)
    assert radiograph.dtype == np.float32
    assert 0 <= radiograph.min() < 0.1
    assert radiograph.max() <= 1
    np.testing.assert_array_equal(radiograph, draw_hand(age_years, height=height, width=width, seed=seed))


def test_draw_hand_seed_changes_noise_only() -> None:
    first, second = draw_hand(seed=1, **SIZE), draw_hand(seed=2, **SIZE)
    assert not np.array_equal(first, second)
    assert np.abs(first - second).max() < 0.2


@settings(max_examples=20, deadline=None)
@given(age_years=st.floats(1, 20))
def test_key_points_lie_on_bone_at_every_age(age_years: float) -> None:
    radiograph = draw_hand(age_years, **SIZE)
    middle, thumb, capitate = phantom_points(**SIZE)
    # A tip lies at the bone's end: the brightest place within a few pixels is bone (flesh alone stays below 0.4).
    for x, y in (middle, thumb, capitate):
        near = radiograph[int(y) - 4 : int(y) + 5, int(x) - 4 : int(x) + 5]
        assert near.max() > 0.45
    for tip, beyond in ((middle, (0, -12)), (thumb, (8, -10))):
        x, y = (tip + beyond).astype(int)
        assert radiograph[y, x] < 0.45


@given(height=st.integers(16, 4000), width=st.integers(16, 4000))
def test_draw_hand_is_upright_left_hand(height: int, width: int) -> None:
    middle, thumb, capitate = phantom_points(height=height, width=width)
    assert middle[1] < thumb[1] < capitate[1]
    assert thumb[0] > middle[0]
    assert thumb[0] > capitate[0]
    assert (phantom_points(height=height, width=width) < (width, height)).all()


def test_points_follow_the_size_of_the_radiograph() -> None:
    np.testing.assert_allclose(phantom_points(height=1000, width=750), phantom_points() / 2)


def test_bones_grow_in_number_with_age() -> None:
    carpus = [_bright_pieces(draw_hand(age, height=1000, width=750)[665:780, 285:481]) for age in (0.0, 2.0, 4.5, 8.0)]
    assert carpus == sorted(carpus)
    assert carpus[0] == 0
    assert carpus[-1] == 7


def _bright_pieces(part: np.ndarray) -> int:
    bone = (cv2.GaussianBlur(part, (0, 0), 1.5) > 0.5).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(bone)
    inside = (stats[1:, 0] > 0) & (stats[1:, 1] > 0) & (stats[1:, 1] + stats[1:, 3] < part.shape[0])
    return int((inside & (stats[1:, 0] + stats[1:, 2] < part.shape[1])).sum())


@pytest.mark.parametrize("wrong", [{"age_years": -1}, {"age_years": 21}, {"height": 8}, {"width": 0}])
def test_arguments_out_of_range_are_rejected(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"age_years|too small"):
        draw_hand(**wrong)


def test_sample_command_writes_8_bit_png(tmp_path: Path) -> None:
    path = write_sample(tmp_path / "phantom.png")
    assert path.read_bytes() == sample_png()
    read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert read is not None
    assert read.dtype == np.uint8
    assert read.shape == (2000, 1500)
    brightened = (read / 255) ** (1 / 0.7)
    np.testing.assert_allclose(brightened[read > 25], draw_hand()[read > 25], atol=0.005)
    assert [entry.name for entry in tmp_path.iterdir()] == ["phantom.png"]
