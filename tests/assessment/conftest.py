from pathlib import Path

import numpy as np
import pytest

from boneage.bundle.bundle import Bundle
from boneage.hand.views import ViewSpec
from boneage.phantom import draw_hand
from tests.assessment.radiographs import TURNS, radiograph, save
from tests.bundles import REGION_VIEWS, tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.open(
        tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny", members=2, view=ViewSpec(height=64, width=64))
    )


@pytest.fixture(scope="module")
def png(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("radiographs") / "radiograph.png", radiograph())


@pytest.fixture(scope="module")
def by_regions(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.open(tiny_bundle(tmp_path_factory.mktemp("bundle") / "regions", views=REGION_VIEWS, hand=True))


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("phantoms")
    drawn = draw_hand(height=1000, width=750)
    return {
        name: save(folder / f"{number}.png", np.ascontiguousarray(turned(drawn)))
        for number, (name, (turned, _)) in enumerate(TURNS.items())
    }
