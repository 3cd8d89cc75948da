"""Decoded films in one memory-mapped file, so that an epoch decodes nothing.

The cache holds films, not views: every view of every epoch is cut from the film's own pixels by
`boneage.hand.views.cut_view`, the function that serving uses, with augmentation composed into its one transform.

A film of 256 grey levels is kept in one byte a pixel, any other in two. Pictures of 8 and 16 bits come back equal to
the bit; levels between those of 16 bits (a DICOM object's through its window, a reduced film's means) move by at most
1/131,070 of the range. Films larger than the recipe's ``data.longest_side`` are reduced by area once, so that a view of
one is cut from means of its pixels: it differs by about 0.004 spreads from the view in serving, those of all other
films are the same.
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

from boneage.errors import Refusal, RefusalCode, TableError
from boneage.geometry import averaged_down
from boneage.hand.registration import Hand
from boneage.hand.views import GreyRule, GreyScale, measure_grey
from boneage.reading.radiograph import READER_VERSION, read_radiograph
from boneage.tables.radiographs import LabelledFilm

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
    """Films by id. Made by `build_cache`; safe to share between processes.

    Pickled, it is the name of its folder and the grey levels measured so far: the other process maps the file itself.

    Attributes:
        folder: where it lies.
        refused: films that could not be read, by id, with the code.
    """

    def __init__(self, folder: Path, grey: dict[tuple[str, GreyRule], GreyScale] | None = None) -> None:
        self.folder = folder
        table = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        self._entries = {film_id: _Entry(*values) for film_id, values in table["films"].items()}
        self.refused: dict[str, str] = table["refused"]
        self._bytes = np.memmap(folder / "pixels.bin", dtype=np.uint8, mode="r")
        self._grey = {} if grey is None else grey

    def __reduce__(self) -> tuple[type[FilmCache], tuple[Path, dict[tuple[str, GreyRule], GreyScale]]]:
        return FilmCache, (self.folder, self._grey)

    def __contains__(self, film_id: str) -> bool:
        return film_id in self._entries

    def pixels(self, film_id: str) -> NDArray[np.float32]:
        """The film, float32 (H, W), 0..1, bone bright."""
        entry = self._entries[film_id]
        count = entry.rows * entry.columns * entry.depth
        stored = self._bytes[entry.offset : entry.offset + count].view(f"u{entry.depth}")
        return stored.reshape(entry.rows, entry.columns).astype(np.float32) / np.float32(256**entry.depth - 1)

    def grey(self, film_id: str, rule: GreyRule, hand: Hand | None = None) -> GreyScale:
        """The film's grey levels, measured once: a film has but one hand."""
        key = (film_id, rule)
        if key not in self._grey:
            self._grey[key] = measure_grey(self.pixels(film_id), rule, hand)
        return self._grey[key]


def build_cache(
    films: Sequence[LabelledFilm], parent: Path, *, longest_side: int, progress: Progress | None = None
) -> FilmCache:
    """Open the cache of these films below `parent`, decoding them first if it is not there yet.

    The folder's name is a fingerprint of the films' paths, sizes and times and of the reader's version, so that changed
    films, or another way of reading them, make a new cache. It is written under another name and renamed when whole;
    of two processes that build the same one, the later takes the first's. Films that are refused are left out, and
    named in the log.

    Raises:
        TableError: ``table_image_missing`` if a film cannot be opened (another time it might be), ``table_empty`` if
            none can be read.
    """
    folder = parent / f"films-{_fingerprint(films, longest_side)}"
    if not (folder / "index.json").exists():
        _build(films, folder, longest_side, progress or (lambda items: items))
    cache = FilmCache(folder)
    if cache.refused:
        log.warning("%d films were refused: %s", len(cache.refused), dict(list(cache.refused.items())[:10]))
    return cache


def _fingerprint(films: Sequence[LabelledFilm], longest_side: int) -> str:
    digest = hashlib.sha256(f"2 {READER_VERSION} {longest_side}".encode())
    for film in films:
        try:
            status = film.image.stat()
        except OSError as error:
            raise _missing(film, str(error.strerror)) from error
        digest.update(f"{film.id} {film.image} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _missing(film: LabelledFilm, reason: str) -> TableError:
    return TableError("table_image_missing", f"The film {film.id} cannot be opened: {film.image}: {reason}.")


def _build(films: Sequence[LabelledFilm], folder: Path, longest_side: int, progress: Progress) -> None:
    temporary = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.partial")
    temporary.mkdir(parents=True)
    try:
        _write(films, temporary, longest_side, progress)
        temporary.rename(folder)
    except OSError:
        if not (folder / "index.json").exists():  # else another process was faster
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(films: Sequence[LabelledFilm], folder: Path, longest_side: int, progress: Progress) -> None:
    entries: dict[str, tuple[int, int, int, int]] = {}
    refused: dict[str, str] = {}
    offset = 0
    with (folder / "pixels.bin").open("wb") as file:
        for film in progress(films):
            try:
                pixels = read_radiograph(film.image).pixels
            except Refusal as refusal:
                if refusal.code == RefusalCode.NOT_FOUND:
                    raise _missing(film, refusal.message) from refusal
                refused[film.id] = refusal.code
                continue
            stored = _stored(averaged_down(pixels, longest_side / max(pixels.shape)))
            entries[film.id] = (offset, stored.shape[0], stored.shape[1], stored.itemsize)
            file.write(stored.tobytes())
            padding = stored.nbytes % 2  # films of two bytes must begin at an even one
            file.write(bytes(padding))
            offset += stored.nbytes + padding
    if not entries:
        reasons = ", ".join(f"{code} ({count})" for code, count in Counter(refused.values()).items())
        raise TableError("table_empty", f"None of the {len(films)} films can be read: {reasons or 'there are none'}.")
    (folder / "index.json").write_text(json.dumps({"films": entries, "refused": refused}), encoding="utf-8")


def _stored(pixels: NDArray[np.float32]) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """In one byte a pixel if that holds it exactly, else in two."""
    short = np.rint(pixels * 255).astype(np.uint8)
    if np.array_equal(short.astype(np.float32) / np.float32(255), pixels):
        return short
    return np.rint(pixels.astype(np.float64) * 65535).astype(np.uint16)
