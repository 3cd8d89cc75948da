"""DICOM: the grey scale as the standard has it, the facts of the header, and what is not a radiograph."""

from __future__ import annotations

import base64
from datetime import date
from io import BytesIO
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from boneage.dicom_facts import age_at_study
from boneage.errors import Refusal
from boneage.radiograph import Radiograph, ReadLimits, read_radiograph
from boneage.sex import Sex
from tests.radiograph_files import VALID, fuzz

TWELVE: NDArray[np.uint16] = fuzz.drawn_film(bits=12)
GREY = fuzz.drawn_film(bits=8).astype(np.uint8)
RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
"""Every 12-bit value once."""

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


def read(pixels: NDArray[Any] = RAMP, bits: int = 12, **elements: Any) -> Radiograph:
    return read_radiograph(fuzz.dicom_file(fuzz.dicom_dataset(pixels, bits, **elements)))


def code_of(source: Any, limits: ReadLimits | None = None) -> str:
    with pytest.raises(Refusal) as caught:
        read_radiograph(source, limits or ReadLimits())
    return caught.value.code


def lut(values: NDArray[Any], first: int, bits: int) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(values) % 65536, first % 65536, bits])
    item.add_new("LUTData", "OW", values.astype("<u2").tobytes())
    return Sequence([item])


# grey scale


def test_the_same_radiograph_gives_the_same_pixels_from_png_and_dicom() -> None:
    """8-bit PNG, 16-bit PNG, MONOCHROME1 DICOM, JPEG 2000 DICOM of one film."""
    deep = fuzz.drawn_film(bits=16)
    truth = deep / np.float32(65535)
    mono1 = fuzz.dicom_dataset(65535 - deep, 16, photometric="MONOCHROME1")
    for data, tolerance in (
        (VALID["png 8"], 0.5 / 255),
        (VALID["png 16"], 1e-6),
        (fuzz.dicom_file(mono1), 1e-6),
        (VALID["dicom jpeg 2000"], 1e-6),
    ):
        assert np.abs(read_radiograph(data).pixels - truth).max() <= tolerance + 1e-6


def test_without_window_the_range_of_the_film_itself_is_stretched() -> None:
    film = np.clip(RAMP, 1000, 3000)
    assert np.allclose(read(film).pixels, (film - 1000.0) / 2000, atol=1e-6)


def test_a_linear_window_is_as_the_standard_has_it() -> None:
    """PS3.3, C.11.2.1.2.1, with its own example: centre 2048 and width 4096 keep 0..4095 as it is."""
    assert np.allclose(read(WindowCenter=2048, WindowWidth=4096).pixels, RAMP / 4095, atol=1e-6)
    narrow = read(WindowCenter=1000, WindowWidth=201).pixels
    assert np.allclose(narrow, np.clip((RAMP - 999.5) / 200 + 0.5, 0, 1), atol=1e-6)
    step = read(WindowCenter=1000, WindowWidth=1).pixels
    assert np.array_equal(step, RAMP > 999.5)


def test_exact_and_sigmoid_windows() -> None:
    exact = read(WindowCenter=2000, WindowWidth=1000, VOILUTFunction="LINEAR_EXACT").pixels
    assert np.allclose(exact, np.clip((RAMP - 2000.0) / 1000 + 0.5, 0, 1), atol=1e-6)
    sigmoid = read(WindowCenter=2000, WindowWidth=1000, VOILUTFunction="SIGMOID").pixels
    assert np.allclose(sigmoid, 1 / (1 + np.exp(-4 * (RAMP - 2000.0) / 1000)), atol=1e-6)


def test_the_first_of_several_windows_is_used() -> None:
    several = read(WindowCenter=[2048, 10], WindowWidth=[4096, 5]).pixels
    assert np.allclose(several, RAMP / 4095, atol=1e-6)


@pytest.mark.parametrize("width", [0, -10])
def test_a_window_without_width_is_not_used(width: int, caplog: pytest.LogCaptureFixture) -> None:
    assert np.allclose(read(WindowCenter=0, WindowWidth=width).pixels, RAMP / 4095, atol=1e-6)
    assert "window" in caplog.text


