"""The service in its two modes, with users and finished assessments; nothing here loads a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import cv2
import numpy as np
import pytest
from django.test import Client
from django.test.signals import template_rendered
from django.utils import timezone
from pytest_django.fixtures import Settings

from boneage.clinical.documents import chronological_age, read_again
from boneage.phantom import sample_png
from boneage.schema import Document, RadiographDocument, values_of
from boneage.warnings_ import ResultWarning, WarningCode
from boneage.web.documents import PlatesDocument, SimilarPlate, StoredResult
from boneage.web.models import Assessment, Picture, PictureKind, Role, State, User
from boneage.web.queue.answer import Answer
from boneage.web.queue.jobs import finish
from boneage.web.queue.pictures import decoded, grey_png, reduced
from tests.documents import assessment_document, hand_document
from tests.web.append_only import audit_log_can_be_emptied  # noqa: F401 - fixtures for all
from tests.web.postgres import new_postgres, postgres_url  # noqa: F401
from tests.web.warned import WARNING_VALUES


@pytest.fixture(autouse=True)
def documents_stay_in_python() -> Iterator[None]:
    """No view passes a document of the schema to a template, where a renamed key would be an empty place."""

    def check(template: Any, context: Any, **_signal: Any) -> None:
        documents = [key for key, value in context.flatten().items() if _holds_document(value)]
        assert not documents, f"{template.name}: {documents}"

    template_rendered.connect(check)
    yield
    template_rendered.disconnect(check)


def _holds_document(value: Any) -> bool:
    """Return whether a value of a context, or an item of it, is a document."""
    items = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(one, Document) for item in items for one in (item if isinstance(item, tuple) else (item,)))


@pytest.fixture(autouse=True)
def quick_hashes(settings: Settings) -> None:
    """The service's own hash is slow on purpose: a third of a second for each user."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


PASSWORD = "correct horse battery"


@pytest.fixture
def clinic(settings: Settings) -> None:
    """The mode ``clinic``."""
    settings.CONFIGURATION = replace(settings.CONFIGURATION, mode="clinic")


@pytest.fixture
def open_mode(settings: Settings) -> None:
    """The mode ``open``."""
    settings.CONFIGURATION = replace(settings.CONFIGURATION, mode="open")


@pytest.fixture
def make_user(db: None) -> Callable[..., User]:
    """A user of a role, ``make_user(Role.READER)``; named as the role by default."""

    def make(role: Role = Role.READER, name: str = "") -> User:
        return User.objects.create_user(name or str(role), password=PASSWORD, role=role)

    return make


@pytest.fixture
def log_in(make_user: Callable[..., User]) -> Callable[..., Client]:
    """A client that a new user of this role is logged in with."""

    def logged_in(role: Role = Role.READER, name: str = "") -> Client:
        client = Client()
        client.force_login(make_user(role, name), backend="django.contrib.auth.backends.ModelBackend")
        return client

    return logged_in


def answer_of_phantom(age_months: float = 94.0, *, chronological: float | None = 90.0, sex: str = "F") -> Answer:
    """A possible answer of a worker on the drawn phantom, with its pictures."""
    (height, width), pictures = phantom_pictures()
    document = assessment_document(
        age_months,
        chronological_months=chronological,
        sex=sex,
        hand=hand_document(width, height),
        radiograph=RadiographDocument(height_pixels=height, width_pixels=width, sha256="0" * 64),
    )
    similar = (SimilarPlate(key="F-094", distance=0.02), SimilarPlate(key="F-082", distance=0.05))
    result = StoredResult(
        **values_of(document),
        plates=PlatesDocument(atlas="open", by_age="F-094", by_similarity=similar),
    )
    return Answer(
        State.DONE,
        age_months=age_months,
        chronological_age_months=chronological,
        results=(result,),
        pictures=dict(pictures),
    )


@cache
def phantom_pictures() -> tuple[tuple[int, int], Mapping[PictureKind, tuple[str, bytes]]]:
    """Height and width of the drawn phantom, and the pictures of an answer on it. They are made once."""
    radiograph = decoded(sample_png())
    assert radiograph is not None
    heat = np.full((64, 48), 128, np.uint8)
    cv2.circle(heat, (24, 40), 12, 255, -1)
    return (radiograph.shape[0], radiograph.shape[1]), {
        PictureKind.RADIOGRAPH: ("image/jpeg", cv2.imencode(".jpg", radiograph)[1].tobytes()),
        PictureKind.GREY: ("image/png", grey_png(radiograph.astype(np.float32) / np.float32(255), is_inverted=False)),
        PictureKind.THUMBNAIL: ("image/jpeg", cv2.imencode(".jpg", reduced(radiograph, 160))[1].tobytes()),
        PictureKind.HEAT: ("image/png", cv2.imencode(".png", heat)[1].tobytes()),
    }


def answer_with(*codes: str, age_months: float = 94.0) -> Answer:
    """The same with other warnings: keys of `boneage.warnings_.WARNING_TEXTS`, the gravest first."""
    warnings = [ResultWarning.of(*code_and_reason(code), **WARNING_VALUES) for code in codes]
    return with_result(answer_of_phantom(age_months), warnings=tuple(warning.document() for warning in warnings))


def with_result(answer: Answer, **changes: Any) -> Answer:
    """Return the answer with changes in its result, and with the clinical reading that follows from them."""
    changed = replace(answer.results[0], **changes)
    return replace(answer, results=(read_again(changed, chronological_age(changed.chronological_age)),))


def code_and_reason(key: str) -> tuple[WarningCode, str | None]:
    """Arguments of `ResultWarning.of` by a key of `boneage.warnings_.WARNING_TEXTS`."""
    code, _, reason = key.partition(".")
    return WarningCode(code), reason or None


CRITICAL = "not_human_declared"
"""Key of a critical warning on a number that is a bone age otherwise."""


@pytest.fixture
def done_assessment(db: None) -> Callable[..., Assessment]:
    """A finished assessment of the phantom; keywords go to `Assessment`, ``answer=`` replaces the worker's answer."""

    def make(answer: Answer | None = None, **fields: Any) -> Assessment:
        radiograph = sample_png()
        assessment = Assessment.objects.create(
            **{
                "radiograph_name": "radiograph.png",
                "radiograph_bytes": len(radiograph),
                "radiograph_sha256": "0" * 64,
                "sex": "F",
                "state": State.RUNNING,
                "attempt": 1,
                "lease_until": timezone.now(),
                **fields,
            }
        )
        Picture.objects.create(assessment=assessment, kind=PictureKind.UPLOAD, media_type="image/png", data=radiograph)
        assert finish(assessment, answer or answer_of_phantom(sex=assessment.sex))
        assessment.refresh_from_db()
        return assessment

    return make
