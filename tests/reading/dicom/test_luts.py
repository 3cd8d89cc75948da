"""Look-up tables and palettes as manufacturers write them: short, empty, of other widths, in either byte order."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from boneage.errors import Rejection
from boneage.reading.dicom.luts import Lut, read_lut, read_palette
from boneage.reading.radiograph import read_radiograph
from tests import radiograph_files as files

BIG_ENDIAN = "1.2.840.10008.1.2.2"
RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
GREY = files.drawn_radiograph(bits=8).astype(np.uint8)


def table(descriptor: list[int], data: Any, *, kind: str = "OW", descriptor_kind: str = "US") -> Dataset:
    """Return a data set with a VOI table."""
    item, dataset = Dataset(), Dataset()
    item.add_new("LUTDescriptor", descriptor_kind, descriptor)
    item.add_new("LUTData", kind, data)
    dataset.VOILUTSequence = Sequence([item])
    return dataset


def read(dataset: Dataset, **options: Any) -> Lut:
    usual: dict[str, Any] = {"inputs": (0, 65535), "signed": False, "big_endian": False}
    lut = read_lut(dataset, "VOILUTSequence", **(usual | options))
    assert lut is not None
    return lut


@st.composite
def rising_tables(draw: st.DrawFn) -> tuple[NDArray[np.uint16], int]:
    """Draw entries that rise, of a drawn number of bits."""
    bits = draw(st.integers(8, 16))
    count = draw(st.integers(64, 5000))
    entries = np.rint(np.linspace(draw(st.integers(0, 50)), 2**bits - 1, count)).astype(np.uint16)
    return entries[:: draw(st.sampled_from([1, -1]))].copy(), bits


@settings(max_examples=60, deadline=None)
@given(rising_tables(), st.integers(9, 16), st.booleans(), st.floats(0.02, 1.0))
def test_read_lut_short_table(
    entries_bits: tuple[NDArray[np.uint16], int], declared: int, big_endian: bool, share: float
) -> None:
    """Entries of 16 bits are read as such, whatever is missing, in both byte orders."""
    entries, _ = entries_bits
    kept = entries[: max(2, int(share * len(entries)))]
    data = kept.astype(">u2" if big_endian else "<u2").tobytes()
    lut = read(table([len(entries), 0, declared], data), big_endian=big_endian)
    assert np.array_equal(lut.entries[: len(kept)], kept)
    assert np.all(lut.entries[len(kept) :] == kept[-1])
    assert len(lut.entries) == len(entries)


@settings(max_examples=60, deadline=None)
@given(rising_tables(), st.integers(1, 16))
def test_lut_full_range_of_used_bits(entries_bits: tuple[NDArray[np.uint16], int], declared: int) -> None:
    """The full range is that of the bits that entries really take."""
    entries, bits = entries_bits
    assert read(table([len(entries), 0, max(declared, 9)], entries.tobytes())).full == 2**bits - 1


@pytest.mark.parametrize("count", [256, 257, 1000])
@pytest.mark.parametrize("declared", [8, 12, 16])
def test_read_lut_8_bit_entries(count: int, declared: int) -> None:
    """Entries of 8 bits are read from one byte or two."""
    entries = np.rint(np.linspace(0, 255, count)).astype(np.uint8)
    packed = entries.tobytes() + bytes(count % 2)
    spread = entries.astype("<u2").tobytes()
    assert np.array_equal(read(table([count, 0, declared], packed)).entries, entries)
    assert np.array_equal(read(table([count, 0, declared], spread)).entries, entries)
    assert np.array_equal(read(table([count, 0, declared], entries.tolist(), kind="US")).entries, entries)


@pytest.mark.parametrize(
    ("descriptor", "kind", "signed", "inputs", "first"),
    [
        ([100, 1000, 16], "US", False, (0, 4095), 1000),
        ([100, 64536, 16], "US", True, (-2048, 2047), -1000),
        ([100, -1000, 16], "SS", False, (-2048, 2047), -1000),
        ([100, 64536, 16], "US", False, (-2048, 2047), -1000),  # without its sign
        ([100, -25536, 16], "SS", False, (0, 65535), 40000),  # with a sign that it has not
        ([100, -25536, 16], "SS", True, (0, 65535), 40000),
        ([100, 50000, 16], "US", False, (0, 4095), 50000),  # beside the data either way: as it stands
    ],
)
def test_read_lut_first_value_sign(
    descriptor: list[int], kind: str, signed: bool, inputs: tuple[float, float], first: int
) -> None:
    """The first value is read with or without its sign."""
    dataset = table(descriptor, bytes(200), descriptor_kind=kind)
    assert read(dataset, signed=signed, inputs=inputs).first == first


@pytest.mark.parametrize("descriptor", [None, [], [0, 0]])
@pytest.mark.parametrize("keyword", ["ModalityLUTSequence", "VOILUTSequence", "PresentationLUTSequence"])
def test_read_lut_empty_table(keyword: str, descriptor: Any, caplog: pytest.LogCaptureFixture) -> None:
    """An empty table is not used."""
    item = table(descriptor, None).VOILUTSequence[0]
    dataset = files.dicom_dataset(RAMP, 12, WindowCenter=2048, WindowWidth=4096)
    setattr(dataset, keyword, Sequence([item]))
    assert np.allclose(read_radiograph(files.dicom_file(dataset)).pixels, RAMP / 4095, atol=1e-6)
    assert f"{keyword} is empty" in caplog.text


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("keyword", ["ModalityLUTSequence", "VOILUTSequence"])
@pytest.mark.parametrize("declared", [12, 16])
def test_read_radiograph_12_bit_tables(keyword: str, photometric: str, declared: int) -> None:
    """Tables of 12 bits give the whole range."""
    dataset = files.dicom_dataset(RAMP, 12, photometric=photometric)
    setattr(dataset, keyword, table([4096, 0, declared], RAMP.astype("<u2").tobytes()).VOILUTSequence)
    expected = RAMP / 4095
    pixels = read_radiograph(files.dicom_file(dataset)).pixels
    assert np.allclose(pixels, 1 - expected if photometric == "MONOCHROME1" else expected, atol=1e-6)


def test_read_lut_big_endian() -> None:
    squares = (np.arange(4096.0) ** 2 / 4095).astype(np.uint16)
    dataset = files.dicom_dataset(RAMP, 12)
    dataset.VOILUTSequence = table([4096, 0, 12], squares.astype(">u2").tobytes()).VOILUTSequence
    dataset.PixelData = RAMP.astype(">u2").tobytes()
    pixels = read_radiograph(files.dicom_file(dataset, BIG_ENDIAN)).pixels
    assert np.allclose(pixels, squares[RAMP] / 4095, atol=1e-6)


# palettes


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("falling", [False, True])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", BIG_ENDIAN])
def test_palette_of_greys(bits: int, falling: bool, syntax: str) -> None:
    """A grey palette gives grey levels."""
    levels = np.arange(256)[:: -1 if falling else 1] * (257 if bits == 16 else 1)
    dataset = files.with_palette(files.dicom_dataset(GREY, 8), np.stack([levels] * 3), bits)
    if syntax == BIG_ENDIAN:
        for colour in ("Red", "Green", "Blue"):
            element = dataset[f"{colour}PaletteColorLookupTableData"]
            element.value = np.frombuffer(element.value, "<u2").astype(">u2").tobytes()
        dataset["PixelData"].VR = "OB"
    pixels = read_radiograph(files.dicom_file(dataset, syntax)).pixels
    assert np.allclose(pixels, levels[GREY] / levels.max(), atol=1e-6)


def test_palette_16_bit_codes() -> None:
    levels = np.arange(4096) * 16
    dataset = files.with_palette(files.dicom_dataset(RAMP + 100, 13), np.stack([levels] * 3), 16, first=100)
    assert np.allclose(read_radiograph(files.dicom_file(dataset)).pixels, levels[RAMP] / 65535, atol=1e-6)


def test_palette_unused_colours() -> None:
    """Only colours that are used count."""
    levels = np.stack([np.arange(256)] * 3)
    levels[0, 255] = 0
    dark = np.minimum(GREY, 250).astype(np.uint8)
    read_radiograph(files.dicom_file(files.with_palette(files.dicom_dataset(dark, 8), levels, 8)))
    levels[0] = levels[0] // 2
    with pytest.raises(Rejection) as caught:
        read_radiograph(files.dicom_file(files.with_palette(files.dicom_dataset(GREY, 8), levels, 8)))
    assert caught.value.code == "not_grayscale"


def test_palette_unequal_channels() -> None:
    """A palette of unequal channels is unreadable."""
    dataset = files.with_palette(files.dicom_dataset(GREY, 8), np.stack([np.arange(256)] * 3), 8)
    dataset.BluePaletteColorLookupTableDescriptor = [255, 0, 8]
    with pytest.raises(Rejection) as caught:
        read_palette(dataset, inputs=(0, 255), big_endian=False)
    assert caught.value.code == "unreadable"


def segmented(bits: int, segments: bytes) -> Any:
    dataset = files.dicom_dataset(GREY, 8, photometric="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [256, 0, bits])
        dataset.add_new(f"Segmented{colour}PaletteColorLookupTableData", "OW", segments)
    return dataset


SEGMENTS = {  # 0, 1, then a line to 127, then the first two segments again from 127 (PS3.3, C.7.9.2)
    8: (bytes([0, 2, 0, 1, 1, 126, 127, 2, 2, 0, 0, 0, 0]) + b"\0"),
    16: struct.pack("<11H", 0, 2, 0, 1, 1, 126, 127, 2, 2, 0, 0),
}


@pytest.mark.parametrize("bits", [8, 16])
def test_segmented_palette_expanded(bits: int) -> None:
    """A segmented palette is expanded."""
    palette = read_palette(segmented(bits, SEGMENTS[bits]), inputs=(0, 255), big_endian=False)
    assert np.array_equal(palette.grey.entries, [*range(128), *range(128)])
    assert not palette.coloured.entries.any()


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([8, 16]), st.binary(max_size=400))
def test_segmented_palette_any_segments(bits: int, segments: bytes) -> None:
    """Any segments are expanded, or rejected by name."""
    try:
        palette = read_palette(segmented(bits, segments + bytes(len(segments) % 2)), inputs=(0, 255), big_endian=False)
    except Rejection as rejection:
        assert rejection.code == "unreadable"
    else:
        assert len(palette.grey.entries) == 256


def test_segmented_palette_endless_repetition() -> None:
    """Each indirect segment repeats all others."""
    units = [0, 2, 0, 1, *([1, 65535, 5] * 100), *([2, 60000, 0, 0] * 5000)]
    palette = read_palette(segmented(16, struct.pack(f"<{len(units)}H", *units)), inputs=(0, 255), big_endian=False)
    assert len(palette.grey.entries) == 256
