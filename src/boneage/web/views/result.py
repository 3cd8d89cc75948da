"""One assessment: waiting, rejected, failed or done, with its pictures and decisions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import numpy as np
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.http import require_POST, require_safe

from boneage import words
from boneage.errors import AtlasError
from boneage.geometry import Transform
from boneage.hand.registration import register
from boneage.report.content import ReportContent
from boneage.schema import HandDocument, Point
from boneage.sex import Sex
from boneage.web import installation
from boneage.web.accounts.access import assessment_or_404, for_role, user_of
from boneage.web.accounts.audit import Action, record
from boneage.web.cases import corrections, decisions
from boneage.web.cases.bone_table import bone_rows
from boneage.web.cases.earlier import Earlier, earlier_of
from boneage.web.cases.exports import region_ages
from boneage.web.cases.radiograph_facts import radiograph_lines
from boneage.web.cases.worklist import WORKLIST, Place, Worklist, WorklistQuery
from boneage.web.models import BOTH, Assessment, Picture, PictureKind, Role, State, Verdict
from boneage.web.plots.figures import age_curve, age_plot, heat_scales
from boneage.web.plots.ruler import Ruler, draw_ruler
from boneage.web.queue import jobs
from boneage.web.queue.pictures import GREY_LEVELS
from boneage.web.report.content import content_of, one_sex_content
from boneage.web.views.atlas import ShownPlate, shown, title_of

_EAGER = timedelta(seconds=5)
"""Time after a submission for which its page polls often: most results arrive within a second."""

_QUARTER_TURN = 90.0

_STOP_POLLING = 286
"""Status with which htmx swaps the response and stops polling."""


@require_safe
@for_role(Role.READER, in_open=True)
def page(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Show the whole page in any state."""
    assessment = assessment_or_404(pk, user_of(request))
    if assessment.is_final:
        record(user_of(request), Action.VIEW, assessment)
    return render(request, "web/result.html", _context(request, assessment))


