"""DICOM objects to grey levels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from boneage.arrays import Image
from boneage.reading.dicom.bounds import quiet_pydicom
from boneage.reading.dicom.codecs import decode_pixels
from boneage.reading.dicom.facts import read_facts
from boneage.reading.dicom.geometry import Shape, hidden_pixels, pixel_aspect, read_shutter, with_square_pixels
from boneage.reading.dicom.grey_scale import GreyScale, colour_to_grey, read_grey_scale
from boneage.reading.dicom.layout import Layout, read_layout
from boneage.reading.dicom.object import check_kind, parse_object
from boneage.reading.dicom.pixel_data import pixel_bytes, read_codestream, with_codestream_size
from boneage.reading.facts import RadiographFacts, ReadLimits
from boneage.reading.headers.codestream import CodestreamHeader
from boneage.reading.rejections import rejection_of

if TYPE_CHECKING:
    from pydicom import Dataset


def read_dicom(source: bytes | Dataset, limits: ReadLimits) -> tuple[Image, RadiographFacts]:
    """Read a DICOM file, or a data set that was parsed before.

    The range 0..1 of the pixels is that of the window's or VOI LUT's output. A VOI LUT precedes a window. The first
    window is used that does not lie beside the radiograph's values. Without any the range is that of these
    values after the modality LUT. Pixel padding, and everything that the display shutter hides, is 0 and has no part in
    that range. A grey radiograph stored in colour is 0..1 over all of its bits, one with a palette over the bits of its
    entries. Pixels that are not square are resampled (`boneage.reading.dicom.geometry.with_square_pixels`).

    Args:
        source: Content of a file, or a parsed data set.
        limits: Bounds on the size of a radiograph.

    Returns:
        Pixels float32 (H, W), 0..1, bone bright, and the facts.

    Raises:
        Rejection: ``unreadable``, ``unsupported_format`` (another compression), ``too_large``, ``too_small``,
            ``not_grayscale``, ``several_frames``, ``not_a_radiograph``, or ``no_contrast`` if the radiograph is even or
            its window makes it so.
    """
    try:
        header = _read_header(source, limits)
        pixels, facts = header.levels()
        return with_square_pixels(pixels, facts, header.aspect, limits.max_pixels)
    # A damaged file makes pydicom, pyjpegls and NumPy raise nearly every kind of error. Its text may quote patient
    # data, so only its kind is reported.
    except Exception as error:
        raise rejection_of(error) from None


@dataclass
class _Header:
    """Content of the header, and the bytes of the radiograph."""

    layout: Layout
    grey_scale: GreyScale
    facts: RadiographFacts
    aspect: float
    shutter: tuple[Shape, ...]
    codestream: CodestreamHeader | None
    content: bytes = field(repr=False)

    def levels(self) -> tuple[Image, RadiographFacts]:
        """Return the radiograph as stored, (H, W), 0..1, bone bright, and its facts. Hidden pixels are 0.

        The bytes are released.
        """
        coded, self.content = decode_pixels(self.content, self.layout, self.codestream), b""
        hidden = hidden_pixels(self.shutter, self.layout.rows, self.layout.columns, self.aspect)
        if self.layout.samples == 3:
            pixels = colour_to_grey(coded, self.layout)
        else:
            pixels = self.grey_scale.apply(coded, self.layout, hidden)
        if hidden is not None:
            pixels[hidden] = 0.0
        facts = self.facts
        if coded.bits_differ:
            facts = replace(facts, bits_differ=True, bits_stored=coded.bits)
        return pixels, replace(facts, size_differs=facts.size_differs or coded.size_differs)


def _read_header(source: bytes | Dataset, limits: ReadLimits) -> _Header:
    with quiet_pydicom():
        dataset = parse_object(source, limits) if isinstance(source, bytes) else source
        check_kind(dataset)
        layout = read_layout(dataset, limits)
        content = pixel_bytes(dataset, layout)
        codestream = read_codestream(content, layout)
        layout, size_differs = with_codestream_size(layout, codestream, limits)
        grey_scale = read_grey_scale(dataset, layout)
        facts = read_facts(
            dataset, bits_stored=layout.bits_stored, photometric=layout.photometric, inverted=grey_scale.inverted
        )
        facts = replace(facts, size_differs=size_differs)
        aspect = pixel_aspect(dataset, facts)
        limits.check_shape(layout.rows * aspect, layout.columns)
        shutter = read_shutter(dataset)
    return _Header(layout, grey_scale, facts, aspect, shutter, codestream, content)
