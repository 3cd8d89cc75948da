"""To come."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse


def login(_request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
    """To come."""
    return HttpResponse("to come", status=501)


def logout(_request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
    """To come."""
    return HttpResponse("to come", status=501)


def account(_request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
    """To come."""
    return HttpResponse("to come", status=501)


def revoke_token(_request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
    """To come."""
    return HttpResponse("to come", status=501)


def locked_out(_request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
    """To come."""
    return HttpResponse("to come", status=501)
