"""The description of the API (OpenAPI 3.1), generated from its operations and their schemas.

Differences between the modes are described where they apply: the mode ``open`` has no tokens, no list and no patient
references.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, cast

from ninja import NinjaAPI
from ninja.openapi.schema import OpenAPISchema
from ninja.operation import Operation
from pydantic import BaseModel

from boneage.schema import Document
from boneage.web.api.schemas import Problem, Submission
from boneage.web.codes import CODES
from boneage.web.models import configuration

CLINIC_ONLY = "x-clinic-only"
"""Mark of everything that the mode ``open`` does not have; it is removed from the final description."""

EVERYWHERE = (
    "internal_error",
    "request_timeout",
    "busy",
    "database_busy",
    "storage_full",
    "storage_read_only",
    "no_database",
)
"""Codes that every operation may return."""

_RETRY_AFTER = {"Retry-After": {"description": "Seconds after which to ask again.", "schema": {"type": "integer"}}}
_CHALLENGE = {"WWW-Authenticate": {"description": "The kind of token.", "schema": {"const": "Bearer"}}}
_HEADERS = {
    202: _RETRY_AFTER,
    401: _CHALLENGE,
    408: _RETRY_AFTER,
    429: _RETRY_AFTER,
    503: _RETRY_AFTER,
    507: _RETRY_AFTER,
}


@dataclass(frozen=True)
class Good:
    """A successful response.

    Attributes:
        meaning: one sentence.
        body: schema of the body, or the media types of a file; None for a response without a body.
    """

    meaning: str
    body: type[BaseModel] | type[Document] | UnionType | tuple[str, ...] | None = None


def operation(
    good: Mapping[int, Good],
    *codes: str,
    public: bool = False,
    clinic_only: bool = False,
    body: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the keyword arguments of an operation: its responses and their description.

    Args:
        good: successful responses by status.
        codes: codes of `CODES` that it may return, besides those of every operation.
        public: the operation needs no token.
        clinic_only: the mode ``open`` does not have the operation.
        body: OpenAPI description of the request body, if no schema reads it.
    """
    all_codes = list(dict.fromkeys([*([] if public else ["unauthenticated"]), *codes, *EVERYWHERE]))
    models: dict[int, Any] = {
        status: answer.body if isinstance(answer.body, type | UnionType) else None for status, answer in good.items()
    }
    described: dict[int, Any] = {status: _described(status, answer) for status, answer in good.items()}
    for status in dict.fromkeys(int(CODES[code].status) for code in all_codes):
        models[status] = Problem
        described[status] = _problem(status, [code for code in all_codes if CODES[code].status == status])
    extra: dict[str, Any] = {"responses": described}
    extra |= {CLINIC_ONLY: True} if clinic_only else {}
    extra |= {"requestBody": dict(body)} if body else {}
    written = {"by_alias": True, "exclude_unset": True}  # fields that an assessment omits stay omitted
    return {"response": models, "openapi_extra": extra, **written, **({"auth": None} if public else {})}


def radiograph_body() -> dict[str, Any]:
    """Return the OpenAPI description of a submission, which `boneage.web.cases.forms` reads."""
    schema = Submission.model_json_schema()
    for name, values in schema["properties"].items():
        plain = [one for one in values.pop("anyOf", []) if one != {"type": "null"}]
        if plain and plain[0].get("format") == "date":
            values["anyOf"] = [*plain, {"type": "string", "maxLength": 0}]
        elif plain:
            values.update(plain[0])
        values.pop("default", None)  # a form leaves a field out or empty, and has no null
        if name in {"reference", "department"}:
            values[CLINIC_ONLY] = True
    radiograph = {"contentType": "application/octet-stream"}
    return {
        "required": True,
        "content": {"multipart/form-data": {"schema": schema, "encoding": {"radiograph": radiograph}}},
    }


class ServiceAPI(NinjaAPI):
    """The API with a description that fits the mode of the service."""

    def get_openapi_operation_id(self, operation: Operation) -> str:
        """Return the name of the operation's function."""
        return str(operation.view_func.__name__)

    def has(self, operation: Operation) -> bool:
        """Return whether the mode of the service has this operation."""
        return not (configuration().is_open and (operation.openapi_extra or {}).get(CLINIC_ONLY))

    def get_openapi_schema(
        self, *, path_prefix: str | None = None, path_params: dict[str, Any] | None = None
    ) -> OpenAPISchema:
        """Return Django Ninja's schema without the parts that the mode does not have."""
        schema = super().get_openapi_schema(path_prefix=path_prefix, path_params=path_params)
        if configuration().is_open:
            _drop_clinic(schema)
        return cast(OpenAPISchema, _unmarked(schema))


def _described(status: int, answer: Good) -> dict[str, Any]:
    response: dict[str, Any] = {"description": answer.meaning}
    if isinstance(answer.body, tuple):
        file = {"type": "string", "format": "binary"}
        response["content"] = {
            kind: {"schema": {"type": "object"} if kind.endswith("json") else file} for kind in answer.body
        }
    return response | ({"headers": _HEADERS[status]} if status in _HEADERS else {})


def _problem(status: int, codes: list[str]) -> dict[str, Any]:
    """Return the description of an error status, with the codes that it may have."""
    words = " ".join(f"`{code}`: {CODES[code].meaning}" for code in codes)
    schema = {"properties": {"code": {"enum": codes}}}
    response: dict[str, Any] = {"description": words, "content": {"application/json": {"schema": schema}}}
    return response | ({"headers": _HEADERS[status]} if status in _HEADERS else {})


def _drop_clinic(schema: dict[str, Any]) -> None:
    """Remove everything that the mode ``open`` does not have."""
    for operations in schema["paths"].values():
        for method in [method for method, details in operations.items() if details.get(CLINIC_ONLY)]:
            del operations[method]
        for details in operations.values():
            details.pop("security", None)
            for status in (401, 403):
                details["responses"].pop(status, None)
    for path in [path for path, operations in schema["paths"].items() if not operations]:
        del schema["paths"][path]
    schema["components"].pop("securitySchemes", None)


def _unmarked(value: Any) -> Any:
    """Return a part of the description without marks, and in the mode ``open`` without the marked parts."""
    if isinstance(value, list):
        return [_unmarked(one) for one in value]
    if not isinstance(value, dict):
        return value
    left_out = configuration().is_open
    return {
        key: _unmarked(one)
        for key, one in value.items()
        if key != CLINIC_ONLY and not (left_out and isinstance(one, dict) and one.get(CLINIC_ONLY))
    }
