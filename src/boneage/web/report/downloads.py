"""Responses that are files, with names that reveal nothing about a patient."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

from boneage.tables.spreadsheet import csv_lines
from boneage.web.models import Assessment


def file_of(
    assessment: Assessment, data: bytes, media_type: str, ending: str, *, is_shown: bool = False
) -> HttpResponse:
    """Return a file made from an assessment.

    Args:
        assessment: its id begins the name of the file.
        data: bytes of the file.
        media_type: media type of the bytes.
        ending: ending of the name, such as ``.pdf``.
        is_shown: browsers show the file; otherwise they save it.
    """
    response = HttpResponse(data, content_type=media_type)
    disposition = "inline" if is_shown else "attachment"
    response.headers["Content-Disposition"] = f'{disposition}; filename="bone-age-{str(assessment.pk)[:8]}{ending}"'
    return response


def csv_table(name: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> StreamingHttpResponse:
    """Return a table for spreadsheets, sent while its rows are read."""
    response = StreamingHttpResponse(csv_lines(columns, rows), content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def is_known(request: HttpRequest, tag: str) -> bool:
    """Return whether the browser has the version with this tag and requests only a newer one."""
    return request.headers.get("If-None-Match") == tag


def tagged(response: HttpResponse, tag: str, cache_control: str) -> HttpResponse:
    """Return the response with the headers that let a browser cache it and check for changes."""
    response.headers["ETag"] = tag
    response.headers["Cache-Control"] = cache_control
    return response
