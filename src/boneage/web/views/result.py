"""To come."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse


def page(_request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
    """To come."""
    return HttpResponse("to come", status=501)


def state(_request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
    """To come."""
    return HttpResponse("to come", status=501)


def radiograph(_request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
    """To come."""
    return HttpResponse("to come", status=501)


def heat(_request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
    """To come."""
    return HttpResponse("to come", status=501)


def decide(_request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
    """To come."""
    return HttpResponse("to come", status=501)


def delete(_request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
    """To come."""
    return HttpResponse("to come", status=501)