def test_slope_and_intercept_come_before_the_window() -> None:
    pixels = read(RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=3096, WindowWidth=8192).pixels
    assert np.allclose(pixels, np.clip((2.0 * RAMP - 1000 - 3095.5) / 8191 + 0.5, 0, 1), atol=1e-6)


def test_a_falling_slope_turns_the_film() -> None:
    assert np.allclose(read(RescaleSlope=-1, RescaleIntercept=4095).pixels, 1 - RAMP / 4095, atol=1e-6)


def test_modality_and_voi_tables_are_applied_in_turn() -> None:
    squares = (np.arange(4096.0) ** 2 / 4095).astype(np.uint16)
    roots = np.sqrt(np.arange(4096.0) * 4095).astype(np.uint16)
    one = read(VOILUTSequence=lut(squares, 0, 12)).pixels
    assert np.allclose(one, squares[RAMP] / 4095, atol=1e-6)
    both = read(ModalityLUTSequence=lut(roots, 0, 12), VOILUTSequence=lut(squares, 0, 12)).pixels
    assert np.allclose(both, squares[roots[RAMP]] / 4095, atol=1e-6)


def test_a_table_holds_its_ends_beyond_its_range_and_may_have_65536_entries() -> None:
    short = read(VOILUTSequence=lut(np.arange(0, 4096, 4), 1000, 12)).pixels
    assert np.allclose(short, 4 * np.clip(RAMP.astype(int) - 1000, 0, 1023) / 4095, atol=1e-6)
    long = read(VOILUTSequence=lut(np.arange(65536), 0, 16)).pixels
    assert np.allclose(long, RAMP / 65535, atol=1e-6)


def test_a_table_of_signed_values_begins_below_zero() -> None:
    film = RAMP.astype(np.int16) - 2048
    pixels = read(film, VOILUTSequence=lut(np.arange(4096), -2048, 12)).pixels
    assert np.allclose(pixels, RAMP / 4095, atol=1e-6)


def test_a_voi_table_goes_before_a_window() -> None:
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
def test_polarity(photometric: str, shape: str | None, inverted: bool, windowed: bool) -> None:
    elements: dict[str, Any] = {"PresentationLUTShape": shape} if shape else {}
    if windowed:
        elements |= {"WindowCenter": 2048, "WindowWidth": 4096}
    radiograph = read(photometric=photometric, **elements)
    assert radiograph.facts.inverted is inverted
    assert radiograph.facts.photometric == photometric
    assert np.allclose(radiograph.pixels, 1 - RAMP / 4095 if inverted else RAMP / 4095, atol=1e-6)


def test_a_presentation_table_comes_last_and_settles_the_polarity() -> None:
    falling = lut(np.arange(4095, -1, -1), 0, 12)
    radiograph = read(photometric="MONOCHROME1", PresentationLUTSequence=falling)
    assert np.allclose(radiograph.pixels, 1 - RAMP / 4095, atol=1e-3)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_darkest_and_does_not_set_the_range(photometric: str) -> None:
    film = np.clip(RAMP, 1000, 3000)
    film[:, :5] = 4095
    film[:, 5:8] = 4090
    pixels = read(film, photometric=photometric, PixelPaddingValue=4095, PixelPaddingRangeLimit=4090).pixels
    assert pixels[:, :8].max() == 0
    assert pixels[:, 8:].min() == 0
    assert pixels[:, 8:].max() == 1


def test_signed_pixels_and_their_signed_padding() -> None:
    film = RAMP.astype(np.int16) - 2048
    assert np.allclose(read(film, 12).pixels, RAMP / 4095, atol=1e-6)
    film[0, :] = -2000
    film[film < -2000] = -1900
    pixels = read(film, 12, PixelPaddingValue=-2000).pixels
    assert pixels[0].max() == 0
    assert pixels[1:].max() == 1


