"""Answers that are files, under names that tell nothing of a patient."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

from boneage.tables.spreadsheet import csv_lines
from boneage.web.models import Assessment


def file_of(
    assessment: Assessment, data: bytes, media_type: str, ending: str, *, is_shown: bool = False
) -> HttpResponse:
    """A file made of an assessment.

    Args:
        assessment: whose id's beginning names the file.
        data: its bytes.
        media_type: what they are.
        ending: of its name, such as ``.pdf``.
        is_shown: browsers show it; else they keep it.
    """
    response = HttpResponse(data, content_type=media_type)
    disposition = "inline" if is_shown else "attachment"
    response.headers["Content-Disposition"] = f'{disposition}; filename="bone-age-{str(assessment.pk)[:8]}{ending}"'
    return response


def csv_table(name: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> StreamingHttpResponse:
    """A table for spreadsheets, sent while its rows are read."""
    response = StreamingHttpResponse(csv_lines(columns, rows), content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def is_known(request: HttpRequest, tag: str) -> bool:
    """Whether the browser has what this tag stands for, and wants it only if it is another."""
    return request.headers.get("If-None-Match") == tag


def tagged(response: HttpResponse, tag: str, cache_control: str) -> HttpResponse:
    """The same with what a browser needs to keep it and to ask whether it has changed."""
    response.headers["ETag"] = tag
    response.headers["Cache-Control"] = cache_control
    return response
