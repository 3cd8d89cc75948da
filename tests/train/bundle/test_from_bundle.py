"""A network that comes back from its graph is the network that went in, and learns as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from boneage.bundle.bundle import Bundle
from boneage.hand.bones import TILE_COLUMNS, cut_bones
from boneage.hand.joints import JOINT_NAMES, Joints
from boneage.hand.views import ViewSpec, measure_grey
from boneage.phantom import draw_hand
from boneage.sex import Sex
from boneage.train.bundle import from_bundle
from boneage.train.bundle.export import bone_parity, parity
from boneage.train.bundle.from_bundle import PARITY_LIMIT_MONTHS, Folded, renormalise, restore_network
from boneage.train.bundle.weight_bits import computes_in_integers, stored_bits
from boneage.train.bundle.write import rewrite_bundle
from boneage.train.networks import AgeNetwork
from boneage.train.networks.residual import ResidualBlock
from tests.bundles import tiny_bundle
from tests.error_codes import code_of
from tests.train.tuned_bundles import KINDS, RANGE, SPREAD, bone_recipe, bundle_of, random_network, recipe_of


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """One member of each kind of network."""
    return bundle_of(tmp_path_factory.mktemp("bundles") / "random", {kind: recipe_of(kind) for kind in KINDS})


def batch(count: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    views = torch.randn(count, 1, 64, 48, generator=torch.Generator().manual_seed(seed))
    return views, torch.eye(2)[torch.arange(count) % 2]


@pytest.mark.parametrize("kind", KINDS)
def test_restore_network_equals_graph(bundle: Bundle, kind: str) -> None:
    (member,) = (one for one in bundle.members if one.name == kind)
    views, _ = batch(3)
    for batches in ([], [batch(8)]):
        network = restore_network(bundle, member, batches)
        assert parity(network, bundle, views[:, 0].numpy(), member=kind) < 0.01
        # Of what its maker had, all that answers can tell.
        original = random_network(recipe_of(kind), list(KINDS).index(kind))
        unit = RANGE if recipe_of(kind).train.age_unit == "range" else SPREAD
        with torch.no_grad():
            explained, expected = network.explain(*batch(3)), original.explain(*batch(3))
        np.testing.assert_allclose(explained.age * unit[1], expected.age * unit[1], atol=0.05)
        np.testing.assert_allclose(explained.activation, expected.activation, atol=1e-3)
        assert set(network.state_dict()) == set(original.state_dict())


def test_restore_network_from_8_bits(tmp_path: Path) -> None:
    """A network comes back from 8 bits as its graph has it."""
    wide = replace(recipe_of("residual").network, options={**KINDS["residual"], "widths": [32, 32]})
    small = bundle_of(tmp_path / "small", {"one": replace(recipe_of("residual"), network=wide)}, weight_bits=8)
    network = restore_network(small, small.members[0])
    assert parity(network, small, batch(3)[0][:, 0].numpy()) < 1e-3


def in_integers(bundle: Bundle, views: torch.Tensor, folder: Path) -> Bundle:
    """Return a copy of a bundle whose networks compute with integers; their ranges are those of views (N, 1, h, w)."""
    feeds = [{"view": view[None].numpy(), "sex": Sex.FEMALE.one_hot()[None]} for view in views]
    return rewrite_bundle(bundle, bundle.manifest, folder, feeds={member.graph: feeds for member in bundle.members})


def test_restore_network_from_integers(bundle: Bundle, tmp_path: Path) -> None:
    """Weights are found in graphs that compute with integers, and are those before as far as 7 bits can hold them."""
    integers = in_integers(bundle, batch(8)[0], tmp_path / "integers")
    for before, member in zip(bundle.members, integers.members, strict=True):
        assert computes_in_integers((integers.directory / member.graph).read_bytes()), member.name
        original, network = restore_network(bundle, before), restore_network(integers, member)
        compared = zip(original.named_parameters(), network.parameters(), strict=True)
        for (name, weights), restored in compared:
            assert (weights - restored).norm() <= 0.02 * weights.norm() + 1e-4, (member.name, name)


# --- networks for single bones ---

BONE_TILE = 16


def bone_batch(count: int, seed: int = 1, *, absent: tuple[int, ...] = ()) -> tuple[torch.Tensor, torch.Tensor]:
    """Views of single bones with random tiles, some of which are even."""
    views, sexes = torch.randn(count, 1, 48, 96, generator=torch.Generator().manual_seed(seed)), batch(count)[1]
    for index in absent:
        row, column = index // TILE_COLUMNS * BONE_TILE, index % TILE_COLUMNS * BONE_TILE
        views[:, :, row : row + BONE_TILE, column : column + BONE_TILE] = 0.3
    return views, sexes


@pytest.fixture(scope="module")
def finder(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Networks that find the phantom's hand and its joints."""
    folder = tmp_path_factory.mktemp("finder") / "hand"
    return Bundle.open(tiny_bundle(folder, views=(), hand=True, joints=True, metrics={}))


