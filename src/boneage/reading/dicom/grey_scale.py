"""Stored values of a DICOM object to grey levels.

The grey scale follows PS3.4, N.2: stored values, modality LUT (or slope and intercept), VOI LUT (or window),
presentation LUT (or its shape; MONOCHROME1 is inverted). All of it is a function of the stored value alone. It is
therefore computed once for each of the at most 65,536 stored values, and the radiograph is mapped through that table.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from boneage.arrays import Image, Mask, Samples
from boneage.errors import Rejection, RejectionCode
from boneage.reading.dicom.codecs import CodedPixels
from boneage.reading.dicom.layout import PALETTE, Layout
from boneage.reading.dicom.luts import Lut, Palette, read_lut, read_palette
from boneage.reading.dicom.tags import number, numbers, text
from boneage.reading.dicom.uids import EXPLICIT_BIG
from boneage.reading.images import FEWEST_LEVELS, check_coloured, check_levels, check_samples, grey_samples
from boneage.reading.rejections import damaged

if TYPE_CHECKING:
    from pydicom import Dataset
logger = logging.getLogger(__name__)

_ROWS_AT_ONCE = 256
_MOST_WINDOWS = 8
_EVEN = 1e-4
"""Largest range of grey levels, of 0..1, of an even radiograph (as in `boneage.hand.views.measure_grey`)."""


@dataclass(frozen=True)
class GreyScale:
    """Grey scale that the header declares.

    Attributes:
        slope: Rescale Slope.
        intercept: Rescale Intercept.
        modality: Modality LUT; it replaces slope and intercept.
        voi: VOI LUT; it precedes the windows.
        windows: Centre and width of each window.
        window_function: VOI LUT Function.
        presentation: Presentation LUT.
        inverted: Low values are bright, without a presentation LUT.
        padding: Pixel Padding Value and Pixel Padding Range Limit.
        palette: Palette of a PALETTE COLOR object.
    """

    slope: float
    intercept: float
    modality: Lut | None
    voi: Lut | None
    windows: tuple[tuple[float, float], ...]
    window_function: str
    presentation: Lut | None
    inverted: bool
    padding: tuple[int, int] | None
    palette: Palette | None

    def apply(self, coded: CodedPixels, layout: Layout, hidden: Mask | None) -> Image:
        """Map stored values, (H, W), to 0..1, bone bright. Those that are hidden, (H, W), have no part in the range.

        Raises:
            Rejection: ``unreadable``, ``not_grayscale``, ``no_contrast`` or ``not_a_radiograph``.
        """
        codes = coded.samples
        if codes.ndim != 2:
            raise damaged("the DICOM object is in colour but declares itself grey")
        table = self.table(coded.bits, layout.signed, _counts(codes, 2**coded.bits, hidden))
        out = np.empty(codes.shape, np.float32)
        for top in range(0, len(codes), _ROWS_AT_ONCE):
            np.take(table, codes[top : top + _ROWS_AT_ONCE], out=out[top : top + _ROWS_AT_ONCE], mode="clip")
        return out

    def table(self, bits: int, signed: bool, counts: NDArray[np.int64]) -> Image:
        """Return the grey level of every stored value, by its code.

        Args:
            bits: Bits of a code.
            signed: True if codes are two's complement.
            counts: Occurrences of each code in the radiograph.
        """
        codes = np.arange(2**bits)
        stored = np.where(codes >= 2 ** (bits - 1), codes - 2**bits, codes) if signed else codes
        padding = self._padding(stored, signed)
        counts = np.where(padding, 0, counts)
        check_levels(int(np.count_nonzero(counts)))
        if self.palette is not None:
            levels = _palette_levels(self.palette, stored.astype(float), counts)
        else:
            values = self.modality.at(stored.astype(float)) if self.modality else stored * self.slope + self.intercept
            levels = self._levels(values, counts)
        if self.presentation is not None:
            levels = self.presentation.at(levels * (len(self.presentation.entries) - 1)) / self.presentation.full
        elif self.inverted:
            levels = 1.0 - levels
        levels[padding] = 0.0
        if not np.all(np.isfinite(levels)):
            raise damaged("the DICOM object's grey scale has values that are not numbers")
        _check_contrast(stored, levels, counts)
        return levels.astype(np.float32)

    def _padding(self, stored: NDArray[np.int64], signed: bool) -> Mask:
        """Return which values are padding: Pixel Padding Value, up to its Range Limit (PS3.3, C.7.5.1.1.2)."""
        if self.padding is None:
            return np.zeros(len(stored), bool)
        # Its value representation, US or SS, often differs from that of the pixels.
        low, high = sorted((value + 32768) % 65536 - 32768 if signed else value % 65536 for value in self.padding)
        return (stored >= low) & (stored <= high)

    def _levels(self, values: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Map values through the VOI LUT or the first window that applies to the radiograph, else through their range.

        A window or table that lies beside nearly all values was meant for another image, and would leave nothing.
        """
        low, high = _middle_range(values, counts)
        if self.voi is not None:
            if self.voi.first <= high and self.voi.last >= low:
                return self.voi.at(values) / self.voi.full
            logger.warning("the VOI look-up table lies beside the radiograph's values: not used")
        for centre, width in self.windows:
            if centre - width / 2 <= high and centre + width / 2 >= low:
                return _windowed(values, centre, width, self.window_function)
            logger.warning("the window lies beside the radiograph's values: not used")
        occurring = values[counts > 0]
        low, high = float(occurring.min()), float(occurring.max())
        return np.clip((values - low) / ((high - low) or 1.0), 0.0, 1.0)


