"""What the commands that look at many radiographs share: radiographs that fail alone, two at a time, signals, and the
count.
"""

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
"""Decoding one radiograph while another is in the network. ONNX Runtime then gets one thread for each."""


# --- failures -------------------------------------------------------------------------------------------------------


def unforeseen(error: Exception) -> BoneageError:
    """An error that should not have happened, with code ``internal_error``, so that one radiograph's does not stop the
    rest.

    The traceback goes to standard error if the environment has BONEAGE_TRACEBACK.
    """
    if os.environ.get("BONEAGE_TRACEBACK"):
        traceback.print_exception(error)
    said = " ".join(str(error).split())
    return BoneageError(_INTERNAL, f"This should not have happened: {type(error).__name__}: {said}")


def exit_status(errors: Iterable[BoneageError]) -> int:
    """Of a command that went through many radiographs: 1 if one failed unforeseen, else 3 if one was rejected, else
    0.
    """
    return min((error.exit_status for error in errors), default=0)


def none_assessed(errors: Sequence[BoneageError], where: str = "") -> BoneageError:
    """What to raise when every radiograph of a command failed: ``all_rejected``, or ``internal_error`` if one failed
    so.

    Args:
        errors: one a radiograph.
        where: what else to say, as the end of the sentence.
    """
    radiographs = "The only radiograph" if len(errors) == 1 else f"None of the {len(errors)} radiographs"
    message = f"{radiographs} could {'not ' if len(errors) == 1 else ''}be assessed ({counted(errors)}){where}."
    if exit_status(errors) == Rejection.exit_status:
        return Rejection(RejectionCode.ALL_REJECTED, message)
    return BoneageError(_INTERNAL, message)


def summary(radiographs: int, errors: Sequence[BoneageError]) -> str:
    """What became of a batch: ``292 assessed, 6 rejected (unreadable 4, no_contrast 2)``."""
    rejected = [error for error in errors if isinstance(error, Rejection)]
    parts = [f"{radiographs - len(errors)} assessed"]
    parts += [f"{len(rejected)} rejected ({counted(rejected)})"] if rejected else []
    failed = len(errors) - len(rejected)
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


# --- labelled radiographs
# -------------------------------------------------------------------------------------------------


def open_for_many(name_or_dir: str) -> Bundle:
    """Open a bundle for use from the threads of `each_radiograph`.

    Raises:
        BundleError: as `boneage.bundle.bundle.Bundle.open`.
    """
    from boneage.bundle.bundle import Bundle

    return Bundle.open(name_or_dir, threads=1)


def chosen_radiographs(table: Path, images: Path | None, split: str | None) -> list[LabelledRadiograph]:
    """The radiographs of a table that a command is about.

    Args:
        table: see `boneage.tables.radiographs.read_radiographs`.
        images: likewise.
        split: a part of the table, or ``all``; None only for a table without parts.

    Raises:
        TableError: as `boneage.tables.radiographs.read_radiographs`; ``table_split`` for an unknown part.
        click.UsageError: the table has parts and none was chosen: figures on radiographs that the networks learnt from
        mean
            little, and are not to be had by oversight.
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
    """What `work` gives for each radiograph, in order, two radiographs at a time, showing progress unless `quiet`.

    What `work` raises ends it: the radiographs that are left are not looked at.
    """
    import logging
    from concurrent.futures import ThreadPoolExecutor

    # Else Python writes what a reader warns of into the bar, without a name of the radiograph.
    logging.getLogger("boneage").addHandler(silent := logging.NullHandler())
    pool = ThreadPoolExecutor(_THREADS)
    try:
        results = zip(radiographs, pool.map(work, radiographs), strict=True)
        yield from with_progress(results, total=len(radiographs), label="Assessing", quiet=quiet)
    finally:
        pool.shutdown(cancel_futures=True)
        logging.getLogger("boneage").removeHandler(silent)


def attempt(ask: Callable[[], T]) -> T | BoneageError:
    """What `ask` gives or, in its place, why a radiograph is rejected, or by what it failed unforeseen.

    Raises:
        BundleError: the bundle failed, which is no radiograph's fault.
    """
    try:
        return ask()
    except BundleError:
        raise
    except Rejection as rejection:
        return rejection
    except Exception as error:
        return unforeseen(error)


def assess_each(
    radiographs: Sequence[LabelledRadiograph], bundle: Bundle, *, quiet: bool = False
) -> Iterator[tuple[LabelledRadiograph, Assessment | BoneageError]]:
    """Assess radiographs by the same function that serves, as `each_radiograph` goes through them.

    A radiograph that is rejected, or fails unforeseen, gives its error in the place of an assessment.

    Raises:
        BundleError: the bundle failed; the radiographs that are left are not looked at.
    """
    from boneage.assessment import assess

    return each_radiograph(
        radiographs, lambda radiograph: attempt(lambda: assess(radiograph.image, radiograph.sex, bundle)), quiet=quiet
    )
