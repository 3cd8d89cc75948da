"""DICOM: the grey scale of the standard, and objects that are not radiographs."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from boneage.errors import Rejection
from boneage.hand.views import ViewSpec, cut_view
from boneage.reading.radiograph import ReadLimits, read_radiograph
from tests import radiograph_files as files
from tests.radiograph_files import VALID
from tests.reading.dicom.drawn import GREY, RAMP, TWELVE, read

SIGNED_JPEG_2000 = base64.b64decode("""
/0//UQApAAAAAABCAAAAQAAAAAAAAAAAAAAAQgAAAEAAAAAAAAAAAAABiwEB/1IADAAAAAEAAwQEAAH/XAANQGBoaHBoaHBoaHD/ZAAlAAFDcmVhdGVk
IGJ5IE9wZW5KUEVHIHZlcnNpb24gMi41LjT/kAAKAAAAAAM6AAH/k9/hjBdZWZ64/oBxrmptbcMN5AsL+E8ZT5TkVNxbzGYORlwBrh9ly5eoL17nHpRO
Ec1w6TioEo7nZQPBjPlMXl6xY9FJ7big23MSuorPdgOcMufpaCxiwZiiSDKGiNXfpH/wcTuh7cH5nUfykw/kZCSsLIFYhaOsfOkrw+ZdsH2Ii3pbHhLu
ZM56fb/VH/MQgtKY6XXM1HWZ3e3UQbdb1ygi0HLoOOdkXhsotqnuennYIc0Ps18PBjayu1sH8zR/yHp2JYKppPKPuDSyX/er1YG8y6Z06b3O69W/cYub
wSgAAAUKBB44bNUAAcRwzpWzfpb0IvRnWzmLD0iao+pXo2844SjSu+yCT3enf8fysR/NCQ/kjIJiJhIjEHKbZcse2UlHq8dLxJxkfLoHfMBM9l+OHQKn
nUvfSQDT6y9OOxbk+ywbj8MoMv0i5Sd9avlFKmJezIGMI38nryas/izX/vXZ21FR9IQ1EjeQRo+Ev26RLIwaRyQcC1ntEF6siGihPmppDauuasUOgW53
2Lmc7nXAkFyY7x+/yqVcmsd3IEKzA+EKyVADlBOEEEnM38kBtcB37NYzuT+FJrlsMPawoWd3rGaQoNuSTbPU+5g0QaX/PTNbNbJJJJJJ9JZJJJJJQMeJ
CC7gajg1F4+Kpx78pNuF7K3fIrIt5RZDSJDvmmZC7jl/+X0nAQJ05T1BzfMLu4xci8/w7R/LbH+C0MD80QpuOrwZd6w+23ixwmHVl21HPOhOTtJUzdtE
a4ymOAtPTnSrfwukb/3Pz0fSdeJ50BH4f/dMw1cL0ZREgE15vLyx6t6voub+bP4cVxY1pzjEV7IEDcOfIAGEg3qTqvZBkfwEnKRnZVTgAYSDLT28J0Rr
kC/AUA6NQ55JTYMQjUGRvNKM6hR6ZxBWYnhfnteVQQvAtw+dTZFd69hn98rgxSYmP/DRZwOjXk5XVA3g8KNcYQCAAAwkGBObz+qUW9/PeIAAMJBmCAYR
Gp6dbMAABhIMqdLRkbXJfzcr0ZGbrXCTwHV66e5FfBtt+WrWcoONYT28rf7NeKheybJ4CQFth2Dtdx3zKi/pslkQVr5v/9k=
""")
"""12 bits with sign, from -2,048, made with OpenJPEG 2.5.4 through imagecodecs."""


def code_of(source: Any, limits: ReadLimits | None = None) -> str:
    with pytest.raises(Rejection) as caught:
        read_radiograph(source, limits or ReadLimits())
    return caught.value.code


def lut(values: NDArray[Any], first: int, bits: int) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(values) % 65536, first % 65536, bits])
    item.add_new("LUTData", "OW", values.astype("<u2").tobytes())
    return Sequence([item])


# grey scale


def test_read_radiograph_same_from_png_and_dicom() -> None:
    """An 8-bit PNG, a 16-bit PNG, MONOCHROME1 DICOM and JPEG 2000 DICOM of one radiograph give the same pixels."""
    deep = files.drawn_radiograph(bits=16)
    truth = deep / np.float32(65535)
    mono1 = files.dicom_dataset(65535 - deep, 16, photometric="MONOCHROME1")
    for data, tolerance in (
        (VALID["png 8"], 0.5 / 255),
        (VALID["png 16"], 1e-6),
        (files.dicom_file(mono1), 1e-6),
        (VALID["dicom jpeg 2000"], 1e-6),
    ):
        assert np.abs(read_radiograph(data).pixels - truth).max() <= tolerance + 1e-6


def test_no_window_uses_range_of_values() -> None:
    """Without a window the range of the radiograph itself is stretched."""
    radiograph = np.clip(RAMP, 1000, 3000)
    assert np.allclose(read(radiograph).pixels, (radiograph - 1000.0) / 2000, atol=1e-6)


def test_window_linear() -> None:
    """PS3.3, C.11.2.1.2.1, with its own example: centre 2048 and width 4096 keep 0..4095."""
    assert np.allclose(read(WindowCenter=2048, WindowWidth=4096).pixels, RAMP / 4095, atol=1e-6)
    narrow = read(WindowCenter=1000, WindowWidth=201).pixels
    assert np.allclose(narrow, np.clip((RAMP - 999.5) / 200 + 0.5, 0, 1), atol=1e-6)


def test_window_exact_and_sigmoid() -> None:
    exact = read(WindowCenter=2000, WindowWidth=1000, VOILUTFunction="LINEAR_EXACT").pixels
    assert np.allclose(exact, np.clip((RAMP - 2000.0) / 1000 + 0.5, 0, 1), atol=1e-6)
    sigmoid = read(WindowCenter=2000, WindowWidth=1000, VOILUTFunction="SIGMOID").pixels
    assert np.allclose(sigmoid, 1 / (1 + np.exp(-4 * (RAMP - 2000.0) / 1000)), atol=1e-6)


def test_window_first_of_several() -> None:
    """The first of several windows is used."""
    several = read(WindowCenter=[2048, 10], WindowWidth=[4096, 5]).pixels
    assert np.allclose(several, RAMP / 4095, atol=1e-6)


@pytest.mark.parametrize("width", [0, -10])
def test_window_without_width(width: int, caplog: pytest.LogCaptureFixture) -> None:
    """A window without width is not used."""
    assert np.allclose(read(WindowCenter=0, WindowWidth=width).pixels, RAMP / 4095, atol=1e-6)
    assert "window" in caplog.text


def test_rescale_before_window() -> None:
    """Slope and intercept come before the window."""
    pixels = read(RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=3096, WindowWidth=8192).pixels
    assert np.allclose(pixels, np.clip((2.0 * RAMP - 1000 - 3095.5) / 8191 + 0.5, 0, 1), atol=1e-6)


def test_rescale_negative_slope() -> None:
    """A negative slope inverts the radiograph."""
    assert np.allclose(read(RescaleSlope=-1, RescaleIntercept=4095).pixels, 1 - RAMP / 4095, atol=1e-6)


def test_modality_and_voi_tables() -> None:
    """Modality and VOI tables are applied in turn."""
    squares = (np.arange(4096.0) ** 2 / 4095).astype(np.uint16)
    roots = np.sqrt(np.arange(4096.0) * 4095).astype(np.uint16)
    one = read(VOILUTSequence=lut(squares, 0, 12)).pixels
    assert np.allclose(one, squares[RAMP] / 4095, atol=1e-6)
    both = read(ModalityLUTSequence=lut(roots, 0, 12), VOILUTSequence=lut(squares, 0, 12)).pixels
    assert np.allclose(both, squares[roots[RAMP]] / 4095, atol=1e-6)


def test_voi_table_ends_and_65536_entries() -> None:
    """A table continues its ends beyond its range, and may have 65,536 entries."""
    short = read(VOILUTSequence=lut(np.arange(0, 4096, 4), 1000, 12)).pixels
    assert np.allclose(short, 4 * np.clip(RAMP.astype(int) - 1000, 0, 1023) / 4095, atol=1e-6)
    long = read(VOILUTSequence=lut(np.arange(65536), 0, 16)).pixels
    assert np.allclose(long, RAMP / 65535, atol=1e-6)


def test_voi_table_signed_values() -> None:
    """A table of signed values begins below zero."""
    radiograph = RAMP.astype(np.int16) - 2048
    pixels = read(radiograph, VOILUTSequence=lut(np.arange(4096), -2048, 12)).pixels
    assert np.allclose(pixels, RAMP / 4095, atol=1e-6)


def test_voi_table_before_window() -> None:
    """A VOI table precedes a window."""
    table = lut(np.arange(4096), 0, 12)
    assert np.allclose(read(VOILUTSequence=table, WindowCenter=5, WindowWidth=3).pixels, RAMP / 4095, atol=1e-6)


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME2", None, False),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", None, True),
        ("MONOCHROME1", "IDENTITY", True),
        ("MONOCHROME1", "INVERSE", True),
    ],
)
@pytest.mark.parametrize("windowed", [False, True])
def test_photometric_inversion(photometric: str, shape: str | None, inverted: bool, windowed: bool) -> None:
    """MONOCHROME1 and Presentation LUT Shape INVERSE invert the radiograph, alone or together."""
    elements: dict[str, Any] = {"PresentationLUTShape": shape} if shape else {}
    if windowed:
        elements |= {"WindowCenter": 2048, "WindowWidth": 4096}
    radiograph = read(photometric=photometric, **elements)
    assert radiograph.facts.inverted is inverted
    assert radiograph.facts.photometric == photometric
    assert np.allclose(radiograph.pixels, 1 - RAMP / 4095 if inverted else RAMP / 4095, atol=1e-6)


def test_presentation_table_decides_inversion() -> None:
    """A presentation table comes last and decides the inversion."""
    falling = lut(np.arange(4095, -1, -1), 0, 12)
    radiograph = read(photometric="MONOCHROME1", PresentationLUTSequence=falling)
    assert np.allclose(radiograph.pixels, 1 - RAMP / 4095, atol=1e-3)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_black_and_outside_range(photometric: str) -> None:
    """Padding is darkest and has no part in the range."""
    radiograph = np.clip(RAMP, 1000, 3000)
    radiograph[:, :5] = 4095
    radiograph[:, 5:8] = 4090
    pixels = read(radiograph, photometric=photometric, PixelPaddingValue=4095, PixelPaddingRangeLimit=4090).pixels
    assert pixels[:, :8].max() == 0
    assert pixels[:, 8:].min() == 0
    assert pixels[:, 8:].max() == 1


def test_padding_signed() -> None:
    radiograph = RAMP.astype(np.int16) - 2048
    assert np.allclose(read(radiograph, 12).pixels, RAMP / 4095, atol=1e-6)
    radiograph[0, :] = -2000
    radiograph[radiograph < -2000] = -1900
    pixels = read(radiograph, 12, PixelPaddingValue=-2000).pixels
    assert pixels[0].max() == 0
    assert pixels[1:].max() == 1


@pytest.mark.parametrize("bits", range(8, 17))
@pytest.mark.parametrize("signed", [False, True])
def test_bits_stored_every_number(bits: int, signed: bool) -> None:
    levels = files.drawn_radiograph(bits=bits)
    stored = (levels.astype(np.int32) - 2 ** (bits - 1)).astype(np.int16) if signed else levels
    radiograph = read(stored, bits)
    assert radiograph.facts.bits_stored == bits
    assert np.allclose(radiograph.pixels, levels / (2.0**bits - 1), atol=1e-6)


def test_bits_stored_excess_bits_ignored() -> None:
    """Bits beyond those stored are removed."""
    overlay = RAMP | (np.random.default_rng(0).integers(0, 16, RAMP.shape).astype(np.uint16) << 12)
    assert np.allclose(read(overlay).pixels, RAMP / 4095, atol=1e-6)
    shifted = (RAMP << 4) | 5
    assert np.allclose(read(shifted, 12, HighBit=15).pixels, RAMP / 4095, atol=1e-6)


@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": 1000, "WindowWidth": 1},
        {"VOILUTSequence": lut(np.repeat(np.arange(10), 410), 0, 4)},
        {"ModalityLUTSequence": lut(np.full(4096, 7), 0, 12)},
        {"PresentationLUTSequence": lut(np.full(4096, 7), 0, 12)},
        {"RescaleSlope": 0, "RescaleIntercept": 5},
    ],
)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_window_leaves_no_contrast(elements: dict[str, Any], photometric: str) -> None:
    """A window that leaves no contrast gets another message than an even radiograph."""
    with pytest.raises(Rejection, match=r"DICOM window .* leaves no contrast") as caught:
        read(photometric=photometric, **elements)
    assert caught.value.code == "no_contrast"


@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": 60000, "WindowWidth": 100},
        {"WindowCenter": -500, "WindowWidth": 10},
        {"WindowCenter": 60000, "WindowWidth": 100, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": 60000, "WindowWidth": 100, "VOILUTFunction": "LINEAR_EXACT"},
        {"VOILUTSequence": lut(np.arange(1000), 50000, 12)},
    ],
)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_window_beside_values(elements: dict[str, Any], photometric: str, caplog: pytest.LogCaptureFixture) -> None:
    """A window beside the data is not used."""
    assert np.array_equal(read(photometric=photometric, **elements).pixels, read(photometric=photometric).pixels)
    assert "beside the radiograph's values" in caplog.text


def test_window_of_lead_marker_only() -> None:
    """A window that shows only a lead marker is not used."""
    radiograph = np.clip(RAMP, 0, 3000)
    radiograph[0, :12] = np.arange(4000, 4012)  # 0.3 %
    assert np.array_equal(read(radiograph, WindowCenter=4000, WindowWidth=100).pixels, read(radiograph).pixels)


def test_window_first_that_meets_values() -> None:
    """The first window that meets the data is used."""
    pixels = read(WindowCenter=[60000, 2048], WindowWidth=[100, 4096]).pixels
    assert np.allclose(pixels, RAMP / 4095, atol=1e-6)


def test_window_of_even_radiograph() -> None:
    """An even radiograph is not blamed on its window."""
    nearly_even = np.full((128, 128), 700, np.uint16)
    nearly_even[0, :40] = np.arange(40)
    for radiograph in (np.full((128, 128), 700, np.uint16), nearly_even):
        dataset = files.dicom_dataset(radiograph, 12, WindowCenter=2048, WindowWidth=4096)
        with pytest.raises(Rejection, match="even grey") as caught:
            cut_view(read_radiograph(dataset).pixels, ViewSpec("radiograph", 64, 64, "percentile"))
        assert caught.value.code == "no_contrast"


@pytest.mark.parametrize(("levels", "code"), [(1, "no_contrast"), (2, "not_a_radiograph"), (23, "not_a_radiograph")])
def test_few_grey_levels(levels: int, code: str) -> None:
    """An image of few grey levels is not a radiograph."""
    few = (TWELVE % levels * 100).astype(np.uint16)
    assert code_of(files.dicom_dataset(few, 12)) == code
    padded = few.copy()
    padded[:30] = np.arange(2700).reshape(30, 90) + 1000
    assert code_of(files.dicom_dataset(padded, 12, PixelPaddingValue=1000, PixelPaddingRangeLimit=4000)) == code
    colour = np.dstack([few.astype(np.uint8)] * 3)
    assert code_of(files.dicom_dataset(colour, 8, photometric="RGB", SamplesPerPixel=3)) == code
    read(((np.arange(4096) % 24) * 100).reshape(64, 64).astype(np.uint16))


# transfer syntaxes: see also test_radiograph, which reads the radiograph in all of them


def test_signed_jpeg_2000_other_encoder() -> None:
    row, column = np.mgrid[:64, :66]
    radiograph = (100 * (column // 12) + 150 * (row // 10)).astype(np.int16)
    radiograph[20:24, 30:50] = (np.arange(80).reshape(4, 20) * 1237) % 4096
    alone = read_radiograph(SIGNED_JPEG_2000)
    assert np.allclose(alone.pixels, radiograph / 4095, atol=1e-6)
    assert alone.facts.bits_stored == 12
    dataset = files.dicom_dataset(radiograph - 2048, 12)
    pixels = read_radiograph(files.dicom_file(dataset, "1.2.840.10008.1.2.4.90", SIGNED_JPEG_2000)).pixels
    assert np.allclose(pixels, (radiograph - radiograph.min()) / (radiograph.max() - radiograph.min()), atol=1e-6)


@pytest.mark.parametrize("syntax", ["57", "80"])
def test_signed_codestream_twos_complement(syntax: str) -> None:
    """Signed radiographs are coded in two's complement."""
    signed = TWELVE.astype(np.int16) - 2048
    codes = signed.astype(np.uint16) & np.uint16(4095)
    stream = files.jpeg_lossless(codes, 12) if syntax == "57" else files.jpeg_ls(codes, 12)
    file = files.dicom_file(files.dicom_dataset(signed, 12), f"1.2.840.10008.1.2.4.{syntax}", stream)
    assert np.allclose(read_radiograph(file).pixels, TWELVE / 4095, atol=1e-6)


