"""The seven predictors of lossless JPEG (ITU-T T.81, H.1.2.1)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def _from_left(differences: NDArray[np.uint16], middle: int) -> NDArray[np.uint16]:
    """Undo predictor 1, Ra. The first column is predicted from above (H.1.2.1). Sums wrap at 65,536, as the standard
    requires.
    """
    first = differences.copy()
    first[:1, :1] += np.uint16(middle)
    first[:, 0] = np.cumsum(first[:, 0], dtype=np.uint16)
    return np.cumsum(first, axis=1, dtype=np.uint16)


def _first_row(differences: NDArray[np.uint16], middle: int) -> NDArray[np.uint16]:
    row: NDArray[np.uint16] = _from_left(differences[:1], middle)[0]
    return row


def _from_above(differences: NDArray[np.uint16], middle: int) -> NDArray[np.uint16]:
    """Undo predictor 2, Rb."""
    rows = differences.copy()
    rows[0] = _first_row(differences, middle)
    return np.cumsum(rows, axis=0, dtype=np.uint16)


def _from_corner(differences: NDArray[np.uint16], middle: int) -> NDArray[np.uint16]:
    """Undo predictor 3, Rc."""
    out = differences.copy()
    out[0] = _first_row(differences, middle)
    for row in range(1, len(out)):
        out[row, :1] += out[row - 1, :1]
        out[row, 1:] += out[row - 1, :-1]
    return out


def _from_plane(differences: NDArray[np.uint16], middle: int) -> NDArray[np.uint16]:
    """Undo predictor 4, Ra + Rb - Rc."""
    start = differences.copy()
    start[:1, :1] += np.uint16(middle)
    along = np.cumsum(start, axis=1, dtype=np.uint16)
    return np.cumsum(along, axis=0, dtype=np.uint16)


def _from_left_and_slope(differences: NDArray[np.uint16], middle: int) -> NDArray[np.uint16]:
    """Undo predictor 5, Ra + (Rb - Rc) / 2."""
    out = differences.copy()
    out[0] = _first_row(differences, middle)
    for row in range(1, len(out)):
        above = out[row - 1].astype(np.int32)
        out[row, :1] += out[row - 1, :1]
        out[row, 1:] += (np.diff(above) >> 1).astype(np.uint16)
        out[row] = np.cumsum(out[row], dtype=np.uint16)
    return out


def _from_above_and_slope(differences: NDArray[np.uint16], middle: int) -> NDArray[np.uint16]:
    """Undo predictor 6, Rb + (Ra - Rc) / 2."""
    return _by_diagonals(differences, middle, lambda left, above, corner: above + ((left - corner) >> 1))


def _from_mean(differences: NDArray[np.uint16], middle: int) -> NDArray[np.uint16]:
    """Undo predictor 7, (Ra + Rb) / 2."""
    return _by_diagonals(differences, middle, lambda left, above, _corner: (left + above) >> 1)


def _by_diagonals(
    differences: NDArray[np.uint16],
    middle: int,
    predict: Callable[[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]], NDArray[np.int32]],
) -> NDArray[np.uint16]:
    """Undo a prediction from the neighbours on the left, above and at the corner.

    Each pixel depends on its neighbours. Those of one diagonal, from upper right to lower left, depend only on the two
    diagonals before it. In memory they lie a row less one pixel apart.
    """
    out = differences.copy()
    height, width = out.shape
    out[0] = _first_row(differences, middle)
    out[1:, 0] = np.cumsum(out[:, 0], dtype=np.uint16)[1:]
    flat = out.reshape(-1)
    step = max(1, width - 1)
    for diagonal in range(2, height + width - 1):
        first, last = max(1, diagonal - width + 1), min(height - 1, diagonal - 1)  # rows; the first column is done
        here = slice(first * step + diagonal, last * step + diagonal + 1, step)
        left, above, corner = (
            flat[here.start - back : here.stop - back : step].astype(np.int32) for back in (1, width, width + 1)
        )
        flat[here] += predict(left, above, corner).astype(np.uint16)
    return out


PREDICTORS = {
    1: _from_left,
    2: _from_above,
    3: _from_corner,
    4: _from_plane,
    5: _from_left_and_slope,
    6: _from_above_and_slope,
    7: _from_mean,
}
"""Functions that undo a prediction, by the number of the predictor.

Each takes differences, uint16 (H, W), and the middle of the range, and returns samples, uint16 (H, W).
"""


def predicted_differences(samples: NDArray[np.uint16], predictor: int, middle: int) -> NDArray[np.uint16]:
    """Return the differences, uint16 (H, W), from which a predictor gives samples (H, W) back: those of an encoder.

    Args:
        samples: uint16 (H, W).
        predictor: number of the predictor, 1 to 7.
        middle: middle of the range.
    """
    out = np.empty_like(samples)
    out[:1, :1] = samples[:1, :1] - np.uint16(middle)
    np.subtract(samples[0, 1:], samples[0, :-1], out=out[0, 1:])
    np.subtract(samples[1:, 0], samples[:-1, 0], out=out[1:, 0])
    left, above, corner, here = samples[1:, :-1], samples[:-1, 1:], samples[:-1, :-1], samples[1:, 1:]
    np.subtract(here, _prediction(predictor, left, above, corner), out=out[1:, 1:])
    return out


def _prediction(
    predictor: int, left: NDArray[np.uint16], above: NDArray[np.uint16], corner: NDArray[np.uint16]
) -> NDArray[np.uint16]:
    """Return the predictions by three neighbours, modulo 65,536 (T.81, table H.1)."""
    if predictor <= 4:
        return (left, above, corner, left + above - corner)[predictor - 1]
    if predictor == 7:
        return (left & above) + ((left ^ above) >> np.uint16(1))  # the mean, without an overflow
    base, other = (left, above) if predictor == 5 else (above, left)
    slope = np.subtract(other, corner, dtype=np.int32) >> 1
    return base + slope.astype(np.uint16)
