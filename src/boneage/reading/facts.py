"""Facts that a file states about its radiograph, and limits on the size of a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from boneage.errors import Rejection, RejectionCode
from boneage.schema import FactsDocument
from boneage.sex import Sex

RadiographFormat = Literal["png", "jpeg", "jpeg2000", "tiff", "webp", "bmp", "dicom"]
"""Kinds of file from which radiographs are read."""
Side = Literal["L", "R"]
"""Left or right hand."""

_USUAL_BYTES_PER_PIXEL = 4
"""Decoded bytes per pixel on which `ReadLimits.max_pixels` is based.

Images of 16-bit grey and of 8-bit colour with alpha stay within it.
"""


@dataclass(frozen=True)
class RadiographFacts:
    """Facts that the file states; nothing is guessed.

    All fields but the first two may be missing in files other than DICOM.

    Attributes:
        format: Kind of file.
        bits_stored: Bits in which a grey level is stored (DICOM: Bits Stored), 6..16. A look-up table may make more or
            fewer levels of them.
        photometric: DICOM's Photometric Interpretation; None for other files.
        inverted: The file declares its low values bright (MONOCHROME1, Presentation LUT Shape INVERSE, a TIFF whose
            white is zero), and the pixels were inverted so that bone is bright.
        spacing_mm: Distance between the centres of neighbouring pixels of the radiograph as it was read, (between rows,
            between columns), mm. The two are equal within 1 %, since other pixels are made square. DICOM only. Pixel
            Spacing comes first, calibrated to the patient's plane where it differs from the detector's. Then comes
            Imager Pixel Spacing, at the detector, where the hand is magnified by a few per cent. Last comes Nominal
            Scanned Pixel Spacing of a digitised film (PS3.3, 10.7.1.3). The resolution of PNG, JPEG and TIFF is not
            used: it is a printer's, not a radiograph's.
        side: Side of the hand, from Image Laterality, else Laterality.
        both_sides: The same element declares both hands.
        body_part: Body Part Examined as it stands.
        sex: Patient's Sex if it is F or M.
        patient_age: Patient's Age as it stands; `boneage.clinical.ages.age_in_file` reads it together with the dates.
        birth_date: Patient's Birth Date.
        study_date: Study Date, else Acquisition Date, else Content Date.
        modality: Modality as it stands.
        for_processing: The radiograph is raw (SOP class Digital X-Ray for processing, or Presentation Intent Type FOR
            PROCESSING). It was not made for reading, and its grey scale may be unlike that of any radiograph for
            reading.
        burned_in: Burned In Annotation is YES: text stands in the pixels.
        not_human: Patient Species Description names another species.
        bits_differ: The pixels use more bits than Bits Stored declares, and were read with the bits that they use.
        size_differs: Rows and Columns do not fit the pixels. These were read with their own size, or as far as Rows and
            Columns go.
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
    patient_age: str | None = field(default=None, repr=False)  # kept out of logs, since it may be malformed
    birth_date: date | None = field(default=None, repr=False)  # kept out of logs
    study_date: date | None = None
    modality: str | None = None
    for_processing: bool = False
    burned_in: bool = False
    not_human: bool = False
    bits_differ: bool = False
    size_differs: bool = False

    def document(self) -> FactsDocument:
        """Return the facts by the project's schema, without the patient's age and date of birth."""
        spacing = self.spacing_mm
        return FactsDocument(
            format=self.format,
            bits_stored=self.bits_stored,
            photometric=self.photometric,
            inverted=self.inverted,
            spacing_mm=None if spacing is None else (round(spacing[0], 5), round(spacing[1], 5)),
            side=self.side,
            body_part=self.body_part,
            sex=None if self.sex is None else self.sex.value,
            study_date=self.study_date,
            modality=self.modality,
        )


@dataclass(frozen=True)
class ReadLimits:
    """Limits on the size of a file, all checked before its pixels are decoded.

    Attributes:
        max_bytes: Size of the file, bytes; also the inflated size of a deflated DICOM file.
        max_pixels: Height times width. Images that decode to more than 4 bytes per pixel (16-bit colour) may have
            proportionally fewer.
        min_side: The shorter side, pixels.
        max_aspect: The longer side divided by the shorter. Of 12,611 radiographs of the RSNA challenge the longest has
            2.16.
    """

    max_bytes: int = 256 * 2**20
    max_pixels: int = 64_000_000
    min_side: int = 64
    max_aspect: float = 3.0

    def check_bytes(self, count: int) -> None:
        """Reject a file of this many bytes if it is too large.

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
        """Reject an image that is too large or too small.

        Args:
            height: Pixels.
            width: Pixels.
            bytes_per_pixel: Bytes of a decoded pixel.

        Raises:
            Rejection: ``too_large`` or ``too_small``.
        """
        weight = max(1.0, bytes_per_pixel / _USUAL_BYTES_PER_PIXEL)
        if height * width * weight > self.max_pixels:
            raise Rejection(
                RejectionCode.TOO_LARGE,
                f"The image has {width} x {height} pixels; at most {self.max_pixels / 1e6:g} million are read."
                " Export it with fewer: 2,000 on the longer side are enough.",
            )
        if min(height, width) < self.min_side:
            raise Rejection(
                RejectionCode.TOO_SMALL,
                f"The image has {width} x {height} pixels; at least {self.min_side} on a side are needed to"
                " judge bones. Give the original radiograph, not a preview.",
            )

    def check_shape(self, height: float, width: float) -> None:
        """Reject a strip.

        Args:
            height: Height, above 0.
            width: Width in the same unit, above 0.

        Raises:
            Rejection: ``not_a_radiograph``.
        """
        aspect = max(height, width) / min(height, width)
        if aspect > self.max_aspect:
            raise Rejection(
                RejectionCode.NOT_A_RADIOGRAPH,
                f"One side of the image is {aspect:.1f} times as long as the other, unlike a radiograph of a hand."
                " Give the whole radiograph of one hand.",
            )


DEFAULT_LIMITS = ReadLimits()
"""Limits for all files, unless a caller sets others."""
