"""The check of a bundle: it passes whole ones, and names what is wrong with others."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from boneage.bundle.bundle import Bundle
from boneage.bundle.check import check_bundle, predict_phantom
from boneage.hand.views import ViewSpec, cut_view
from boneage.phantom import draw_hand
from boneage.sex import Sex
from tests.bundle.exchanged_graphs import PHANTOM, exchange_graph, failed_checks, views
from tests.bundles import tiny_bundle, tiny_graph
from tests.error_codes import code_of


def test_check_bundle_whole(shared: Bundle) -> None:
    results = check_bundle(shared)
    assert all(result.passed for result in results), results
    assert {result.name.split()[0] for result in results} == {"files", "checksum", "signature", "self-test"}


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


def test_check_bundle_stray_file(folder: Path) -> None:
    (folder / "weights.data").write_bytes(b"")
    assert failed_checks(Bundle.open(folder)) == ["files"]


def test_check_bundle_wrong_age(folder: Path) -> None:
    assert failed_checks(exchange_graph(folder, tiny_graph(shift_months=0.4))) == []
    assert failed_checks(exchange_graph(folder, tiny_graph(shift_months=0.6))) == ["self-test member-0"]


def test_predict_phantom_equals_run(mirrored: Bundle) -> None:
    member = mirrored.members[0]
    view = cut_view(draw_hand(), member.view)
    age_months = mirrored.run(member, view, Sex.FEMALE).age_months
    assert predict_phantom(mirrored, member)[Sex.FEMALE] == age_months
    assert all(result.passed for result in check_bundle(mirrored))


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