@pytest.mark.parametrize("bits", range(8, 17))
@pytest.mark.parametrize("signed", [False, True])
def test_every_number_of_bits_stored(bits: int, signed: bool) -> None:
    film = fuzz.drawn_film(bits=bits)
    stored = (film.astype(np.int32) - 2 ** (bits - 1)).astype(np.int16) if signed else film
    radiograph = read(stored, bits)
    assert radiograph.facts.bits_stored == bits
    assert np.allclose(radiograph.pixels, film / (2.0**bits - 1), atol=1e-6)


def test_bits_beyond_those_stored_are_not_the_film() -> None:
    overlay = RAMP | (np.random.default_rng(0).integers(0, 16, RAMP.shape).astype(np.uint16) << 12)
    assert np.allclose(read(overlay).pixels, RAMP / 4095, atol=1e-6)
    shifted = (RAMP << 4) | 5
    assert np.allclose(read(shifted, 12, HighBit=15).pixels, RAMP / 4095, atol=1e-6)


# transfer syntaxes: see also test_radiograph, which reads the film in all of them


def test_signed_jpeg_2000_of_another_encoder() -> None:
    row, column = np.mgrid[:64, :66]
    film = (100 * (column // 12) + 150 * (row // 10)).astype(np.int16)
    film[20:24, 30:50] = (np.arange(80).reshape(4, 20) * 1237) % 4096
    dataset = fuzz.dicom_dataset(film - 2048, 12)
    pixels = read_radiograph(fuzz.dicom_file(dataset, "1.2.840.10008.1.2.4.90", SIGNED_JPEG_2000)).pixels
    assert np.allclose(pixels, (film - film.min()) / (film.max() - film.min()), atol=1e-6)


@pytest.mark.parametrize("syntax", ["57", "80"])
def test_signed_films_are_coded_in_twos_complement(syntax: str) -> None:
    signed = TWELVE.astype(np.int16) - 2048
    codes = signed.astype(np.uint16) & np.uint16(4095)
    stream = fuzz.jpeg_lossless(codes, 12) if syntax == "57" else fuzz.jpeg_ls(codes, 12)
    file = fuzz.dicom_file(fuzz.dicom_dataset(signed, 12), f"1.2.840.10008.1.2.4.{syntax}", stream)
    assert np.allclose(read_radiograph(file).pixels, TWELVE / 4095, atol=1e-6)


def test_a_frame_in_several_fragments() -> None:
    from pydicom.encaps import encapsulate

    dataset = fuzz.dicom_dataset(TWELVE, 12)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.70"
    dataset.PixelData = encapsulate([fuzz.jpeg_lossless(TWELVE, 12)], fragments_per_frame=5)
    assert np.allclose(read_radiograph(fuzz.dicom_file(dataset)).pixels, TWELVE / 4095, atol=1e-6)


@pytest.mark.parametrize("name", ["dicom implicit", "dicom explicit", "dicom rle", "dicom deflated"])
def test_files_without_preamble_and_data_sets_are_read_as_well(name: str) -> None:
    whole = read_radiograph(VALID[name])
    bare = read_radiograph(VALID[name][132:])
    dataset = read_radiograph(pydicom.dcmread(BytesIO(VALID[name])))
    assert np.array_equal(whole.pixels, bare.pixels)
    assert np.array_equal(whole.pixels, dataset.pixels)
    assert whole.facts == bare.facts == dataset.facts


@pytest.mark.parametrize("implicit", [False, True])
def test_a_file_without_any_meta_group(implicit: bool) -> None:
    buffer = BytesIO()
    dataset = fuzz.dicom_dataset(TWELVE, 12)
    del dataset.file_meta
    dataset.save_as(buffer, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    assert np.allclose(read_radiograph(buffer.getvalue()).pixels, TWELVE / 4095, atol=1e-6)


def test_a_data_set_made_in_memory_needs_no_file_meta() -> None:
    dataset = fuzz.dicom_dataset(TWELVE, 12)
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
def test_colour_that_is_really_grey(photometric: str, stored: NDArray[np.uint8], planar: int) -> None:
    dataset = fuzz.dicom_dataset(stored, 8, photometric=photometric, SamplesPerPixel=3, PlanarConfiguration=planar)
    if planar:
        dataset.PixelData = np.ascontiguousarray(stored.transpose(2, 0, 1)).tobytes()
    assert np.allclose(read_radiograph(dataset).pixels, GREY / 255, atol=1e-6)
    assert np.allclose(read_radiograph(fuzz.dicom_file(dataset)).pixels, GREY / 255, atol=1e-6)


def test_subsampled_chrominance() -> None:
    neutral = np.full_like(GREY[:, ::2], 128)
    stored = np.stack([GREY[:, ::2], GREY[:, 1::2], neutral, neutral], axis=2)
    dataset = fuzz.dicom_dataset(np.dstack([GREY] * 3), 8, photometric="YBR_FULL_422", SamplesPerPixel=3)
    dataset.PixelData = stored.tobytes()
    assert np.allclose(read_radiograph(dataset).pixels, GREY / 255, atol=1e-6)


def test_other_colour_is_refused() -> None:
    tinted = np.dstack([GREY, GREY // 2, GREY])
    assert code_of(fuzz.dicom_dataset(tinted, 8, photometric="RGB", SamplesPerPixel=3)) == "not_grayscale"
    assert code_of(fuzz.dicom_dataset(GREY, 8, photometric="PALETTE COLOR")) == "not_grayscale"


# refusals


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ({"Modality": "CT"}, "not_a_radiograph"),
        ({"Modality": "US"}, "not_a_radiograph"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "not_a_radiograph"),
        ({"NumberOfFrames": 2}, "several_frames"),
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
def test_what_is_refused(elements: dict[str, Any], code: str) -> None:
    dataset = fuzz.dicom_dataset(TWELVE, 12)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    assert code_of(dataset) == code


def test_an_object_without_pixels_is_no_radiograph() -> None:
    dataset = fuzz.dicom_dataset(TWELVE, 12)
    del dataset.PixelData
    assert code_of(dataset) == "not_a_radiograph"


def test_missing_geometry_is_unreadable() -> None:
    for keyword in ("Rows", "Columns", "BitsAllocated"):
        dataset = fuzz.dicom_dataset(TWELVE, 12)
        del dataset[keyword]
        assert code_of(dataset) == "unreadable"


@pytest.mark.parametrize("syntax", ["50", "57", "80", "90"])
def test_header_and_codestream_must_be_of_one_size(syntax: str) -> None:
    stream = {
        "50": lambda: fuzz.coded(".jpg", GREY),
        "57": lambda: fuzz.jpeg_lossless(GREY.astype(np.uint16), 8),
        "80": lambda: fuzz.jpeg_ls(GREY, 8),
        "90": lambda: fuzz.jpeg_2000(GREY),
    }[syntax]()
    larger = fuzz.dicom_dataset(np.zeros((200, 200), np.uint8), 8)
    assert code_of(fuzz.dicom_file(larger, f"1.2.840.10008.1.2.4.{syntax}", stream)) == "unreadable"


def test_an_unknown_transfer_syntax_is_unreadable() -> None:
    dataset = fuzz.dicom_dataset(GREY, 8)
    assert code_of(fuzz.dicom_file(dataset, "1.2.840.10008.1.2.4.102", b"\0\0\1\xba")) == "unreadable"


def test_a_deflate_bomb_is_not_inflated_beyond_the_limit() -> None:
    bomb = fuzz.dicom_dataset(np.zeros((5000, 1000), np.uint16), 12)
    data = fuzz.dicom_file(bomb, "1.2.840.10008.1.2.1.99")
    assert len(data) < 50_000
    assert code_of(data, ReadLimits(max_bytes=1_000_000)) == "too_large"


def test_a_run_length_bomb_stops_at_the_size_of_the_film() -> None:
    dataset = fuzz.dicom_dataset(GREY, 8)
    runs = b"\x81\x07" * 1_000_000
    header = (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56)
    pixels = read_radiograph(fuzz.dicom_file(dataset, "1.2.840.10008.1.2.5", header + runs)).pixels
    assert pixels.shape == GREY.shape


@pytest.mark.filterwarnings("error")
def test_refusals_and_logs_tell_nothing_of_the_patient(caplog: pytest.LogCaptureFixture) -> None:
    dataset = fuzz.dicom_dataset(TWELVE, 12, PatientName="Secret^Sara", PatientID="S3CRET")
    data = fuzz.dicom_file(dataset)
    for old, new in ((b"20200615", b"Secret!!"), (b"010Y", b"Secr")):
        data = data.replace(old, new)
    facts = read_radiograph(data).facts
    assert facts.study_date is None
    assert facts.age_months is None
    assert "StudyDate" in caplog.text
    assert "PatientAge" in caplog.text
    with pytest.raises(Refusal) as caught:
        read_radiograph(data[: len(data) // 2])
    assert "Sec" not in caplog.text + str(caught.value)


# facts


def test_facts_of_the_header() -> None:
    facts = read(
        PatientSex="M", PatientBirthDate="20100115", PatientAge="", Laterality="R", ImageLaterality="L", Modality="DX"
    ).facts
    assert facts.format == "dicom"
    assert facts.modality == "DX"
    assert facts.body_part == "HAND"
    assert facts.side == "L"
    assert facts.sex is Sex.MALE
    assert facts.birth_date == date(2010, 1, 15)
    assert facts.study_date == date(2020, 6, 15)
    assert facts.age_months == pytest.approx(125.0, abs=0.1)
    assert facts.spacing_mm == (0.15, 0.15)


def test_missing_facts_are_none() -> None:
    dataset = fuzz.dicom_dataset(RAMP, 12)
    for keyword in ("PatientSex", "PatientAge", "StudyDate", "BodyPartExamined", "ImageLaterality"):
        del dataset[keyword]
    del dataset.ImagerPixelSpacing
    facts = read_radiograph(dataset).facts
    assert (facts.sex, facts.age_months, facts.study_date, facts.body_part, facts.side, facts.spacing_mm) == (None,) * 6


@pytest.mark.parametrize("sex", ["O", "", "X", "U"])
def test_another_sex_is_never_guessed(sex: str) -> None:
    assert read(PatientSex=sex).facts.sex is None


def test_pixel_spacing_goes_before_the_detectors() -> None:
    assert read(PixelSpacing=[0.14, 0.13], ImagerPixelSpacing=[0.15, 0.15]).facts.spacing_mm == (0.14, 0.13)
    assert read(PixelSpacing=[0, 0], ImagerPixelSpacing=[0.15, 0.16]).facts.spacing_mm == (0.15, 0.16)


def test_an_acquisition_date_stands_in_for_the_study_date() -> None:
    assert read(StudyDate="", AcquisitionDate="20190304").facts.study_date == date(2019, 3, 4)


@pytest.mark.parametrize(
    ("stated", "months"),
    [("012Y", 144), ("018M", 18), ("003W", 21 / 30.4375), ("010D", 10 / 30.4375), ("12", None), ("0 2Y", None)],
)
def test_stated_ages(stated: str, months: float | None) -> None:
    assert age_at_study(stated, None, None) == (None if months is None else pytest.approx(months))


def test_dates_make_a_stated_age_finer_only_if_they_agree_with_it() -> None:
    birth, study = date(2008, 1, 1), date(2020, 10, 1)
    assert age_at_study("012Y", birth, study) == pytest.approx(153, abs=0.1)
    assert age_at_study("012Y", date(2000, 1, 1), study) == 144
    assert age_at_study(None, birth, study) == pytest.approx(153, abs=0.1)
    assert age_at_study(None, study, birth) is None


@settings(max_examples=200, deadline=None)
@given(st.dates(date(1990, 1, 1), date(2010, 1, 1)), st.integers(0, 20 * 365))
def test_the_age_in_whole_years_never_contradicts_the_dates(birth: date, days: int) -> None:
    study = date.fromordinal(birth.toordinal() + days)
    years = study.year - birth.year - ((study.month, study.day) < (birth.month, birth.day))
    age = age_at_study(f"{years:03d}Y", birth, study)
    assert age == pytest.approx(days / 30.4375)