@require_safe
@for_role(Role.READER, in_open=True)
def state(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Return the part of the page that changes, for polling; 204 while the page already shows it (``?seen=``)."""
    try:
        assessment = assessment_or_404(pk, user_of(request))
    except Http404:
        if not getattr(request, "htmx", False):
            raise
        return render(request, "web/result_gone.html", status=_STOP_POLLING)
    if not getattr(request, "htmx", False):
        return redirect("result", pk=pk)
    if assessment.is_final:
        record(user_of(request), Action.VIEW, assessment)
        return render(request, "web/result_body.html", {**_context(request, assessment), "swapped": True})
    progress = _progress(assessment)
    if request.GET.get("seen") == progress["seen"]:
        return HttpResponse(status=204)
    return render(request, "web/result_body.html", {"assessment": assessment, **progress, "swapped": True})


@require_safe
@for_role(Role.READER, in_open=True)
def picture(request: HttpRequest, pk: UUID, kind: PictureKind) -> HttpResponse:
    """Return a picture of a patient, which browsers do not cache (`boneage.web.middleware.PrivacyHeaders`)."""
    stored = Picture.objects.filter(assessment=assessment_or_404(pk, user_of(request)), kind=kind).first()
    if stored is None:
        raise Http404
    return HttpResponse(bytes(stored.data), content_type=stored.media_type)


@require_POST
@for_role(Role.READER, in_open=True)
def decide(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Accept (``verdict=accepted``) or correct (``verdict=corrected`` with ``years``, ``months``, ``reason``)."""
    assessment = assessment_or_404(pk, user_of(request))
    form: decisions.CorrectionForm | None = None
    if request.POST.get("verdict") == Verdict.ACCEPTED:
        decision = decisions.DecisionInput(
            Verdict.ACCEPTED, confirms_critical=request.POST.get("confirm_critical") == "1"
        )
    else:
        form = decisions.CorrectionForm(request.POST)
        if not form.is_valid():
            return _decision_again(request, assessment, form=form)
        decision = form.decision_input()
    try:
        decisions.decide(assessment, decision, user_of(request))
    except decisions.DecisionError as error:
        if error.code == "critical_unconfirmed":
            return _decision_again(request, assessment, confirming=True)
        return HttpResponse(gettext("There is no estimate to decide on."), status=409)
    if getattr(request, "htmx", False):
        if assessment.sex == BOTH:
            return render(request, "web/result_decision.html", _decision_context(request, assessment))
        context = {**_card_context(assessment), **_decision_context(request, assessment)}
        return render(request, "web/result_decided.html", context)
    return redirect(f"{request.path.removesuffix('decide')}#decision")


@require_POST
@for_role(Role.READER, in_open=True)
def delete(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Delete a radiograph and everything about it now; in the mode ``clinic`` only reviewers may."""
    assessment = assessment_or_404(pk, user_of(request))
    case = assessment.case
    decisions.delete_assessment(assessment, user_of(request))
    messages.success(request, gettext("The radiograph and its result have been permanently deleted."))
    return redirect("case", pk=case.pk) if case is not None else redirect("home")


def _context(request: HttpRequest, assessment: Assessment) -> dict[str, Any]:
    """Return the context of the templates in this state."""
    if not assessment.is_final:
        return {"assessment": assessment, **_progress(assessment)}
    deletion = {"may_delete": decisions.may_delete(user_of(request))}
    if assessment.state != State.DONE:
        return {"assessment": assessment, **deletion}
    user = user_of(request)
    return {
        **(_both_context(assessment) if assessment.sex == BOTH else _answer_context(assessment)),
        **_decision_context(request, assessment),
        **deletion,
        "place": _place(request, assessment),
        "may_change": corrections.may_change(assessment, user),
        "other_sexes": corrections.other_sexes(assessment),
        "can_be_assessed_again": corrections.can_be_assessed_again(assessment),
        "move_form": corrections.MoveForm(),
    }


def _place(request: HttpRequest, assessment: Assessment) -> Place | None:
    """Return the radiograph's place in the worklist as it was last shown; None if it was not shown."""
    user, kept = user_of(request), request.session.get(WORKLIST)
    if user is None or kept is None:
        return None
    return Worklist(WorklistQuery.kept(kept), user).place(assessment.pk)


def _progress(assessment: Assessment) -> dict[str, Any]:
    """Return the number of radiographs ahead of this one, and the time until the next poll."""
    ahead = max(0, jobs.position(assessment) - 1)
    interval = 250 if timezone.now() - assessment.submitted_at < _EAGER else 1000
    return {"ahead": ahead, "interval": interval, "seen": f"{assessment.state}-{ahead}-{interval}"}


def _both_context(assessment: Assessment) -> dict[str, Any]:
    """Return the context of a radiograph that was read for both sexes."""
    content = content_of(assessment)
    return {
        "assessment": assessment,
        "is_meaningless": assessment.is_meaningless,
        "content": content,
        "warnings": content.warnings,
    }


def _card_context(assessment: Assessment) -> dict[str, Any]:
    """Return the context of the card: the bone age that counts, and what it means."""
    content = one_sex_content(assessment)
    return {
        "assessment": assessment,
        "content": content,
        "ruler": _ruler(assessment, content),
        "warnings": content.warnings,
        "earlier": earlier_of(assessment),
    }


def _ruler(assessment: Assessment, content: ReportContent) -> str:
    """Return the ruler; empty where the bone age must not be used, or there is no age to compare with."""
    result, months = assessment.finished, assessment.current_months
    if content.is_void or months is None or result.chronological_age is None:
        return ""
    likely = None
    if content.likely_range and assessment.decision != Verdict.CORRECTED and result.interval_80_months is not None:
        is_open = result.near_maturity is not None and result.near_maturity.is_near
        low, high = result.interval_80_months
        likely = (low, None if is_open else high)
    ruler = Ruler(months, likely, result.chronological_age, result.normal_range)
    parts = (content.age, content.likely_range if likely else "", content.chronological_age, content.normal_range)
    return draw_ruler(ruler, words.sentences(*parts))


def _answer_context(assessment: Assessment) -> dict[str, Any]:
    result = assessment.finished
    card = _card_context(assessment)
    is_meaningless = assessment.is_meaningless
    curve = None if is_meaningless else age_curve(result, assessment.chronological_age_months)
    return {
        **card,
        "is_calibrated": result.interval_calibrated,
        "is_meaningless": is_meaningless,
        "is_unusable": assessment.is_unusable,
        "regions": [] if is_meaningless else region_ages(result),
        "bones": [] if is_meaningless else bone_rows(result),
        "curve": curve,
        "plot": None if curve is None else age_plot(curve),
        "facts": radiograph_lines(assessment),
        "viewer": _viewer(assessment),
        "plates": _plates(assessment, card["earlier"]),
    }


def _viewer(assessment: Assessment) -> dict[str, Any]:
    """Return the marks on the radiograph, in its own pixels, with their names in the active language.

    ``spacing`` is the distance between columns and rows, mm; ``hand`` the similarity from the registered frame to the
    radiograph (`boneage.geometry.Transform.matrix`); ``grey`` the address of the 16-bit picture. Each may be None.
    """
    result = assessment.finished
    hand = result.hand
    boxes = {} if hand is None else hand.boxes_xy
    return {
        "width": result.radiograph.width_pixels,
        "height": result.radiograph.height_pixels,
        "grey": reverse("grey", args=[assessment.pk]) if _has_grey(assessment) else None,
        "levels": GREY_LEVELS,
        "spacing": None if result.facts.spacing_mm is None else result.facts.spacing_mm[::-1],
        "frame": None if hand is None else _rows(_to_frame(hand).inverse()),
        "turns": 0 if hand is None else round(-hand.rotation_degrees / _QUARTER_TURN),
        "scales": heat_scales(),
        "outline": [] if hand is None else hand.outline_xy,
        "epiphyses": [outline for bone in result.bones for outline in bone.outlines],
        "points": [] if hand is None else [{"name": name, "xy": xy} for name, xy in _points(hand)],
        "boxes": [{"name": words.region(name), "xy": xy} for name, xy in boxes.items()],
        "bones": [{"name": row.text, "xy": row.corners, "ruler": row.ruler} for row in bone_rows(result)],
    }


def _points(hand: HandDocument) -> tuple[tuple[str, Point], ...]:
    """Return the key points of the hand with their names."""
    return (
        (gettext("tip of the middle finger"), hand.points.middle_tip),
        (gettext("tip of the thumb"), hand.points.thumb_tip),
        (gettext("capitate"), hand.points.capitate),
    )


def _has_grey(assessment: Assessment) -> bool:
    return assessment.pictures.filter(kind=PictureKind.GREY).exists()


def _to_frame(hand: HandDocument) -> Transform:
    """Return the similarity from the radiograph's pixels to the registered frame."""
    return register(np.asarray([hand.points.middle_tip, hand.points.thumb_tip, hand.points.capitate]))


def _rows(transform: Transform) -> list[list[float]]:
    """Return the matrix of a transform, (2, 3), for the page's script."""
    return [[float(value) for value in row] for row in transform.matrix[:2]]


def _earlier_for_viewer(earlier: Earlier | None) -> dict[str, Any] | None:
    """Return the child's earlier radiograph for the page's script, with its place in the registered frame."""
    if earlier is None:
        return None
    result = earlier.assessment.finished
    hand, study_date = result.hand, earlier.reading.study_date
    title = gettext("Earlier radiograph")
    return {
        "url": reverse("radiograph", args=[earlier.assessment.pk]),
        "age": words.age(earlier.reading.bone_age_months),
        "title": title if study_date is None else gettext("Radiograph of %(date)s") % {"date": words.day(study_date)},
        "to_frame": None if hand is None else _rows(_to_frame(hand)),
        "width": result.radiograph.width_pixels,
        "height": result.radiograph.height_pixels,
    }


def _plates(assessment: Assessment, earlier: Earlier | None) -> dict[str, Any] | None:
    """Return the plates of the child's sex, the nearest by age and the most similar ones, and the earlier radiograph;
    None without an atlas.
    """
    result = assessment.finished
    try:
        atlas = installation.atlas()
        all_of_sex = atlas.for_sex(Sex(assessment.sex))
        nearest = atlas.nearest_by_age(Sex(assessment.sex), result.age_months)
    except AtlasError:
        return None
    stored = result.plates
    keys = {plate.key for plate in all_of_sex}
    is_same = stored is not None and stored.atlas == atlas.name
    most_similar = [one for one in stored.by_similarity if one.key in keys] if stored is not None and is_same else []
    probable = result.nearest_plates
    chances = (
        {} if probable is None or probable.atlas != atlas.name else {p.key: p.probability for p in probable.plates}
    )
    listed = [
        _plate(shown(plate), plate.age_months - result.age_months, chances.get(plate.key)) for plate in all_of_sex
    ]
    return {
        "title": title_of(atlas),
        "first": shown(nearest),
        "data": {
            "plates": listed,
            "by_age": nearest.key,
            "by_similarity": [one.key for one in most_similar],
            "frame_box": atlas.about.frame_box,
            "earlier": _earlier_for_viewer(earlier),
        },
        "has_most_similar": bool(most_similar),
    }


def _plate(plate: ShownPlate, older_months: float, probability: float | None) -> dict[str, str]:
    """Return a plate for the page's script.

    Args:
        plate: the plate.
        older_months: its age minus the estimate.
        probability: probability that it is the nearest to one reader's bone age, or None.
    """
    if round(older_months) == 0:
        compared = gettext("same age as the estimate")
    elif older_months > 0:
        compared = gettext("%(age)s older than the estimate") % {"age": words.age(older_months)}
    else:
        compared = gettext("%(age)s younger than the estimate") % {"age": words.age(older_months)}
    if probability is not None:
        chance = gettext("probability %(percent)s %%") % {"percent": words.number(100 * probability, 0)}
        compared = f"{compared} · {chance}"
    return {"key": plate.key, "url": plate.url, "age": plate.age, "source": plate.source, "compared": compared}


def _decision_context(request: HttpRequest, assessment: Assessment) -> dict[str, Any]:
    user = user_of(request)
    return {
        "assessment": assessment,
        "form": decisions.CorrectionForm(),
        "history": list(assessment.decisions.select_related("decided_by").order_by("-decided_at", "-pk")),
        "may_decide": decisions.may_decide(assessment, user),
        "can_be_accepted": decisions.can_be_accepted(assessment),
        "is_unusable": assessment.is_unusable,
    }


def _decision_again(request: HttpRequest, assessment: Assessment, **shown: Any) -> HttpResponse:
    """Return the form with its errors (``form``), or the request to confirm the acceptance (``confirming``)."""
    if assessment.state != State.DONE:
        return HttpResponse(gettext("There is no estimate to decide on."), status=409)
    if getattr(request, "htmx", False):
        groups = words.warning_groups(warning for reading in assessment.readings for warning in reading.warnings)
        context = {**_decision_context(request, assessment), "warnings": groups, **shown}
        return render(request, "web/result_decision.html", context, status=422)
    return page_again(request, assessment, **shown)


def page_again(request: HttpRequest, assessment: Assessment, **shown: Any) -> HttpResponse:
    """Return the whole page of a finished assessment after a form that was not valid."""
    return render(request, "web/result.html", {**_context(request, assessment), **shown}, status=422)
