"""Look-up tables of DICOM objects: modality, VOI and presentation tables, and palettes.

Tables are often damaged in ways that leave them usable. Everything that is ignored or completed is logged.

Sources: DICOM PS3.3, C.11.1 and C.11.2 (modality and VOI tables), C.7.6.3.1.5 and C.7.9 (palettes).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from boneage.reading.dicom.bounds import BYTES, NUMBERS, bounded_item, bounded_value
from boneage.reading.dicom.tags import numbers
from boneage.reading.images import COLOUR_TOLERANCE
from boneage.reading.rejections import damaged

if TYPE_CHECKING:
    from pydicom import Dataset

logger = logging.getLogger(__name__)

_MOST_ENTRIES = 65536
_LONGEST_TABLE = 2 * _MOST_ENTRIES + 2
"""Bytes of a table."""
_CHANNELS = ("Red", "Green", "Blue")
_ROUGHER = 4.0
"""Factor by which the roughness of a table read at the wrong width exceeds that at the right width, at least.

At the wrong width a table jumps up and down hundreds of times as much.
"""


@dataclass(frozen=True)
class Lut:
    """A look-up table of PS3.3, C.11.1.1.

    Attributes:
        first: First value that is mapped.
        entries: float64 (n,), n from 1 to 65,536.
    """

    first: int
    entries: NDArray[np.float64] = field(repr=False)

    def at(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the entries at these values. Beyond the ends these are the first and the last."""
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        entries: NDArray[np.float64] = self.entries[index.astype(np.int64)]
        return entries

    @property
    def full(self) -> float:
        """Output that is white: the largest number of as many bits as the entries really take.

        The descriptor's number of bits is not used, since entries of 12 bits are often declared as 16.
        """
        return float(max(1, 2 ** int(self.entries.max()).bit_length() - 1))

    @property
    def last(self) -> int:
        """Last value that has an entry of its own."""
        return self.first + len(self.entries) - 1


@dataclass(frozen=True)
class Palette:
    """A palette as grey levels.

    Attributes:
        grey: Mean of the three channels.
        coloured: 1 where the channels differ by more than those of a grey pixel may, else 0.
    """

    grey: Lut
    coloured: Lut


def read_lut(
    dataset: Dataset, keyword: str, *, inputs: tuple[float, float], signed: bool, big_endian: bool
) -> Lut | None:
    """Read the first item of a LUT sequence.

    The last entry of a table that is too short is repeated.

    Args:
        dataset: The DICOM object.
        keyword: Keyword of the sequence.
        inputs: Lowest and highest value that may be looked up.
        signed: True if the first value mapped has a sign.
        big_endian: Byte order of the object.

    Returns:
        None if there is no table, or an empty one, which is logged.

    Raises:
        Rejection: ``unreadable``.
    """
    item = bounded_item(dataset, keyword)
    if item is None:
        return None
    lut = _described(numbers(item, "LUTDescriptor"), _words(item, "LUTData", big_endian), inputs, signed=signed)
    if lut is None:
        logger.warning("the look-up table of %s is empty: not used", keyword)
    return lut


def read_palette(dataset: Dataset, *, inputs: tuple[float, float], big_endian: bool) -> Palette:
    """Read the palette of a PALETTE COLOR object, plain or segmented.

    Args:
        dataset: The DICOM object.
        inputs: Lowest and highest stored value.
        big_endian: Byte order of the object.

    Raises:
        Rejection: ``unreadable`` if a palette is missing or damaged.
    """
    channels = [_channel(dataset, colour, inputs, big_endian) for colour in _CHANNELS]
    first, count = channels[0].first, len(channels[0].entries)
    if any((channel.first, len(channel.entries)) != (first, count) for channel in channels):
        raise damaged("the palettes of the DICOM object's three colours differ in length")
    levels = np.stack([channel.entries for channel in channels])
    full = max(channel.full for channel in channels)
    coloured = np.ptp(levels, axis=0) > COLOUR_TOLERANCE * full
    return Palette(Lut(first, levels.mean(axis=0)), Lut(first, coloured.astype(float)))


def _channel(dataset: Dataset, colour: str, inputs: tuple[float, float], big_endian: bool) -> Lut:
    descriptor = numbers(dataset, f"{colour}PaletteColorLookupTableDescriptor")
    data = _words(dataset, f"{colour}PaletteColorLookupTableData", big_endian)
    if not data and descriptor is not None and len(descriptor) == 3:
        segments = _words(dataset, f"Segmented{colour}PaletteColorLookupTableData", big_endian)
        data = _expanded(segments, wide=descriptor[2] > 8)
    lut = _described(descriptor, data, inputs, signed=inputs[0] < 0)
    if lut is None:
        raise damaged("the DICOM object is in palette colours, but a palette is missing")
    return lut


