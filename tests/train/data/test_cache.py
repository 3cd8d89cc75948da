"""The cache gives back what the reader gave, and the views of training are those of serving."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage.errors import Rejection, RejectionCode, TableError
from boneage.hand.views import ViewSpec, cut_view
from boneage.phantom import draw_hand
from boneage.reading.radiograph import read_radiograph
from boneage.sex import Sex
from boneage.tables.radiographs import LabelledRadiograph, read_radiographs
from boneage.train.data.cache import _stored, build_cache
from boneage.train.data.epochs import EpochOrder, EpochViews
from boneage.train.recipe import DataOptions
from tests.train.drawn_radiographs import draw_folder


def test_cache_is_exact(tmp_path: Path) -> None:
    radiographs = read_radiographs(draw_folder(tmp_path, count=3), tmp_path / "radiographs")
    cache = build_cache(radiographs, tmp_path / "cache", longest_side=1536)
    for radiograph in radiographs:
        assert np.array_equal(cache.pixels(radiograph.id), read_radiograph(radiograph.image).pixels)


def test_cache_keeps_sixteen_bits(tmp_path: Path) -> None:
    table = draw_folder(tmp_path, count=3)
    pixels = np.rint(draw_hand(8, height=160, width=120) * 65535).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "radiographs" / "1.png"), pixels)
    radiographs = read_radiographs(table, tmp_path / "radiographs")
    cache = build_cache(radiographs, tmp_path / "cache", longest_side=1536)
    for radiograph in radiographs:  # the odd-sized neighbours too
        assert np.array_equal(cache.pixels(radiograph.id), read_radiograph(radiograph.image).pixels)


@given(seed=st.integers(0, 1000), levels=st.sampled_from([255, 4095, 65535, 10**6]))
def test_cache_uses_one_byte_only_if_exact(seed: int, levels: int) -> None:
    """Pixels are stored in one byte only where that is exact."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, levels, (5, 7), endpoint=True).astype(np.float32) / np.float32(levels)
    stored = _stored(pixels)
    back = stored.astype(np.float32) / np.float32(np.iinfo(stored.dtype).max)
    assert stored.itemsize == (1 if levels == 255 else 2)
    if levels in (255, 65535):
        assert np.array_equal(back, pixels)
    assert np.abs(back - pixels).max() <= 1.001 / 131_070


def test_cache_default_does_not_reduce(tmp_path: Path) -> None:
    """A radiograph of usual size is not reduced by default."""
    pixels = np.rint(draw_hand(height=2000, width=1500) * 255).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "radiograph.png"), pixels)
    radiograph = LabelledRadiograph("radiograph", tmp_path / "radiograph.png", Sex.MALE, 96.0)
    spec = ViewSpec(height=256, width=192, grey="percentile")
    served = cut_view(read_radiograph(radiograph.image).pixels, spec)
    cache = build_cache([radiograph], tmp_path / "cache", longest_side=DataOptions().longest_side)
    assert np.array_equal(EpochViews([radiograph], cache, spec)[0][0][0].numpy(), served)
    # Of a larger radiograph the view differs, but by little.
    reduced = build_cache([radiograph], tmp_path / "cache", longest_side=1536)
    difference = np.abs(EpochViews([radiograph], reduced, spec)[0][0][0].numpy() - served)
    assert 0 < difference.mean() < 0.01


def test_cache_view_equals_serving(tmp_path: Path) -> None:
    radiographs = read_radiographs(draw_folder(tmp_path, count=4), tmp_path / "radiographs")
    cache = build_cache(radiographs, tmp_path / "cache", longest_side=1536)
    for spec in (ViewSpec(height=64, width=48), ViewSpec(height=96, width=96, grey="percentile")):
        views = EpochViews(radiographs, cache, spec)
        for index, radiograph in enumerate(radiographs):
            served = cut_view(read_radiograph(radiograph.image).pixels, spec)
            assert np.array_equal(views[index][0][0].numpy(), served)


@pytest.mark.data
def test_cache_view_equals_serving_on_rsna(tmp_path: Path, data_folder: Path) -> None:
    """A view for training is the view for serving on real radiographs."""
    radiographs = read_radiographs(data_folder / "rsna" / "radiographs.csv")
    radiographs = radiographs[:12] + radiographs[-12:]
    cache = build_cache(radiographs, tmp_path, longest_side=4096)
    spec = ViewSpec(height=256, width=192, grey="percentile")
    views = EpochViews(radiographs, cache, spec)
    for index, radiograph in enumerate(radiographs):
        served = cut_view(read_radiograph(radiograph.image).pixels, spec)
        assert np.array_equal(views[index][0][0].numpy(), served)


def test_cache_reduces_large_radiographs_once(tmp_path: Path) -> None:
    radiographs = read_radiographs(draw_folder(tmp_path, count=2, side=300), tmp_path / "radiographs")
    cache = build_cache(radiographs, tmp_path / "cache", longest_side=150)
    assert cache.pixels("0").shape == (150, 112)


