"""To come."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse


def users(_request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
    """To come."""
    return HttpResponse("to come", status=501)


def user(_request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
    """To come."""
    return HttpResponse("to come", status=501)


def audit_log(_request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
    """To come."""
    return HttpResponse("to come", status=501)
