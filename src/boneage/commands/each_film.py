"""Assess all films of a labelled table, two at a time, with a progress bar: for commands that look at many films."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import click

from boneage.errors import Refusal

if TYPE_CHECKING:
    from boneage.assessment import Assessment
    from boneage.bundle import Bundle
    from boneage.films import LabelledFilm

ALL_SPLITS = "all"

_THREADS = 2
"""Decoding one film while another is in the net. ONNX Runtime then gets one thread for each."""


def open_for_many(name_or_dir: str) -> Bundle:
    """Open a bundle for use from the threads of `assess_each`.

    Raises:
        BundleError: as `boneage.bundle.Bundle.open`.
    """
    from boneage.bundle import Bundle

    return Bundle.open(name_or_dir, threads=1)


def chosen_films(table: Path, images: Path | None, split: str | None) -> list[LabelledFilm]:
    """The films of a table that a command is about.

    Args:
        table: see `boneage.films.read_films`.
        images: likewise.
        split: a part of the table, or ``all``; None only for a table without parts.

    Raises:
        TableError: as `boneage.films.read_films`; ``table_split`` for an unknown part.
        click.UsageError: the table has parts and none was chosen: figures on films that the nets learnt from mean
            little, and are not to be had by oversight.
    """
    from boneage.films import films_of_split, read_films

    films = read_films(table, images)
    if split == ALL_SPLITS:
        return films
    if split is not None:
        return films_of_split(films, split)
    parts = sorted({film.split for film in films if film.split is not None})
    if parts:
        raise click.UsageError(f"{table} has the splits {', '.join(parts)}: choose one with --split, or --split all.")
    return films


def assess_each(films: Sequence[LabelledFilm], bundle: Bundle) -> Iterator[tuple[LabelledFilm, Assessment | Refusal]]:
    """Assess films by the same function that serves, in order, showing progress on standard error.

    Raises:
        BundleError: the bundle failed; the films that are left are not looked at.
    """
    from boneage.assessment import assess

    def one(film: LabelledFilm) -> Assessment | Refusal:
        try:
            return assess(film.image, film.sex, bundle)
        except Refusal as refusal:
            return refusal

    pool = ThreadPoolExecutor(_THREADS)
    try:
        with click.progressbar(length=len(films), label="Assessing", file=sys.stderr) as bar:
            for film, result in zip(films, pool.map(one, films), strict=True):
                bar.update(1)
                yield film, result
    finally:
        pool.shutdown(cancel_futures=True)


def counted(codes: Iterable[str]) -> str:
    """How often each code occurs, as text: ``no_contrast 2, unreadable 1``; ``none`` without any."""
    return ", ".join(f"{code} {count}" for code, count in sorted(Counter(codes).items())) or "none"
