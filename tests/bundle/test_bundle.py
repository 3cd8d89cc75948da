"""Bundles: graphs match their manifest, and no wrong output becomes an age."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]  # it ships no types
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import boneage.bundle.shipped
from boneage.bundle.bundle import Bundle, with_calibration
from boneage.bundle.check import check_bundle, predict_phantom
from boneage.bundle.embedding_stats import EmbeddingStats
from boneage.bundle.manifest import SelfTest, read_manifest, write_manifest
from boneage.bundle.shipped import list_bundles
from boneage.errors import BundleError, Rejection
from boneage.files import sha256_of
from boneage.hand.views import ViewSpec, cut_view
from boneage.phantom import draw_hand, phantom_points
from boneage.sex import Sex
from tests.bundles import CALIBRATION, METRICS, REGION_VIEWS, TINY_VIEW, tiny_bundle, tiny_graph
from tests.hand_graphs import LOCATE_VIEW, MASK_VIEW, REFINE_VIEW, mask_graph, points_graph

BOTH = (Sex.FEMALE, Sex.MALE)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of two members that tests only read."""
    return Bundle.open(tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny", members=2))


@pytest.fixture
def folder(tmp_path: Path, shared: Bundle) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(shared.directory, tmp_path / "copy"))


def views(count: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, TINY_VIEW.height, TINY_VIEW.width), dtype=np.float32)


def code_of(act: Callable[[], object]) -> str:
    with pytest.raises(BundleError) as caught:
        act()
    return caught.value.code


def exchange_graph(folder: Path, graph: onnx.ModelProto) -> Bundle:
    """Put another graph in the first member's place, with a checksum that fits."""
    manifest = read_manifest(folder)
    first = manifest.members[0]
    (folder / first.graph).write_bytes(graph.SerializeToString())
    first = replace(first, sha256=sha256_of(folder / first.graph))
    write_manifest(replace(manifest, members=(first, *manifest.members[1:])), folder)
    return Bundle.open(folder)


# --- running ---


def test_run_gives_months_embedding_and_map(shared: Bundle) -> None:
    member = shared.members[0]
    output = shared.run(member, cut_view(draw_hand(), member.view), Sex.FEMALE)
    assert output.embedding.shape == (4,)
    assert output.activation.shape == (16, 12)
    assert output.activation.dtype == np.float32
    assert output.age_distribution is None
    # The map sums to the age but for the constant (100) and the part of the sex (-4 for girls).
    assert output.activation.sum() == pytest.approx(output.age_months - 96.0, abs=1e-3)


@settings(max_examples=15, deadline=None)
@given(count=st.integers(1, 5), seed=st.integers(0, 1000), males=st.lists(st.booleans(), min_size=5, max_size=5))
def test_run_batch_equals_single_runs(shared: Bundle, count: int, seed: int, males: list[bool]) -> None:
    sexes = [Sex.MALE if male else Sex.FEMALE for male in males[:count]]
    member = shared.members[1]
    for view, sex, output in zip(
        views(count, seed), sexes, shared.run_batch(member, views(count, seed), sexes), strict=True
    ):
        alone = shared.run(member, view, sex)
        assert output.age_months == pytest.approx(alone.age_months, abs=1e-3)
        np.testing.assert_allclose(output.activation, alone.activation, atol=1e-4)


def test_run_sex_reaches_the_network(shared: Bundle) -> None:
    girl, boy = (shared.run(shared.members[0], views()[0], sex).age_months for sex in BOTH)
    assert boy - girl == pytest.approx(8.0, abs=1e-3)


def test_run_age_distribution(tmp_path: Path) -> None:
    bundle = Bundle.open(tiny_bundle(tmp_path / "spread", distribution=True))
    output = bundle.run(bundle.members[0], views()[0], Sex.MALE)
    assert output.age_distribution is not None
    np.testing.assert_allclose(output.age_distribution, np.full(240, 1 / 240), rtol=1e-5)


