"""Decoded films in one memory-mapped file, so that an epoch decodes nothing.

The cache holds films, not views: every view of every epoch is cut from the film's own pixels by
`boneage.views.cut_view`, the function that serving uses, with augmentation composed into its one transform. Grey levels
of a film are whole numbers in the file it came from, so 8-bit films are kept as 8-bit and finer ones as 16-bit without
loss.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.errors import Refusal
from boneage.films import LabelledFilm
from boneage.radiograph import read_radiograph
from boneage.views import GreyRule, GreyScale, measure_grey

log = logging.getLogger(__name__)

Progress = Callable[[Sequence[LabelledFilm]], Iterable[LabelledFilm]]


@dataclass(frozen=True)
class _Entry:
    """Where a film lies in the file: byte offset, rows, columns, bytes a pixel."""

    offset: int
    rows: int
    columns: int
    depth: int


class FilmCache:
    """Films by id. Made by `build_cache`; safe to share between processes."""

    def __init__(self, folder: Path) -> None:
        table = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        self._entries = {film_id: _Entry(*values) for film_id, values in table["films"].items()}
        self.refused: dict[str, str] = table["refused"]
        """Films that could not be read, by id, with the code."""
        self._bytes = np.memmap(folder / "pixels.bin", dtype=np.uint8, mode="r")
        self._grey: dict[tuple[str, GreyRule], GreyScale] = {}

    def __contains__(self, film_id: str) -> bool:
        return film_id in self._entries

    def pixels(self, film_id: str) -> NDArray[np.float32]:
        """The film, float32 (H, W), 0..1, bone bright."""
        entry = self._entries[film_id]
        count = entry.rows * entry.columns * entry.depth
        stored = self._bytes[entry.offset : entry.offset + count].view(f"u{entry.depth}")
        return stored.reshape(entry.rows, entry.columns).astype(np.float32) / np.float32(256**entry.depth - 1)

    def grey(self, film_id: str, rule: GreyRule) -> GreyScale:
        """The film's grey levels, measured once."""
        key = (film_id, rule)
        if key not in self._grey:
            self._grey[key] = measure_grey(self.pixels(film_id), rule)
        return self._grey[key]


def build_cache(
    films: Sequence[LabelledFilm], parent: Path, *, longest_side: int, progress: Progress | None = None
) -> FilmCache:
    """Open the cache of these films below `parent`, decoding them first if it is not there yet.

    The folder's name is a fingerprint of the films' paths, sizes and times, so that changed films make a new cache. It
    is written under another name and renamed when whole. Films that are refused are left out, and named in the log.
    """
    folder = parent / f"films-{_fingerprint(films, longest_side)}"
    if not (folder / "index.json").exists():
        _write(films, folder, longest_side, progress or (lambda items: items))
    cache = FilmCache(folder)
    if cache.refused:
        log.warning("%d films were refused: %s", len(cache.refused), dict(list(cache.refused.items())[:10]))
    return cache


def _fingerprint(films: Sequence[LabelledFilm], longest_side: int) -> str:
    digest = hashlib.sha256(f"1 {longest_side}".encode())
    for film in films:
        status = film.image.stat()
        digest.update(f"{film.id} {film.image} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _write(films: Sequence[LabelledFilm], folder: Path, longest_side: int, progress: Progress) -> None:
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    temporary.mkdir(parents=True, exist_ok=True)
    entries: dict[str, tuple[int, int, int, int]] = {}
    refused: dict[str, str] = {}
    offset = 0
    with (temporary / "pixels.bin").open("wb") as file:
        for film in progress(films):
            try:
                radiograph = read_radiograph(film.image)
            except Refusal as refusal:
                refused[film.id] = refusal.code
                continue
            depth = 1 if radiograph.facts.bits_stored <= 8 else 2
            stored = _reduce(radiograph.pixels, longest_side) * (256**depth - 1)
            data = np.rint(stored).astype(f"u{depth}").tobytes()
            entries[film.id] = (offset, stored.shape[0], stored.shape[1], depth)
            padding = len(data) % 2  # 16-bit films must begin at an even byte
            file.write(data + bytes(padding))
            offset += len(data) + padding
    (temporary / "index.json").write_text(json.dumps({"films": entries, "refused": refused}), encoding="utf-8")
    temporary.rename(folder)


def _reduce(pixels: NDArray[np.float32], longest_side: int) -> NDArray[np.float32]:
    rows, columns = pixels.shape
    zoom = longest_side / max(rows, columns)
    if zoom >= 1.0:
        return pixels
    reduced = cv2.resize(pixels, (round(columns * zoom), round(rows * zoom)), interpolation=cv2.INTER_AREA)
    return np.asarray(reduced, dtype=np.float32)
