"""Bundles: graphs match their manifest, and no wrong output becomes an age."""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import boneage.bundle.shipped
from boneage.bundle.bundle import Bundle, with_calibration
from boneage.bundle.check import check_bundle
from boneage.bundle.embedding_stats import EmbeddingStats
from boneage.bundle.manifest import SelfTest, read_manifest, write_manifest
from boneage.bundle.shipped import list_bundles
from boneage.hand.views import cut_view
from boneage.phantom import draw_hand
from boneage.sex import Sex
from tests.bundle.exchanged_graphs import count_loads, exchange_graph, failed_checks, views
from tests.bundles import CALIBRATION, METRICS, tiny_bundle, tiny_graph
from tests.error_codes import code_of

BOTH = (Sex.FEMALE, Sex.MALE)


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


def test_run_embedding_of_another_length(folder: Path) -> None:
    manifest = read_manifest(folder)
    first = replace(manifest.members[0], embedding_stats=EmbeddingStats((0.0, 0.0), (1.0, 1.0), 1.0))
    write_manifest(replace(manifest, members=(first, manifest.members[1])), folder)
    bundle = Bundle.open(folder)
    assert code_of(lambda: bundle.run(first, views()[0], Sex.MALE)) == "bundle_mismatch"
    assert failed_checks(bundle) == [f"self-test {first.name}"]


def test_run_graph_without_finite_outputs(folder: Path) -> None:
    manifest = read_manifest(folder)
    bundle = exchange_graph(folder, tiny_graph(gain=math.nan))
    assert code_of(lambda: bundle.run(bundle.members[0], views()[0], Sex.MALE)) == "bundle_output"
    failed = [result.name for result in check_bundle(bundle) if not result.passed]
    assert failed == [f"self-test {manifest.members[0].name}"]


# --- threads ---


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


def test_open_missing_graph(folder: Path) -> None:
    (folder / "member-0.onnx").unlink()
    assert code_of(lambda: Bundle.open(folder)) == "bundle_invalid"


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