# --- mirror images ---


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle like `shared` whose members also read mirror images."""
    folder = tmp_path_factory.mktemp("bundles") / "mirrored"
    return Bundle.open(tiny_bundle(folder, members=2, mirror=True, distribution=True))


@settings(max_examples=15, deadline=None)
@given(count=st.integers(1, 4), seed=st.integers(0, 1000))
def test_run_batch_mirror_is_the_mean_of_both(mirrored: Bundle, count: int, seed: int) -> None:
    member, drawn = mirrored.members[0], views(count, seed)
    plain = mirrored.run_batch(member, drawn, [Sex.MALE] * count, plain=True)
    turned = mirrored.run_batch(member, drawn[:, :, ::-1], [Sex.MALE] * count, plain=True)
    for first, second, both in zip(plain, turned, mirrored.run_batch(member, drawn, [Sex.MALE] * count), strict=True):
        assert first.mirror_activation is None
        assert first.mirror_difference_months is None
        assert both.age_months == pytest.approx((first.age_months + second.age_months) / 2, abs=1e-3)
        assert both.mirror_difference_months == pytest.approx(abs(first.age_months - second.age_months), abs=1e-3)
        np.testing.assert_allclose(both.embedding, (first.embedding + second.embedding) / 2, atol=1e-4)
        np.testing.assert_allclose(both.activation, first.activation, atol=1e-4)
        assert both.mirror_activation is not None
        np.testing.assert_allclose(both.mirror_activation, second.activation, atol=1e-4)
        assert both.age_distribution is not None


def test_run_mirror_image_has_the_same_age(mirrored: Bundle) -> None:
    member, (view,) = mirrored.members[0], views(1)
    plain, mirrored_back = mirrored.run(member, view, Sex.MALE), mirrored.run(member, view[:, ::-1], Sex.MALE)
    assert plain.mirror_difference_months is not None
    assert plain.mirror_difference_months > 0.1  # else this would say nothing
    assert plain.age_months == pytest.approx(mirrored_back.age_months, abs=1e-3)


def test_predict_phantom_equals_run(mirrored: Bundle) -> None:
    member = mirrored.members[0]
    view = cut_view(draw_hand(), member.view)
    age_months = mirrored.run(member, view, Sex.FEMALE).age_months
    assert predict_phantom(mirrored, member)[Sex.FEMALE] == age_months
    assert all(result.passed for result in check_bundle(mirrored))


def test_run_embedding_of_another_length(folder: Path) -> None:
    manifest = read_manifest(folder)
    first = replace(manifest.members[0], embedding_stats=EmbeddingStats((0.0, 0.0), (1.0, 1.0), 1.0))
    write_manifest(replace(manifest, members=(first, manifest.members[1])), folder)
    bundle = Bundle.open(folder)
    assert code_of(lambda: bundle.run(first, views()[0], Sex.MALE)) == "bundle_mismatch"
    assert failed_checks(bundle) == [f"self-test {first.name}"]


# --- nothing is sent anywhere ---

_RUN_ONCE = """
import sys
from pathlib import Path
from boneage.bundle.bundle import Bundle
from boneage.bundle.check import check_bundle
bundle = Bundle.open(Path(sys.argv[1]))
assert all(result.passed for result in check_bundle(bundle))
import os, onnxruntime
assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
"""


def test_run_leaves_nothing_in_the_home_folder(folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    places = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "XDG_DATA_HOME": str(home / "data")}
    subprocess.run([sys.executable, "-c", _RUN_ONCE, str(folder)], check=True, env=environment | places)
    assert list(home.iterdir()) == []


# --- inputs and outputs that do not fit ---


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((64, 48), np.float64),
        np.zeros((48, 64), np.float32),
        np.zeros((1, 64, 48), np.float32),
        np.zeros((64,), np.float32),
        np.zeros((64, 48), np.uint8),
    ],
    ids=["double", "transposed", "three axes", "one axis", "bytes"],
)
def test_run_view_that_does_not_fit(shared: Bundle, wrong: np.ndarray) -> None:
    assert code_of(lambda: shared.run(shared.members[0], wrong, Sex.MALE)) == "bundle_mismatch"


def test_run_batch_of_other_lengths(shared: Bundle) -> None:
    member = shared.members[0]
    assert code_of(lambda: shared.run_batch(member, views(2), [Sex.MALE])) == "bundle_mismatch"
    assert code_of(lambda: shared.run_batch(member, views(0), [])) == "bundle_mismatch"


def test_run_member_of_another_bundle(shared: Bundle) -> None:
    stranger = replace(shared.members[0], name="stranger")
    assert code_of(lambda: shared.run(stranger, views()[0], Sex.MALE)) == "bundle_mismatch"


def test_run_member_of_one_sex(folder: Path) -> None:
    manifest = read_manifest(folder)
    girls, both = replace(manifest.members[0], sexes=(Sex.FEMALE,)), manifest.members[1]
    ages = {
        Sex.FEMALE: manifest.self_test.age_months[Sex.FEMALE],
        Sex.MALE: {both.name: manifest.self_test.age_months[Sex.MALE][both.name]},
    }
    write_manifest(replace(manifest, members=(girls, both), self_test=SelfTest(ages)), folder)
    bundle = Bundle.open(folder)
    assert bundle.members_for(Sex.FEMALE) == (girls, both)
    assert bundle.members_for(Sex.MALE) == (both,)
    assert code_of(lambda: bundle.run(girls, views()[0], Sex.MALE)) == "bundle_mismatch"
    assert all(result.passed for result in check_bundle(bundle))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_run_view_that_is_not_finite(shared: Bundle, value: float) -> None:
    view = views()[0]
    view[5, 5] = value
    assert code_of(lambda: shared.run(shared.members[0], view, Sex.MALE)) == "bundle_output"


def test_run_graph_without_finite_outputs(folder: Path) -> None:
    manifest = read_manifest(folder)
    bundle = exchange_graph(folder, tiny_graph(gain=math.nan))
    assert code_of(lambda: bundle.run(bundle.members[0], views()[0], Sex.MALE)) == "bundle_output"
    failed = [result.name for result in check_bundle(bundle) if not result.passed]
    assert failed == [f"self-test {manifest.members[0].name}"]


def count_loads(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """Return a list to which every graph of the folder that is loaded from now on adds its name."""
    loaded: list[str] = []
    names = {path.read_bytes(): path.name for path in folder.glob("*.onnx")}
    load = onnxruntime.InferenceSession

    def counting(graph: bytes, *arguments: Any, **options: Any) -> Any:
        loaded.append(names[graph])
        return load(graph, *arguments, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", counting)
    return loaded


def test_run_from_many_threads_loads_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.open(folder, threads=1)
    loaded = count_loads(monkeypatch, folder)
    ages: list[float] = []
    start = threading.Barrier(8)

    def run() -> None:
        start.wait()
        ages.append(bundle.run(bundle.members[0], views()[0], Sex.MALE).age_months)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loaded == [bundle.members[0].graph]
    assert len(ages) == 8
    assert len(set(ages)) == 1


# --- opening ---


def test_open_by_name_or_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    tiny_bundle(shipped / "first", name="first")
    tiny_bundle(tmp_path / "first", name="elsewhere")
    monkeypatch.setattr(boneage.bundle.shipped, "SHIPPED", shipped)
    monkeypatch.setattr(boneage.bundle.shipped, "DEFAULT_BUNDLE", "first")
    monkeypatch.chdir(tmp_path)
    assert Bundle.open().manifest.name == "first"
    assert Bundle.open("first").manifest.name == "first"
    assert Bundle.open("./first").manifest.name == "elsewhere"
    assert Bundle.open(Path("first")).manifest.name == "elsewhere"
    (summary,) = list_bundles(shipped)
    assert (summary.name, summary.members, summary.mad_months, summary.is_default) == ("first", 1, 8.5, True)


@pytest.mark.parametrize("name", ["no-such-bundle", "no/such/folder", "", "..", "\0"])
def test_open_not_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert code_of(lambda: Bundle.open(name)) == "bundle_not_found"
    assert code_of(lambda: Bundle.open(tmp_path / "empty")) == "bundle_not_found"


def test_open_damaged_graph(folder: Path) -> None:
    graph = folder / "member-1.onnx"
    damaged = bytearray(graph.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    graph.write_bytes(damaged)
    assert code_of(lambda: Bundle.open(folder)) == "bundle_checksum"


def test_run_graph_exchanged_after_opening(folder: Path) -> None:
    bundle = Bundle.open(folder)
    (folder / "member-0.onnx").write_bytes(tiny_graph(shift_months=50).SerializeToString())
    assert code_of(lambda: bundle.run(bundle.members[0], views()[0], Sex.MALE)) == "bundle_checksum"


def test_open_missing_graph(folder: Path) -> None:
    (folder / "member-0.onnx").unlink()
    assert code_of(lambda: Bundle.open(folder)) == "bundle_invalid"


def test_run_file_that_is_no_graph(folder: Path) -> None:
    manifest = read_manifest(folder)
    (folder / "member-0.onnx").write_bytes(b"this is no graph")
    first = replace(manifest.members[0], sha256=sha256_of(folder / "member-0.onnx"))
    write_manifest(replace(manifest, members=(first, manifest.members[1])), folder)
    bundle = Bundle.open(folder)
    assert code_of(lambda: bundle.run(bundle.members[0], views()[0], Sex.MALE)) == "bundle_invalid"


def test_open_needs_a_thread(folder: Path) -> None:
    with pytest.raises(ValueError, match="threads"):
        Bundle.open(folder, threads=0)


# --- calibrating ---


def test_with_calibration_in_place(folder: Path, shared: Bundle) -> None:
    graphs = {path.name: path.read_bytes() for path in folder.glob("*.onnx")}
    before = shared.manifest
    assert before.metrics and before.calibration is None
    assert with_calibration(folder, CALIBRATION).manifest == replace(before, calibration=CALIBRATION, metrics={})
    measured = with_calibration(folder, CALIBRATION, metrics=METRICS)
    assert measured.manifest == replace(before, calibration=CALIBRATION) == Bundle.open(folder).manifest
    assert all(one.passed for one in check_bundle(measured))
    assert with_calibration(folder, None, metrics=METRICS).manifest == before
    assert {path.name: path.read_bytes() for path in folder.glob("*.onnx")} == graphs


def test_with_calibration_invalid_changes_nothing(folder: Path) -> None:
    before = (folder / "bundle.json").read_bytes()
    broken = replace(CALIBRATION, by_sex=dict.fromkeys(Sex, replace(CALIBRATION.by_sex[Sex.MALE], bands=())))
    assert code_of(lambda: with_calibration(folder, broken)) == "bundle_invalid"
    assert code_of(lambda: with_calibration(folder, CALIBRATION, metrics={"ccc": 2.0})) == "bundle_invalid"
    assert code_of(lambda: with_calibration(folder / "elsewhere", CALIBRATION)) == "bundle_not_found"
    assert (folder / "bundle.json").read_bytes() == before
    assert {path.suffix for path in folder.iterdir()} == {".json", ".onnx"}


# --- checking ---


def test_check_bundle_whole(shared: Bundle) -> None:
    results = check_bundle(shared)
    assert all(result.passed for result in results), results
    assert {result.name.split()[0] for result in results} == {"files", "checksum", "signature", "self-test"}


def failed_checks(bundle: Bundle) -> list[str]:
    return [result.name for result in check_bundle(bundle) if not result.passed]


def test_check_bundle_stray_file(folder: Path) -> None:
    (folder / "weights.data").write_bytes(b"")
    assert failed_checks(Bundle.open(folder)) == ["files"]


def test_check_bundle_wrong_age(folder: Path) -> None:
    assert failed_checks(exchange_graph(folder, tiny_graph(shift_months=0.4))) == []
    assert failed_checks(exchange_graph(folder, tiny_graph(shift_months=0.6))) == ["self-test member-0"]


def without_output(graph: onnx.ModelProto) -> onnx.ModelProto:
    del graph.graph.output[2]
    return graph


def with_renamed_input(graph: onnx.ModelProto) -> onnx.ModelProto:
    for node in graph.graph.node:
        for place, name in enumerate(node.input):
            if name == "sex":
                node.input[place] = "gender"
    graph.graph.input[1].name = "gender"
    return graph


@pytest.mark.parametrize(
    "graph",
    [
        tiny_graph(ViewSpec(height=48, width=64)),
        tiny_graph(batch=1),
        without_output(tiny_graph()),
        with_renamed_input(tiny_graph()),
    ],
    ids=["other view", "fixed batch", "no activation", "no sex"],
)
def test_run_graph_that_breaks_the_contract(folder: Path, graph: onnx.ModelProto) -> None:
    bundle = exchange_graph(folder, graph)
    assert code_of(lambda: bundle.run(bundle.members[0], views()[0], Sex.MALE)) == "bundle_mismatch"
    assert failed_checks(bundle) == ["signature member-0", "self-test member-0"]


# --- hand networks ---


@pytest.fixture(scope="module")
def finder(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle with hand networks and a member for each region, that tests only read."""
    folder = tmp_path_factory.mktemp("bundles") / "finder"
    return Bundle.open(tiny_bundle(folder, name="finder", views=REGION_VIEWS, hand=True), threads=1)


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


