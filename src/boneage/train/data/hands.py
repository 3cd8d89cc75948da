"""The hands of all films of a training, found once by the nets that serving uses, and kept beside the film cache."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import secrets
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from boneage.bundle.bundle import Bundle
from boneage.errors import Refusal
from boneage.geometry import Transform
from boneage.hand.registration import Hand
from boneage.tables.radiographs import LabelledFilm
from boneage.train.data.cache import FilmCache, Progress

log = logging.getLogger(__name__)

HANDS_VERSION = 3
"""Raised when hands are found otherwise by the same nets, so that a kept table is not taken for what they find now."""

_THREADS = 2


class HandTable:
    """Hands by the film's id. Made by `find_hands`; safe to share between processes, which each map the files.

    Attributes:
        folder: where it lies.
        refused: films without a hand that can be registered, by id, with the code.
        found_by: fingerprint of the nets, limits and code that found them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        table = json.loads((folder / "hands.json").read_text(encoding="utf-8"))
        self.refused: dict[str, str] = table["refused"]
        self.found_by: list[str] = table["found_by"]
        self._rows = {film_id: row for row, film_id in enumerate(table["ids"])}
        self._mask_shape: tuple[int, int] = (table["mask_shape"][0], table["mask_shape"][1])
        self._numbers = np.load(folder / "numbers.npy")
        self._masks = np.load(folder / "masks.npy", mmap_mode="r")

    def __reduce__(self) -> tuple[type[HandTable], tuple[Path]]:
        return HandTable, (self.folder,)

    def __contains__(self, film_id: str) -> bool:
        return film_id in self._rows

    def hand(self, film_id: str) -> Hand:
        """The hand, equal to the bit to what `Bundle.find_hand` found on the film in the cache."""
        row = self._rows[film_id]
        numbers = self._numbers[row]
        count = self._mask_shape[0] * self._mask_shape[1]
        mask = np.unpackbits(self._masks[row], count=count).reshape(self._mask_shape)
        return Hand(
            points_xy=numbers[:6].reshape(3, 2).copy(),
            mask=mask,
            film_to_mask=Transform(*(float(value) for value in numbers[6:12])),
            inverted=bool(numbers[12]),
            spread=float(numbers[13]),
            side_certain=bool(numbers[14]),
        )


def find_hands(
    films: Sequence[LabelledFilm],
    cache: FilmCache,
    bundle: Bundle,
    parent: Path,
    *,
    progress: Progress = iter,
) -> HandTable:
    """Open the table of these films' hands below `parent`, finding them first if it is not there yet.

    Args:
        films: in the cache.
        cache: of their pixels.
        bundle: with hand nets.
        parent: of the table's folder, whose name is a fingerprint of films, cache and nets.
        progress: wraps the films while their hands are looked for.

    Raises:
        BundleError: ``bundle_mismatch`` if the bundle has no hand nets.
    """
    folder = parent / f"hands-{_fingerprint(films, cache, bundle)}"
    if not (folder / "hands.json").exists():
        _build(films, cache, bundle, folder, progress)
    table = HandTable(folder)
    if table.refused:
        log.warning("no hand was found on %d films: %s", len(table.refused), dict(list(table.refused.items())[:10]))
    return table


def open_hands(name: str, films: Sequence[LabelledFilm], cache: FilmCache, *, progress: Progress = iter) -> HandTable:
    """The table, beside the cache, of the hands that a bundle finds on these films, as far as they could be read.

    Args:
        name: of a shipped bundle with hand nets, or its folder.
        films: those not in the cache are left out.
        cache: of their pixels.
        progress: as for `find_hands`.

    Raises:
        BundleError: as `boneage.bundle.bundle.Bundle.open`; ``bundle_mismatch`` if the bundle has no hand nets.
    """
    bundle = Bundle.open(name, threads=1)
    readable = [film for film in films if film.id in cache]
    return find_hands(readable, cache, bundle, cache.folder.parent, progress=progress)


def found_by(bundle: Bundle) -> list[str]:
    """What decides where hands are found: this code's version, the bundle's hand nets and their limits.

    Raises:
        BundleError: ``bundle_mismatch`` if the bundle has no hand nets.
    """
    return [f"version {HANDS_VERSION}", *bundle.hand_nets().fingerprint()]


def _fingerprint(films: Sequence[LabelledFilm], cache: FilmCache, bundle: Bundle) -> str:
    said = [*found_by(bundle), cache.folder.name, *sorted(film.id for film in films)]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


def _build(films: Sequence[LabelledFilm], cache: FilmCache, bundle: Bundle, folder: Path, progress: Progress) -> None:
    temporary = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.partial")
    temporary.mkdir(parents=True)
    try:
        _write(films, cache, bundle, temporary, progress)
        temporary.rename(folder)
    except OSError:
        if not (folder / "hands.json").exists():  # else another process was faster
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(films: Sequence[LabelledFilm], cache: FilmCache, bundle: Bundle, folder: Path, progress: Progress) -> None:
    def look(film: LabelledFilm) -> Hand | Refusal:
        try:
            return bundle.find_hand(cache.pixels(film.id))
        except Refusal as refusal:
            return refusal

    ids: list[str] = []
    refused: dict[str, str] = {}
    numbers: list[list[float]] = []
    masks: list[np.ndarray] = []
    shape = bundle.hand_nets().mask_shape
    with ThreadPoolExecutor(_THREADS) as pool:
        for film, hand in zip(progress(films), pool.map(look, films), strict=True):
            if isinstance(hand, Refusal):
                refused[film.id] = hand.code
                continue
            to_mask = hand.film_to_mask.matrix[:2].ravel()
            ids.append(film.id)
            numbers.append(
                [*hand.points_xy.ravel(), *to_mask, float(hand.inverted), hand.spread, float(hand.side_certain)]
            )
            masks.append(np.packbits(hand.mask))
    np.save(folder / "numbers.npy", np.array(numbers, dtype=np.float64).reshape(-1, 15))
    np.save(
        folder / "masks.npy", np.array(masks, dtype=np.uint8).reshape(len(masks), math.ceil(shape[0] * shape[1] / 8))
    )
    table = {"ids": ids, "refused": refused, "mask_shape": shape, "found_by": found_by(bundle)}
    (folder / "hands.json").write_text(json.dumps(table), encoding="utf-8")
