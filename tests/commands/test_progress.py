"""Progress is shown to who watches, and to nobody else."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator

import pytest

from boneage.commands.progress import ProgressLine, progress_words, with_progress


class Terminal(io.StringIO):
    """Standard error that a person looks at."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((0, 100, 0.0), "[0/100]"),
        ((37, 100, 11.9), "[37/100] 3.1/s, 20 s left"),
        ((1, 3, 4.0), "[1/3] 4.0 s each, 8 s left"),
        ((100, 100, 10.0), "[100/100] 10.0/s, 0 s left"),
        ((60, 1060, 60.0), "[60/1060] 1.0/s, 17 min left"),
        ((1, 5401, 2.0), "[1/5401] 2.0 s each, 3 h 0 min left"),
        ((50, 100, 0.0, 50), "[50/100]"),
        ((60, 100, 5.0, 50), "[60/100] 2.0/s, 20 s left"),
    ],
)
def test_progress_words_of_current_step(numbers: tuple[int, int, float], words: str) -> None:
    assert progress_words(*numbers) == words


def test_progress_line_is_redrawn_and_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    assert list(with_progress(["a", "b", "c"], label="decoding")) == ["a", "b", "c"]
    lines = shown.getvalue().split("\r")
    assert lines[1].startswith("decoding [0/3]") and any("[3/3]" in line for line in lines)
    assert lines[-1] == "\x1b[K" and "\n" not in shown.getvalue()


def test_progress_of_work_that_began_earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first items of a batch took time, too: the speed counts from the beginning of the work."""
    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    ProgressLine(60, start=time.monotonic() - 80.0).update(8, 60, 0)
    assert "[8/60] 10.0 s each, " in shown.getvalue()


def test_progress_is_silent_for_pipe_quiet_or_single(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", pipe := io.StringIO())
    assert list(with_progress(range(3))) == [0, 1, 2]
    monkeypatch.setattr(sys, "stderr", watched := Terminal())
    assert list(with_progress(range(3), quiet=True)) == [0, 1, 2]
    assert list(with_progress(iter(range(3)), total=1)) == [0, 1, 2]
    assert pipe.getvalue() == watched.getvalue() == ""


def test_progress_line_removed_after_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise OSError

    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    with pytest.raises(OSError):
        list(with_progress(failing(), total=2))
    assert shown.getvalue().endswith("\r\x1b[K")
