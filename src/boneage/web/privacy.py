"""Log filters that keep patient data out of the log."""

from __future__ import annotations

import logging
import traceback
from types import TracebackType
from typing import Any

from boneage.errors import BoneageError

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})

SECURITY = "django.security."
"""Prefix of the loggers whose messages repeat hosts, paths and fields as they were sent."""


class WithoutPatients(logging.Filter):
    """Filter that removes the request from a log record, and the paths and hosts that its message repeats."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Clean the record and keep it."""
        request = record.__dict__.pop("request", None)
        if record.name.startswith(SECURITY):
            record.msg, record.args = "a request was turned away: %s", (record.name.removeprefix(SECURITY),)
            record.exc_info = None
        elif request is not None and record.name.startswith("django."):
            record.msg = "%s %s: %s"
            record.args = (_method(request), _route(request), record.__dict__.get("status_code"))
        return True


def _method(request: Any) -> str:
    return str(request.method) if request.method in METHODS else "request"


def _route(request: Any) -> str:
    """Return the pattern of the address, without its values."""
    match = getattr(request, "resolver_match", None)
    return f"/{match.route}" if match is not None else "to an unknown address"


def printable(text: str) -> str:
    """Return the text in one line. Control characters become escapes, so that nobody can forge a line of the log."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class WithoutMessages(logging.Formatter):
    """Formatter that prints the place and the type of an exception, but not its message, which may repeat user input.

    A `BoneageError` adds its code, which is from a fixed list.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return one record as text."""
        record.exc_text = None  # another handler's formatter may have left the message there
        try:
            return super().format(record)
        finally:
            record.exc_text = None

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the message as one line."""
        record.message = printable(record.message)
        return super().formatMessage(record)

    def formatException(  # noqa: N802 - logging's name
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        """Return the frames of an exception and of its causes, the first cause first."""
        parts: list[str] = []
        error: BaseException | None = ei[1]
        while error is not None and len(parts) < 10:
            code = f" [{error.code}]" if isinstance(error, BoneageError) else ""
            frames = "".join(traceback.format_tb(error.__traceback__))
            parts.append(f"Traceback:\n{frames}{type(error).__module__}.{type(error).__qualname__}{code}")
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\nled to\n".join(reversed(parts))
