"""Arrays and Pillow images are read as the same pixels in a file are."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from boneage.errors import Rejection, RejectionCode
from boneage.phantom import draw_hand
from boneage.reading.radiograph import read_radiograph

HAND: NDArray[np.float32] = draw_hand(height=400, width=300)
BYTES = np.rint(HAND * 255).astype(np.uint8)
WORDS = np.rint(HAND * 65535).astype(np.uint16)


def png(image: Image.Image) -> bytes:
    """Return an image as a PNG file."""
    file = BytesIO()
    image.save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize("pixels", [BYTES, WORDS], ids=["uint8", "uint16"])
def test_integers_equal_their_file(pixels: NDArray[np.uint8]) -> None:
    """The full range of the type is used, as in a file."""
    from_file = read_radiograph(png(Image.fromarray(pixels)))
    for source in (pixels, np.asfortranarray(pixels), Image.fromarray(pixels)):
        read = read_radiograph(source)
        np.testing.assert_array_equal(read.pixels, from_file.pixels)
        assert read.facts.bits_stored == 8 * pixels.itemsize


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16])
def test_floating_point_numbers(kind: type) -> None:
    """Numbers of 0..1 keep their values to a step of 16 bits."""
    given: NDArray[Any] = HAND.astype(kind)
    np.testing.assert_allclose(read_radiograph(given).pixels, given, atol=1 / 65535)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA"])
def test_modes_of_pillow(mode: str) -> None:
    """Palettes and transparency are resolved; a palette's indices are not taken for grey levels."""
    grey = Image.fromarray(BYTES)
    image = grey.quantize(256, dither=Image.Dither.NONE) if mode == "P" else grey.convert(mode)
    difference = np.abs(read_radiograph(image).pixels - BYTES / np.float32(255))
    assert difference.max() < 0.02


@pytest.mark.parametrize(
    "source",
    [
        HAND * 255,
        np.where(HAND > 0.5, np.nan, HAND),
        -HAND,
        BYTES.astype(np.int32),
        BYTES > 100,
        BYTES[None],
        BYTES[..., None].repeat(4, axis=2),
        np.zeros((0, 5), np.uint8),
        Image.fromarray(HAND),
        Image.fromarray(BYTES.astype(np.int32)),
    ],
    ids=["range", "nan", "negative", "int32", "bool", "3-d", "4 channels", "empty", "mode F", "mode I"],
)
def test_other_pixels_are_rejected(source: object) -> None:
    """A guess of the range could give a wrong number: the caller must state it."""
    with pytest.raises(Rejection) as caught:
        read_radiograph(source)  # type: ignore[arg-type]
    assert caught.value.code == RejectionCode.UNREADABLE
    assert "The pixels cannot be used" in caught.value.message


def test_colour_is_rejected_as_in_a_file() -> None:
    coloured = np.stack([BYTES, 255 - BYTES, BYTES], axis=2)
    with pytest.raises(Rejection) as caught:
        read_radiograph(coloured)
    assert caught.value.code == RejectionCode.NOT_GRAYSCALE
