"""How far a command has come through its radiographs: ``[37/100] 3.1/s, 20 s left``, only where a person watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterable, Iterator
from typing import TypeVar

import click

T = TypeVar("T")

quiet_option = click.option("--quiet", is_flag=True, help="Do not show progress.")
"""Of every command that goes through many radiographs."""

_SHORTEST_PAUSE = 0.1
"""Seconds between two drawings: more could not be read, and a slow terminal would hold up the work."""


class ProgressLine:
    """A line on standard error that is drawn anew; nothing where standard error is no terminal."""

    def __init__(self, total: int, *, before: int = 0, label: str = "", quiet: bool = False) -> None:
        """Begin to measure the time.

        Args:
            total: how many there are.
            before: how many of them were done earlier.
            label: what is done, before the counts.
            quiet: draw nothing.
        """
        self._total = total
        self._label = f"{label} " if label else ""
        self._before = before
        self._done = before
        self._is_shown = total > 1 and not quiet and sys.stderr.isatty()
        self._start = time.monotonic()
        self._drawn = -_SHORTEST_PAUSE

    def advance(self) -> None:
        """Count one, and draw the line."""
        self._done += 1
        if time.monotonic() - self._drawn >= _SHORTEST_PAUSE or self._done == self._total:
            self.draw()

    def draw(self) -> None:
        """Draw the line in the place of what stands there."""
        if not self._is_shown:
            return
        self._drawn = time.monotonic()
        line = progress_words(self._done, self._total, self._drawn - self._start, self._before)
        click.echo(f"\r{self._label}{line}\x1b[K", nl=False, err=True)

    def clear(self) -> None:
        """Take the line away, for what else is to be printed or because all is done."""
        self._drawn = -_SHORTEST_PAUSE
        if self._is_shown:
            click.echo("\r\x1b[K", nl=False, err=True)


def progress_words(done: int, total: int, seconds: float, before: int = 0) -> str:
    """Return the counts, the mean speed and the time that is left: ``[37/100] 3.1/s, 20 s left``.

    Args:
        done: of `total`.
        total: at least 1.
        seconds: since the first `before` were done.
        before: of `done`, how many were done earlier, at another speed.
    """
    counts = f"[{done}/{total}]"
    if done == before or seconds <= 0:
        return counts
    each = seconds / (done - before)
    speed = f"{1 / each:.1f}/s" if each <= 1 else f"{each:.1f} s each"
    return f"{counts} {speed}, {_duration((total - done) * each)} left"


def with_progress(
    items: Iterable[T], /, *, total: int | None = None, label: str = "", quiet: bool = False
) -> Iterator[T]:
    """Give each item, and show how many were worked through.

    Args:
        items: to go through.
        total: how many there are, if `items` does not know.
        label: what is done, before the counts.
        quiet: show nothing.
    """
    known = len(items) if isinstance(items, Collection) else 0
    line = ProgressLine(known if total is None else total, label=label, quiet=quiet)
    line.draw()
    try:
        for item in items:
            yield item
            line.advance()
    finally:
        line.clear()


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
