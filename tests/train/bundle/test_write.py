"""Writing of bundles: they are complete, overwrite no other folder, and take over the graphs that find the hand."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from boneage.bundle.bundle import Bundle
from boneage.bundle.check import check_bundle
from boneage.errors import BundleError
from boneage.hand.search import HandLimits
from boneage.hand.views import ViewSpec, cut_view
from boneage.phantom import draw_hand
from boneage.sex import Sex
from boneage.train.bundle import weight_bits
from boneage.train.bundle.export import parity
from boneage.train.bundle.weight_bits import encoded_from
from boneage.train.bundle.write import NetworkMember, TrainedHandNetwork, TrainedHandNetworks, write_bundle
from tests.train.bundle.tiny_networks import (
    FACTS,
    MEAN,
    SPREAD,
    VIEW,
    MaskNetwork,
    PointsNetwork,
    random_network,
    sure_network,
    views,
)

LIMITS = weight_bits.WEIGHT_LIMITS


def test_write_bundle_is_complete(written: Bundle) -> None:
    assert [path.name for path in written.directory.parent.iterdir()] == ["tiny"]
    opened = Bundle.open(written.directory)
    assert all(result.passed for result in check_bundle(opened))
    assert opened.manifest.recipe == FACTS.recipe
    assert [(member.name, member.weight, member.view) for member in opened.members] == [
        ("residual", 2.0, VIEW),
        ("girls", 1.0, VIEW),
    ]
    assert [member.name for member in opened.members_for(Sex.MALE)] == ["residual"]
    units = [(member.age_mean_months, member.age_spread_months, member.mirror) for member in opened.members]
    assert units == [(MEAN, SPREAD, True), (100.0, 30.0, False)]


def test_write_bundle_with_distribution_runs(tmp_path: Path) -> None:
    member = NetworkMember("classes", sure_network(), VIEW, 120.0, 120.0, mirror=True)
    bundle = write_bundle([member], FACTS, tmp_path / "tiny")
    output = bundle.run(bundle.members[0], views(1)[0], Sex.MALE)
    assert output.age_distribution is not None
    assert output.age_months == pytest.approx(float(output.age_distribution @ np.arange(240)), abs=0.01)
    assert parity(member.network, bundle, views(3)) < 0.05


def test_write_bundle_overwrites_only_on_request(tmp_path: Path, quick: NetworkMember) -> None:
    place = tmp_path / "tiny"
    write_bundle([quick], FACTS, place)
    with pytest.raises(BundleError) as caught:
        write_bundle([quick], replace(FACTS, version="2"), place)
    assert caught.value.code == "bundle_exists"
    assert Bundle.open(place).manifest.version == "1"
    assert write_bundle([quick], replace(FACTS, version="2"), place, overwrite=True).manifest.version == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_write_bundle_never_overwrites_other_folder(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("keep me")
    with pytest.raises(BundleError) as caught:
        write_bundle(
            [NetworkMember("only", random_network(), VIEW, MEAN, SPREAD)], FACTS, tmp_path / "letters", overwrite=True
        )
    assert caught.value.code == "bundle_exists"
    assert (tmp_path / "letters" / "dear.txt").read_text() == "keep me"


def test_write_bundle_failure_leaves_nothing(tmp_path: Path, quick: NetworkMember) -> None:
    with pytest.raises(BundleError) as caught:
        write_bundle([replace(quick, sexes=(Sex.FEMALE,))], FACTS, tmp_path / "tiny")
    assert caught.value.code == "bundle_invalid"
    assert list(tmp_path.iterdir()) == []


def test_write_bundle_restores_former_on_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: NetworkMember
) -> None:
    """A former bundle comes back when the new one cannot be put."""
    place = tmp_path / "tiny"
    write_bundle([quick], FACTS, place)
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.parent.name.startswith(".tiny.") and self.name == "tiny":
            raise OSError("the disk is full")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="the disk is full"):
        write_bundle([quick], replace(FACTS, version="2"), place, overwrite=True)
    assert Bundle.open(place).manifest.version == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


# --- bundles that find the hand ---


@pytest.fixture(scope="module")
def finder(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of hand networks, without members."""
    torch.manual_seed(3)
    networks = TrainedHandNetworks(
        TrainedHandNetwork(MaskNetwork(), 64, 64),
        TrainedHandNetwork(PointsNetwork(), 64, 48),
        TrainedHandNetwork(PointsNetwork(), 48, 64),
        replace(HandLimits(), largest_spread=0.25),
    )
    return write_bundle([], FACTS, tmp_path_factory.mktemp("finder") / "hands", hand=networks)


