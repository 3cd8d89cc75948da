"""Corrections of a radiograph's sex and case, from its result page in the mode ``clinic``."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponseBadRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils.translation import gettext
from django.views.decorators.http import require_POST

from boneage.web.accounts.access import assessment_or_404, for_role, member_of
from boneage.web.cases import corrections
from boneage.web.models import Role
from boneage.web.queue.jobs import BusyError
from boneage.web.views.result import page_again


@require_POST
@for_role(Role.READER, in_open=False)
def assess_again(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Assess the stored radiograph as another sex (``sex``), and show the new assessment."""
    user, sex = member_of(request), request.POST.get("sex", "")
    assessment = assessment_or_404(pk, user)
    if sex not in corrections.other_sexes(assessment):
        return HttpResponseBadRequest(gettext("Choose another sex."))
    try:
        again = corrections.assess_again(assessment, user, sex)
    except ValidationError as error:
        return page_again(request, assessment, again_error=error.message)
    except BusyError:
        text = gettext("Too many radiographs are waiting. Please try again in a few minutes.")
        return page_again(request, assessment, again_error=text)
    return redirect("result", pk=again.pk)


@require_POST
@for_role(Role.READER, in_open=False)
def move(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Move a radiograph to the case whose reference was entered."""
    user = member_of(request)
    assessment = assessment_or_404(pk, user)
    if not corrections.may_change(assessment, user):
        raise PermissionDenied
    form = corrections.MoveForm(request.POST)
    if form.is_valid():
        try:
            corrections.move(assessment, form.cleaned_data["reference"], user)
        except ValidationError as error:
            form.add_error("reference", error)
    if form.errors:
        return page_again(request, assessment, move_form=form)
    messages.success(request, gettext("The radiograph has been moved. Check the date of birth of its case."))
    return redirect("result", pk=pk)
