"""To come."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse


def home(_request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
    """To come."""
    return HttpResponse("to come", status=501)


def submit(_request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
    """To come."""
    return HttpResponse("to come", status=501)


def about(_request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
    """To come."""
    return HttpResponse("to come", status=501)