def _words(item: Dataset, keyword: str, big_endian: bool) -> bytes:
    """Return the content of a table, its 16-bit words in little endian, or nothing if it is absent."""
    value, kind = bounded_value(item, keyword, BYTES | NUMBERS, longest=_LONGEST_TABLE) or (None, "")
    if isinstance(value, bytes):
        swapped = big_endian and kind != "OB"
        return np.frombuffer(value[: len(value) // 2 * 2], ">u2").astype("<u2").tobytes() if swapped else value
    if value is None or kind not in {"US", "SS"}:
        return b""
    return (np.asarray(value, dtype=np.int64).ravel()[:_MOST_ENTRIES] % 65536).astype("<u2").tobytes()


def _described(descriptor: list[float] | None, data: bytes, inputs: tuple[float, float], *, signed: bool) -> Lut | None:
    """Return the table that a descriptor declares, or None if descriptor or data are empty.

    The descriptor holds the number of entries, the first value mapped, and the bits of an entry.
    """
    if descriptor is None or len(descriptor) != 3 or not data:
        return None
    count, first, bits = (int(value) for value in descriptor)
    if not 1 <= bits <= 16:
        raise damaged("a look-up table of the DICOM object is damaged")
    # 0 stands for 65,536, and a signed value representation shows the upper half negative.
    count = count % _MOST_ENTRIES or _MOST_ENTRIES
    entries = _entries(data, count, bits)
    if len(entries) == 0:
        return None
    if len(entries) < count:
        logger.warning("a look-up table of the DICOM object has fewer entries than declared: the last one is repeated")
        entries = np.pad(entries, (0, count - len(entries)), mode="edge")
    return Lut(_first(first, count, inputs, signed=signed), entries)


def _entries(data: bytes, count: int, bits: int) -> NDArray[np.float64]:
    """Return at most `count` entries, of 16 or 8 bits.

    The descriptor's bits decide, since a table may be too short. Two kinds of tables do not keep to them: entries of 8
    bits are stored in 16 each, and some entries declared as 16 bits are stored in 8.
    """
    narrow = np.frombuffer(data, np.uint8, min(count, len(data))).astype(float)
    wide = np.frombuffer(data, "<u2", min(count, len(data) // 2)).astype(float)
    exact = count <= len(data) <= count + count % 2
    if bits <= 8:
        return narrow if len(data) <= count + count % 2 else wide
    return narrow if exact and len(wide) and _roughness(narrow) <= _ROUGHER * max(1.0, _roughness(wide)) else wide


def _roughness(entries: NDArray[np.float64]) -> float:
    """Return the total rise and fall of a table, relative to its range: 1 if it only rises."""
    return float(np.abs(np.diff(entries)).sum() / (np.ptp(entries) or 1.0))


def _first(stated: int, count: int, inputs: tuple[float, float], *, signed: bool) -> int:
    """Return the first value mapped, which may be written without its sign, or with a sign that it does not have."""
    above = stated % _MOST_ENTRIES
    below = above - _MOST_ENTRIES if above >= _MOST_ENTRIES // 2 else above
    usual, other = (below, above) if signed or stated < 0 else (above, below)

    def meets(first: int) -> bool:
        return first <= inputs[1] and first + count > inputs[0]

    return other if meets(other) and not meets(usual) else usual


# segmented palettes (PS3.3, C.7.9.2)

_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2


def _expanded(data: bytes, *, wide: bool) -> bytes:
    """Return the entries of a segmented palette as a plain table, at most about twice 65,536."""
    unit = 2 if wide else 1
    units = np.frombuffer(data, f"<u{unit}", min(len(data) // unit, _MOST_ENTRIES)).tolist()
    entries: list[int] = []
    _expand(units, 0, len(units), entries, wide=wide, nested=False)
    return np.array(entries[:_MOST_ENTRIES], f"<u{unit}").tobytes()


def _expand(units: list[int], position: int, count: int, entries: list[int], *, wide: bool, nested: bool) -> None:
    """Append the entries of at most `count` segments from `position` on. A padding byte may follow them."""
    while count > 0 and position + 2 < len(units) and len(entries) < _MOST_ENTRIES:
        code, length = units[position : position + 2]
        position, count = position + 2, count - 1
        if code == _DISCRETE and length:
            entries.extend(units[position : position + length])
            position += length
        elif code == _LINEAR and length and entries:
            line = np.linspace(entries[-1], units[position], length + 1)[1:]
            entries.extend(np.rint(line).astype(int).tolist())
            position += 1
        elif code == _INDIRECT and not nested:
            parts = 2 if wide else 4
            at = sum(part << (32 // parts * place) for place, part in enumerate(units[position : position + parts]))
            _expand(units, at // (2 if wide else 1), length, entries, wide=wide, nested=True)
            position += parts
        else:
            raise damaged("a segmented palette of the DICOM object is damaged")
