"""Hands of a training: found by the networks of serving, kept whole, and the views cut by them are those of serving."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from boneage.bundle.bundle import Bundle
from boneage.bundle.manifest import HandGraphs, read_manifest, write_manifest
from boneage.errors import BundleError
from boneage.files import sha256_of
from boneage.hand.registration import Hand
from boneage.hand.views import ViewSpec, cut_view
from boneage.phantom import draw_hand
from boneage.reading.radiograph import read_radiograph
from boneage.sex import Sex
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.data.cache import RadiographCache, build_cache
from boneage.train.data.epochs import EpochViews
from boneage.train.data.hands import HandTable, find_hands, open_hands
from tests.bundles import REGION_VIEWS, tiny_bundle
from tests.hand_graphs import REFINE_VIEW, picture_without_hand, points_graph

VIEWS = (
    *REGION_VIEWS,
    *(replace(spec, grey="percentile") for spec in REGION_VIEWS),
    ViewSpec("surroundings", 96, 88, "percentile"),
    ViewSpec("radiograph", 64, 48, "hand"),
)


def _pictures() -> dict[str, NDArray[np.integer]]:
    """Radiographs of the phantom by name: of 8 and 16 bits, of a right hand, turned, inverted, and one without a
    hand."""
    radiograph = draw_hand(9.0, height=400, width=300)
    shown = {
        "left": radiograph,
        "right": radiograph[:, ::-1],
        "turned": np.rot90(radiograph),
        "inverted": 1 - radiograph,
        "right, inverted": 1 - radiograph[::-1],
    }
    pictures: dict[str, NDArray[np.integer]] = {"none": picture_without_hand(300, 240)}
    for name, pixels in shown.items():
        pictures[name] = np.rint(pixels * 255).astype(np.uint8)
        pictures[f"{name}, 16 bits"] = np.rint(pixels * 65535).astype(np.uint16)
    return pictures


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> list[LabelledRadiograph]:
    folder = tmp_path_factory.mktemp("radiographs")
    pictures = _pictures()
    for name, picture in pictures.items():
        cv2.imwrite(str(folder / f"{name}.png"), picture)
    return [LabelledRadiograph(name, folder / f"{name}.png", Sex.FEMALE, 96.0) for name in pictures]


@pytest.fixture(scope="module")
def cache(radiographs: list[LabelledRadiograph], tmp_path_factory: pytest.TempPathFactory) -> RadiographCache:
    return build_cache(radiographs, tmp_path_factory.mktemp("cache"), longest_side=2048)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """With hand networks and no members."""
    folder = tmp_path_factory.mktemp("bundles") / "hands"
    return Bundle.open(tiny_bundle(folder, name="hands", views=(), hand=True, metrics={}), threads=1)


@pytest.fixture(scope="module")
def table(
    radiographs: list[LabelledRadiograph],
    cache: RadiographCache,
    bundle: Bundle,
    tmp_path_factory: pytest.TempPathFactory,
) -> HandTable:
    return find_hands(radiographs, cache, bundle, tmp_path_factory.mktemp("hands"))


def with_hands(radiographs: list[LabelledRadiograph], table: HandTable) -> list[LabelledRadiograph]:
    return [radiograph for radiograph in radiographs if radiograph.id in table]


@pytest.mark.parametrize("spec", VIEWS, ids=lambda spec: f"{spec.region} {spec.grey}")
def test_hand_view_equals_serving(
    spec: ViewSpec, radiographs: list[LabelledRadiograph], cache: RadiographCache, bundle: Bundle, table: HandTable
) -> None:
    """A view for training is the view for serving to the bit."""
    chosen = with_hands(radiographs, table)
    assert len(chosen) == 10
    views = EpochViews(chosen, cache, spec, hands=table)
    for index, radiograph in enumerate(chosen):
        pixels = read_radiograph(radiograph.image).pixels
        served = cut_view(pixels, spec, hand=bundle.find_hand(pixels))
        trained = views[index][0][0].numpy()
        assert trained.dtype == served.dtype
        assert np.array_equal(trained, served), radiograph.id
        assert served.std() > 0.3


def test_hand_views_equal_in_other_process(
    radiographs: list[LabelledRadiograph], cache: RadiographCache, table: HandTable
) -> None:
    views = EpochViews(with_hands(radiographs, table), cache, REGION_VIEWS[0], hands=table)
    loader = DataLoader(views, batch_size=4, num_workers=1, multiprocessing_context="spawn")
    elsewhere = np.concatenate([batch[0].numpy() for batch in loader])
    assert np.array_equal(elsewhere, np.stack([views[index][0].numpy() for index in range(len(views))]))


def test_find_hands_locates_phantom(radiographs: list[LabelledRadiograph], table: HandTable) -> None:
    """Else equal views would say little."""
    for radiograph in with_hands(radiographs, table):
        hand = table.hand(radiograph.id)
        assert hand.mirrored is ("right" in radiograph.id), radiograph.id
        assert hand.inverted is ("inverted" in radiograph.id), radiograph.id


@pytest.mark.data
def test_hand_view_equals_serving_on_rsna(data_folder: Path, tmp_path: Path) -> None:
    """A view for training is the view for serving on real radiographs."""
    from boneage.tables.radiographs import read_radiographs

    bundle = Bundle.open("default", threads=1)
    if not bundle.finds_hands:
        pytest.skip("the default bundle has no hand networks")
    radiographs = read_radiographs(data_folder / "rsna" / "radiographs.csv")[:8]
    cache = build_cache(radiographs, tmp_path, longest_side=4096)
    table = find_hands(radiographs, cache, bundle, tmp_path)
    chosen = with_hands(radiographs, table)
    assert chosen
    for spec in REGION_VIEWS:
        views = EpochViews(chosen, cache, spec, hands=table)
        for index, radiograph in enumerate(chosen):
            pixels = read_radiograph(radiograph.image).pixels
            assert np.array_equal(views[index][0][0].numpy(), cut_view(pixels, spec, hand=bundle.find_hand(pixels)))


# --- the table ---


def equal(one: Hand, other: Hand) -> bool:
    return (
        np.array_equal(one.points_xy, other.points_xy)
        and np.array_equal(one.mask, other.mask)
        and one.mask.dtype == other.mask.dtype
        and (one.radiograph_to_mask, one.inverted, one.spread)
        == (other.radiograph_to_mask, other.inverted, other.spread)
    )


def test_hand_table_is_exact(
    radiographs: list[LabelledRadiograph], cache: RadiographCache, bundle: Bundle, table: HandTable
) -> None:
    for radiograph in with_hands(radiographs, table):
        assert equal(table.hand(radiograph.id), bundle.find_hand(cache.pixels(radiograph.id)))
        assert equal(pickle.loads(pickle.dumps(table)).hand(radiograph.id), table.hand(radiograph.id))


def test_find_hands_rejects_radiographs_without_hand(
    radiographs: list[LabelledRadiograph],
    cache: RadiographCache,
    bundle: Bundle,
    table: HandTable,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert table.rejected == {"none": "no_hand"}
    assert "none" not in table
    find_hands(radiographs, cache, bundle, tmp_path)
    assert "1 radiographs show no hand: {'none': 'no_hand'}" in caplog.text
    alone = find_hands([radiograph for radiograph in radiographs if radiograph.id == "none"], cache, bundle, tmp_path)
    assert alone.rejected == {"none": "no_hand"}


def test_find_hands_makes_table_once(
    radiographs: list[LabelledRadiograph],
    cache: RadiographCache,
    bundle: Bundle,
    table: HandTable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bundle, "find_hand", None)
    again = find_hands(radiographs[::-1], cache, bundle, table.folder.parent)  # in whatever order
    assert again.folder == table.folder
    assert [path.name for path in table.folder.parent.iterdir()] == [table.folder.name]


def test_open_hands_beside_cache_without_unreadable(
    radiographs: list[LabelledRadiograph], cache: RadiographCache, bundle: Bundle, tmp_path: Path
) -> None:
    """A table lies beside its cache and leaves out what could not be read."""
    unread = replace(radiographs[0], id="unread")
    opened = open_hands(str(bundle.directory), [*radiographs[:3], unread], cache)
    assert opened.folder.parent == cache.folder.parent
    assert opened.folder.name == find_hands(radiographs[:3], cache, bundle, tmp_path).folder.name
    assert "unread" not in opened
    assert "unread" not in opened.rejected


def test_find_hands_failure_leaves_nothing(
    radiographs: list[LabelledRadiograph], cache: RadiographCache, bundle: Bundle, tmp_path: Path
) -> None:
    def broken(items: Iterable[LabelledRadiograph]) -> Iterator[LabelledRadiograph]:
        for number, item in enumerate(items):
            if number == 2:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        find_hands(radiographs, cache, bundle, tmp_path, progress=broken)
    assert list(tmp_path.iterdir()) == []
    assert "left" in find_hands(radiographs, cache, bundle, tmp_path)


def test_find_hands_of_two_processes(
    radiographs: list[LabelledRadiograph], cache: RadiographCache, bundle: Bundle, tmp_path: Path
) -> None:
    """The later of two processes takes the table of the first."""

    def overtaken(items: Iterable[LabelledRadiograph]) -> Iterator[LabelledRadiograph]:
        find_hands(radiographs, cache, bundle, tmp_path)
        yield from items

    table = find_hands(radiographs, cache, bundle, tmp_path, progress=overtaken)
    assert [path.name for path in tmp_path.iterdir()] == [table.folder.name]


def test_find_hands_table_depends_on_inputs(
    radiographs: list[LabelledRadiograph], cache: RadiographCache, bundle: Bundle, table: HandTable, tmp_path: Path
) -> None:
    """Other networks radiographs or limits make another table."""
    folder = tiny_bundle(tmp_path / "other", name="other", views=(), hand=True, metrics={})
    assert (
        find_hands(radiographs, cache, Bundle.open(folder), table.folder.parent).folder == table.folder
    )  # the same networks
    manifest = read_manifest(folder)
    assert manifest.hand is not None
    (folder / "hand-refine.onnx").write_bytes(points_graph(REFINE_VIEW, spread_pixels=0.5).SerializeToString())
    refine = replace(manifest.hand.refine, sha256=sha256_of(folder / "hand-refine.onnx"))
    strict = replace(manifest.hand.limits, least_inside=0.9)
    folders = {table.folder.name, find_hands(radiographs[:3], cache, bundle, tmp_path / "tables").folder.name}
    for hand in (
        replace(manifest.hand, refine=refine),
        HandGraphs(manifest.hand.mask, manifest.hand.locate, refine, limits=strict),
    ):
        write_manifest(replace(manifest, hand=hand), folder)
        folders.add(find_hands(radiographs, cache, Bundle.open(folder), tmp_path / "tables").folder.name)
    assert len(folders) == 4


def test_find_hands_rejects_bundle_without_hand_networks(
    radiographs: list[LabelledRadiograph], cache: RadiographCache, tmp_path: Path
) -> None:
    with pytest.raises(BundleError) as caught:
        find_hands(radiographs, cache, Bundle.open(tiny_bundle(tmp_path / "plain")), tmp_path / "tables")
    assert caught.value.code == "bundle_mismatch"
    assert not (tmp_path / "tables").exists()
