"""Run-length coding of DICOM (PS3.5, annex G)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from boneage.reading.rejections import damaged

_RUN = np.arange(256)
_RUN_STEPS = np.where(_RUN < 128, 2 + _RUN, np.where(_RUN > 128, 2, 1)).astype(np.uint8)
"""Bytes from one head of a run to the next, by the head; 128 stands for nothing."""
_RUN_LENGTHS = np.where(_RUN < 128, 1 + _RUN, np.where(_RUN > 128, 257 - _RUN, 0))
"""Bytes that a run expands to, by its head."""
_RUNS_AT_ONCE = 1 << 14


def expand_segment(coded: bytes, size: int) -> NDArray[np.uint8]:
    """Expand a segment to exactly `size` bytes, and ignore the rest.

    Args:
        coded: The coded segment.
        size: Number of bytes to decode.

    Returns:
        uint8 (size,).

    Raises:
        Rejection: ``unreadable`` if it holds fewer.
    """
    coded = coded[: 2 * size + _RUNS_AT_ONCE]  # a decoded byte takes at most two; the rest is unused
    content = np.frombuffer(coded, np.uint8)
    steps = _RUN_STEPS[content].tobytes()
    out = np.empty(size, np.uint8)
    position, done = 0, 0
    while done < size and position < len(coded):
        heads: list[int] = []
        for _ in range(_RUNS_AT_ONCE):
            if position >= len(coded):
                break
            heads.append(position)
            position += steps[position]
        part = _runs(content, np.array(heads), size - done)
        out[done : done + len(part)] = part
        done += len(part)
    if done < size:
        raise damaged("the run-length coded pixels are cut off")
    return out


def _runs(content: NDArray[np.uint8], heads: NDArray[np.int64], most: int) -> NDArray[np.uint8]:
    """Expand the runs with these heads to at most `most` bytes."""
    lengths = _RUN_LENGTHS[content[heads]]
    ends = np.cumsum(lengths)
    literal = content[heads] < 128
    within = np.arange(min(most, int(ends[-1])))
    run = np.repeat(np.arange(len(heads)), lengths)[: len(within)]
    place = heads[run] + 1 + np.where(literal[run], within - (ends - lengths)[run], 0)
    if len(place) and place.max() >= len(content):
        raise damaged("the run-length coded pixels are cut off")
    return content[place]
