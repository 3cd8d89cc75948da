"""Helpers for plots drawn on the server."""

from __future__ import annotations

from collections.abc import Iterable


def number(value: float) -> str:
    """Return a number in the notation of SVG, whatever the language."""
    return f"{value:.1f}"


def path(points: Iterable[tuple[float, float]]) -> str:
    """Return straight lines between points (x, y), for the attribute ``d`` of a path."""
    return "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)
