"""Programs that ask the REST API, and workers that answer them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from boneage.web.codes import CODES
from boneage.web.models import (
    Assessment,
    State,
    User,
)
from boneage.web.queue import jobs
from boneage.web.queue.answer import Answer
from tests.web.conftest import answer_of_phantom

Maker = Callable[..., Assessment]
UserMaker = Callable[..., User]
RADIOGRAPH = b"the bytes of a radiograph"
CORRECTION = {"verdict": "corrected", "age_months": 101.5, "reason": "The carpals are ahead."}


class Api:
    """A program that asks, with a token or without."""

    def __init__(self, token: str = "") -> None:
        self._client = Client(
            headers={"authorization": f"Bearer {token}"} if token else {}, raise_request_exception=False
        )

    def get(self, path: str) -> Any:
        return self._client.get(f"/api/{path}")

    def post(self, path: str, body: object) -> Any:
        return self._client.post(f"/api/{path}", json.dumps(body), content_type="application/json")

    def delete(self, path: str) -> Any:
        return self._client.delete(f"/api/{path}")

    def submit(self, *, radiograph: bytes | None = RADIOGRAPH, wait: float | None = None, **fields: str) -> Any:
        file = {} if radiograph is None else {"radiograph": SimpleUploadedFile("anna.png", radiograph)}
        address = "/api/assessments" if wait is None else f"/api/assessments?wait={wait}"
        return self._client.post(address, {**file, **fields})

    def send(self, method: str, path: str) -> Any:
        return self._client.generic(method, f"/api/{path}")


def work_off(
    assess_radiograph: Callable[[Assessment, bytes], Answer] = lambda a, _: answer_of_phantom(sex=a.sex),
) -> int:
    """Assess all waiting radiographs, as a worker does."""
    waiting = list(Assessment.objects.filter(state=State.QUEUED))
    return sum(jobs.run(str(one.pk), worker="w", assess=assess_radiograph) for one in waiting)


def reject(_assessment: Assessment, _radiograph: bytes) -> Answer:
    return Answer(State.REJECTED, "no_hand", "There is no hand.")


def problem_of(response: Any) -> tuple[int, str]:
    """Status and code of an error, which is always the same two keys."""
    document = response.json()
    assert set(document) == {"code", "message"}
    assert document["message"]
    assert response["Content-Type"] == "application/json"
    assert CODES[document["code"]].status == response.status_code
    return response.status_code, document["code"]
