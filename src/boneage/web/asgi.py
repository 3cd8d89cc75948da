"""The application as the web server loads it: Django behind `boneage.web.processes.gate`."""

from __future__ import annotations

from django.conf import settings
from django.urls import reverse

from boneage.web.wsgi import application as django_application  # sets Django up: first

from boneage.web.health.condition import Watch  # isort: skip
from boneage.web.node import metrics  # isort: skip
from boneage.web.node.condition import check  # isort: skip
from boneage.web.node.pacs import takes_stow  # isort: skip
from boneage.web.processes.gate import Environ, Gate, Limits  # isort: skip
from boneage.web.models import configuration  # isort: skip
from boneage.web.privacy import log_uncaught  # isort: skip

LEAST_TRANSIT_BYTES = 256 * 2**20


def may_send_radiograph(environ: Environ) -> bool:
    """Return whether a request may carry a radiograph: in the mode ``clinic`` only with a session cookie or a token.

    The cookie and the token themselves are checked later, in the thread that answers the request.
    """
    names_session = f"{settings.SESSION_COOKIE_NAME}=" in environ.get("HTTP_COOKIE", "")
    return configuration().is_open or names_session or "HTTP_AUTHORIZATION" in environ


def limits() -> Limits:
    """Return the limits of the installation's configuration."""
    form, radiograph = settings.DATA_UPLOAD_MAX_MEMORY_SIZE, configuration().radiograph_bytes
    return Limits(
        form_bytes=form,
        radiograph_bytes=radiograph + form,
        transit_bytes=max(LEAST_TRANSIT_BYTES, 4 * radiograph),
        radiograph_paths=(reverse("submit"), reverse("api:submit"), *([reverse("stow")] if takes_stow() else [])),
        may_send_radiograph=may_send_radiograph,
    )


log_uncaught()
application = Gate(django_application, limits(), Watch(check), {"/metrics": metrics.application})
