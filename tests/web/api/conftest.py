"""Programs with and without a token, and networks of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from boneage.web.models import (
    ApiToken,
    Role,
)
from tests.atlases import draw_atlas
from tests.bundles import tiny_bundle
from tests.web.api.programs import Api, UserMaker


@pytest.fixture
def in_open(open_mode: None) -> Api:
    return Api()


@pytest.fixture
def token_of(make_user: UserMaker) -> Callable[..., Api]:
    """A program with a token of a new user of this role."""

    def make(role: Role = Role.READER, name: str = "") -> Api:
        return Api(ApiToken.issue(make_user(role, name), "ward")[1])

    return make


@pytest.fixture
def own_networks(tmp_path: Path, settings: Settings) -> None:
    """A tiny bundle and a few drawn plates."""
    settings.CONFIGURATION = replace(
        settings.CONFIGURATION,
        bundle=str(tiny_bundle(tmp_path / "bundle", hand=True)),
        atlas=str(draw_atlas(tmp_path / "atlas")),
    )
