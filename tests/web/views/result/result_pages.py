"""Addresses, texts and data of the page of a result."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from django.test import Client

from boneage.phantom import sample_png
from boneage.sex import Sex
from boneage.web.models import Assessment
from boneage.web.queue import jobs
from boneage.web.queue.jobs import Submission

HTMX = {"HX-Request": "true"}
MakeAssessment = Callable[..., Assessment]
LogIn = Callable[..., Client]


def submitted() -> Assessment:
    return jobs.submit(Submission(radiograph=sample_png(), radiograph_name="radiograph.png", sex=Sex.FEMALE))


def address(assessment: Assessment, rest: str = "") -> str:
    return f"/assessments/{assessment.pk}/{rest}"


def text_of(client: Client, path: str, **kwargs: Any) -> str:
    answer = client.get(path, **kwargs)
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", answer.content.decode())


def viewer_data(client: Client, assessment: Assessment) -> Any:
    """Return the data that the page of a result hands to the viewer."""
    body = client.get(address(assessment)).content.decode()
    match = re.search(r'<script id="viewer-data" type="application/json">(.*?)</script>', body)
    assert match is not None
    return json.loads(match[1])


def plates_of(client: Client, assessment: Assessment) -> dict[str, Any]:
    body = client.get(address(assessment)).content.decode()
    match = re.search(r'<script id="plates-data" type="application/json">(.*?)</script>', body)
    assert match is not None
    document: dict[str, Any] = json.loads(match[1])
    return document