def test_cache_leaves_out_broken_radiograph(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = draw_folder(tmp_path, count=3)
    (tmp_path / "radiographs" / "1.png").write_bytes(b"no picture")
    radiographs = read_radiographs(table, tmp_path / "radiographs")
    cache = build_cache(radiographs, tmp_path / "cache", longest_side=1536)
    assert "1" not in cache
    assert "0" in cache
    assert cache.rejected == {"1": "unreadable"}
    assert "unreadable" in caplog.text


def test_build_cache_rejects_unreadable_table(tmp_path: Path) -> None:
    """Radiographs none of which can be read make no cache."""
    table = draw_folder(tmp_path, count=2)
    radiographs = read_radiographs(table, tmp_path / "radiographs")
    for radiograph in radiographs:
        radiograph.image.write_bytes(b"no picture")
    with pytest.raises(TableError, match=r"unreadable \(2\)") as caught:
        build_cache(radiographs, tmp_path / "cache", longest_side=1536)
    assert caught.value.code == "table_empty"
    assert list((tmp_path / "cache").iterdir()) == []


def test_build_cache_missing_file_is_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A radiograph that cannot be opened is no rejection to keep."""
    radiographs = read_radiographs(draw_folder(tmp_path, count=2), tmp_path / "radiographs")
    content = radiographs[1].image.read_bytes()
    radiographs[1].image.unlink()
    with pytest.raises(TableError) as caught:
        build_cache(radiographs, tmp_path / "cache", longest_side=1536)
    assert caught.value.code == "table_image_missing"
    radiographs[1].image.write_bytes(content)

    def unavailable(path: Path) -> object:
        raise Rejection(RejectionCode.NOT_FOUND, f"{path.name} cannot be opened: the share is away.")

    with monkeypatch.context() as patch, pytest.raises(TableError) as caught:
        patch.setattr("boneage.train.data.cache.read_radiograph", unavailable)
        build_cache(radiographs, tmp_path / "cache", longest_side=1536)
    assert caught.value.code == "table_image_missing"
    assert list((tmp_path / "cache").iterdir()) == []
    assert "1" in build_cache(radiographs, tmp_path / "cache", longest_side=1536)


def test_build_cache_of_two_processes(tmp_path: Path) -> None:
    """The later of two processes takes the cache of the first."""
    radiographs = read_radiographs(draw_folder(tmp_path, count=3), tmp_path / "radiographs")

    def overtaken(items: Sequence[LabelledRadiograph]) -> Iterator[LabelledRadiograph]:
        build_cache(radiographs, tmp_path / "cache", longest_side=1536)
        yield from items

    cache = build_cache(radiographs, tmp_path / "cache", longest_side=1536, progress=overtaken)
    assert all(radiograph.id in cache for radiograph in radiographs)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [cache.folder.name]


def test_build_cache_of_other_reader_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    radiographs = read_radiographs(draw_folder(tmp_path, count=2), tmp_path / "radiographs")
    first = build_cache(radiographs, tmp_path / "cache", longest_side=1536)
    monkeypatch.setattr("boneage.train.data.cache.READER_VERSION", 1000)
    assert build_cache(radiographs, tmp_path / "cache", longest_side=1536).folder != first.folder


def test_cache_pickles_without_pixels(tmp_path: Path) -> None:
    radiographs = read_radiographs(draw_folder(tmp_path, count=2), tmp_path / "radiographs")
    cache = build_cache(radiographs, tmp_path / "cache", longest_side=1536)
    grey = cache.grey("0", "minmax")
    pickled = pickle.dumps(cache)
    assert len(pickled) < 1000 < radiographs[0].image.stat().st_size
    other = pickle.loads(pickled)
    assert np.array_equal(other.pixels("1"), cache.pixels("1"))
    assert other.grey("0", "minmax") == grey


def test_build_cache_again_for_changed_radiographs(tmp_path: Path) -> None:
    """The cache is built once, and again for changed radiographs."""
    radiographs = read_radiographs(draw_folder(tmp_path, count=2), tmp_path / "radiographs")
    build_cache(radiographs, tmp_path / "cache", longest_side=1536)
    build_cache(radiographs, tmp_path / "cache", longest_side=1536)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    cv2.imwrite(str(radiographs[0].image), np.rint(draw_hand(3, height=200, width=150) * 255).astype(np.uint8))
    build_cache(radiographs, tmp_path / "cache", longest_side=1536)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_epoch_order_permutes_and_shares() -> None:
    """An order is a permutation new in each epoch and shared without overlap."""
    first, second = (list(EpochOrder(101, seed=0, epoch=epoch)) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(101))
    assert first != second
    shares = [list(EpochOrder(101, seed=0, epoch=0, rank=rank, world=4)) for rank in range(4)]
    assert [len(share) for share in shares] == [25] * 4
    assert len(set().union(*shares)) == 100
