"""Operations on the installation: its reference plates, version and limits."""

from __future__ import annotations

from typing import Annotated, Any

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from ninja import Path
from ninja.responses import Status

import boneage
from boneage.assessment import NOTICE
from boneage.atlas import Atlas as ReferenceAtlas
from boneage.errors import AtlasError
from boneage.web import installation
from boneage.web.api.application import api
from boneage.web.api.description import Good, operation
from boneage.web.api.schemas import Atlas, BundleOut, Limits, Plate, Service
from boneage.web.api.waiting import LONGEST_WAIT_SECONDS
from boneage.web.models import configuration


@api.get(
    "/atlas",
    tags=["atlas"],
    summary="List the reference plates",
    **operation({200: Good("All plates.", Atlas)}, "not_found"),
)
def atlas(request: HttpRequest) -> Any:
    """Return the reference plates, girls first, by age."""
    opened = _plates()
    plates = [
        Plate(
            key=plate.key,
            sex=plate.sex.value,
            age_months=plate.age_months,
            count=plate.count,
            picture=reverse("api:plate", kwargs={"key": plate.key}),
        )
        for plate in opened.plates
    ]
    return Status(200, Atlas(name=opened.name, title=opened.title, plates=plates))


@api.get(
    "/atlas/{key}",
    tags=["atlas"],
    summary="Fetch a reference plate",
    url_name="plate",
    **operation({200: Good("The picture of the plate.", ("image/png", "image/jpeg", "image/webp"))}, "not_found"),
)
def plate(request: HttpRequest, key: Annotated[str, Path(description="Key of the plate.")]) -> HttpResponse:
    """Return the picture of a plate."""
    opened = _plates()
    try:
        data, media_type = opened.picture_bytes(opened.plate(key))
    except AtlasError as error:
        raise Http404 from error
    return HttpResponse(data, content_type=media_type)


@api.get(
    "/service",
    tags=["service"],
    summary="Describe this service",
    **operation({200: Good("The description.", Service)}, public=True),
)
def service(request: HttpRequest) -> Any:
    """Return version, model bundle, mode and limits. No token is needed."""
    limits, manifest = configuration(), installation.bundle().manifest
    description = Service(
        version=boneage.__version__,
        mode=limits.mode,
        bundle=BundleOut(
            name=manifest.name,
            version=manifest.version,
            title=manifest.title,
            typical_error_months=manifest.metrics.get("mad_months"),
        ),
        atlas=_atlas_name(),
        limits=Limits(
            radiograph_bytes=limits.radiograph_bytes,
            waiting_radiographs=limits.waiting,
            radiographs_an_hour=(limits.open_hourly or None) if limits.is_open else None,
            wait_seconds=LONGEST_WAIT_SECONDS,
            kept_minutes=limits.open_minutes if limits.is_open else None,
        ),
        notice=NOTICE,
    )
    return Status(200, description)


def _plates() -> ReferenceAtlas:
    try:
        return installation.atlas()
    except AtlasError as error:
        raise Http404 from error


def _atlas_name() -> str | None:
    try:
        return installation.atlas().name
    except AtlasError:
        return None
