"""Common parts of commands for many radiographs: single failures, two threads, signals and counts."""

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
from boneage.errors import BoneageError, BundleError, Rejection, RejectionCode

if TYPE_CHECKING:
    from boneage.assessment import Assessment
    from boneage.bundle.bundle import Bundle
    from boneage.tables.radiographs import LabelledRadiograph

T = TypeVar("T")

ALL_SPLITS = "all"

_INTERNAL = "internal_error"
_THREADS = 2
"""Number of radiographs at a time: one is decoded while another is in the network.

ONNX Runtime then gets one thread for each.
"""


# --- failures -------------------------------------------------------------------------------------------------------


def unforeseen(error: Exception) -> BoneageError:
    """Return an unexpected error with the code ``internal_error``, so that the other radiographs can continue.

    The traceback goes to standard error if BONEAGE_TRACEBACK is set in the environment.
    """
    if os.environ.get("BONEAGE_TRACEBACK"):
        traceback.print_exception(error)
    message = " ".join(str(error).split())
    return BoneageError(_INTERNAL, f"This should not have happened: {type(error).__name__}: {message}")


def exit_status(errors: Iterable[BoneageError]) -> int:
    """Return the exit status for the errors of many radiographs.

    It is 1 if one failed unexpectedly, else 3 if one was rejected, else 0.
    """
    return min((error.exit_status for error in errors), default=0)


def none_assessed(errors: Sequence[BoneageError], where: str = "") -> BoneageError:
    """Return the error for a command whose radiographs all failed.

    Its code is ``all_rejected``, or ``internal_error`` if one radiograph failed unexpectedly.

    Args:
        errors: One error for each radiograph.
        where: End of the sentence.
    """
    radiographs = "The only radiograph" if len(errors) == 1 else f"None of the {len(errors)} radiographs"
    message = f"{radiographs} could {'not ' if len(errors) == 1 else ''}be assessed ({counted(errors)}){where}."
    if exit_status(errors) == Rejection.exit_status:
        return Rejection(RejectionCode.ALL_REJECTED, message)
    return BoneageError(_INTERNAL, message)


def summary(radiographs: int, errors: Sequence[BoneageError]) -> str:
    """Return the summary of a batch: ``292 assessed, 6 rejected (unreadable 4, no_contrast 2)``."""
    rejected = [error for error in errors if isinstance(error, Rejection)]
    parts = [f"{radiographs - len(errors)} assessed"]
    parts += [f"{len(rejected)} rejected ({counted(rejected)})"] if rejected else []
    failed = len(errors) - len(rejected)
    parts += [f"{failed} failed ({_INTERNAL})"] if failed else []
    return ", ".join(parts)


def counted(errors: Iterable[BoneageError | str]) -> str:
    """Return the counts of codes, most frequent first: ``no_contrast 2, unreadable 1``; ``none`` without any."""
    counts = Counter(one if isinstance(one, str) else one.code for one in errors)
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{code} {count}" for code, count in ranked) or "none"


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt within the block, so that finished work is written."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


# --- labelled radiographs -------------------------------------------------------------------------------------------


def open_for_many(name_or_dir: str) -> Bundle:
    """Open a bundle for use from the threads of `each_radiograph`.

    Raises:
        BundleError: Same as in `boneage.bundle.bundle.Bundle.open`.
    """
    from boneage.bundle.bundle import Bundle

    return Bundle.open(name_or_dir, threads=1)


def chosen_radiographs(table: Path, images: Path | None, split: str | None) -> list[LabelledRadiograph]:
    """Return the selected radiographs of a table.

    Args:
        table: Table, see `boneage.tables.radiographs.read_radiographs`.
        images: Folder of the images, see the same function.
        split: Split of the table, or ``all``; None only for a table without splits.

    Raises:
        TableError: Same as in `boneage.tables.radiographs.read_radiographs`; ``table_split`` for an unknown split.
        click.UsageError: If the table has splits and none was chosen. Figures on training radiographs would be
            meaningless, and must not be made by oversight.
    """
    from boneage.tables.radiographs import radiographs_of_split, read_radiographs

    radiographs = read_radiographs(table, images)
    if split == ALL_SPLITS:
        return radiographs
    if split is not None:
        return radiographs_of_split(radiographs, split)
    parts = sorted({radiograph.split for radiograph in radiographs if radiograph.split is not None})
    if parts:
        raise click.UsageError(f"{table} has the splits {', '.join(parts)}: choose one with --split, or --split all.")
    return radiographs


def each_radiograph(
    radiographs: Sequence[LabelledRadiograph], work: Callable[[LabelledRadiograph], T], *, quiet: bool = False
) -> Iterator[tuple[LabelledRadiograph, T]]:
    """Yield the result of `work` for each radiograph, in order, two radiographs at a time.

    An exception of `work` ends the iteration. Progress is shown unless `quiet` is true.
    """
    import logging
    from concurrent.futures import ThreadPoolExecutor

    # Otherwise Python writes warnings of readers into the bar, without the name of the radiograph.
    logging.getLogger("boneage").addHandler(silent := logging.NullHandler())
    pool = ThreadPoolExecutor(_THREADS)
    try:
        results = zip(radiographs, pool.map(work, radiographs), strict=True)
        yield from with_progress(results, total=len(radiographs), label="Assessing", quiet=quiet)
    finally:
        pool.shutdown(cancel_futures=True)
        logging.getLogger("boneage").removeHandler(silent)


def attempt(assess: Callable[[], T]) -> T | BoneageError:
    """Return the result of a call, or the rejection or unexpected error of a radiograph in its place.

    Raises:
        BundleError: If the bundle failed, which does not depend on the radiograph.
    """
    try:
        return assess()
    except BundleError:
        raise
    except Rejection as rejection:
        return rejection
    except Exception as error:
        return unforeseen(error)


def assess_each(
    radiographs: Sequence[LabelledRadiograph], bundle: Bundle, *, quiet: bool = False
) -> Iterator[tuple[LabelledRadiograph, Assessment | BoneageError]]:
    """Yield the assessment of each radiograph, or its error, with the function that serving uses.

    Raises:
        BundleError: If the bundle failed; the iteration then ends.
    """
    from boneage.composition import assess

    return each_radiograph(
        radiographs, lambda radiograph: attempt(lambda: assess(radiograph.image, radiograph.sex, bundle)), quiet=quiet
    )