def test_write_bundle_with_hand_networks_only(finder: Bundle) -> None:
    opened = Bundle.open(finder.directory)
    assert all(result.passed for result in check_bundle(opened))
    assert (opened.members, opened.finds_hands) == ((), True)
    hand = opened.manifest.hand
    assert hand is not None
    assert [(name, graph.height, graph.width) for name, graph in hand.by_name().items()] == [
        ("mask", 64, 64),
        ("locate", 64, 48),
        ("refine", 48, 64),
    ]
    assert hand.limits.largest_spread == 0.25
    assert opened.hand_networks().mask(np.zeros((2, 64, 64), np.float32)).shape == (2, 64, 64)
    assert len(opened.hand_networks().refine(np.zeros((2, 48, 64), np.float32))) == 2


def test_write_bundle_takes_over_hand_graphs(tmp_path: Path, finder: Bundle, quick: NetworkMember) -> None:
    """Hand graphs are taken over for members that need a hand."""
    region = replace(VIEW, region="A")
    bundle = write_bundle([replace(quick, view=region)], FACTS, tmp_path / "tiny", hand=finder)
    assert bundle.manifest.hand == finder.manifest.hand
    assert bundle.members[0].view == region
    assert all(result.passed for result in check_bundle(bundle))
    assert finder.manifest.hand is not None
    for graph in finder.manifest.hand.by_name().values():
        assert (bundle.directory / graph.graph).read_bytes() == (finder.directory / graph.graph).read_bytes()


def test_write_bundle_takes_over_hand_graphs_in_8_bits(
    tmp_path: Path, finder: Bundle, quick: NetworkMember, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hand graphs are taken over in 8 bits and say from which."""
    monkeypatch.setattr(weight_bits, "_FEWEST", 10)  # these networks are tiny
    bundle = write_bundle([quick], FACTS, tmp_path / "eight", hand=finder, weight_bits=8)
    assert all(result.passed for result in check_bundle(bundle))
    again = write_bundle([], FACTS, tmp_path / "again", hand=bundle, weight_bits=8)
    former, mine, next_ones = (one.hand_networks().graphs for one in (finder, bundle, again))
    assert (mine.limits, next_ones) == (former.limits, mine)  # graphs of 8 bits are copied
    for name, graph in mine.by_name().items():
        assert encoded_from(bundle.directory / graph.graph) == former.by_name()[name].sha256
        assert encoded_from(finder.directory / graph.graph) is None
    empty = np.stack([cut_view(draw_hand(), ViewSpec(height=64, width=64))])
    np.testing.assert_allclose(bundle.hand_networks().mask(empty), finder.hand_networks().mask(empty), atol=0.1)
    # Where 8 bits would show, a network is taken over as it is.
    monkeypatch.setattr(weight_bits, "WEIGHT_LIMITS", {**LIMITS, 8: {**LIMITS[8], "hand": 0.0}})
    whole = write_bundle([], FACTS, tmp_path / "whole", hand=finder, weight_bits=8).hand_networks().graphs
    assert (whole.mask, whole.locate) == (former.mask, mine.locate)


def test_write_bundle_rejects_region_without_hand_networks(
    tmp_path: Path, quick: NetworkMember, written: Bundle
) -> None:
    member = replace(quick, view=replace(VIEW, region="A"))
    for hand, code in ((None, "bundle_invalid"), (written, "bundle_mismatch")):
        with pytest.raises(BundleError) as caught:
            write_bundle([member], FACTS, tmp_path / "tiny", hand=hand)
        assert caught.value.code == code
    with pytest.raises(BundleError, match="must have a network for the sex"):
        write_bundle([], FACTS, tmp_path / "tiny")
    assert list(tmp_path.iterdir()) == []


def test_write_bundle_rejects_damaged_hand_graph(tmp_path: Path, finder: Bundle, quick: NetworkMember) -> None:
    shutil.copytree(finder.directory, tmp_path / "damaged")
    damaged = Bundle.open(tmp_path / "damaged")
    (damaged.directory / "hand-refine.onnx").write_bytes(b"something else")
    for bits in (8, 16):
        with pytest.raises(BundleError, match="checksum"):
            write_bundle([quick], FACTS, tmp_path / "tiny", hand=damaged, weight_bits=bits)
    assert [path.name for path in tmp_path.iterdir()] == ["damaged"]


def test_write_bundle_rejects_member_named_as_hand_graph(tmp_path: Path, finder: Bundle, quick: NetworkMember) -> None:
    with pytest.raises(BundleError, match="the name hand-mask") as caught:
        write_bundle([replace(quick, name="hand-mask")], FACTS, tmp_path / "tiny", hand=finder)
    assert caught.value.code == "bundle_invalid"
