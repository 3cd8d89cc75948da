"""The pages of the reference atlas, over a folder of drawn plates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from boneage.phantom import sample_png

pytestmark = pytest.mark.django_db


@pytest.fixture
def plates(tmp_path: Path, settings: Settings) -> bytes:
    """An atlas of three plates, one of them with tenths of a month; their picture."""
    picture = sample_png()
    (tmp_path / "plate.png").write_bytes(picture)
    rows = ["F,94,plate.png,25", "F,100.5,plate.png,", "M,120,plate.png,1"]
    (tmp_path / "index.csv").write_text("\n".join(["sex,age_months,file,count", *rows, ""]))
    settings.CONFIGURATION = replace(settings.CONFIGURATION, atlas=str(tmp_path))
    return picture


def test_page_lists_plates_by_sex(open_mode: None, plates: bytes, client: Client) -> None:
    """All plates by sex."""
    body = client.get("/atlas/").content.decode()
    assert body.count("<figure>") == 3
    assert body.index('id="F"') < body.index("7 years 10 months") < body.index('id="M"') < body.index("<b>10 years</b>")
    assert "average of 25 radiographs" in body
    assert 'loading="lazy"' in body


def test_plates_can_be_fetched(open_mode: None, plates: bytes, client: Client) -> None:
    """Every plate of the page can be fetched."""
    body = client.get("/atlas/").content.decode()
    addresses = {part.split('"')[0] for part in body.split('src="')[1:] if part.startswith("/atlas/")}
    assert len(addresses) == 3
    for address in addresses:
        answer = client.get(address)
        assert answer.status_code == 200
        assert answer["Content-Type"] == "image/png"
        assert answer.content == plates


def test_plate_is_cached(open_mode: None, plates: bytes, client: Client) -> None:
    """A plate is kept by browsers."""
    first = client.get("/atlas/F-094")
    assert "max-age" in first["Cache-Control"]
    assert "private" in first["Cache-Control"]
    again = client.get("/atlas/F-094", headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("key", ["F-095", "nothing", "..", "F-094_"])
def test_plate_unknown(open_mode: None, plates: bytes, client: Client, key: str) -> None:
    """No such plate."""
    assert client.get(f"/atlas/{key}").status_code == 404


def test_page_without_atlas(open_mode: None, settings: Settings, tmp_path: Path, client: Client) -> None:
    """A missing atlas is reported."""
    settings.CONFIGURATION = replace(settings.CONFIGURATION, atlas=str(tmp_path / "nowhere"))
    answer = client.get("/atlas/")
    assert answer.status_code == 503
    assert "atlas_not_found" in answer.content.decode()
    assert client.get("/atlas/F-094").status_code == 404


def test_page_needs_login_in_clinic(clinic: None, plates: bytes, client: Client, log_in: Callable[..., Client]) -> None:
    """Clinic asks for a login."""
    assert client.get("/atlas/").status_code == 302
    assert client.get("/atlas/F-094").status_code == 302
    assert log_in().get("/atlas/").status_code == 200
