"""Progress line of commands for many radiographs, ``[37/100] 3.1/s, 20 s left``, shown on a terminal only."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterable, Iterator
from typing import TypeVar

import click

T = TypeVar("T")

quiet_option = click.option("--quiet", is_flag=True, help="Do not show progress.")
"""Option of every command for many radiographs."""

_SHORTEST_PAUSE = 0.1
"""Minimum time between two updates, seconds. More could not be read, and would slow down on a slow terminal."""


class ProgressLine:
    """Line on standard error that is updated in place, if standard error is a terminal."""

    def __init__(
        self, total: int, *, before: int = 0, label: str = "", quiet: bool = False, start: float | None = None
    ) -> None:
        """Start the measurement of time.

        Args:
            total: Number of items.
            before: Number of items that were finished earlier.
            label: Text before the counts.
            quiet: True to draw nothing.
            start: Time at which the work began, of `time.monotonic`; now if None.
        """
        self._total = total
        self._label = f"{label} " if label else ""
        self._before = before
        self._done = before
        self._is_shown = total > 1 and not quiet and sys.stderr.isatty()
        self._start = time.monotonic() if start is None else start
        self._drawn = -_SHORTEST_PAUSE

    def advance(self) -> None:
        """Count one item, and draw the line."""
        self._done += 1
        if time.monotonic() - self._drawn >= _SHORTEST_PAUSE or self._done == self._total:
            self.draw()

    def update(self, done: int, total: int, before: int) -> None:
        """Set all counts, and draw the line.

        Args:
            done: Number of finished items.
            total: Number of items, which may be an estimate that changes.
            before: Number of items that were finished before the start.
        """
        self._done, self._total, self._before = done, max(total, done), before
        if time.monotonic() - self._drawn >= _SHORTEST_PAUSE or done == total:
            self.draw()

    def draw(self) -> None:
        """Draw the line over its earlier state."""
        if not self._is_shown:
            return
        self._drawn = time.monotonic()
        line = progress_words(self._done, self._total, self._drawn - self._start, self._before)
        click.echo(f"\r{self._label}{line}\x1b[K", nl=False, err=True)

    def clear(self) -> None:
        """Remove the line, before other output or at the end."""
        self._drawn = -_SHORTEST_PAUSE
        if self._is_shown:
            click.echo("\r\x1b[K", nl=False, err=True)


def progress_words(done: int, total: int, seconds: float, before: int = 0) -> str:
    """Return the counts, the mean speed and the remaining time: ``[37/100] 3.1/s, 20 s left``.

    Args:
        done: Number of finished items.
        total: Number of all items, at least 1.
        seconds: Time since the start, in which all but `before` items were finished.
        before: Number of items that were finished before the start.
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
    """Yield each item, and show the number of finished ones.

    Args:
        items: Items to iterate over.
        total: Number of items, if `items` has no length.
        label: Text before the counts.
        quiet: True to show nothing.
    """
    count = len(items) if isinstance(items, Collection) else 0
    line = ProgressLine(count if total is None else total, label=label, quiet=quiet)
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
