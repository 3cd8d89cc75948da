"""Networks that a recipe can name. A network for ages reads a view and the sex, and returns its activation map."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from torch import nn

from boneage.errors import RecipeError
from boneage.train.networks.bones import BoneNetwork
from boneage.train.networks.inception import InceptionNetwork
from boneage.train.networks.layers import AgeNetwork
from boneage.train.networks.outlines import OutlineNetwork
from boneage.train.networks.points import JointNetwork, KeyPointNetwork, VGGKeyPointNetwork
from boneage.train.networks.quality import QualityNetwork
from boneage.train.networks.residual import ResidualNetwork
from boneage.train.networks.souza import TABLE_I, SouzaNetwork
from boneage.train.networks.unet import UNetwork
from boneage.train.networks.vgg import VggNetwork

__all__ = ["HAND_NETWORKS", "NETWORKS", "AgeNetwork", "build_hand_network", "build_network", "network_options"]

N = TypeVar("N", bound=nn.Module)


NETWORKS: dict[str, Callable[..., AgeNetwork]] = {
    **{f"souza-{letter.lower()}": partial(SouzaNetwork, column) for letter, column in TABLE_I.items()},
    "bones": BoneNetwork,
    "inception-v3": InceptionNetwork,
    "residual": partial(ResidualNetwork, "number"),
    "residual-distribution": partial(ResidualNetwork, "distribution"),
    "vgg-regression": partial(VggNetwork, "number"),
    "vgg-classification": partial(VggNetwork, "distribution"),
}
"""Builders by name, which take height and width of the view (pixels), and the network's options by keyword."""

HAND_NETWORKS: dict[str, dict[str, Callable[..., nn.Module]]] = {
    "mask": {"unet": UNetwork},
    "points": {"key-points": KeyPointNetwork, "vgg-key-points": VGGKeyPointNetwork},
    "joints": {"joints": JointNetwork},
    "outlines": {"outlines": OutlineNetwork},
    "quality": {"quality": QualityNetwork},
}
"""Builders of networks for other tasks than ages, by task and name; see `NETWORKS`."""


def network_options(name: str) -> dict[str, Any]:
    """Return the options of a network for ages with their defaults.

    Raises:
        RecipeError: ``recipe_invalid`` if there is no such network.
    """
    return _options(NETWORKS, name)


def build_hand_network(task: str, name: str, height: int, width: int, **options: Any) -> nn.Module:
    """Build a network for another task than ages, named by a key of ``HAND_NETWORKS[task]``. See `build_network`.

    Raises:
        RecipeError: ``recipe_invalid``; see `build_network`.
    """
    return _build(HAND_NETWORKS[task], name, height, width, options)


def build_network(name: str, height: int, width: int, **options: Any) -> AgeNetwork:
    """Build a network with fresh weights. Seed torch before the call.

    Args:
        name: a key of `NETWORKS`.
        height: height of the view, pixels. Networks of Table I take multiples of 8 (A-D) or 32 (E-H), Inception-V3 at
            least 75, residual and VGG networks any.
        width: width of the view, pixels, with the same limits.
        options: options of the network; see `network_options`. Lists stand for tuples, because TOML has lists only.

    Raises:
        RecipeError: ``recipe_invalid`` for an unknown name or option, a value of the wrong kind or out of range, or a
            size that the network cannot take.
    """
    return _build(NETWORKS, name, height, width, options)


def _options(networks: Mapping[str, Callable[..., nn.Module]], name: str) -> dict[str, Any]:
    if name not in networks:
        raise RecipeError("recipe_invalid", f"There is no network {name!r}; there are {', '.join(sorted(networks))}.")
    parameters = inspect.signature(networks[name]).parameters.values()
    return {each.name: each.default for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY}


def _build(networks: Mapping[str, Callable[..., N]], name: str, height: int, width: int, options: dict[str, Any]) -> N:
    defaults = _options(networks, name)
    for option, value in options.items():
        if option not in defaults:
            names = ", ".join(sorted(defaults)) or "none"
            raise RecipeError(
                "recipe_invalid", f"The network {name!r} has no option {option!r}; its options are: {names}."
            )
        if not _fits(value, defaults[option]):
            raise RecipeError(
                "recipe_invalid",
                f"The network {name!r} takes for {option!r} something like {defaults[option]!r}, not {value!r}.",
            )
    if not (_is_count(height) and _is_count(width)):
        raise RecipeError(
            "recipe_invalid", f"A view has whole numbers of pixels for its sides, not {height} x {width}."
        )
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in {**defaults, **options}.items()}
    if "depths" in values and len(values["widths"]) != len(values["depths"]):
        raise RecipeError("recipe_invalid", f"The network {name!r} takes as many widths as depths.")
    return networks[name](height, width, **values)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _fits(value: object, default: object) -> bool:
    """Return True if a value has the kind of its default: a switch, counts, one count, or a share (0 to below 1)."""
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, tuple):
        return isinstance(value, tuple | list) and len(value) > 0 and all(_is_count(each) for each in value)
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value < 1.0
    return _is_count(value)
