"""Values of DICOM elements as text, numbers and dates, within bounds.

A malformed value counts as missing. It is logged by its keyword and never by its content, which may be a patient's.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import MutableSequence
from datetime import date
from typing import TYPE_CHECKING, Any, overload

from boneage.reading.dicom.bounds import NUMBERS, TEXTS, bounded_value
from boneage.reading.rejections import damaged

if TYPE_CHECKING:
    from pydicom import Dataset
logger = logging.getLogger(__name__)

_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})")
"""Date, with or without the dots of the former standard."""
_DECIMAL_COMMA = re.compile(r" *[+-]?\d*,\d+(?:[eE][+-]?\d+)? *")
"""Number with a decimal comma, as some manufacturers write it."""


def text(dataset: Dataset, keyword: str) -> str | None:
    """Return the first value as stripped text, or None if it is absent or empty."""
    return next(iter(texts(dataset, keyword)), None)


def texts(dataset: Dataset, keyword: str) -> list[str]:
    """Return all values as stripped texts; empty ones are left out."""
    value = _value(dataset, keyword)
    if value is None or isinstance(value, bytes):
        return []
    parts = list(value) if isinstance(value, MutableSequence) else [value]  # a person name is one value
    return [part for part in (str(part).strip(" \0") for part in parts) if part]


@overload
def number(dataset: Dataset, keyword: str) -> float | None: ...
@overload
def number(dataset: Dataset, keyword: str, *, default: float) -> float: ...
def number(dataset: Dataset, keyword: str, *, default: float | None = None) -> float | None:
    """Return the first value as a finite number, or the default if the values are absent or malformed."""
    values = numbers(dataset, keyword)
    return values[0] if values else default


def numbers(dataset: Dataset, keyword: str) -> list[float] | None:
    """Return all values as finite numbers, or None if they are absent or malformed."""
    value = _value(dataset, keyword)
    if value is None or value == "" or isinstance(value, bytes):
        return None
    parts = value if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
    try:
        converted = [_as_number(part) for part in parts]
    except (TypeError, ValueError, OverflowError):
        converted = []
    if not converted or not all(math.isfinite(part) for part in converted):
        log_malformed(keyword)
        return None
    return converted


def integer(dataset: Dataset, keyword: str, default: int | None = None) -> int:
    """Return the first value as an integer.

    Args:
        dataset: The DICOM object.
        keyword: Keyword of the element.
        default: Value if the element is absent or malformed. Without a default the element is required.

    Raises:
        Rejection: ``unreadable`` if a required element is absent or malformed.
    """
    value = number(dataset, keyword)
    if value is None:
        if default is None:
            raise damaged(f"the DICOM object has no proper {keyword}")
        return default
    return int(value)


def day(dataset: Dataset, keyword: str) -> date | None:
    """Return the first value as a date, or None if it is absent or malformed."""
    value = text(dataset, keyword)
    if value is None:
        return None
    match = _DATE.fullmatch(value)
    if match is not None:
        try:
            return date(int(match[1]), int(match[2]), int(match[3]))
        except ValueError:  # such as the 31st of February
            pass
    log_malformed(keyword)
    return None


def log_malformed(keyword: str) -> None:
    """Log that the value of an element is malformed."""
    logger.warning("the DICOM header has a malformed %s: not used", keyword)


def _value(dataset: Dataset, keyword: str) -> Any:
    try:
        bounded = bounded_value(dataset, keyword, TEXTS | NUMBERS)
    # pydicom converts values on access, and a damaged one can raise nearly any error.
    except Exception:
        log_malformed(keyword)
        return None
    return bounded[0] if bounded is not None else None


def _as_number(part: Any) -> float:
    """Return a number; it may have a decimal comma."""
    if isinstance(part, str) and _DECIMAL_COMMA.fullmatch(part):
        part = part.replace(",", ".")
    return float(part)
