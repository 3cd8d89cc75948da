"""What a file says about its radiograph, and how large a file may be."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from boneage.errors import Rejection, RejectionCode
from boneage.sex import Sex

RadiographFormat = Literal["png", "jpeg", "jpeg2000", "tiff", "webp", "bmp", "dicom"]
Side = Literal["L", "R"]

_USUAL_BYTES_PER_PIXEL = 4
"""Decoded bytes that one of `ReadLimits.max_pixels` stands for: 16-bit grey and 8-bit colour with alpha lie within."""


@dataclass(frozen=True)
class RadiographFacts:
    """What the file says, nothing guessed: every field but the first two may be missing in pictures that are not DICOM.

    Attributes:
        format: kind of file.
        bits_stored: bits in which a grey level is stored (DICOM: Bits Stored), 6..16: before any look-up table, which
            may make more or fewer levels of them.
        photometric: DICOM's Photometric Interpretation; None for other files.
        inverted: the file says that its low values are bright (MONOCHROME1, Presentation LUT Shape INVERSE, a TIFF
            whose white is zero), and the pixels were turned so that bone is bright.
        spacing_mm: distance between the centres of neighbouring pixels of the radiograph as it was read, (between rows,
            between columns), mm: alike within 1 %, since other pixels are made square. DICOM only. Preferred is Pixel
            Spacing, calibrated to the patient's plane where it differs from the detector's; then Imager Pixel Spacing,
            at the detector, where the hand is magnified by a few per cent; then Nominal Scanned Pixel Spacing of a
            digitised radiograph (PS3.3, 10.7.1.3). The resolution of PNG, JPEG and TIFF is not taken: it is a
            printer's, not a radiograph's.
        side: which hand, from Image Laterality, else Laterality.
        both_sides: the same element says that both hands are shown.
        body_part: Body Part Examined as it stands.
        sex: Patient's Sex if it is F or M.
        age_months: chronological age at the study. Patient's Age; where birth and study date agree with it within its
            unit (whole years, months, weeks or days), the finer age by these dates. Without it from the dates alone.
            None where they contradict one another.
        ages_differ: Patient's Age contradicts birth and study date, so that the file gives no age that could be used.
        birth_date: Patient's Birth Date.
        study_date: Study Date, else Acquisition Date, else Content Date.
        modality: Modality as it stands.
        for_processing: the radiograph is raw (SOP class Digital X-Ray for processing, or Presentation Intent Type FOR
            PROCESSING): it was not made to be looked at, and its grey scale may be unlike that of any radiograph for
            reading.
        burned_in: Burned In Annotation is YES: text stands in the pixels.
        not_human: Patient Species Description names another species.
        bits_differ: the pixels use more bits than Bits Stored says, and were read with those that they use.
        size_differs: Rows and Columns do not fit the pixels, which were read by what they say themselves, or as far as
            Rows and Columns go.
    """

    format: RadiographFormat
    bits_stored: int
    photometric: str | None = None
    inverted: bool = False
    spacing_mm: tuple[float, float] | None = None
    side: Side | None = None
    both_sides: bool = False
    body_part: str | None = None
    sex: Sex | None = None
    age_months: float | None = None
    ages_differ: bool = False
    birth_date: date | None = field(default=None, repr=False)  # names a person too well for logs
    study_date: date | None = None
    modality: str | None = None
    for_processing: bool = False
    burned_in: bool = False
    not_human: bool = False
    bits_differ: bool = False
    size_differs: bool = False


@dataclass(frozen=True)
class ReadLimits:
    """How large a file is read; all checked before its pixels are decoded.

    Attributes:
        max_bytes: size of the file, bytes; also of what a deflated DICOM file inflates to.
        max_pixels: height times width. Pictures that decode to more than 4 bytes a pixel (16-bit colour) may have
            proportionally fewer.
        min_side: the shorter side, pixels.
        max_aspect: the longer side by the shorter. Of 12,611 radiographs of the RSNA challenge the longest has 2.16.
    """

    max_bytes: int = 256 * 2**20
    max_pixels: int = 64_000_000
    min_side: int = 64
    max_aspect: float = 3.0

    def check_bytes(self, count: int) -> None:
        """Reject a file of this many bytes.

        Raises:
            Rejection: ``too_large``.
        """
        if count > self.max_bytes:
            raise Rejection(
                RejectionCode.TOO_LARGE,
                f"The file holds {count / 2**20:.0f} MiB; at most {self.max_bytes / 2**20:.0f} MiB are read. Export it"
                " compressed, or with fewer pixels.",
            )

    def check_size(self, height: int, width: int, bytes_per_pixel: int = 1) -> None:
        """Reject a picture of this size, pixels, that decodes to this many bytes a pixel.

        Raises:
            Rejection: ``too_large`` or ``too_small``.
        """
        weight = max(1.0, bytes_per_pixel / _USUAL_BYTES_PER_PIXEL)
        if height * width * weight > self.max_pixels:
            raise Rejection(
                RejectionCode.TOO_LARGE,
                f"The picture is said to have {width} x {height} pixels; at most {self.max_pixels / 1e6:g} million are"
                " read. Export it with fewer: 2,000 on the longer side are enough.",
            )
        if min(height, width) < self.min_side:
            raise Rejection(
                RejectionCode.TOO_SMALL,
                f"The picture has {width} x {height} pixels; bones cannot be judged under {self.min_side} a side."
                " Give the original radiograph, not a preview.",
            )

    def check_shape(self, height: float, width: float) -> None:
        """Reject a strip. Both sides are in one unit, above 0.

        Raises:
            Rejection: ``not_a_radiograph``.
        """
        aspect = max(height, width) / min(height, width)
        if aspect > self.max_aspect:
            raise Rejection(
                RejectionCode.NOT_A_RADIOGRAPH,
                f"One side of the picture is {aspect:.1f} times as long as the other: a radiograph of a hand is no such"
                " strip. Give the whole radiograph of one hand.",
            )


DEFAULT_LIMITS = ReadLimits()
