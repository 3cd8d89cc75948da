"""No patient data in logs."""

from __future__ import annotations

import logging
import traceback
from types import TracebackType

from boneage.errors import BoneageError


class WithoutPatients(logging.Filter):
    """Takes the request off a record, so that no handler prints its headers, cookies or form."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always keep the record."""
        record.__dict__.pop("request", None)
        return True


class WithoutMessages(logging.Formatter):
    """Prints where an exception came from and its kind, but not its message: that may repeat what a user typed.

    A `BoneageError` adds its code, which is from a fixed list.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One record as text."""
        record.exc_text = None  # another handler's formatter may have left the message there
        try:
            return super().format(record)
        finally:
            record.exc_text = None

    def formatException(  # noqa: N802 - logging's name
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        """The frames of an exception and of those that led to it, the first one first."""
        parts: list[str] = []
        error: BaseException | None = ei[1]
        while error is not None and len(parts) < 10:
            code = f" [{error.code}]" if isinstance(error, BoneageError) else ""
            frames = "".join(traceback.format_tb(error.__traceback__))
            parts.append(f"Traceback:\n{frames}{type(error).__module__}.{type(error).__qualname__}{code}")
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\nled to\n".join(reversed(parts))
