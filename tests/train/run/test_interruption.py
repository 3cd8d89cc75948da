"""An interruption ends a run between two batches."""

from __future__ import annotations

import signal

import pytest

from boneage.train.run.interruption import Interruption


def test_interruption_between_items_and_twice() -> None:
    """An interruption is noticed whatever was under way and a second one at once."""
    former = signal.getsignal(signal.SIGINT)
    seen: list[int] = []
    with pytest.raises(KeyboardInterrupt), Interruption() as interruption:
        for number in interruption.watch(range(9)):
            seen.append(number)
            if number == 3:
                signal.raise_signal(signal.SIGINT)
            seen.append(number)
    assert seen[-2:] == [3, 3]
    with pytest.raises(KeyboardInterrupt), Interruption():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == former
