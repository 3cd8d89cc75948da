"""Bundles of tiny networks whose recipes their manifests hold, as `boneage.train.bundle.from_bundle` needs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from boneage.bundle.bundle import Bundle
from boneage.bundle.manifest import Manifest
from boneage.train.bundle.weight_bits import WeightBits
from boneage.train.bundle.write import NetworkMember, write_bundle
from boneage.train.networks import AgeNetwork, build_network
from boneage.train.recipe import Recipe, parse_recipe

RANGE = (120.0, 120.0)
SPREAD = (127.0, 41.0)

RESIDUAL = {"widths": [8, 16], "depths": [1, 1], "hidden": 8}
KINDS: Mapping[str, dict[str, Any]] = {
    "residual": RESIDUAL,
    "residual-distribution": RESIDUAL,
    "souza-a": {"hidden": [8]},
    "souza-c": {"hidden": [8]},
    "souza-d": {"hidden": [8]},
    "vgg-regression": {"widths": [8, 8], "hidden": [16], "sex_input": False},
    "vgg-classification": {"widths": [8, 8], "hidden": [16]},
}
"""Networks with batch normalisation that is folded or is not, instance normalisation or none; numbers and
distributions."""

BONES = {"stem": 4, "widths": [6, 8], "depths": [1, 2], "hidden": 8, "heads": 2}
"""A network for single bones."""


def bone_recipe(**options: Any) -> Recipe:
    """A recipe of a tiny network for single bones, on 18 tiles of 16 x 16."""
    return parse_recipe(
        {
            "title": "bones",
            "network": {"name": "bones", "options": {**BONES, **options}},
            "view": {"region": "bones", "height": 48, "width": 96, "grey": "hand"},
            "data": {"hands": "hand"},
            "augment": {"rotation_degrees": 5.0, "gamma": 0.3, "fewest_bones": 4, "most_bones": 12},
            "train": {"batch_size": 8, "workers": 0, "loss": "label-distribution", "age_unit": "range"},
        }
    )


def recipe_of(kind: str, **train: Any) -> Recipe:
    """A recipe of a tiny network on views of 64 x 48."""
    by_distribution = "distribution" in kind or kind == "vgg-classification"
    unit = "range" if by_distribution or kind == "vgg-regression" else "spread"
    loss = "label-distribution" if by_distribution else "mae"
    return parse_recipe(
        {
            "title": kind,
            "network": {"name": kind, "options": KINDS[kind]},
            "view": {"height": 64, "width": 48, "grey": "percentile"},
            "augment": {"rotation_degrees": 10.0, "gain": 0.1},
            "train": {"batch_size": 8, "workers": 0, "loss": loss, "age_unit": unit, **train},
        }
    )


def random_network(recipe: Recipe, seed: int = 0) -> AgeNetwork:
    """A network with random weights, shifts and statistics, which answers by some months apart."""
    torch.manual_seed(seed)
    network = build_network(recipe.network.name, recipe.view.height, recipe.view.width, **recipe.network.options).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.bias, 0, 0.1)
    for table in network.row_tables:
        nn.init.normal_(table, 0, 0.2)
    return network


def bundle_of(
    directory: Path,
    recipes: Mapping[str, Recipe],
    *,
    weight_bits: WeightBits = 16,
    hand: Bundle | None = None,
    **members: dict[str, Any],
) -> Bundle:
    """A bundle of random networks, one by each recipe, under its name; `members` changes what it says of one.

    `hand` has the networks that find hands for views that need one.
    """
    made = []
    for number, (name, recipe) in enumerate(recipes.items()):
        unit = RANGE if recipe.train.age_unit == "range" else SPREAD
        member = NetworkMember(name, random_network(recipe, number), recipe.view, *unit)
        made.append(replace(member, **members.get(name, {})))
    facts = Manifest(
        name="random",
        version="1",
        title="Random networks",
        created="2026-01-01",
        recipe={name: recipe.to_dict() for name, recipe in recipes.items()},
        data="nothing",
        licence="Apache-2.0",
    )
    return write_bundle(made, facts, directory, hand=hand, weight_bits=weight_bits)
