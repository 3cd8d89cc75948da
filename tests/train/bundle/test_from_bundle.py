"""A network that comes back from its graph is the network that went in, and learns as one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from boneage.bundle.bundle import Bundle
from boneage.errors import BundleError
from boneage.train.bundle.export import parity
from boneage.train.bundle.from_bundle import Folded, renormalise, restore_network
from boneage.train.networks import AgeNetwork
from boneage.train.networks.residual import ResidualBlock
from tests.bundles import tiny_bundle
from tests.train.tuned_bundles import KINDS, RANGE, SPREAD, bundle_of, random_network, recipe_of


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """One member of each kind of network."""
    return bundle_of(tmp_path_factory.mktemp("bundles") / "random", {kind: recipe_of(kind) for kind in KINDS})


def batch(count: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    views = torch.randn(count, 1, 64, 48, generator=torch.Generator().manual_seed(seed))
    return views, torch.eye(2)[torch.arange(count) % 2]


def code_of(act: Callable[[], object]) -> str:
    with pytest.raises(BundleError) as caught:
        act()
    return caught.value.code


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