def test_frame_in_several_fragments() -> None:
    from pydicom.encaps import encapsulate

    dataset = files.dicom_dataset(TWELVE, 12)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.70"
    dataset.PixelData = encapsulate([files.jpeg_lossless(TWELVE, 12)], fragments_per_frame=5)
    assert np.allclose(read_radiograph(files.dicom_file(dataset)).pixels, TWELVE / 4095, atol=1e-6)


@pytest.mark.parametrize("name", ["dicom implicit", "dicom explicit", "dicom rle", "dicom deflated"])
def test_no_preamble_and_data_set(name: str) -> None:
    """Files without a preamble and data sets are read too."""
    whole = read_radiograph(VALID[name])
    bare = read_radiograph(VALID[name][132:])
    dataset = read_radiograph(pydicom.dcmread(BytesIO(VALID[name])))
    assert np.array_equal(whole.pixels, bare.pixels)
    assert np.array_equal(whole.pixels, dataset.pixels)
    assert whole.facts == bare.facts == dataset.facts


@pytest.mark.parametrize("implicit", [False, True])
def test_file_without_meta_group(implicit: bool) -> None:
    buffer = BytesIO()
    dataset = files.dicom_dataset(TWELVE, 12)
    del dataset.file_meta
    dataset.save_as(buffer, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    assert np.allclose(read_radiograph(buffer.getvalue()).pixels, TWELVE / 4095, atol=1e-6)


def test_data_set_without_file_meta() -> None:
    """A data set made in memory needs no file meta."""
    dataset = files.dicom_dataset(TWELVE, 12)
    del dataset.file_meta
    assert np.allclose(read_radiograph(dataset).pixels, TWELVE / 4095, atol=1e-6)


@pytest.mark.parametrize(
    ("photometric", "stored"),
    [
        ("RGB", np.dstack([GREY] * 3)),
        ("YBR_FULL", np.dstack([GREY, np.full_like(GREY, 128), np.full_like(GREY, 128)])),
    ],
)
@pytest.mark.parametrize("planar", [0, 1])
def test_grey_stored_in_colour(photometric: str, stored: NDArray[np.uint8], planar: int) -> None:
    dataset = files.dicom_dataset(stored, 8, photometric=photometric, SamplesPerPixel=3, PlanarConfiguration=planar)
    if planar:
        dataset.PixelData = np.ascontiguousarray(stored.transpose(2, 0, 1)).tobytes()
    assert np.allclose(read_radiograph(dataset).pixels, GREY / 255, atol=1e-6)
    assert np.allclose(read_radiograph(files.dicom_file(dataset)).pixels, GREY / 255, atol=1e-6)


def test_subsampled_chrominance_grey() -> None:
    neutral = np.full_like(GREY[:, ::2], 128)
    stored = np.stack([GREY[:, ::2], GREY[:, 1::2], neutral, neutral], axis=2)
    dataset = files.dicom_dataset(np.dstack([GREY] * 3), 8, photometric="YBR_FULL_422", SamplesPerPixel=3)
    dataset.PixelData = stored.tobytes()
    assert np.allclose(read_radiograph(dataset).pixels, GREY / 255, atol=1e-6)


def test_colour_rejected() -> None:
    tinted = np.dstack([GREY, GREY // 2, GREY])
    assert code_of(files.dicom_dataset(tinted, 8, photometric="RGB", SamplesPerPixel=3)) == "not_grayscale"


# rejections


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ({"Modality": "CT"}, "not_a_radiograph"),
        ({"Modality": "US"}, "not_a_radiograph"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "not_a_radiograph"),
        ({"NumberOfFrames": 2}, "several_frames"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "unreadable"),
        ({"BitsStored": 4, "HighBit": 3}, "not_a_radiograph"),
        ({"PixelSpacing": [0.1, 0.001]}, "not_a_radiograph"),
        ({"ImagerPixelSpacing": [0.1, 0.4]}, "not_a_radiograph"),
        ({"PhotometricInterpretation": "CIELAB"}, "unreadable"),
        ({"PhotometricInterpretation": ""}, "unreadable"),
        ({"Rows": 200}, "unreadable"),
        ({"Rows": 65535, "Columns": 65535}, "too_large"),
        ({"Rows": 0}, "too_small"),
        ({"BitsAllocated": 32}, "unreadable"),
        ({"BitsStored": 17}, "unreadable"),
        ({"HighBit": 3}, "unreadable"),
        ({"SamplesPerPixel": 3}, "unreadable"),
        ({"VOILUTSequence": lut(np.arange(10), 0, 40)}, "unreadable"),
    ],
)
def test_objects_rejected(elements: dict[str, Any], code: str) -> None:
    dataset = files.dicom_dataset(TWELVE, 12)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    assert code_of(dataset) == code


def test_object_without_pixels() -> None:
    """An object without pixels is not a radiograph."""
    dataset = files.dicom_dataset(TWELVE, 12)
    del dataset.PixelData
    assert code_of(dataset) == "not_a_radiograph"


def test_missing_rows() -> None:
    for keyword in ("Rows", "Columns", "BitsAllocated"):
        dataset = files.dicom_dataset(TWELVE, 12)
        del dataset[keyword]
        assert code_of(dataset) == "unreadable"


@pytest.mark.parametrize("syntax", ["50", "57", "80", "90"])
def test_codestream_of_other_size(syntax: str) -> None:
    """A codestream of another size than the header's is rejected."""
    stream = {
        "50": lambda: files.coded(".jpg", GREY),
        "57": lambda: files.jpeg_lossless(GREY.astype(np.uint16), 8),
        "80": lambda: files.jpeg_ls(GREY, 8),
        "90": lambda: files.jpeg_2000(GREY),
    }[syntax]()
    larger = files.dicom_dataset(np.zeros((200, 200), np.uint8), 8)
    assert code_of(files.dicom_file(larger, f"1.2.840.10008.1.2.4.{syntax}", stream)) == "unreadable"


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        ("1.2.840.10008.1.2.4.52", "JPEG Extended .*, retired"),
        ("1.2.840.10008.1.2.4.55", "JPEG Full Progression"),
        ("1.2.840.10008.1.2.4.66", "JPEG Lossless, Hierarchical"),
        ("1.2.840.10008.1.2.4.110", "JPEG XL Lossless"),
        ("1.2.840.10008.1.2.4.112", "JPEG XL"),
        ("1.2.840.10008.1.2.4.102", "DICOM video .*MPEG-4"),
        ("1.2.840.10008.1.2.4.107", "DICOM video .*HEVC"),
        ("1.2.3.4.5", "an unknown way"),
    ],
)
def test_transfer_syntax_not_read(syntax: str, name: str) -> None:
    """The rejection names a transfer syntax that is not read."""
    data = files.dicom_file(files.dicom_dataset(GREY, 8), "1.2.840.10008.1.2.4.102", b"\0\0\1\xba")
    meant = syntax.encode().ljust(24, b"\0")  # pydicom writes no syntax that it does not know
    with pytest.raises(Rejection, match=name) as caught:
        read_radiograph(data.replace(b"1.2.840.10008.1.2.4.102\0", meant))
    assert caught.value.code == "unsupported_format"