PHANTOM = draw_hand(9.0, height=500, width=375)


def test_find_hand_of_the_phantom(finder: Bundle) -> None:
    assert finder.finds_hands
    hand = finder.find_hand(PHANTOM)
    points_xy = phantom_points(height=500, width=375)
    assert np.abs(hand.points_xy - points_xy).max() < 0.03 * hand.length_pixels
    assert (hand.mirrored, hand.inverted) == (False, False)
    assert hand.mask.shape == (MASK_VIEW.height, MASK_VIEW.width)


def test_check_bundle_of_regions(finder: Bundle) -> None:
    results = check_bundle(finder)
    assert all(result.passed for result in results), results
    names = [result.name for result in results]
    assert {f"checksum hand network {name}" for name in ("mask", "locate", "refine")} <= set(names)
    assert "signature of the hand networks" in names


def test_check_bundle_of_hand_networks_alone(tmp_path: Path) -> None:
    alone = Bundle.open(tiny_bundle(tmp_path / "alone", views=(), hand=True, metrics={}))
    assert alone.members == alone.members_for(Sex.MALE) == ()
    assert all(result.passed for result in check_bundle(alone))
    assert alone.find_hand(PHANTOM).spread < 0.05


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


# --- threads and providers ---


def test_run_batch_is_divided_among_threads(folder: Path) -> None:
    """A large batch gives the same outputs, in order, with any number of threads."""
    one, three = (Bundle.open(folder, threads=threads) for threads in (1, 3))
    batch, sexes = views(17), [BOTH[row % 2] for row in range(17)]
    ages = [
        [output.age_months for output in bundle.run_batch(bundle.members[0], batch, sexes)] for bundle in (one, three)
    ]
    assert ages[0] == pytest.approx(ages[1], abs=1e-4)


@pytest.mark.parametrize("threads", [1, 2])
def test_start_returns_results_and_errors(folder: Path, threads: int) -> None:
    bundle = Bundle.open(folder, threads=threads)
    assert [bundle.start(partial(pow, 2, power)).result() for power in range(20)] == [2**power for power in range(20)]
    with pytest.raises(ZeroDivisionError):
        bundle.start(lambda: 1 / 0).result()


@pytest.mark.parametrize("name", ["cuda", "abacus"])
def test_run_provider_that_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("BONEAGE_PROVIDER", name)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    bundle = Bundle.open(folder)
    assert code_of(lambda: bundle.run(bundle.members[0], views()[0], Sex.MALE)) == "provider_missing"


def test_run_provider_without_its_device(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime goes on with the processor if a provider's libraries are missing; that is an error here."""
    load = onnxruntime.InferenceSession
    monkeypatch.setenv("BONEAGE_PROVIDER", "CUDA")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda data, options, providers: load(data, options))
    bundle = Bundle.open(folder)
    assert code_of(lambda: bundle.run(bundle.members[0], views()[0], Sex.MALE)) == "provider_missing"
