"""Directories and tags of TIFF 6.0 and BigTIFF files, and of EXIF blocks, which have the same layout."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from boneage.reading.headers.header import Patch
from boneage.reading.rejections import damaged

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value, by its type."""
_LETTERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
"""Types that hold unsigned integers."""
MOST_ENTRIES = 4096


@dataclass(frozen=True)
class TiffTag:
    """An entry of a TIFF directory.

    Attributes:
        kind: Type of its values.
        count: Number of its values.
        at: Offset of the first value.
        values: The values, if they are at most eight unsigned integers.
        entry: Offset of the entry.
    """

    kind: int
    count: int
    at: int
    values: tuple[int, ...]
    entry: int


@dataclass(frozen=True)
class TiffDirectory:
    """A TIFF directory.

    Attributes:
        at: Offset of the directory.
        tags: Entries by tag.
        next_at: Offset of the field that holds `following`.
        following: Offset of the next directory, or 0.
    """

    at: int
    tags: dict[int, TiffTag] = field(repr=False)
    next_at: int
    following: int

    def value(self, tag: int, default: int | None = None) -> int:
        """Return the first value of a tag, or the default. Without a default the tag is required.

        Raises:
            Rejection: ``unreadable`` if a required tag is missing.
        """
        entry = self.tags.get(tag)
        if entry is not None and entry.values:
            return entry.values[0]
        if default is None:
            raise damaged("the TIFF lacks a tag that it must have")
        return default

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.value(257), self.value(256)

    @property
    def reduced(self) -> bool:
        """True for a page declared a reduced copy or a mask of another page (NewSubfileType, or SubfileType)."""
        return bool(self.value(254, 0) & 5) or self.value(255, 1) == 2


@dataclass(frozen=True)
class TiffFile:
    """A TIFF or BigTIFF file, or the TIFF in an EXIF block.

    Attributes:
        data: The file.
        order: Byte order as `struct` has it, ``<`` or ``>``.
        big: The file is a BigTIFF.
    """

    data: bytes = field(repr=False)
    order: str
    big: bool

    @classmethod
    def of(cls, data: bytes) -> TiffFile:
        """Return the file whose bytes these are."""
        return cls(data, "<" if data[:2] == b"II" else ">", b"+" in data[2:4])

    @property
    def offset_letter(self) -> str:
        """Type of an offset as `struct` has it."""
        return "Q" if self.big else "I"

    @property
    def inline(self) -> int:
        """Bytes of an entry's values that stand in the entry itself."""
        return 8 if self.big else 4

    @property
    def first_at(self) -> int:
        """Offset of the field that holds the offset of the first directory."""
        return 8 if self.big else 4

    def offset(self, at: int) -> int:
        """Return the offset stored here, at most the end of the file, since `struct` takes none beyond 2^63."""
        stated = int(struct.unpack_from(self.order + self.offset_letter, self.data, at)[0])
        return min(stated, len(self.data))

    def directory(self, at: int) -> TiffDirectory:
        """Return the directory at this offset.

        Raises:
            Rejection: ``unreadable`` if it has too many tags.
        """
        (entries,) = struct.unpack_from(self.order + ("Q" if self.big else "H"), self.data, at)
        if entries > MOST_ENTRIES:
            raise damaged("the TIFF has too many tags")
        start, step = at + (8 if self.big else 2), 12 + 2 * (self.inline - 4)
        tags = {}
        for entry in range(start, start + step * entries, step):
            number, tag = self._entry(entry)
            tags[number] = tag
        next_at = start + step * entries
        return TiffDirectory(at, tags, next_at, self.offset(next_at))

    def _entry(self, entry: int) -> tuple[int, TiffTag]:
        tag, kind, count = struct.unpack_from(f"{self.order}HH{self.offset_letter}", self.data, entry)
        at = entry + 4 + self.inline
        if _SIZES.get(kind, 1) * count > self.inline:
            at = self.offset(at)
        letter = _LETTERS.get(kind)
        # No tag that is used has more values (bits of each sample).
        few = letter is not None and 0 < count <= 8
        values = struct.unpack_from(f"{self.order}{count}{letter}", self.data, at) if few else ()
        return tag, TiffTag(kind, count, at, values, entry)

    def array(self, tag: TiffTag | None) -> NDArray[np.int64]:
        """Return all values of a tag that holds the offsets or byte counts of pixels, int64 (n,).

        Raises:
            Rejection: ``unreadable``.
        """
        letter = {3: "u2", 4: "u4", 16: "u8"}.get(tag.kind) if tag else None
        if tag is None or letter is None or tag.at + tag.count * int(letter[1]) > len(self.data):
            raise damaged("the TIFF does not say where its pixels are")
        values = np.frombuffer(self.data, self.order + letter, tag.count, tag.at)
        if tag.count and values.max() > len(self.data):
            raise damaged("the TIFF is cut off")
        return values.astype(np.int64)

    def new_value(self, tag: TiffTag | None, value: int) -> tuple[Patch, ...]:
        """Return the patch that sets the first value of a tag; none if it has this value already."""
        if tag is None or not tag.values or tag.values[0] == value:
            return ()
        return ((tag.at, struct.pack(self.order + _LETTERS[tag.kind], value)),)

    def third(self, tag: TiffTag, which: int) -> tuple[Patch, ...]:
        """Return the patch that leaves a tag only one third of its values: the first (0), second (1) or last (2)."""
        each = tag.count // 3
        size = _SIZES[tag.kind]
        at = tag.at + which * each * size
        if each * size <= self.inline:
            where = self.data[at : at + each * size].ljust(self.inline, b"\0")
        else:
            where = struct.pack(self.order + self.offset_letter, at)
        return ((tag.entry + 4, struct.pack(self.order + self.offset_letter, each) + where),)
