from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from boneage.errors import BoneageError
from boneage.evaluate.metrics import Figure
from boneage.evaluate.plots import PLOTS, bar_lengths, draw_bland_altman, draw_plots, drawing, require_matplotlib
from boneage.evaluate.predictions import Predictions
from boneage.sex import Sex
from tests.evaluate.drawn_predictions import drawn_predictions


def _one_radiograph() -> Predictions:
    return Predictions(("a",), (Sex.FEMALE,), np.array([100.0]), np.array([100.0]))


@pytest.mark.parametrize(
    "radiographs", [drawn_predictions(120), drawn_predictions(6), _one_radiograph()], ids=["many", "few", "one"]
)
def test_draw_plots_replaces_older_images(tmp_path: Path, radiographs: Predictions) -> None:
    for _ in range(2):
        paths = draw_plots(tmp_path, radiographs)
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert [path.stem for path in paths] == list(PLOTS)
    for path in paths:
        picture = cv2.imread(str(path))
        assert picture is not None
        assert min(picture.shape[:2]) > 700
        assert picture.std() > 5


@pytest.mark.parametrize("count", [8, 200])
def test_agreement_legend_covers_no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    figures: list[Any] = []

    @contextmanager
    def kept(*arguments: Any) -> Iterator[Any]:
        with drawing(*arguments) as figure:
            figures.append(figure)
            yield figure

    monkeypatch.setattr("boneage.evaluate.plots.drawing", kept)
    draw_bland_altman(tmp_path / "plot.png", drawn_predictions(count))
    (figure,) = figures
    (axes,), (legend,) = figure.axes, figure.legends or [figure.axes[0].get_legend()]
    assert len(legend.get_texts()) == 2
    assert not legend.get_window_extent().overlaps(axes.get_window_extent())


def test_error_bars_end_at_the_interval() -> None:
    lengths = bar_lengths([Figure(7.0, 6.5, 8.0), Figure(7.0, 7.25, 8.0), Figure(7.0, 6.0, 6.5)])
    assert lengths.tolist() == [[0.5, 0.0, 1.0], [1.0, 1.0, 0.0]]


def test_plots_show_what_they_are_given(tmp_path: Path) -> None:
    pictures = []
    for seed in (1, 2):
        paths = draw_plots(tmp_path / str(seed), drawn_predictions(60, seed))
        pictures.append([path.read_bytes() for path in paths])
    assert all(one != other for one, other in zip(*pictures, strict=True))


def test_draw_plots_is_deterministic(tmp_path: Path) -> None:
    radiographs = drawn_predictions(60)
    first = [path.read_bytes() for path in draw_plots(tmp_path / "1", radiographs)]
    assert first == [path.read_bytes() for path in draw_plots(tmp_path / "2", radiographs)]


def test_require_matplotlib_names_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boneage.evaluate.plots.find_spec", lambda name: None)
    with pytest.raises(BoneageError, match="boneage\\[plot\\]") as caught:
        require_matplotlib()
    assert caught.value.code == "extra_missing"