def test_deflate_bomb() -> None:
    """A deflate bomb is not inflated beyond the limit."""
    bomb = files.dicom_dataset(np.zeros((5000, 1000), np.uint16), 12)
    data = files.dicom_file(bomb, "1.2.840.10008.1.2.1.99")
    assert len(data) < 50_000
    assert code_of(data, ReadLimits(max_bytes=1_000_000)) == "too_large"


def test_run_length_bomb() -> None:
    """Run-length decoding stops at the size of the radiograph."""
    dataset = files.dicom_dataset(GREY, 8)
    radiograph = (b"\x7f" + bytes(range(128))) * (GREY.size // 128)
    runs = radiograph + b"\x81\x07" * 1_000_000
    header = (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56)
    pixels = read_radiograph(files.dicom_file(dataset, "1.2.840.10008.1.2.5", header + runs)).pixels
    assert pixels.shape == GREY.shape


@pytest.mark.filterwarnings("error")
def test_rejections_and_logs_without_patient_data(caplog: pytest.LogCaptureFixture) -> None:
    """Rejections and logs hold no patient data."""
    dataset = files.dicom_dataset(TWELVE, 12, PatientName="Secret^Sara", PatientID="S3CRET")
    data = files.dicom_file(dataset)
    for old, new in ((b"20200615", b"Secret!!"), (b"010Y", b"Secr")):
        data = data.replace(old, new)
    facts = read_radiograph(data).facts
    assert facts.study_date is None
    assert facts.patient_age == "Secr"
    assert "Secr" not in repr(facts)
    assert "StudyDate" in caplog.text
    with pytest.raises(Rejection) as caught:
        read_radiograph(data[: len(data) // 2])
    assert "Sec" not in caplog.text + str(caught.value)
