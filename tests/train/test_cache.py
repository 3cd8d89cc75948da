"""The cache gives back what the reader gave, and the views of training are those of serving."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from boneage.films import read_films
from boneage.phantom import draw_hand
from boneage.radiograph import read_radiograph
from boneage.train.cache import build_cache
from boneage.train.data import EpochOrder, EpochViews
from boneage.views import ViewSpec, cut_view
from tests.train.films import draw_folder


def test_films_come_back_equal_to_the_bit(tmp_path: Path) -> None:
    films = read_films(draw_folder(tmp_path, count=3), tmp_path / "films")
    cache = build_cache(films, tmp_path / "cache", longest_side=1536)
    for film in films:
        assert np.array_equal(cache.pixels(film.id), read_radiograph(film.image).pixels)


def test_sixteen_bits_are_kept(tmp_path: Path) -> None:
    table = draw_folder(tmp_path, count=3)
    pixels = np.rint(draw_hand(8, height=160, width=120) * 65535).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "films" / "1.png"), pixels)
    films = read_films(table, tmp_path / "films")
    cache = build_cache(films, tmp_path / "cache", longest_side=1536)
    for film in films:  # the odd-sized neighbours too
        assert np.allclose(cache.pixels(film.id), read_radiograph(film.image).pixels, atol=1e-6)


def test_a_view_for_training_is_the_view_for_serving(tmp_path: Path) -> None:
    films = read_films(draw_folder(tmp_path, count=4), tmp_path / "films")
    cache = build_cache(films, tmp_path / "cache", longest_side=1536)
    for spec in (ViewSpec(height=64, width=48), ViewSpec(height=96, width=96, grey="percentile")):
        views = EpochViews(films, cache, spec)
        for index, film in enumerate(films):
            served = cut_view(read_radiograph(film.image).pixels, spec)
            assert np.array_equal(views[index][0][0].numpy(), served)


@pytest.mark.data
def test_a_view_for_training_is_the_view_for_serving_on_real_films(tmp_path: Path, data_folder: Path) -> None:
    films = read_films(data_folder / "rsna" / "radiographs.csv")
    films = films[:12] + films[-12:]
    cache = build_cache(films, tmp_path, longest_side=4096)
    spec = ViewSpec(height=256, width=192, grey="percentile")
    views = EpochViews(films, cache, spec)
    for index, film in enumerate(films):
        served = cut_view(read_radiograph(film.image).pixels, spec)
        assert np.array_equal(views[index][0][0].numpy(), served)


def test_large_films_are_reduced_once(tmp_path: Path) -> None:
    films = read_films(draw_folder(tmp_path, count=2, side=300), tmp_path / "films")
    cache = build_cache(films, tmp_path / "cache", longest_side=150)
    assert cache.pixels("0").shape == (150, 112)


def test_a_broken_film_is_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = draw_folder(tmp_path, count=3)
    (tmp_path / "films" / "1.png").write_bytes(b"no picture")
    films = read_films(table, tmp_path / "films")
    cache = build_cache(films, tmp_path / "cache", longest_side=1536)
    assert "1" not in cache
    assert "0" in cache
    assert cache.refused == {"1": "unreadable"}
    assert "unreadable" in caplog.text


def test_the_cache_is_built_once_and_anew_for_changed_films(tmp_path: Path) -> None:
    films = read_films(draw_folder(tmp_path, count=2), tmp_path / "films")
    build_cache(films, tmp_path / "cache", longest_side=1536)
    build_cache(films, tmp_path / "cache", longest_side=1536)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    cv2.imwrite(str(films[0].image), np.rint(draw_hand(3, height=200, width=150) * 255).astype(np.uint8))
    build_cache(films, tmp_path / "cache", longest_side=1536)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_an_order_is_a_permutation_new_in_each_epoch_and_shared_without_overlap() -> None:
    first, second = (list(EpochOrder(101, seed=0, epoch=epoch)) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(101))
    assert first != second
    shares = [list(EpochOrder(101, seed=0, epoch=0, rank=rank, world=4)) for rank in range(4)]
    assert [len(share) for share in shares] == [25] * 4
    assert len(set().union(*shares)) == 100
