"""Bounds on what a DICOM object may make its reader do: elements, nesting, character sets, lengths of values.

An element may be sent under any value representation, repeated and nested at will, and pydicom follows.
Ordinary radiographs have some hundred elements, none of those that are used longer than a few hundred bytes.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

from boneage.reading.image_headers import damaged

if TYPE_CHECKING:
    from pydicom import Dataset

MOST_READS = 100_000
"""Pieces in which one object may be read. Each element, item and fragment takes two or three."""
_MOST_CHARACTER_SET_BYTES = 16_384
"""In all elements Specific Character Set together: each value is looked up while the object is read."""
LONGEST_VALUE = 16_384
"""Bytes of a text or of numbers. The vertices of a display shutter are the longest that are used."""
_CHARACTER_SET = {b"\x08\x00\x05\x00", b"\x00\x08\x00\x05"}
_TAG_AND_LENGTH = 8

TEXTS = frozenset(
    {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}
)
NUMBERS = frozenset({"US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "US or SS"})
BYTES = frozenset({"OB", "OW", "OF", "OL", "UN", "OB or OW", "US or OW"})
"""Value representations by what they hold. Sequences, tags and the longest numbers belong to none."""


class BoundedBytes(BytesIO):
    """A file in memory from which pydicom may read only so much, and so often.

    Args:
        data: the file.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._reads = MOST_READS
        self._bytes = 4 * len(data) + 2**20  # pydicom goes over some elements twice
        self._character_set_bytes = _MOST_CHARACTER_SET_BYTES
        self._tag = b""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as `io.BytesIO.read` does.

        Raises:
            Rejection: ``unreadable`` if it was too much.
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
    """Keep pydicom from warning and logging: it may do so thousands of times, and quote patient data.

    Its logger and Python's warnings are of all threads, so only one thread is inside at a time.
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
    """Return an element's value and value representation if that is of the kinds asked for, and the value short.

    Nothing is converted before both are checked.

    Args:
        dataset: the DICOM object, or an item of it.
        keyword: of the element.
        kinds: value representations that may stand there.
        longest: bytes that the value may have in the file.

    Returns:
        None if there is no such element.

    Raises:
        ValueError: it is of another kind or too long. Converting it may raise nearly any other error.
    """
    from pydicom.dataelem import RawDataElement  # noqa: PLC0415  # slow to import

    element = dataset.get_item(keyword)
    if element is None:
        return None
    if isinstance(element, RawDataElement):
        if len(element.value or b"") > longest or (element.VR or "UN") not in kinds | {"UN"}:
            raise ValueError("of another kind, or too long")
        element = dataset[element.tag]
    if element.VR not in kinds:
        raise ValueError("of another kind")
    return element.value, element.VR


def bounded_item(dataset: Dataset, keyword: str) -> Dataset | None:
    """Return the first item of a sequence; None if there is none.

    Raises:
        ValueError: the element is no sequence. Parsing it may raise nearly any other error.
        Rejection: ``unreadable`` if the sequence holds too much.
    """
    from pydicom.dataelem import RawDataElement  # noqa: PLC0415  # slow to import
    from pydicom.filereader import read_sequence  # noqa: PLC0415  # as above

    element = dataset.get_item(keyword)
    if element is None:
        return None
    if isinstance(element, RawDataElement):
        if (element.VR or "UN") not in {"SQ", "UN"}:
            raise ValueError("no sequence")
        content = BoundedBytes(element.value or b"")  # parsed on trial: pydicom itself would set no bounds
        read_sequence(content, element.is_implicit_VR, element.is_little_endian, element.length, "iso8859")
        element = dataset[element.tag]
    if element.VR != "SQ":
        raise ValueError("no sequence")
    return element.value[0] if element.value else None
