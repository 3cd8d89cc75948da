"""Joints of the hand: names, and their places on a radiograph as a network estimates them.

The network (recipe ``hand-joints``) reads the registered hand, so that joints are found for hands that were found only.
Joints are numbered by ray: 1 is the thumb, 5 the little finger.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_FINGERS = (2, 3, 4, 5)

JOINT_NAMES: tuple[str, ...] = (
    "wrist",
    *("cmc_1", "mcp_1", "ip_1", "tip_1"),
    *(f"{joint}_{finger}" for finger in _FINGERS for joint in ("mcp", "pip", "dip", "tip")),
    "radius",
    "ulna",
)
"""Joints in the order of the rows of an array.

``wrist`` is the joint between radius and carpals, ``radius`` and ``ulna`` are the middles of their distal ends with the
growth plates, and ``tip`` is a fingertip.
"""

JOINT_ROWS = {name: row for row, name in enumerate(JOINT_NAMES)}
"""Row of each joint by its name."""


TYPICAL_JOINTS_XY = (
    (770, 1772),
    (1073, 1542),
    (1287, 1243),
    (1411, 1020),
    (1507, 874),
    (1032, 919),
    (1083, 588),
    (1106, 397),
    (1118, 258),
    (823, 914),
    (822, 539),
    (817, 304),
    (807, 151),
    (641, 988),
    (587, 642),
    (560, 417),
    (548, 262),
    (481, 1084),
    (367, 844),
    (312, 699),
    (275, 567),
    (848, 1829),
    (631, 1852),
)
"""Mean places in the registered frame, frame pixels, on 510 annotated training radiographs (radius and ulna: 306)."""


@dataclass(frozen=True, eq=False)
class Joints:
    """Joints of one hand.

    Attributes:
        frame_xy: places in the registered frame, frame pixels, float64 (J, 2), with the rows of `JOINT_NAMES`.
        spread: standard deviation of each place, as a share of the hand's length, float64 (J,).
    """

    frame_xy: NDArray[np.float64]
    spread: NDArray[np.float64]

    def at(self, name: str) -> NDArray[np.float64]:
        """Return the place (x, y) of a joint in the registered frame."""
        place: NDArray[np.float64] = self.frame_xy[JOINT_ROWS[name]]
        return place

    @classmethod
    def typical(cls) -> Joints:
        """Return the joints of a typical hand, certain of their places, for drawn hands."""
        return cls(np.array(TYPICAL_JOINTS_XY, np.float64), np.zeros(len(JOINT_NAMES)))
