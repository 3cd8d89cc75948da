"""To come."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse


def bad_request(_request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
    """To come."""
    return HttpResponse("to come", status=501)


def forbidden(_request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
    """To come."""
    return HttpResponse("to come", status=501)


def not_found(_request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
    """To come."""
    return HttpResponse("to come", status=501)


def server_error(_request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
    """To come."""
    return HttpResponse("to come", status=501)


def csrf_failure(_request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
    """To come."""
    return HttpResponse("to come", status=501)
