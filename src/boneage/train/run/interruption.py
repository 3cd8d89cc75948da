"""Interruption of a run by Ctrl-C, between two batches."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


class Interruption:
    """Context that records Ctrl-C and stops the run after the current batch.

    A `KeyboardInterrupt` raised at an arbitrary place may be lost: Python drops those that arrive while it forks or
    collects garbage. A second Ctrl-C takes effect at once.
    """

    def __init__(self) -> None:
        self._requested = False
        self._previous_handler: Any = None

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():  # only there may handlers be set
            self._previous_handler = signal.signal(signal.SIGINT, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous_handler is not None:
            signal.signal(signal.SIGINT, self._previous_handler)

    def _request(self, *_: object) -> None:
        if self._requested:
            raise KeyboardInterrupt
        self._requested = True

    def watch(self, items: Iterable[T]) -> Iterator[T]:
        """Yield the items until Ctrl-C was pressed.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        for item in items:
            yield item
            if self._requested:
                raise KeyboardInterrupt
