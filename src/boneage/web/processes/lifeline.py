"""Notification of a process of the service that the process which started it has ended, for whatever reason."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

_STANDARD_INPUT = 0


def when_parent_is_gone(then: Callable[[], None]) -> None:
    """Call a function, in its own thread, as soon as standard input ends.

    The supervisor holds the other end and writes nothing: the system closes it when the supervisor dies.
    """

    def wait() -> None:
        while os.read(_STANDARD_INPUT, 1024):  # not sys.stdin, whose lock the interpreter wants when it ends
            pass
        then()

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
