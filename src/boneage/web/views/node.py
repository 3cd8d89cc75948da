"""Pages of the DICOM node: its state and dead letters for administrators, and the sex of a child for readers."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from boneage.web.accounts.access import for_role, member_of
from boneage.web.accounts.audit import Action, record
from boneage.web.models import SEXES, Role
from boneage.web.node import outbox, studies, summary
from boneage.web.node.models import RENDERING_FAILED, Delivery, Instance, InstanceState
from boneage.web.node.pacs import is_on
from boneage.web.queue.jobs import BusyError


@require_safe
@for_role(Role.ADMINISTRATOR, in_open=False)
def page(request: HttpRequest) -> HttpResponse:
    """Show peers, deliveries that failed, and the number of instances in each state."""
    _check_is_on()
    record(member_of(request), Action.VIEW, what="node")
    context = {
        "peers": summary.peer_rows(),
        "dead": list(summary.dead_letters()),
        "failed": list(summary.failed_renderings()),
        "instances": summary.instance_counts(),
        "skipped": summary.skipped_counts(),
    }
    return render(request, "web/node.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@for_role(Role.READER, in_open=False)
def not_read(request: HttpRequest) -> HttpResponse:
    """List the last instances that were received and not read. An accession number is searched for by POST, because
    addresses are logged.
    """
    _check_is_on()
    user, accession = member_of(request), request.POST.get("accession", "").strip()
    rows = summary.skipped(user, accession)
    record(user, Action.VIEW, what="not_read", rows=len(rows), searched=bool(accession))
    context = {"rows": rows, "accession": accession, "longest": summary.LONGEST_LIST}
    return render(request, "web/not_read.html", context)


@require_POST
@for_role(Role.ADMINISTRATOR, in_open=False)
def delivery(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Send a dead delivery again (``do=retry``), or give it up (``do=give_up``)."""
    _check_is_on()
    row = get_object_or_404(Delivery, pk=pk)
    if request.POST.get("do") == "give_up":
        outbox.give_up(row, member_of(request))
        messages.success(request, gettext("The delivery has been given up."))
    else:
        outbox.retry(row, member_of(request))
        messages.success(request, gettext("The result is being sent again."))
    return redirect("node")


@require_POST
@for_role(Role.ADMINISTRATOR, in_open=False)
def render_again(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Make the result objects of an instance again after several failures."""
    _check_is_on()
    rows = Instance.objects.filter(pk=pk, state=InstanceState.RENDERED, reason=RENDERING_FAILED)
    if not rows.update(state=InstanceState.QUEUED, reason="", failures=0, lease_until=None):
        raise Http404
    record(member_of(request), Action.DELIVERY_CHANGED, get_object_or_404(Instance, pk=pk), change="render")
    return redirect("node")


@require_POST
@for_role(Role.READER, in_open=False)
def state_sex(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Submit a radiograph of the PACS by the sex that the user states (``sex``)."""
    _check_is_on()
    user, sex = member_of(request), request.POST.get("sex", "")
    if sex not in {value for value, _label in SEXES}:
        raise Http404
    try:
        studies.set_sex(get_object_or_404(Instance.objects.visible_to(user), pk=pk), sex, user)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    except BusyError:
        messages.error(request, gettext("Too many radiographs are waiting. Please try again in a few minutes."))
    else:
        messages.success(request, gettext("The radiograph is being assessed."))
    return redirect("cases")


def _check_is_on() -> None:
    if not is_on():
        raise Http404
