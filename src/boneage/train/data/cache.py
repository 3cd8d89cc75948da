"""Cache of decoded radiographs in one memory-mapped file, so that no epoch decodes anything.

The cache holds radiographs, not views. `boneage.hand.views.cut_view`, the function of serving, cuts every view of every
epoch from the radiograph's own pixels, with the augmentation composed into its single transform.

A radiograph with 256 grey levels takes one byte per pixel, any other two. Images of 8 and 16 bits are stored exactly.
Other levels (a DICOM object's through its window, or means of a reduced radiograph) change by at most 1/131,070 of the
range. Radiographs larger than the recipe's ``data.longest_side`` are reduced by area once. A view of such a radiograph
differs from the view in serving by about 0.004 spreads; views of all others are identical.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boneage.errors import Rejection, RejectionCode, TableError
from boneage.geometry import downsample_area
from boneage.hand.registration import Hand
from boneage.hand.views import GreyRule, GreyScale, measure_grey
from boneage.reading.radiograph import READER_VERSION, read_radiograph
from boneage.tables.radiographs import LabelledRadiograph

log = logging.getLogger(__name__)

Progress = Callable[[Sequence[LabelledRadiograph]], Iterable[LabelledRadiograph]]


@dataclass(frozen=True)
class _Entry:
    """Position of a radiograph in the file: byte offset, rows, columns and bytes per pixel."""

    offset: int
    rows: int
    columns: int
    depth: int


class RadiographCache:
    """Radiographs by id, made by `build_cache`. Processes may share it.

    Its pickled form is the folder's path and the grey levels measured so far; another process maps the file itself.

    Attributes:
        folder: folder of the cache.
        rejected: codes of radiographs that could not be read, by id.
    """

    def __init__(self, folder: Path, grey: dict[tuple[str, GreyRule], GreyScale] | None = None) -> None:
        self.folder = folder
        table = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        self._entries = {radiograph_id: _Entry(*values) for radiograph_id, values in table["radiographs"].items()}
        self.rejected: dict[str, str] = table["rejected"]
        self._bytes = np.memmap(folder / "pixels.bin", dtype=np.uint8, mode="r")
        self._grey = {} if grey is None else grey

    def __reduce__(self) -> tuple[type[RadiographCache], tuple[Path, dict[tuple[str, GreyRule], GreyScale]]]:
        return RadiographCache, (self.folder, self._grey)

    def __contains__(self, radiograph_id: str) -> bool:
        return radiograph_id in self._entries

    def shape(self, radiograph_id: str) -> tuple[int, int]:
        """Return the shape (H, W) of a radiograph, pixels."""
        return self._entries[radiograph_id].rows, self._entries[radiograph_id].columns

    def pixels(self, radiograph_id: str) -> NDArray[np.float32]:
        """Return the radiograph, float32 (H, W), 0..1, bone bright."""
        entry = self._entries[radiograph_id]
        count = entry.rows * entry.columns * entry.depth
        stored = self._bytes[entry.offset : entry.offset + count].view(f"u{entry.depth}")
        return stored.reshape(entry.rows, entry.columns).astype(np.float32) / np.float32(256**entry.depth - 1)

    def grey(self, radiograph_id: str, rule: GreyRule, hand: Hand | None = None) -> GreyScale:
        """Return the radiograph's grey levels, which are measured once: a radiograph has one hand only."""
        key = (radiograph_id, rule)
        if key not in self._grey:
            self._grey[key] = measure_grey(self.pixels(radiograph_id), rule, hand)
        return self._grey[key]


def build_cache(
    radiographs: Sequence[LabelledRadiograph], parent: Path, *, longest_side: int, progress: Progress | None = None
) -> RadiographCache:
    """Open the cache of these radiographs below `parent`, and decode them first if it is missing.

    The folder's name is a fingerprint of the radiographs' paths, sizes and times and of the reader's version. Changed
    radiographs, or another version, therefore make a new cache. It is written under another name and renamed when
    complete. If two processes build the same cache, the later one uses that of the first. Rejected radiographs are left
    out, and listed in the log.

    Raises:
        TableError: ``table_image_missing`` if a radiograph cannot be opened (it may be readable another time),
            ``table_empty`` if none can be read.
    """
    folder = parent / f"radiographs-{_fingerprint(radiographs, longest_side)}"
    if not (folder / "index.json").exists():
        _build(radiographs, folder, longest_side, progress or (lambda items: items))
    cache = RadiographCache(folder)
    if cache.rejected:
        log.warning("%d radiographs were rejected: %s", len(cache.rejected), dict(list(cache.rejected.items())[:10]))
    return cache


def _fingerprint(radiographs: Sequence[LabelledRadiograph], longest_side: int) -> str:
    digest = hashlib.sha256(f"2 {READER_VERSION} {longest_side}".encode())
    for radiograph in radiographs:
        try:
            status = radiograph.image.stat()
        except OSError as error:
            raise _missing(radiograph, str(error.strerror)) from error
        digest.update(f"{radiograph.id} {radiograph.image} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _missing(radiograph: LabelledRadiograph, reason: str) -> TableError:
    return TableError(
        "table_image_missing", f"The radiograph {radiograph.id} cannot be opened: {radiograph.image}: {reason}."
    )


def _build(radiographs: Sequence[LabelledRadiograph], folder: Path, longest_side: int, progress: Progress) -> None:
    temporary = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.partial")
    temporary.mkdir(parents=True)
    try:
        _write(radiographs, temporary, longest_side, progress)
        temporary.rename(folder)
    except OSError:
        if not (folder / "index.json").exists():  # another process may have been faster
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(radiographs: Sequence[LabelledRadiograph], folder: Path, longest_side: int, progress: Progress) -> None:
    entries: dict[str, tuple[int, int, int, int]] = {}
    rejected: dict[str, str] = {}
    offset = 0
    with (folder / "pixels.bin").open("wb") as file:
        for radiograph in progress(radiographs):
            try:
                pixels = read_radiograph(radiograph.image).pixels
            except Rejection as rejection:
                if rejection.code == RejectionCode.NOT_FOUND:
                    raise _missing(radiograph, rejection.message) from rejection
                rejected[radiograph.id] = rejection.code
                continue
            stored = _stored(downsample_area(pixels, longest_side / max(pixels.shape)))
            entries[radiograph.id] = (offset, stored.shape[0], stored.shape[1], stored.itemsize)
            file.write(stored.tobytes())
            padding = stored.nbytes % 2  # radiographs with two bytes per pixel must begin at an even offset
            file.write(bytes(padding))
            offset += stored.nbytes + padding
    if not entries:
        reasons = ", ".join(f"{code} ({count})" for code, count in Counter(rejected.values()).items())
        raise TableError(
            "table_empty", f"None of the {len(radiographs)} radiographs can be read: {reasons or 'there are none'}."
        )
    (folder / "index.json").write_text(json.dumps({"radiographs": entries, "rejected": rejected}), encoding="utf-8")


def _stored(pixels: NDArray[np.float32]) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return the pixels in one byte each if that is exact, else in two."""
    short = np.rint(pixels * 255).astype(np.uint8)
    if np.array_equal(short.astype(np.float32) / np.float32(255), pixels):
        return short
    return np.rint(pixels.astype(np.float64) * 65535).astype(np.uint16)
