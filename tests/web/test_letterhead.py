"""The letterhead: lines and a logo from a folder."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from boneage.errors import ConfigurationError
from boneage.web.configuration import Configuration
from boneage.web.letterhead import LONGEST_LINE, MOST_LINES, read_letterhead


def test_lines_and_logo(tmp_path: Path) -> None:
    """Empty lines are left out; a transparent logo stands on white."""
    (tmp_path / "letterhead.txt").write_text("\ufeffA clinic\n\n Street 1 \n", encoding="utf-8")
    assert read_letterhead(tmp_path).lines == ("A clinic", "Street 1")
    assert read_letterhead(tmp_path).logo_uri == ""


@pytest.mark.parametrize("shape", [(30, 60), (30, 60, 3), (30, 60, 4)])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_logo_colours(tmp_path: Path, shape: tuple[int, ...], depth: type[np.unsignedinteger]) -> None:
    """Grey, colour and transparency of 8 and 16 bits."""
    (tmp_path / "letterhead.txt").write_text("A clinic", encoding="utf-8")
    logo = np.zeros(shape, depth)
    if len(shape) == 3:
        logo[..., 0] = np.iinfo(depth).max  # blue, and transparent if there is an opacity
    cv2.imwrite(str(tmp_path / "logo.png"), logo)
    letterhead = read_letterhead(tmp_path)
    read = cv2.imdecode(np.frombuffer(letterhead.logo_jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert read is not None
    assert letterhead.logo_shape == (30, 60) == read.shape[:2]
    expected = {2: (0, 0, 0), 3: (255, 0, 0)}.get(len(shape) if shape[-1] != 4 else 4, (255, 255, 255))
    assert np.abs(read[15, 30].astype(int) - expected).max() < 6


@pytest.mark.parametrize(
    "content",
    [None, b"", b"\n\n", b"\xff\xfe", b"x" * (LONGEST_LINE + 1), b"x\n" * (MOST_LINES + 1)],
)
def test_unusable_text_is_rejected_at_the_start(tmp_path: Path, content: bytes | None) -> None:
    """Missing, empty, too long, or no UTF-8."""
    if content is not None:
        (tmp_path / "letterhead.txt").write_bytes(content)
    with pytest.raises(ConfigurationError, match="BONEAGE_LETTERHEAD"):
        Configuration.from_environment({"BONEAGE_LETTERHEAD": str(tmp_path)})


def test_unusable_logo_is_rejected(tmp_path: Path) -> None:
    """A logo that is no picture."""
    (tmp_path / "letterhead.txt").write_text("A clinic", encoding="utf-8")
    (tmp_path / "logo.jpg").write_bytes(b"not a picture")
    with pytest.raises(ConfigurationError, match=r"logo\.jpg"):
        Configuration.from_environment({"BONEAGE_LETTERHEAD": str(tmp_path)})
