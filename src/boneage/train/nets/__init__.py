"""The nets that a recipe can name. Each reads one view and the sex, and can explain itself (`layers.AgeNet`)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from boneage.errors import RecipeError
from boneage.train.nets.inception import InceptionNet
from boneage.train.nets.layers import AgeNet
from boneage.train.nets.residual import ResidualNet
from boneage.train.nets.souza import TABLE_I, SouzaNet

__all__ = ["NETS", "AgeNet", "build_net", "net_options"]

NETS: dict[str, Callable[..., AgeNet]] = {
    **{f"souza-{letter.lower()}": partial(SouzaNet, column) for letter, column in TABLE_I.items()},
    "inception-v3": InceptionNet,
    "residual": ResidualNet,
}
"""Builders by name; each takes height and width of the view (pixels) and, by keyword, the net's own options."""


def net_options(name: str) -> dict[str, Any]:
    """A net's options and their defaults.

    Raises:
        RecipeError: ``recipe_invalid`` if there is no such net.
    """
    if name not in NETS:
        raise RecipeError("recipe_invalid", f"There is no net {name!r}; there are {', '.join(sorted(NETS))}.")
    parameters = inspect.signature(NETS[name]).parameters.values()
    return {each.name: each.default for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY}


def build_net(name: str, height: int, width: int, **options: Any) -> AgeNet:
    """Build a net with fresh weights (seed torch before).

    Args:
        name: a key of `NETS`.
        height: of the view, pixels. Nets of Table I take multiples of 8 (A-D) or 32 (E-H), Inception-V3 at least 75.
        width: of the view, pixels; as the height.
        options: the net's own, as `net_options` lists them. Lists stand for tuples, since TOML has lists only.

    Raises:
        RecipeError: ``recipe_invalid`` for a name or option that does not exist, a value of the wrong kind or out of
            range, or a size that the net cannot take.
    """
    defaults = net_options(name)
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
    if len(values.get("widths", ())) != len(values.get("depths", ())):
        raise RecipeError("recipe_invalid", f"The net {name!r} takes as many widths as depths.")
    return NETS[name](height, width, **values)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _fits(value: object, default: object) -> bool:
    """Whether a value is of its default's kind: several counts, one count, or a share (0 and more, less than 1)."""
    if isinstance(default, tuple):
        return isinstance(value, tuple | list) and len(value) > 0 and all(_is_count(each) for each in value)
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value < 1.0
    return _is_count(value)
