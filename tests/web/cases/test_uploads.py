"""Bytes are limited before anything is decoded: by the announced length, and again while they come."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client, RequestFactory
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart
from django.urls import reverse
from pytest_django.fixtures import Settings

from boneage.web import middleware
from boneage.web.cases.uploads import LimitedUpload
from boneage.web.models import Assessment

LIMIT = 100_000
FIELDS = django_settings.DATA_UPLOAD_MAX_MEMORY_SIZE
API = "/api/assessments"

pytestmark = pytest.mark.django_db


@pytest.fixture(params=["open", "clinic"])
def mode(request: pytest.FixtureRequest, settings: Settings) -> str:
    settings.CONFIGURATION = replace(settings.CONFIGURATION, mode=request.param, radiograph_bytes=LIMIT)
    kind: str = request.param
    return kind


@pytest.fixture
def limited(settings: Settings) -> None:
    settings.CONFIGURATION = replace(settings.CONFIGURATION, mode="open", radiograph_bytes=LIMIT)


class Body(io.RawIOBase):
    """An empty body that knows whether it was read."""

    was_read = False

    def readable(self) -> bool:
        return True

    def readinto(self, _buffer: Any) -> int:
        self.was_read = True
        return 0


def announce(client: Client, address: str, length: object) -> tuple[Any, bool]:
    """The answer to a request that says it is so long, and whether its body was looked at."""
    body = Body()
    head = {"CONTENT_TYPE": MULTIPART_CONTENT, "CONTENT_LENGTH": str(length), "wsgi.input": body}
    return client.generic("POST", address, **head), body.was_read  # type: ignore[arg-type]


@pytest.mark.parametrize("address", [reverse("submit"), API])
def test_body_too_large_is_rejected_unread(limited: None, client: Client, address: str) -> None:
    """Too many bytes are turned away unread."""
    answer, was_read = announce(client, address, LIMIT + FIELDS + 1)
    assert (answer.status_code, was_read) == (413, False)
    answer, was_read = announce(client, address, LIMIT + FIELDS)
    assert (answer.status_code != 413, was_read) == (True, True)
    assert not Assessment.objects.exists()


def test_body_too_large_as_json_or_page(limited: None, client: Client) -> None:
    """Programs get JSON, and people get a page."""
    assert announce(client, API, 2**40)[0].json()["code"] == "too_large"
    page = announce(client, reverse("submit"), 2**40)[0]
    assert page["Content-Type"].startswith("text/html")
    assert "Content-Security-Policy" in page


def test_large_body_only_for_radiographs(mode: str, client: Client, log_in: Callable[..., Client]) -> None:
    """Only radiographs may be large and in a clinic only of members."""

    def outcome(client: Client, address: str) -> tuple[int, bool]:
        answer, was_read = announce(client, address, FIELDS + 1)
        return answer.status_code, was_read

    for name in ("login", "logout", "set_language"):
        assert outcome(client, reverse(name)) == (413, False)
    if mode == "clinic":
        assert outcome(client, reverse("submit")) == (413, False)
        assert outcome(client, API) == (401, False)
        client = log_in()
    assert outcome(client, reverse("submit"))[1]


@pytest.mark.parametrize("length", ["", "-5", "many", "1e9"])
def test_body_without_length_is_not_read(limited: None, client: Client, length: str) -> None:
    """Bodies without a length are not read."""
    answer, was_read = announce(client, reverse("submit"), length)
    assert 400 <= answer.status_code < 500
    assert not was_read
    assert not Assessment.objects.exists()


def sent(radiograph: bytes, **headers: str) -> Any:
    body = encode_multipart(BOUNDARY, {"radiograph": io.BytesIO(radiograph)})
    request = RequestFactory().generic("POST", "/", body, MULTIPART_CONTENT, **headers)  # type: ignore[arg-type]
    return request, request.FILES


@pytest.mark.parametrize("size", [0, 1, LIMIT - 1, LIMIT])
def test_upload_within_limit_in_memory(limited: None, size: int) -> None:
    """A radiograph within the limit is whole and in memory."""
    radiograph = bytes(range(256)) * (size // 256 + 1)
    request, files = sent(radiograph[:size])
    assert files["radiograph"].read() == radiograph[:size]
    assert files["radiograph"].size == size
    assert not hasattr(files["radiograph"], "temporary_file_path")
    assert not hasattr(request, "upload_too_large")


@pytest.mark.parametrize("size", [LIMIT + 1, LIMIT * 3])
def test_upload_stops_at_limit(limited: None, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Reading breaks off past the limit."""
    kept = 0
    take = LimitedUpload.receive_data_chunk

    def counted(self: LimitedUpload, raw_data: bytes, start: int) -> None:
        nonlocal kept
        take(self, raw_data, start)
        kept += len(raw_data)

    monkeypatch.setattr(LimitedUpload, "receive_data_chunk", counted)
    request, files = sent(b"x" * size)
    assert "radiograph" not in files
    assert request.upload_too_large
    assert kept <= LIMIT


def test_page_reports_upload_too_large(limited: None, client: Client) -> None:
    """The page says that a radiograph is too large."""
    radiograph = io.BytesIO(b"x" * (LIMIT + 1))
    radiograph.name = "radiograph.png"
    answer = client.post(
        reverse("submit"), {"sex": "F", "radiograph": radiograph}, headers={"Accept": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_fields_and_files_are_limited(limited: None, client: Client) -> None:
    """Fields and files are counted."""
    many = {f"field{number}": "x" for number in range(django_settings.DATA_UPLOAD_MAX_NUMBER_FIELDS + 1)}
    assert client.post(reverse("submit"), many).status_code == 400
    two = {name: io.BytesIO(b"x") for name in ("a", "b")}
    assert client.post(reverse("submit"), two).status_code == 400
    assert client.post(reverse("submit"), {"note": "x" * (FIELDS + 1)}).status_code in (400, 413)
    assert not Assessment.objects.exists()


def test_body_too_large_at_unknown_address(limited: None) -> None:
    """The limit of length holds without an address as well."""
    request = RequestFactory().post("/")
    request.resolver_match = None
    assert middleware.largest_body(request) == FIELDS
