"""The service in its two modes, with users and finished assessments; nothing here loads a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from boneage.phantom import sample_png
from boneage.warnings_ import ResultWarning, WarningCode
from boneage.web.models import Assessment, Picture, PictureKind, Role, State, User
from boneage.web.queue.answer import Answer
from boneage.web.queue.jobs import finish
from tests.web.append_only import audit_log_can_be_emptied  # noqa: F401 - fixtures for all
from tests.web.postgres import new_postgres, postgres_url  # noqa: F401
from tests.web.warned import WARNING_VALUES

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
    """A user of a role, ``make_user(Role.READER)``; named as the role unless said otherwise."""

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
    """What a worker could have said of the drawn phantom, pictures included."""
    radiograph = cv2.imdecode(np.frombuffer(sample_png(), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert radiograph is not None
    height, width = radiograph.shape
    heat = np.zeros((64, 48), np.uint8)
    cv2.circle(heat, (24, 40), 12, 255, -1)
    result: dict[str, Any] = {
        "schema": 1,
        "image": "radiograph.png",
        "sex": sex,
        "age_months": age_months,
        "age_text": "7 years 10 months",
        "typical_error_months": 7.5,
        "interval_months": [age_months - 19, age_months + 19],
        "interval_80_months": [age_months - 12, age_months + 12],
        "interval_calibrated": False,
        "interval_coverage": 0.945,
        "chronological_age_months": None,
        "difference_months": None,
        "member_ages_months": {"whole": age_months, "carpals": age_months - 3, "fingers": age_months + 2},
        "region_ages_months": {"A": age_months, "B": age_months - 3, "C": age_months + 2},
        "hand": {
            "points": {
                "middle_tip": [width * 0.5, height * 0.1],
                "thumb_tip": [width * 0.85, height * 0.5],
                "capitate": [width * 0.5, height * 0.75],
            },
            "mirrored": False,
            "inverted": False,
            "rotation_degrees": 0.0,
            "length_pixels": height * 0.65,
            "spread": 0.01,
        },
        "warnings": [{"code": "low_resolution", "severity": "caution", "message": "The radiograph has few pixels."}],
        "facts": {"format": "PNG"},
        "radiograph": {"height_pixels": height, "width_pixels": width, "sha256": "0" * 64},
        "bundle": {"name": "tiny", "version": "1"},
        "timings_ms": {"total": 200.0},
        "notice": "Not a medical device.",
        "web": {
            "warnings": [
                {
                    "code": "low_resolution",
                    "severity": "caution",
                    "text": "low_resolution",
                    "values": {"width": width, "height": height, "view_width": 192, "view_height": 256},
                }
            ],
            "is_meaningless": False,
            "regions": ["A", "B", "C"],
            "outline_xy": [
                [width * x, height * y] for x, y in [(0.2, 0.9), (0.2, 0.3), (0.5, 0.1), (0.9, 0.5), (0.7, 0.9)]
            ],
            "boxes_xy": {"B": [[width * x, height * y] for x, y in [(0.3, 0.6), (0.7, 0.6), (0.7, 0.9), (0.3, 0.9)]]},
            "plates": {
                "atlas": "open",
                "by_age": "F-094",
                "by_similarity": [{"key": "F-094", "distance": 0.02}, {"key": "F-082", "distance": 0.05}],
            },
        },
    }
    return Answer(
        State.DONE,
        age_months=age_months,
        chronological_age_months=chronological,
        result=result,
        pictures={
            PictureKind.RADIOGRAPH: ("image/jpeg", cv2.imencode(".jpg", radiograph)[1].tobytes()),
            PictureKind.HEAT: ("image/png", cv2.imencode(".png", heat)[1].tobytes()),
        },
    )


def answer_with(*codes: str, age_months: float = 94.0) -> Answer:
    """The same with other warnings: keys of `boneage.warnings_.WARNING_TEXTS`, the gravest first."""
    answer = answer_of_phantom(age_months)
    assert answer.result is not None
    warnings = [ResultWarning.of(*code_and_reason(code), **WARNING_VALUES) for code in codes]
    answer.result["warnings"] = [warning.to_json() for warning in warnings]
    answer.result["web"]["warnings"] = [
        {**warning.to_json(), "text": warning.text, "values": dict(warning.values)} for warning in warnings
    ]
    return answer


def code_and_reason(key: str) -> tuple[WarningCode, str | None]:
    """What `ResultWarning.of` takes, of a key of `boneage.warnings_.WARNING_TEXTS`."""
    code, _, reason = key.partition(".")
    return WarningCode(code), reason or None


CRITICAL = "outside_training_range.file"
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
