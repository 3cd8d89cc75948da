"""The hand networks of a bundle: they find the phantom's hand, and damaged or unsuitable ones are rejected."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest

from boneage.bundle.bundle import Bundle
from boneage.bundle.manifest import read_manifest, write_manifest
from boneage.errors import Rejection
from boneage.files import sha256_of
from boneage.hand.views import ViewSpec
from boneage.phantom import phantom_points
from tests.bundle.exchanged_graphs import PHANTOM, count_loads, failed_checks
from tests.error_codes import code_of
from tests.hand_graphs import LOCATE_VIEW, MASK_VIEW, REFINE_VIEW, mask_graph, points_graph


@pytest.fixture
def finder_copy(tmp_path: Path, finder: Bundle) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(finder.directory, tmp_path / "finder"))


def exchange_hand_graph(folder: Path, name: str, graph: onnx.ModelProto) -> Bundle:
    """Put another graph in a hand network's place, with a checksum that fits."""
    manifest = read_manifest(folder)
    assert manifest.hand is not None
    network = manifest.hand.by_name()[name]
    (folder / network.graph).write_bytes(graph.SerializeToString())
    network = replace(network, sha256=sha256_of(folder / network.graph))
    networks = replace(manifest.hand, **{name: network})  # type: ignore[arg-type]  # the name of a graph, not the limits
    write_manifest(replace(manifest, hand=networks), folder)
    return Bundle.open(folder, threads=1)


def test_find_hand_of_the_phantom(finder: Bundle) -> None:
    assert finder.finds_hands
    hand = finder.find_hand(PHANTOM)
    points_xy = phantom_points(height=500, width=375)
    assert np.abs(hand.points_xy - points_xy).max() < 0.03 * hand.length_pixels
    assert (hand.mirrored, hand.inverted) == (False, False)
    assert hand.mask.shape == (MASK_VIEW.height, MASK_VIEW.width)


def test_find_hand_without_hand_networks(shared: Bundle) -> None:
    assert not shared.finds_hands
    assert code_of(lambda: shared.find_hand(PHANTOM)) == "bundle_mismatch"


@pytest.mark.parametrize("name", ["mask", "locate", "refine"])
def test_find_hand_damaged_hand_network(finder_copy: Path, name: str) -> None:
    bundle = Bundle.open(finder_copy)
    graph = finder_copy / f"hand-{name}.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    assert code_of(lambda: bundle.find_hand(PHANTOM)) == "bundle_checksum"
    assert code_of(lambda: Bundle.open(finder_copy)) == "bundle_checksum"
    graph.unlink()
    assert code_of(lambda: Bundle.open(finder_copy)) == "bundle_invalid"


@pytest.mark.parametrize(
    ("name", "graph"),
    [
        ("mask", points_graph(LOCATE_VIEW)),  # another output
        ("mask", mask_graph(ViewSpec("radiograph", 96, 128, "percentile"))),  # another view
        ("locate", mask_graph(LOCATE_VIEW)),
        ("refine", points_graph(LOCATE_VIEW)),
    ],
    ids=["points for a mask", "another view", "mask for points", "view of another network"],
)
def test_find_hand_network_that_breaks_the_contract(finder_copy: Path, name: str, graph: onnx.ModelProto) -> None:
    bundle = exchange_hand_graph(finder_copy, name, graph)
    assert code_of(lambda: bundle.find_hand(PHANTOM)) == "bundle_mismatch"
    assert failed_checks(bundle) == ["signature of the hand networks"]


def with_constant(name: str, output: str, view: ViewSpec, value: np.ndarray) -> onnx.ModelProto:
    """The graph of a hand network, but one output is this, whatever it sees."""
    model = mask_graph(view) if name == "mask" else points_graph(view)
    for node in model.graph.node:
        for place, made in enumerate(node.output):
            if made == output:
                node.output[place] = "unused"
    added = onnx.helper.make_node("Constant", [], [output], value=onnx.numpy_helper.from_array(value))
    model.graph.node.append(added)
    return model


@pytest.mark.parametrize(
    ("name", "output", "view", "shape"),
    [
        ("mask", "hand", MASK_VIEW, (1, MASK_VIEW.height, MASK_VIEW.width)),
        ("locate", "points", LOCATE_VIEW, (1, 3, 2)),
        ("locate", "spread", LOCATE_VIEW, (1, 3)),
        ("refine", "hands", REFINE_VIEW, (1, 3)),
    ],
)
def test_find_hand_network_output_not_finite(
    finder_copy: Path, name: str, output: str, view: ViewSpec, shape: tuple[int, ...]
) -> None:
    for value in (np.nan, np.inf):
        graph = with_constant(name, output, view, np.full(shape, value, np.float32))
        bundle = exchange_hand_graph(finder_copy, name, graph)
        assert code_of(partial(bundle.find_hand, PHANTOM)) == "bundle_output"


def test_find_hand_network_output_of_another_shape(finder_copy: Path) -> None:
    graph = with_constant("locate", "points", LOCATE_VIEW, np.zeros((1, 4, 2), np.float32))
    bundle = exchange_hand_graph(finder_copy, "locate", graph)
    assert code_of(lambda: bundle.find_hand(PHANTOM)) == "bundle_mismatch"


def test_find_hand_limits_of_the_manifest(finder_copy: Path) -> None:
    manifest = read_manifest(finder_copy)
    assert manifest.hand is not None
    strict = replace(manifest.hand, limits=replace(manifest.hand.limits, largest_spread=0.0))
    write_manifest(replace(manifest, hand=strict), finder_copy)
    with pytest.raises(Rejection) as rejection:
        Bundle.open(finder_copy).find_hand(PHANTOM)
    assert rejection.value.code == "points_uncertain"


def test_find_hand_from_many_threads_loads_once(finder_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.open(finder_copy, threads=1)
    loaded = count_loads(monkeypatch, finder_copy)
    points: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: points.append(bundle.find_hand(PHANTOM).points_xy)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(loaded) == ["hand-locate.onnx", "hand-mask.onnx", "hand-refine.onnx"]
    assert len(points) == 6
    assert all(np.array_equal(points_xy, points[0]) for points_xy in points)
