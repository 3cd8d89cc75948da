"""The logs of all processes: filters that keep patient data out, and the forms of a line, text or JSON."""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from boneage.errors import BoneageError

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})

ACCESS = "boneage.access"
"""Logger with one line for each request."""

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
            record.args = (_method(request), route_of(request), record.__dict__.get("status_code"))
        return True


def _method(request: Any) -> str:
    return str(request.method) if request.method in METHODS else "request"


def route_of(request: Any) -> str:
    """Return the pattern of the address, without its values."""
    match = getattr(request, "resolver_match", None)
    return f"/{match.route}" if match is not None else "to an unknown address"


def note_access(method: str, route: str, status: int, seconds: float, user: int | None = None) -> None:
    """Log a request.

    Args:
        method: HTTP method.
        route: pattern of the address, which names no object.
        status: HTTP status.
        seconds: duration.
        user: number of the account; None for nobody.
    """
    event = {
        "method": method if method in METHODS else "other",
        "route": route,
        "status": status,
        "milliseconds": round(1000 * seconds),
        "user": user,
    }
    logging.getLogger(ACCESS).info(
        "%(method)s %(route)s %(status)d %(milliseconds)d ms, user %(user)s", event, extra={"event": event}
    )


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

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        """Return the time by ISO 8601 with its zone, UTC."""
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")

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


class JsonLines(WithoutMessages):
    """The same as one JSON object a line: ``time``, ``level``, ``logger``, ``process``, ``message``, the fields of
    the record's ``event``, and ``exception`` with place and type.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return one record as a line."""
        line: dict[str, Any] = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
            **record.__dict__.get("event", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True, default=str)


def logging_settings(*, is_json: bool, with_access: bool) -> dict[str, Any]:
    """Return the configuration of `logging.config.dictConfig` for every process of the service.

    Args:
        is_json: each line is a JSON object.
        with_access: each request is logged.
    """
    text = {"()": "boneage.web.privacy.WithoutMessages", "format": "{asctime} {levelname} {name}: {message}"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "boneage.web.privacy.JsonLines"} if is_json else {**text, "style": "{"}},
        "filters": {"private": {"()": "boneage.web.privacy.WithoutPatients"}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["private"]}},
        "root": {"handlers": ["console"], "level": "WARNING"},
        "loggers": {
            "boneage": {"level": "INFO"},
            ACCESS: {"level": "INFO" if with_access else "WARNING"},
            "django": {"handlers": [], "level": "WARNING"},  # Django's own would mail whole requests
            "django.request": {"level": "ERROR"},  # a path that is not found holds what somebody typed
            "django.server": {"handlers": [], "level": "WARNING", "propagate": True},
            "django_tasks": {"level": "WARNING"},
            "django_tasks_db": {"level": "WARNING"},
            "authlib": {"level": "WARNING"},  # its debug lines hold secrets of a login
            "axes": {"level": "ERROR"},  # its warnings name the user who mistyped
        },
    }


def log_uncaught() -> None:
    """Log exceptions that end this process or a thread of it, and warnings of Python, like all else.

    Otherwise they would go to standard error with their messages.
    """
    log = logging.getLogger("boneage.uncaught")

    def of_process(kind: type[BaseException], error: BaseException, frames: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, frames)
        else:
            log.critical("the process ends", exc_info=(kind, error, frames))

    def of_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            log.critical("a thread ends", exc_info=args.exc_value)

    sys.excepthook = of_process
    threading.excepthook = of_thread
    logging.captureWarnings(capture=True)
