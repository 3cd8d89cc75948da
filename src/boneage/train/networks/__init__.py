"""The nets that a recipe can name. Each reads one view and the sex, and can explain itself (`layers.AgeNet`)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from torch import nn

from boneage.errors import RecipeError
from boneage.train.networks.inception import InceptionNet
from boneage.train.networks.layers import AgeNet
from boneage.train.networks.points import KeyPointNet, VGGKeyPointNet
from boneage.train.networks.quality import QualityNet
from boneage.train.networks.residual import ResidualNet
from boneage.train.networks.souza import TABLE_I, SouzaNet
from boneage.train.networks.unet import UNet
from boneage.train.networks.vgg import VggNet

__all__ = ["HAND_NETS", "NETS", "AgeNet", "build_hand_net", "build_net", "net_options"]

N = TypeVar("N", bound=nn.Module)


NETS: dict[str, Callable[..., AgeNet]] = {
    **{f"souza-{letter.lower()}": partial(SouzaNet, column) for letter, column in TABLE_I.items()},
    "inception-v3": InceptionNet,
    "residual": partial(ResidualNet, "number"),
    "residual-distribution": partial(ResidualNet, "distribution"),
    "vgg-regression": partial(VggNet, "number"),
    "vgg-classification": partial(VggNet, "distribution"),
}
"""Builders by name; each takes height and width of the view (pixels) and, by keyword, the net's own options."""

HAND_NETS: dict[str, dict[str, Callable[..., nn.Module]]] = {
    "mask": {"unet": UNet},
    "points": {"key-points": KeyPointNet, "vgg-key-points": VGGKeyPointNet},
    "quality": {"quality": QualityNet},
}
"""Builders of the networks that are not for ages, by task, then by name; as in `NETS`."""


def net_options(name: str) -> dict[str, Any]:
    """The options of a net for ages, and their defaults.

    Raises:
        RecipeError: ``recipe_invalid`` if there is no such net.
    """
    return _options(NETS, name)


def build_hand_net(task: str, name: str, height: int, width: int, **options: Any) -> nn.Module:
    """Build a net that finds the hand; as `build_net`, with a key of ``HAND_NETS[task]``.

    Raises:
        RecipeError: ``recipe_invalid``, as `build_net`.
    """
    return _build(HAND_NETS[task], name, height, width, options)


def build_net(name: str, height: int, width: int, **options: Any) -> AgeNet:
    """Build a net with fresh weights (seed torch before).

    Args:
        name: a key of `NETS`.
        height: of the view, pixels. Nets of Table I take multiples of 8 (A-D) or 32 (E-H), Inception-V3 at least 75,
            residual and VGG nets any.
        width: of the view, pixels; as the height.
        options: the net's own, as `net_options` lists them. Lists stand for tuples, since TOML has lists only.

    Raises:
        RecipeError: ``recipe_invalid`` for a name or option that does not exist, a value of the wrong kind or out of
            range, or a size that the net cannot take.
    """
    return _build(NETS, name, height, width, options)


def _options(nets: Mapping[str, Callable[..., nn.Module]], name: str) -> dict[str, Any]:
    if name not in nets:
        raise RecipeError("recipe_invalid", f"There is no net {name!r}; there are {', '.join(sorted(nets))}.")
    parameters = inspect.signature(nets[name]).parameters.values()
    return {each.name: each.default for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY}


def _build(nets: Mapping[str, Callable[..., N]], name: str, height: int, width: int, options: dict[str, Any]) -> N:
    defaults = _options(nets, name)
    for option, value in options.items():
        if option not in defaults:
            known = ", ".join(sorted(defaults)) or "none"
            raise RecipeError("recipe_invalid", f"The net {name!r} has no option {option!r}; its options are: {known}.")
        if not _fits(value, defaults[option]):
            raise RecipeError(
                "recipe_invalid",
                f"The net {name!r} takes for {option!r} something like {defaults[option]!r}, not {value!r}.",
            )
    if not (_is_count(height) and _is_count(width)):
        raise RecipeError(
            "recipe_invalid", f"A view has whole numbers of pixels for its sides, not {height} x {width}."
        )
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in {**defaults, **options}.items()}
    if "depths" in values and len(values["widths"]) != len(values["depths"]):
        raise RecipeError("recipe_invalid", f"The net {name!r} takes as many widths as depths.")
    return nets[name](height, width, **values)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _fits(value: object, default: object) -> bool:
    """Whether a value is of its default's kind: a switch, counts, one count, or a share (0 and more, less than 1)."""
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, tuple):
        return isinstance(value, tuple | list) and len(value) > 0 and all(_is_count(each) for each in value)
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value < 1.0
    return _is_count(value)
