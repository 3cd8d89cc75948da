"""Bounds on the work that a DICOM object may cause: elements, nesting, character sets, lengths of values.

An element may arrive under any value representation, repeated and nested at will, and pydicom follows. Ordinary
radiographs have some hundred elements. None of those that are used is longer than a few hundred bytes.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

from boneage.reading.rejections import damaged

if TYPE_CHECKING:
    from pydicom import Dataset

MOST_READS = 100_000
"""Pieces in which one object may be read. Each element, item and fragment takes two or three."""
_MOST_CHARACTER_SET_BYTES = 16_384
"""Bytes of all elements Specific Character Set together. Each value is looked up while the object is read."""
LONGEST_VALUE = 16_384
"""Bytes of a text or of numbers. The vertices of a display shutter are the longest value that is used."""
_CHARACTER_SET = {b"\x08\x00\x05\x00", b"\x00\x08\x00\x05"}
_TAG_AND_LENGTH = 8

TEXTS = frozenset(
    {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}
)
NUMBERS = frozenset({"US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "US or SS"})
BYTES = frozenset({"OB", "OW", "OF", "OL", "UN", "OB or OW", "US or OW"})
"""Value representations that hold bytes. `TEXTS` and `NUMBERS` hold the others; sequences and tags belong to none."""


class BoundedBytes(BytesIO):
    """A file in memory that pydicom may read only in so many pieces, and so many bytes.

    Args:
        data: The file.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._reads = MOST_READS
        self._bytes = 4 * len(data) + 2**20  # pydicom reads some elements twice
        self._character_set_bytes = _MOST_CHARACTER_SET_BYTES
        self._tag = b""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read like `io.BytesIO.read`.

        Raises:
            Rejection: ``unreadable`` if a bound is exceeded.
        """
        content = super().read(size)
        self._reads -= 1
        self._bytes -= len(content)
        if self._tag in _CHARACTER_SET:
            self._character_set_bytes -= len(content)
        if len(content) == _TAG_AND_LENGTH:
            self._tag = content[:4]
        if self._reads < 0 or self._bytes < 0 or self._character_set_bytes < 0:
            raise damaged("the DICOM object has too many elements, items or values")
        return content


_header_lock = threading.Lock()


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom from warning and logging, which it may do thousands of times, quoting patient data.

    Its logger and Python's warnings belong to all threads, so only one thread is inside at a time.
    """
    logger = logging.getLogger("pydicom")
    with _header_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        disabled, logger.disabled = logger.disabled, True
        try:
            yield
        finally:
            logger.disabled = disabled


def bounded_value(
    dataset: Dataset, keyword: str, kinds: frozenset[str], longest: int = LONGEST_VALUE
) -> tuple[Any, str] | None:
    """Return the value and value representation of an element if it is of an allowed kind and short enough.

    Nothing is converted before both are checked.

    Args:
        dataset: The DICOM object, or an item of it.
        keyword: Keyword of the element.
        kinds: Value representations that are allowed.
        longest: Largest length of the value in the file, in bytes.

    Returns:
        None if there is no such element.

    Raises:
        ValueError: The element is of another kind or too long. Its conversion may raise nearly any other error.
    """
    from pydicom.dataelem import RawDataElement  # noqa: PLC0415  # slow to import

    element = dataset.get_item(keyword)
    if element is None:
        return None
    if isinstance(element, RawDataElement):
        if len(element.value or b"") > longest or (element.VR or "UN") not in kinds | {"UN"}:
            raise ValueError("the element is of another kind, or too long")
        element = dataset[element.tag]
    if element.VR not in kinds:
        raise ValueError("the element is of another kind")
    return element.value, element.VR


def bounded_item(dataset: Dataset, keyword: str) -> Dataset | None:
    """Return the first item of a sequence, or None if there is none.

    Raises:
        ValueError: The element is not a sequence. Parsing it may raise nearly any other error.
        Rejection: ``unreadable`` if the sequence holds too much.
    """
    from pydicom.dataelem import RawDataElement  # noqa: PLC0415  # slow to import
    from pydicom.filereader import read_sequence  # noqa: PLC0415  # as above

    element = dataset.get_item(keyword)
    if element is None:
        return None
    if isinstance(element, RawDataElement):
        if (element.VR or "UN") not in {"SQ", "UN"}:
            raise ValueError("the element is not a sequence")
        content = BoundedBytes(element.value or b"")  # a trial, since pydicom itself sets no bounds
        read_sequence(content, element.is_implicit_VR, element.is_little_endian, element.length, "iso8859")
        element = dataset[element.tag]
    if element.VR != "SQ":
        raise ValueError("the element is not a sequence")
    return element.value[0] if element.value else None
