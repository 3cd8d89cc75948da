"""The API's description (OpenAPI 3.1), generated from its operations and their schemas.

What the two modes do not share is described only where it is true: the mode ``open`` has no tokens, no list and no
references of patients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from ninja import NinjaAPI
from ninja.openapi.schema import OpenAPISchema
from ninja.operation import Operation
from pydantic import BaseModel

from boneage.web.api.schemas import Problem, Submission
from boneage.web.codes import CODES
from boneage.web.models import configuration

CLINIC_ONLY = "x-clinic-only"
"""Marks what the mode ``open`` does not have, until the description is written out."""

EVERYWHERE = (
    "internal_error",
    "request_timeout",
    "busy",
    "database_busy",
    "storage_full",
    "storage_read_only",
    "no_database",
)
"""Codes that any operation may answer with."""

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
    """An answer of a request that went well.

    Attributes:
        meaning: one sentence.
        body: its schema, or the media types of a file; None for an answer without a body.
    """

    meaning: str
    body: type[BaseModel] | tuple[str, ...] | None = None


def operation(
    good: Mapping[int, Good],
    *codes: str,
    public: bool = False,
    clinic_only: bool = False,
    body: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Keywords of an operation: what it answers with, and how that is described.

    Args:
        good: by status.
        codes: of `CODES` that it may answer with, besides those of every operation.
        public: it asks for no token.
        clinic_only: the mode ``open`` does not have it.
        body: of the request, in OpenAPI's words, where it is not read by its schema.
    """
    all_codes = list(dict.fromkeys([*([] if public else ["unauthenticated"]), *codes, *EVERYWHERE]))
    models: dict[int, Any] = {
        status: answer.body if isinstance(answer.body, type) else None for status, answer in good.items()
    }
    described: dict[int, Any] = {status: _described(status, answer) for status, answer in good.items()}
    for status in dict.fromkeys(int(CODES[code].status) for code in all_codes):
        models[status] = Problem
        described[status] = _problem(status, [code for code in all_codes if CODES[code].status == status])
    extra: dict[str, Any] = {"responses": described}
    extra |= {CLINIC_ONLY: True} if clinic_only else {}
    extra |= {"requestBody": dict(body)} if body else {}
    written = {"by_alias": True, "exclude_unset": True}  # what an assessment leaves out is left out
    return {"response": models, "openapi_extra": extra, **written, **({"auth": None} if public else {})}


def radiograph_body() -> dict[str, Any]:
    """How a radiograph is submitted; `boneage.web.cases.forms` reads it."""
    schema = Submission.model_json_schema()
    for name, values in schema["properties"].items():
        plain = [one for one in values.pop("anyOf", []) if one != {"type": "null"}]
        if plain and plain[0].get("format") == "date":
            values["anyOf"] = [*plain, {"type": "string", "maxLength": 0}]
        elif plain:
            values.update(plain[0])
        values.pop("default", None)  # a form leaves a field out or empty, and has no null
        if name == "reference":
            values[CLINIC_ONLY] = True
    radiograph = {"contentType": "application/octet-stream"}
    return {
        "required": True,
        "content": {"multipart/form-data": {"schema": schema, "encoding": {"radiograph": radiograph}}},
    }


class ServiceAPI(NinjaAPI):
    """The API with a description that fits the mode it runs in."""

    def get_openapi_operation_id(self, operation: Operation) -> str:
        """The name of its function."""
        return str(operation.view_func.__name__)

    def has(self, operation: Operation) -> bool:
        """Whether the mode it runs in has this operation."""
        return not (configuration().is_open and (operation.openapi_extra or {}).get(CLINIC_ONLY))

    def get_openapi_schema(
        self, *, path_prefix: str | None = None, path_params: dict[str, Any] | None = None
    ) -> OpenAPISchema:
        """As Django Ninja makes it, less what the mode does not have."""
        schema = super().get_openapi_schema(path_prefix=path_prefix, path_params=path_params)
        if configuration().is_open:
            _drop_clinic(schema)
        return cast(OpenAPISchema, _unmarked(schema))


def _described(status: int, answer: Good) -> dict[str, Any]:
    said: dict[str, Any] = {"description": answer.meaning}
    if isinstance(answer.body, tuple):
        said["content"] = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in answer.body}
    return said | ({"headers": _HEADERS[status]} if status in _HEADERS else {})


def _problem(status: int, codes: list[str]) -> dict[str, Any]:
    """Only these codes come with this status: said in words, and in the schema."""
    words = " ".join(f"`{code}`: {CODES[code].meaning}" for code in codes)
    schema = {"properties": {"code": {"enum": codes}}}
    said: dict[str, Any] = {"description": words, "content": {"application/json": {"schema": schema}}}
    return said | ({"headers": _HEADERS[status]} if status in _HEADERS else {})


def _drop_clinic(schema: dict[str, Any]) -> None:
    """Take out what the mode ``open`` does not have."""
    for operations in schema["paths"].values():
        for method in [method for method, said in operations.items() if said.get(CLINIC_ONLY)]:
            del operations[method]
        for said in operations.values():
            said.pop("security", None)
            for status in (401, 403):
                said["responses"].pop(status, None)
    for path in [path for path, operations in schema["paths"].items() if not operations]:
        del schema["paths"][path]
    schema["components"].pop("securitySchemes", None)


def _unmarked(value: Any) -> Any:
    """A part of the description without marks, and in the mode ``open`` without what is marked."""
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
