from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from boneage.errors import BoneageError
from boneage.evaluate.plots import PLOTS, draw_plots, require_matplotlib
from boneage.evaluate.predictions import Predictions
from boneage.sex import Sex

from .drawn_predictions import drawn_predictions


def _one_film() -> Predictions:
    return Predictions(("a",), (Sex.FEMALE,), np.array([100.0]), np.array([100.0]))


@pytest.mark.parametrize(
    "films", [drawn_predictions(120), drawn_predictions(6), _one_film()], ids=["many", "few", "one"]
)
def test_plots_are_pictures_and_replace_older_ones(tmp_path: Path, films: Predictions) -> None:
    for _ in range(2):
        paths = draw_plots(tmp_path, films)
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert [path.stem for path in paths] == list(PLOTS)
    for path in paths:
        picture = cv2.imread(str(path))
        assert picture is not None
        assert min(picture.shape[:2]) > 700
        assert picture.std() > 5


def test_plots_show_what_they_are_given(tmp_path: Path) -> None:
    pictures = []
    for seed in (1, 2):
        paths = draw_plots(tmp_path / str(seed), drawn_predictions(60, seed))
        pictures.append([path.read_bytes() for path in paths])
    assert all(one != other for one, other in zip(*pictures, strict=True))


def test_plots_are_the_same_every_time(tmp_path: Path) -> None:
    films = drawn_predictions(60)
    first = [path.read_bytes() for path in draw_plots(tmp_path / "1", films)]
    assert first == [path.read_bytes() for path in draw_plots(tmp_path / "2", films)]


def test_without_matplotlib_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boneage.evaluate.plots.find_spec", lambda name: None)
    with pytest.raises(BoneageError, match="boneage\\[plot\\]") as caught:
        require_matplotlib()
    assert caught.value.code == "extra_missing"