def read_grey_scale(dataset: Dataset, layout: Layout) -> GreyScale:
    """Read the grey scale from the header.

    Raises:
        Rejection: ``unreadable`` if a table is damaged.
    """
    big_endian = layout.syntax == EXPLICIT_BIG
    inputs = layout.stored_range
    presentation = read_lut(dataset, "PresentationLUTSequence", inputs=(0, 65535), signed=False, big_endian=big_endian)
    inverse = (text(dataset, "PresentationLUTShape") or "").upper() == "INVERSE"
    # A DX object declares both or neither (PS3.3, C.8.11.3). Other objects contradict themselves; then one of the two
    # is enough, as in viewers.
    inverted = layout.photometric == "MONOCHROME1" or (inverse and layout.photometric == "MONOCHROME2")
    if inverse and layout.photometric != "MONOCHROME1":
        logger.warning(
            "Presentation LUT Shape is INVERSE, but the photometric interpretation is not MONOCHROME1: inverted"
        )
    slope = number(dataset, "RescaleSlope", default=1.0)
    intercept = number(dataset, "RescaleIntercept", default=0.0)
    modality = read_lut(dataset, "ModalityLUTSequence", inputs=inputs, signed=layout.signed, big_endian=big_endian)
    if modality is None:
        ends = slope * inputs[0] + intercept, slope * inputs[1] + intercept
        inputs = min(ends), max(ends)
    else:
        inputs = (float(modality.entries.min()), float(modality.entries.max()))
    return GreyScale(
        slope=slope,
        intercept=intercept,
        modality=modality,
        voi=read_lut(
            dataset, "VOILUTSequence", inputs=inputs, signed=layout.signed or intercept < 0, big_endian=big_endian
        ),
        windows=_read_windows(dataset),
        window_function=(text(dataset, "VOILUTFunction") or "LINEAR").upper(),
        presentation=presentation,
        inverted=inverted and presentation is None,
        padding=_read_padding(dataset),
        palette=(
            read_palette(dataset, inputs=layout.stored_range, big_endian=big_endian)
            if layout.photometric == PALETTE
            else None
        ),
    )


def _read_windows(dataset: Dataset) -> tuple[tuple[float, float], ...]:
    """Read the centre and width of each window."""
    centres, widths = numbers(dataset, "WindowCenter") or [], numbers(dataset, "WindowWidth") or []
    linear = (text(dataset, "VOILUTFunction") or "LINEAR").upper() == "LINEAR"
    windows = tuple(
        (centre, width)
        for centre, width in list(zip(centres, widths, strict=False))[:_MOST_WINDOWS]
        if width > 0 and not (linear and width < 1)
    )
    if centres and widths and not windows:
        logger.warning("the window has no width: the range of the radiograph's own values is used")
    return windows