@pytest.fixture(scope="module")
def bones(finder: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """One network for single bones."""
    return bundle_of(tmp_path_factory.mktemp("bones") / "random", {"bones": bone_recipe()}, hand=finder)


def bone_views(finder: Bundle, spec: ViewSpec) -> NDArray[np.float32]:
    """Views of drawn hands of several ages, one of them with joints that are uncertain."""
    views = []
    for years in (3.0, 9.0, 15.0):
        radiograph = draw_hand(years)
        hand = finder.find_hand(radiograph)
        if years == 9.0:
            spread = np.where(np.arange(len(JOINT_NAMES)) < 5, 1.0, 0.01)
            hand = replace(hand, joints=Joints(Joints.typical().frame_xy, spread))
        views.append(cut_bones(radiograph, spec, hand, measure_grey(radiograph, spec.grey, hand)).view)
    return np.stack(views)


def check_restored_bones(finder: Bundle, bundle: Bundle, original: AgeNetwork) -> None:
    """Ages, distributions and weights of bones come back, whether normalisations are restored or not."""
    (member,) = bundle.members
    random_tiles = bone_batch(3, absent=(0, 7, 12))[0][:, 0].numpy()
    for batches in ([], [bone_batch(8, absent=(4, 11))]):
        network = restore_network(bundle, member, batches)
        for views in (bone_views(finder, member.view), random_tiles):
            assert parity(network, bundle, views) < PARITY_LIMIT_MONTHS
            assert bone_parity(network, bundle, views) < PARITY_LIMIT_MONTHS
            outputs = bundle.run_batch(member, views, [Sex.MALE] * len(views))
            explained = network.explain(torch.from_numpy(views)[:, None], torch.eye(2)[[1] * len(views)])
            assert explained.bone_weights is not None
            for weights, output in zip(explained.bone_weights.detach().numpy(), outputs, strict=True):
                assert output.bones is not None
                np.testing.assert_allclose(weights, output.bones.weights, atol=1e-4)
        assert set(network.state_dict()) == set(original.state_dict())
        for restored, table in zip(network.row_tables, original.row_tables, strict=True):
            torch.testing.assert_close(restored, table, atol=2e-3, rtol=0)


def test_restore_network_for_bones_equals_graph(finder: Bundle, bones: Bundle) -> None:
    check_restored_bones(finder, bones, random_network(bone_recipe()))


def test_restore_network_for_bones_from_8_bits(finder: Bundle, tmp_path: Path) -> None:
    recipe = bone_recipe(widths=[32], depths=[1])
    small = bundle_of(tmp_path / "small", {"bones": recipe}, hand=finder, weight_bits=8)
    assert stored_bits((small.directory / small.members[0].graph).read_bytes()) == 8
    check_restored_bones(finder, small, random_network(recipe))


def test_restore_network_for_bones_from_integers(finder: Bundle, bones: Bundle, tmp_path: Path) -> None:
    integers = in_integers(bones, bone_batch(4)[0], tmp_path / "integers")
    network = restore_network(integers, integers.members[0])
    views = bone_views(finder, integers.members[0].view)
    assert bone_parity(network, integers, views) < 3  # drawn hands leave the ranges
    assert parity(network, bones, views) < 1


@pytest.mark.parametrize("options", [{"widths": [6, 10]}, {"hidden": 12}, {"heads": 4}, {"depths": [1, 1]}])
def test_restore_network_for_bones_rejects_other_sizes(bones: Bundle, options: dict[str, Any]) -> None:
    liar = with_recipe(bones, {"bones": bone_recipe(**options).to_dict()})
    assert code_of(lambda: restore_network(liar, liar.members[0])) == "bundle_mismatch"


def test_restore_network_rejects_other_ages_of_bones(bones: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """The age of the hand does not depend on the layer of the bones' ages, which is compared by itself."""
    fill = from_bundle._fill

    def exchanged(called: Sequence[Any], *others: Any) -> Folded:
        folded = fill(called, *others)
        with torch.no_grad():
            called[-1].bias.copy_(called[-1].bias.flip(0) + torch.linspace(-1, 1, 240))
        return folded

    monkeypatch.setattr(from_bundle, "_fill", exchanged)
    assert code_of(lambda: restore_network(bones, bones.members[0])) == "bundle_output"


@pytest.mark.parametrize("name", ["fast", "standard"])
def test_shipped_networks_for_bones_are_restored(finder: Bundle, name: str) -> None:
    """The restored network does not round its layers' outputs as the shipped graphs do."""
    bundle = Bundle.open(name, threads=1)
    members = [member for member in bundle.members if member.view.region == "bones"]
    assert members
    for member in members:
        views = bone_views(finder, member.view)
        assert parity(restore_network(bundle, member), bundle, views, member=member.name) < 2


def test_renormalised_network_for_bones_is_the_same_in_training(bones: Bundle) -> None:
    """Statistics are those of the tiles that a batch of training computes; even tiles would move them."""
    views = bone_batch(8, absent=(0, 1, 2, 3, 4, 5, 11))
    network = restore_network(bones, bones.members[0], [views])
    with torch.no_grad():
        expected = network(*views)
        actual = network.train()(*views)
    torch.testing.assert_close(actual * 120, expected * 120, atol=0.05, rtol=0)


def folded_network(seed: int) -> tuple[AgeNetwork, Folded]:
    """A network whose normalisations only shift, each behind a convolution of random size."""
    network = random_network(recipe_of("residual"), seed)
    pairs: Folded = []
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, ResidualBlock):
            pairs += [(module.first_norm, module.first), (module.second_norm, module.second)]
        if isinstance(module, nn.Sequential) and len(module) >= 2 and isinstance(module[1], nn.BatchNorm2d):
            pairs.append((module[1], module[0]))  # type: ignore[arg-type]  # a convolution, as the network is built
    with torch.no_grad():
        for norm, convolution in pairs:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean.zero_()
            norm.running_var.fill_(1.0)
            norm.weight.fill_((1 + norm.eps) ** 0.5)
            sizes = torch.rand(len(convolution.weight), generator=generator) * 3
            convolution.weight.mul_(sizes[:, None, None, None])
    return network, pairs


@given(seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_renormalise_keeps_outputs(seed: int) -> None:
    """Normalisations that work again change no answer and find what they expect."""
    network, pairs = folded_network(seed)
    views = batch(8, seed)
    with torch.no_grad():
        before = network(*views)
        renormalise(network, pairs, [views])
        after = network(*views)
        network.train()
        training = network(*views)
    scale = float(before.abs().max()) + 1
    np.testing.assert_allclose(after, before, atol=1e-4 * scale)
    # In training each batch is normalised by its own statistics: of this one they are those that were measured.
    np.testing.assert_allclose(training, before, atol=1e-3 * scale)
    for _, convolution in pairs:
        np.testing.assert_allclose(convolution.weight.detach().flatten(1).norm(dim=1), 1.0, rtol=1e-4)


# --- what cannot be brought back ---


def with_recipe(bundle: Bundle, recipe: dict[str, Any]) -> Bundle:
    """The bundle, saying something else of how its members were trained."""
    return Bundle(bundle.directory, replace(bundle.manifest, recipe=recipe))


def test_member_recipe_missing_rejected(tmp_path: Path) -> None:
    tiny = Bundle.open(tiny_bundle(tmp_path / "tiny"))
    assert code_of(lambda: restore_network(tiny, tiny.members[0])) == "bundle_mismatch"


@pytest.mark.parametrize(
    "other",
    [
        recipe_of("souza-a").to_dict(),
        recipe_of("vgg-regression").to_dict(),
        recipe_of("residual").to_dict()
        | {"network": {"name": "residual", "options": {"widths": [8, 8], "depths": [1, 1]}}},
        recipe_of("residual").to_dict() | {"network": {"name": "none"}},
        recipe_of("residual").to_dict() | {"view": {"height": 96, "width": 48, "grey": "percentile"}},
        {"title": "no recipe", "what": 1},
    ],
    ids=["fewer norms", "another kind", "other widths", "no network", "another view", "no recipe"],
)
def test_restore_network_rejects_recipe_of_other_network(bundle: Bundle, other: dict[str, Any]) -> None:
    liar = with_recipe(bundle, {"residual": other})
    assert code_of(lambda: restore_network(liar, liar.members[0])) == "bundle_mismatch"


def test_restore_network_rejects_different_outputs(bundle: Bundle) -> None:
    shifted = tuple(replace(member, age_mean_months=member.age_mean_months + 1) for member in bundle.members)
    liar = Bundle(bundle.directory, replace(bundle.manifest, members=shifted))
    assert code_of(lambda: restore_network(liar, liar.members[0])) == "bundle_output"
