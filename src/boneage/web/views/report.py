"""The printable report, and files for download: PDF, JSON, CSV, and a copy of the radiograph for sharing."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from uuid import UUID

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

from boneage.explain import HeatMap
from boneage.tables.spreadsheet import csv_lines
from boneage.web.accounts import audit
from boneage.web.accounts.access import assessment_or_404, for_role, user_of
from boneage.web.cases import exports
from boneage.web.models import Assessment, PictureKind, Role, State
from boneage.web.queue.pictures import stored_picture
from boneage.web.report import pdf as report_pdf
from boneage.web.report import shared_copy as sharing
from boneage.web.report.content import report_of
from boneage.web.report.downloads import file_of

View = Callable[[HttpRequest, Assessment], HttpResponse]


class NothingToExportError(Exception):
    """An export is not possible for this assessment; the text gives the reason in the active language."""


def _export(form: str) -> Callable[[View], Callable[[HttpRequest, UUID], HttpResponseBase]]:
    """Return a decorator for views that export a finished assessment. It checks access and records the export.

    Args:
        form: kind of the export, for the audit log.
    """

    def guard(view: View) -> Callable[[HttpRequest, UUID], HttpResponseBase]:
        @require_safe
        @for_role(Role.READER, in_open=True)
        @wraps(view)
        def guarded(request: HttpRequest, /, pk: UUID) -> HttpResponse:
            assessment = assessment_or_404(pk, user_of(request))
            try:
                if assessment.state != State.DONE:
                    raise NothingToExportError(gettext("There is no bone age to report for this radiograph."))
                if assessment.superseded_by_id is not None:
                    raise NothingToExportError(gettext("This result is superseded: the radiograph was assessed again."))
                response = view(request, assessment)
            except NothingToExportError as error:
                context = {"assessment": assessment, "reason": str(error)}
                return render(request, "web/report_unavailable.html", context, status=409)
            audit.record(user_of(request), audit.Action.EXPORT, assessment, form=form)
            return response

        return guarded

    return guard


@_export("page")
def page(request: HttpRequest, assessment: Assessment) -> HttpResponse:
    """Show the report for printing."""
    return render(request, "web/report.html", {"assessment": assessment, "report": report_of(assessment)})


@_export("pdf")
def pdf(_request: HttpRequest, assessment: Assessment) -> HttpResponse:
    """Return the report as a PDF."""
    return file_of(assessment, report_pdf.pdf_bytes(assessment), "application/pdf", ".pdf")


@_export("json")
def json_file(_request: HttpRequest, assessment: Assessment) -> HttpResponse:
    """Return the result as JSON by its schema, with the decision."""
    text = json.dumps(exports.json_value(assessment), ensure_ascii=False, allow_nan=False, indent=2) + "\n"
    return file_of(assessment, text.encode(), "application/json", ".json")


@_export("csv")
def csv_file(_request: HttpRequest, assessment: Assessment) -> HttpResponse:
    """Return the result as a table of one row, or of one for each sex if both were read."""
    text = "".join(csv_lines(exports.COLUMNS, exports.csv_rows(assessment)))
    return file_of(assessment, text.encode(), "text/csv; charset=utf-8", ".csv")


@_export("copy")
def shared_copy(request: HttpRequest, assessment: Assessment) -> HttpResponse:
    """Return the radiograph with everything outside the hand blacked out; with ``?heat=1`` under its heat map."""
    result = assessment.readings[0]  # the hand is the same in both readings
    radiograph = stored_picture(assessment, PictureKind.RADIOGRAPH)
    hand = result.hand
    unknown = NothingToExportError(
        gettext("The outline of the hand is unknown on this radiograph, so text beside the hand cannot be blacked out.")
    )
    if radiograph is None or hand is None or not hand.outline_xy:
        raise unknown
    radiograph_shape = (result.radiograph.height_pixels, result.radiograph.width_pixels)
    try:
        place = sharing.hand_place(
            (radiograph.shape[0], radiograph.shape[1]), radiograph_shape, hand.outline_xy, hand.length_pixels
        )
    except ValueError as error:
        raise unknown from error
    heat = stored_picture(assessment, PictureKind.HEAT) if request.GET.get("heat") == "1" else None
    png = sharing.blanked(radiograph, place, None if heat is None else HeatMap.from_levels(heat))
    return file_of(assessment, png, "image/png", "-hand.png")