def _read_padding(dataset: Dataset) -> tuple[int, int] | None:
    value = number(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = number(dataset, "PixelPaddingRangeLimit")
    return int(value), int(value if limit is None else limit)


def _palette_levels(palette: Palette, stored: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the grey levels of all stored values, and reject a palette if the radiograph uses its colours."""
    check_coloured(float((palette.coloured.at(stored) * counts).sum() / counts.sum()))
    return palette.grey.at(stored) / palette.grey.full


def _counts(codes: Samples, size: int, hidden: Mask | None) -> NDArray[np.int64]:
    """Count the occurrences of each code below `size` among the pixels (H, W) that are not hidden."""
    counts = np.zeros(size, np.int64)
    for top in range(0, len(codes), _ROWS_AT_ONCE):
        rows = codes[top : top + _ROWS_AT_ONCE]
        seen = rows.ravel() if hidden is None else rows[~hidden[top : top + _ROWS_AT_ONCE]]
        counts += np.bincount(seen, minlength=size)[:size]
    return counts


def _check_contrast(stored: NDArray[np.int64], levels: NDArray[np.float64], counts: NDArray[np.int64]) -> None:
    """Reject a radiograph whose window and tables leave no contrast; it would pass for a badly exposed one."""
    few = len(np.unique(levels[counts > 0])) < FEWEST_LEVELS
    if few or (_spread(levels, counts) <= _EVEN < _spread(stored, counts)):
        raise Rejection(
            RejectionCode.NO_CONTRAST,
            "The DICOM window (or look-up table) leaves no contrast on this radiograph, though its stored pixels have"
            " some. Send it again with another window.",
        )


def _spread(values: NDArray[Any], counts: NDArray[np.int64]) -> float:
    """Return the range of values with these counts, without the half per cent at either end (as views are cut)."""
    low, high = _middle_range(values, counts)
    return high - low


def _middle_range(values: NDArray[Any], counts: NDArray[np.int64]) -> tuple[float, float]:
    """Return the lowest and highest of values with these counts, without the half per cent at either end."""
    order = np.argsort(values)
    share = np.cumsum(counts[order]) / counts.sum()
    low, high = values[order[np.searchsorted(share, (0.005, 0.995))]]
    return float(low), float(high)


def _windowed(values: NDArray[np.float64], centre: float, width: float, function: str) -> NDArray[np.float64]:
    """Map values through a window (PS3.3, C.11.2.1.2 and C.11.2.1.3) to 0..1."""
    if function == "SIGMOID":
        return np.asarray(1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - centre) / width, -700.0, 700.0))))
    if function == "LINEAR_EXACT":
        return np.clip((values - centre) / width + 0.5, 0.0, 1.0)
    if width == 1:
        return np.where(values > centre - 0.5, 1.0, 0.0)
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0.0, 1.0)


def colour_to_grey(coded: CodedPixels, layout: Layout) -> Image:
    """Return the grey levels, (H, W), 0..1, of a grey radiograph that is stored in colour.

    Raises:
        Rejection: ``unreadable``, ``not_grayscale``, ``no_contrast`` or ``not_a_radiograph``.
    """
    samples = coded.samples
    full = 2**coded.bits - 1
    if samples.ndim == 3:
        if coded.bits not in {8, 16} or layout.signed:
            raise damaged("the DICOM object is in colour of an unusual depth")
        samples = grey_samples(_ybr_to_rgb(samples) if coded.ybr else samples)
    check_samples(samples)
    return np.divide(samples, np.float32(full), dtype=np.float32)


def _ybr_to_rgb(samples: Samples) -> Samples:
    """Convert colours by PS3.3, C.7.6.3.1.2, closely enough to tell grey from colour. Grey itself is exact."""
    if samples.dtype != np.uint8:
        raise damaged("the DICOM object is in YBR colour of an unusual depth")
    import cv2  # noqa: PLC0415

    return np.asarray(cv2.cvtColor(np.ascontiguousarray(samples[:, :, [0, 2, 1]]), cv2.COLOR_YCrCb2BGR), np.uint8)
