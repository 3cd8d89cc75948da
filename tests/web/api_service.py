"""The service in a process of its own, with a tiny bundle and a few drawn plates, as programs meet it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.atlases import draw_atlas
from tests.bundles import tiny_bundle
from tests.web.browser.conftest import serve

_ISSUE = """
import django
django.setup()
from boneage.web.models import ApiToken, User
print(ApiToken.issue(User.objects.get(), "tests")[1])
"""


@dataclass(frozen=True)
class ApiService:
    """A service that runs.

    Attributes:
        url: its address, without a slash at the end.
        token: an administrator's; empty in the mode ``open``.
    """

    url: str
    token: str


def run_api(folder: Path, mode: str) -> Iterator[ApiService]:
    """Start it in a mode, without a limit of radiographs, and stop it afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BONEAGE_BUNDLE", str(tiny_bundle(folder / "bundle", hand=True)))
        patch.setenv("BONEAGE_ATLAS", str(draw_atlas(folder / "atlas")))
        patch.setenv("BONEAGE_OPEN_HOURLY", "0")
        patch.setenv("BONEAGE_WAITING", "100000")
        running = serve(folder, mode)
        service = next(running)
        try:
            yield ApiService(service.url, _token(service.store) if mode == "clinic" else "")
        finally:
            next(running, None)


def _token(store: Path) -> str:
    settings = {"BONEAGE_STORE": str(store), "BONEAGE_MODE": "clinic", "DJANGO_SETTINGS_MODULE": "boneage.web.settings"}
    command = [sys.executable, "-c", _ISSUE]
    return subprocess.run(
        command, env={**os.environ, **settings}, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture(scope="module", params=["open", "clinic"])
def api_service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiService]:
    """In each mode."""
    yield from run_api(tmp_path_factory.mktemp(request.param), request.param)
