"""What the commands that look at many films share: films that fail alone, two at a time, signals, and the count."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from boneage.commands.progress import with_progress
from boneage.errors import BoneageError, BundleError, Refusal, RefusalCode

if TYPE_CHECKING:
    from boneage.assessment import Assessment
    from boneage.bundle.bundle import Bundle
    from boneage.tables.radiographs import LabelledFilm

T = TypeVar("T")

ALL_SPLITS = "all"

_INTERNAL = "internal_error"
_THREADS = 2
"""Decoding one film while another is in the net. ONNX Runtime then gets one thread for each."""


# --- failures -------------------------------------------------------------------------------------------------------


def unforeseen(error: Exception) -> BoneageError:
    """An error that should not have happened, with code ``internal_error``, so that one film's does not stop the rest.

    The traceback goes to standard error if the environment has BONEAGE_TRACEBACK.
    """
    if os.environ.get("BONEAGE_TRACEBACK"):
        traceback.print_exception(error)
    said = " ".join(str(error).split())
    return BoneageError(_INTERNAL, f"This should not have happened: {type(error).__name__}: {said}")


def exit_status(errors: Iterable[BoneageError]) -> int:
    """Of a command that went through many films: 1 if one failed unforeseen, else 3 if one was refused, else 0."""
    return min((error.exit_status for error in errors), default=0)


def none_assessed(errors: Sequence[BoneageError], where: str = "") -> BoneageError:
    """What to raise when every film of a command failed: ``all_refused``, or ``internal_error`` if one failed so.

    Args:
        errors: one a film.
        where: what else to say, as the end of the sentence.
    """
    films = "The only film" if len(errors) == 1 else f"None of the {len(errors)} films"
    message = f"{films} could {'not ' if len(errors) == 1 else ''}be assessed ({counted(errors)}){where}."
    if exit_status(errors) == Refusal.exit_status:
        return Refusal(RefusalCode.ALL_REFUSED, message)
    return BoneageError(_INTERNAL, message)


def summary(films: int, errors: Sequence[BoneageError]) -> str:
    """What became of a batch: ``292 assessed, 6 refused (unreadable 4, no_contrast 2)``."""
    refused = [error for error in errors if isinstance(error, Refusal)]
    parts = [f"{films - len(errors)} assessed"]
    parts += [f"{len(refused)} refused ({counted(refused)})"] if refused else []
    failed = len(errors) - len(refused)
    parts += [f"{failed} failed ({_INTERNAL})"] if failed else []
    return ", ".join(parts)


def counted(found: Iterable[BoneageError | str]) -> str:
    """How often each code occurs, the commonest first: ``no_contrast 2, unreadable 1``; ``none`` without any."""
    counts = Counter(one if isinstance(one, str) else one.code for one in found)
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{code} {count}" for code, count in ranked) or "none"


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Within the block SIGTERM raises KeyboardInterrupt as Ctrl-C does, so that finished work is written."""
    if threading.current_thread() is not threading.main_thread():  # only there may handlers be set
        yield
        return

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


# --- labelled films -------------------------------------------------------------------------------------------------


def open_for_many(name_or_dir: str) -> Bundle:
    """Open a bundle for use from the threads of `each_film`.

    Raises:
        BundleError: as `boneage.bundle.bundle.Bundle.open`.
    """
    from boneage.bundle.bundle import Bundle

    return Bundle.open(name_or_dir, threads=1)


def chosen_films(table: Path, images: Path | None, split: str | None) -> list[LabelledFilm]:
    """The films of a table that a command is about.

    Args:
        table: see `boneage.tables.radiographs.read_films`.
        images: likewise.
        split: a part of the table, or ``all``; None only for a table without parts.

    Raises:
        TableError: as `boneage.tables.radiographs.read_films`; ``table_split`` for an unknown part.
        click.UsageError: the table has parts and none was chosen: figures on films that the nets learnt from mean
            little, and are not to be had by oversight.
    """
    from boneage.tables.radiographs import films_of_split, read_films

    films = read_films(table, images)
    if split == ALL_SPLITS:
        return films
    if split is not None:
        return films_of_split(films, split)
    parts = sorted({film.split for film in films if film.split is not None})
    if parts:
        raise click.UsageError(f"{table} has the splits {', '.join(parts)}: choose one with --split, or --split all.")
    return films


def each_film(
    films: Sequence[LabelledFilm], work: Callable[[LabelledFilm], T], *, quiet: bool = False
) -> Iterator[tuple[LabelledFilm, T]]:
    """What `work` gives for each film, in order, two films at a time, showing progress unless `quiet`.

    What `work` raises ends it: the films that are left are not looked at.
    """
    import logging
    from concurrent.futures import ThreadPoolExecutor

    # Else Python writes what a reader warns of into the bar, without a name of the film.
    logging.getLogger("boneage").addHandler(silent := logging.NullHandler())
    pool = ThreadPoolExecutor(_THREADS)
    try:
        results = zip(films, pool.map(work, films), strict=True)
        yield from with_progress(results, total=len(films), label="Assessing", quiet=quiet)
    finally:
        pool.shutdown(cancel_futures=True)
        logging.getLogger("boneage").removeHandler(silent)


def attempt(ask: Callable[[], T]) -> T | BoneageError:
    """What `ask` gives or, in its place, why a film is refused, or by what it failed unforeseen.

    Raises:
        BundleError: the bundle failed, which is no film's fault.
    """
    try:
        return ask()
    except BundleError:
        raise
    except Refusal as refusal:
        return refusal
    except Exception as error:
        return unforeseen(error)


def assess_each(
    films: Sequence[LabelledFilm], bundle: Bundle, *, quiet: bool = False
) -> Iterator[tuple[LabelledFilm, Assessment | BoneageError]]:
    """Assess films by the same function that serves, as `each_film` goes through them.

    A film that is refused, or fails unforeseen, gives its error in the place of an assessment.

    Raises:
        BundleError: the bundle failed; the films that are left are not looked at.
    """
    from boneage.assessment import assess

    return each_film(films, lambda film: attempt(lambda: assess(film.image, film.sex, bundle)), quiet=quiet)
