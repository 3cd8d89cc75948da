"""Hands on the radiographs of a training, located once by the networks of serving, and stored beside the cache."""

from __future__ import annotations

import json
import logging
import math
import secrets
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from boneage.bundle.bundle import Bundle
from boneage.errors import Rejection
from boneage.files import sha256_of
from boneage.geometry import Transform
from boneage.hand.joints import Joints
from boneage.hand.registration import Hand
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.data.cache import Progress, RadiographCache

log = logging.getLogger(__name__)

HANDS_VERSION = 3
"""Version of the code that locates hands. It increases when the same networks locate hands differently."""

HANDS_FOLDER = "hands"
"""Folder of a table of hands that was packed with its radiographs (`boneage.train.data.pack`), beside their folder."""

_THREADS = 2


class HandTable:
    """Hands by the radiograph's id, made by `find_hands`. Processes may share it, because each maps the files.

    Attributes:
        folder: folder of the table.
        rejected: codes of radiographs without a hand that can be registered, by id.
        fingerprint: fingerprint of the networks, limits and code that located the hands.
        mask_shape: shape (h, w) of the masks.
        shapes: shapes (H, W) of the radiographs in whose pixels the hands lie, by id; empty if the table belongs to one
            cache and does not state them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        table = json.loads((folder / "hands.json").read_text(encoding="utf-8"))
        self.rejected: dict[str, str] = table["rejected"]
        self.fingerprint: list[str] = table["found_by"]
        self._rows = {radiograph_id: row for row, radiograph_id in enumerate(table["ids"])}
        self.mask_shape: tuple[int, int] = (table["mask_shape"][0], table["mask_shape"][1])
        self.shapes = {
            radiograph_id: (rows, columns) for radiograph_id, (rows, columns) in table.get("shapes", {}).items()
        }
        self._numbers = np.load(folder / "numbers.npy")
        self._masks = np.load(folder / "masks.npy", mmap_mode="r")
        self._joints = np.load(folder / "joints.npy") if (folder / "joints.npy").exists() else None

    def __reduce__(self) -> tuple[type[HandTable], tuple[Path]]:
        return HandTable, (self.folder,)

    def __contains__(self, radiograph_id: str) -> bool:
        return radiograph_id in self._rows

    @property
    def ids(self) -> list[str]:
        """Ids of the radiographs with a hand."""
        return list(self._rows)

    def hand(self, radiograph_id: str) -> Hand:
        """Return the hand, equal to the bit to the result of `Bundle.find_hand` on the radiograph in the cache."""
        row = self._rows[radiograph_id]
        numbers = self._numbers[row]
        count = self.mask_shape[0] * self.mask_shape[1]
        mask = np.unpackbits(self._masks[row], count=count).reshape(self.mask_shape)
        return Hand(
            points_xy=numbers[:6].reshape(3, 2).copy(),
            mask=mask,
            radiograph_to_mask=Transform(*(float(value) for value in numbers[6:12])),
            inverted=bool(numbers[12]),
            spread=float(numbers[13]),
            side_certain=bool(numbers[14]),
            joints=None if self._joints is None else Joints(self._joints[row, :, :2], self._joints[row, :, 2]),
        )


def find_hands(
    radiographs: Sequence[LabelledRadiograph],
    cache: RadiographCache,
    bundle: Bundle,
    parent: Path,
    *,
    progress: Progress = iter,
) -> HandTable:
    """Open the table of these radiographs' hands below `parent`, and locate the hands first if it is missing.

    Args:
        radiographs: radiographs in the cache.
        cache: decoded radiographs.
        bundle: bundle with hand networks.
        parent: parent of the table's folder, whose name is a fingerprint of radiographs, cache and networks.
        progress: wraps the radiographs while their hands are located.

    Raises:
        BundleError: ``bundle_mismatch`` if the bundle has no hand networks.
    """
    folder = parent / f"hands-{_fingerprint(radiographs, cache, bundle)}"
    if not (folder / "hands.json").exists():
        _build(radiographs, cache, bundle, folder, progress)
    return _with_warning(HandTable(folder))


def _with_warning(table: HandTable) -> HandTable:
    if table.rejected:
        log.warning("%d radiographs show no hand: %s", len(table.rejected), dict(list(table.rejected.items())[:10]))
    return table


def open_hands(
    name: str, radiographs: Sequence[LabelledRadiograph], cache: RadiographCache, *, progress: Progress = iter
) -> HandTable:
    """Open the table of the hands that a bundle locates on these radiographs: the packed one, or one beside the cache.

    The hands of packed radiographs (`boneage.train.data.pack`) are taken over if the same networks, limits and code
    located them. Otherwise they are located again, with a warning.

    Args:
        name: name of a shipped bundle with hand networks, or its folder.
        radiographs: radiographs; those that are not in the cache are left out.
        cache: decoded radiographs.
        progress: see `find_hands`.

    Raises:
        BundleError: see `boneage.bundle.bundle.Bundle.open`; ``bundle_mismatch`` if the bundle has no hand networks.
    """
    bundle = Bundle.open(name, threads=1)
    readable = [radiograph for radiograph in radiographs if radiograph.id in cache]
    packed = _packed_hands(readable, cache, bundle)
    return find_hands(readable, cache, bundle, cache.folder.parent, progress=progress) if packed is None else packed


def _packed_hands(
    radiographs: Sequence[LabelledRadiograph], cache: RadiographCache, bundle: Bundle
) -> HandTable | None:
    """Return the table of hands that was packed with these radiographs; None if there is none, or it does not apply."""
    folders = {radiograph.image.parent.parent / HANDS_FOLDER for radiograph in radiographs}
    folder = next(iter(folders), Path())
    if len(folders) != 1 or not (folder / "hands.json").is_file():
        return None
    table = HandTable(folder)
    if table.fingerprint != hand_fingerprint(bundle):
        log.warning(
            "The packed hands were located by other networks than those of %s, so that they are located again.",
            bundle.manifest.name,
        )
        return None
    if any(table.shapes.get(one.id) != cache.shape(one.id) for one in radiographs):
        log.warning("The packed radiographs are reduced further (data.longest_side), so that hands are located again.")
        return None
    return _with_warning(table)


def hand_fingerprint(bundle: Bundle) -> list[str]:
    """Return everything that determines the location of hands: version of the code, hand networks and their limits.

    Raises:
        BundleError: ``bundle_mismatch`` if the bundle has no hand networks.
    """
    return [f"version {HANDS_VERSION}", *bundle.hand_networks().fingerprint()]


def _fingerprint(radiographs: Sequence[LabelledRadiograph], cache: RadiographCache, bundle: Bundle) -> str:
    parts = [*hand_fingerprint(bundle), cache.folder.name, *sorted(radiograph.id for radiograph in radiographs)]
    return sha256_of(json.dumps(parts).encode())[:16]


def _build(
    radiographs: Sequence[LabelledRadiograph], cache: RadiographCache, bundle: Bundle, folder: Path, progress: Progress
) -> None:
    temporary = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.partial")
    temporary.mkdir(parents=True)
    try:
        _write(radiographs, cache, bundle, temporary, progress)
        temporary.rename(folder)
    except OSError:
        if not (folder / "hands.json").exists():  # another process may have been faster
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(
    radiographs: Sequence[LabelledRadiograph], cache: RadiographCache, bundle: Bundle, folder: Path, progress: Progress
) -> None:
    def locate(radiograph: LabelledRadiograph) -> Hand | Rejection:
        try:
            return bundle.find_hand(cache.pixels(radiograph.id))
        except Rejection as rejection:
            return rejection

    hands: dict[str, Hand] = {}
    rejected: dict[str, str] = {}
    with ThreadPoolExecutor(_THREADS) as pool:
        for radiograph, hand in zip(progress(radiographs), pool.map(locate, radiographs), strict=True):
            if isinstance(hand, Rejection):
                rejected[radiograph.id] = hand.code
            else:
                hands[radiograph.id] = hand
    write_hands(
        folder, hands, rejected, mask_shape=bundle.hand_networks().mask_shape, found_by=hand_fingerprint(bundle)
    )


def write_hands(
    folder: Path,
    hands: Mapping[str, Hand],
    rejected: Mapping[str, str],
    *,
    mask_shape: tuple[int, int],
    found_by: Sequence[str],
    shapes: Mapping[str, tuple[int, int]] | None = None,
) -> None:
    """Write the files of a table that `HandTable` opens. The same hands make the same bytes.

    Args:
        folder: existing folder of the table.
        hands: hands by the radiograph's id. All of them have joints, or none.
        rejected: codes of radiographs without a hand, by id.
        mask_shape: shape (h, w) of all masks.
        found_by: fingerprint of the networks, limits and code that located the hands.
        shapes: see `HandTable.shapes`.
    """
    numbers = [
        [
            *hand.points_xy.ravel(),
            *hand.radiograph_to_mask.matrix[:2].ravel(),
            float(hand.inverted),
            hand.spread,
            float(hand.side_certain),
        ]
        for hand in hands.values()
    ]
    masks = [np.packbits(hand.mask) for hand in hands.values()]
    joints = [
        np.column_stack([hand.joints.frame_xy, hand.joints.spread])
        for hand in hands.values()
        if hand.joints is not None
    ]
    length = math.ceil(mask_shape[0] * mask_shape[1] / 8)
    np.save(folder / "numbers.npy", np.array(numbers, dtype=np.float64).reshape(-1, 15))
    np.save(folder / "masks.npy", np.array(masks, dtype=np.uint8).reshape(len(masks), length))
    if joints:
        np.save(folder / "joints.npy", np.array(joints, dtype=np.float64))
    table: dict[str, Any] = {
        "ids": list(hands),
        "rejected": dict(rejected),
        "mask_shape": mask_shape,
        "found_by": list(found_by),
    }
    if shapes is not None:
        table["shapes"] = dict(shapes)
    (folder / "hands.json").write_text(json.dumps(table), encoding="utf-8")
