"""JSON responses for methods and addresses that the API does not have."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from boneage.web.api.application import api
from boneage.web.api.errors import problem

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


def add_fallbacks() -> None:
    """Answer all other methods and addresses. Call this once, after all operations have been added."""
    for path in list(api.default_router.path_operations):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"Field\(s\)")  # the parameters of the path do not matter here
            api.api_operation(_METHODS, path, auth=None, include_in_schema=False)(_not_allowed_at(path))
    api.api_operation(_METHODS, "/{path:rest}", auth=None, include_in_schema=False)(_not_found)


def not_allowed(path: str) -> HttpResponse:
    """Return 405 with the methods that the path has in this mode; 404 if it has none."""
    operations = api.default_router.path_operations[path].operations
    available = [operation for operation in operations if operation.include_in_schema and api.has(operation)]
    if not available:
        return problem("not_found")
    response = problem("method_not_allowed")
    response.headers["Allow"] = ", ".join(sorted(method for operation in available for method in operation.methods))
    return response


def _not_allowed_at(path: str) -> Callable[[HttpRequest], HttpResponse]:
    def answer(request: HttpRequest) -> HttpResponse:
        return not_allowed(path)

    return answer


def _not_found(request: HttpRequest, rest: str) -> HttpResponse:
    return problem("not_found")
