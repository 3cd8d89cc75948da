"""Networks of runs: built from a recipe with fresh or initial weights, or loaded from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from boneage.errors import RecipeError
from boneage.train.networks import build_hand_network, build_network
from boneage.train.networks.inception import load_imagenet_weights
from boneage.train.networks.layers import AgeNetwork
from boneage.train.recipe import Recipe, parse_recipe
from boneage.train.run.age_tasks import AgeUnit
from boneage.train.run.run_folder import RunState, read_checkpoint, read_run_record


def new_network(recipe: Recipe) -> nn.Module:
    """Build the recipe's network with fresh weights, ImageNet weights, or the weights of another run.

    Raises:
        RecipeError: ``recipe_invalid`` if network and recipe do not fit together.
    """
    network = build_recipe_network(recipe)
    if recipe.train.resize and not (isinstance(network, AgeNetwork) and network.head.pooling == "average"):
        raise RecipeError(
            "recipe_invalid", f"The network {recipe.network.name} takes views of one size only. Leave out train.resize."
        )
    if recipe.train.loss == "label-distribution" and not (
        isinstance(network, AgeNetwork) and network.gives_distribution
    ):
        raise RecipeError(
            "recipe_invalid",
            f"The network {recipe.network.name} returns no distribution, which the loss label-distribution needs.",
        )
    if recipe.network.imagenet_weights:
        if not isinstance(network, AgeNetwork):
            raise RecipeError("recipe_invalid", "ImageNet weights are for networks that estimate ages only.")
        load_imagenet_weights(network, Path(recipe.network.imagenet_weights))
    if recipe.train.initial_weights:
        load_weights(network, read_checkpoint(Path(recipe.train.initial_weights) / "last.ckpt"))
    return network


def build_recipe_network(recipe: Recipe) -> nn.Module:
    """Build the recipe's network with fresh weights."""
    network, view = recipe.network, recipe.view
    if recipe.task == "age":
        return build_network(network.name, view.height, view.width, **network.options)
    return build_hand_network(recipe.task, network.name, view.height, view.width, **network.options)


def load_weights(network: nn.Module, checkpoint: Mapping[str, Any]) -> None:
    """Load the averaged weights of a checkpoint, or the plain ones if it has no average.

    Raises:
        RecipeError: ``recipe_invalid`` if the weights belong to another network.
    """
    try:
        network.load_state_dict(checkpoint["average"] or checkpoint["network"])
    except RuntimeError as error:
        raise RecipeError("recipe_invalid", f"The weights belong to another network: {error}") from error


def load_run(folder: Path, weights: str = "best") -> tuple[Recipe, AgeNetwork, AgeUnit, RunState]:
    """Load a trained network for ages in evaluation mode, with the averaged weights if the run stored them.

    Args:
        folder: folder of the run.
        weights: ``best`` by validation MAD, or ``last``.

    Raises:
        RecipeError: ``recipe_invalid`` if there is no such run.
    """
    recipe, network, state = load_hand_run(folder, weights)
    if not isinstance(network, AgeNetwork):
        raise RecipeError("recipe_invalid", f"{folder} holds a run for the task {recipe.task}, not for ages.")
    return recipe, network, AgeUnit(**read_run_record(folder)["age_unit"]), state


def load_hand_run(folder: Path, weights: str = "best") -> tuple[Recipe, nn.Module, RunState]:
    """Load a trained network of any task in evaluation mode. See `load_run`.

    Raises:
        RecipeError: ``recipe_invalid`` if there is no such run.
    """
    record = read_run_record(folder)
    checkpoint = read_checkpoint(folder / f"{weights}.ckpt")
    recipe = parse_recipe(record["recipe"])
    network = build_recipe_network(recipe)
    load_weights(network, checkpoint)
    return recipe, network.eval(), RunState(**checkpoint["state"])
