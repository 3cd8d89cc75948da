"""Page of all reference plates, and the image of each plate."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

from boneage import words
from boneage.atlas import Atlas
from boneage.atlas_index import Plate
from boneage.errors import AtlasError
from boneage.files import sha256_of
from boneage.sex import Sex
from boneage.web import installation, texts
from boneage.web.accounts.access import for_role
from boneage.web.models import Role
from boneage.web.report.downloads import is_known, tagged

_KEPT_SECONDS = 3600
"""Time for which browsers keep a plate before they check whether it has changed."""


def title_of(atlas: Atlas) -> str:
    """Return the title of an atlas: of a user's own from its index, of the shipped one in the active language."""
    return atlas.title if atlas.is_own else gettext("Open atlas: averages of registered hands")


@dataclass(frozen=True)
class ShownPlate:
    """A plate with its texts for pages.

    Attributes:
        key: key of the plate.
        url: address of its picture.
        age: age in words.
        source: number of averaged radiographs in words; empty if it is not an average.
        file_name: name for a download.
    """

    key: str
    url: str
    age: str
    source: str
    file_name: str


def shown(plate: Plate) -> ShownPlate:
    """Return a plate with its texts in the active language."""
    source = texts.averaged(plate.count) if plate.count else ""
    url = reverse("plate", args=[plate.key])
    return ShownPlate(plate.key, url, words.age(plate.age_months), source, f"plate-{plate.key}")


@require_safe
@for_role(Role.READER, in_open=True)
def page(request: HttpRequest) -> HttpResponse:
    """Show all plates, girls and boys."""
    try:
        atlas = installation.atlas()
    except AtlasError as error:
        return render(request, "web/atlas.html", {"error": error}, status=503)
    titles = {Sex.FEMALE: gettext("Girls"), Sex.MALE: gettext("Boys")}
    sexes = [
        {"sex": sex, "title": title, "plates": [shown(plate) for plate in atlas.for_sex(sex)]}
        for sex, title in titles.items()
    ]
    present = [one for one in sexes if one["plates"]]
    return render(request, "web/atlas.html", {"atlas": atlas, "title": title_of(atlas), "sexes": present})


@require_safe
@for_role(Role.READER, in_open=True)
def plate(request: HttpRequest, key: str) -> HttpResponse:
    """Return the picture of one plate."""
    try:
        atlas = installation.atlas()
        data, media_type = atlas.picture_bytes(atlas.plate(key))
    except AtlasError as error:
        raise Http404 from error
    tag = f'"{sha256_of(data)[:32]}"'
    response = HttpResponse(status=304) if is_known(request, tag) else HttpResponse(data, content_type=media_type)
    return tagged(response, tag, f"private, max-age={_KEPT_SECONDS}")
