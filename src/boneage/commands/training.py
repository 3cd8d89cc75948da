"""Options and steps that the commands share which train networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol, TypeVar

import click

from boneage.commands.each_radiograph import sigterm_interrupts
from boneage.commands.progress import with_progress

if TYPE_CHECKING:
    from boneage.train.data.cache import Progress

Command = TypeVar("Command", bound=Callable[..., object])
T = TypeVar("T")
K = TypeVar("K", bound=str)
Plan_contra = TypeVar("Plan_contra", contravariant=True)


accelerator_option = click.option(
    "--accelerator",
    type=click.Choice(["auto", "cpu", "gpu"]),
    default="auto",
    show_default=True,
    help="Device for training.",
)
jobs_option = click.option(
    "--jobs", default=1, show_default=True, type=click.IntRange(1), help="Number of parallel training runs."
)


def cache_option(default: str = "cache beside --out") -> Callable[[Command], Command]:
    """Return the option ``--cache``.

    Args:
        default: its default in words.
    """
    return click.option(
        "--cache", type=click.Path(path_type=Path), help=f"Folder of decoded radiographs. [default: {default}]"
    )


def matching(only: str | None, names: Sequence[str]) -> list[str]:
    """Return the names that match one of the patterns of ``--only``, in their order; all without patterns.

    Raises:
        click.UsageError: a pattern matches no name.
    """
    patterns = ["*"] if only is None else [part.strip() for part in only.split(",")]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise click.UsageError(f"--only: no network is named {pattern!r}; there are {', '.join(names)}.")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def keyed(option: str, text: str, keys: Sequence[K], parse: Callable[[str], T]) -> dict[K, T]:
    """Parse values by key: one for all, ``0.5``, or one for some or each, ``A=0.5,B=1,C=1``.

    Returns:
        Values by the given keys, in the order of `keys`; missing keys keep their default.

    Raises:
        click.UsageError: a key is unknown or named twice, or a value cannot be parsed.
    """
    each = ",".join(f"{key}=..." for key in keys)
    given: dict[str, T] = {}
    try:
        if "=" not in text:
            return dict.fromkeys(keys, parse(text))
        for part in text.split(","):
            name, value = part.split("=")
            key = name.strip().casefold()
            if key not in {one.casefold() for one in keys}:
                raise click.UsageError(f"{option} has no key {name.strip()!r}. The keys are {', '.join(keys)}.")
            if key in given:
                raise click.UsageError(f"{option} names the key {name.strip()!r} twice.")
            given[key] = parse(value)
    except (ValueError, ZeroDivisionError) as error:
        raise click.UsageError(f"{option} is one positive number, or {each}; not {text!r} ({error}).") from error
    return {key: given[key.casefold()] for key in keys if key.casefold() in given}


def positive_count(text: str) -> int:
    """Parse a whole number of at least 1.

    Raises:
        ValueError: The text is not such a number.
    """
    value = int(text)
    if value < 1:
        raise ValueError("not at least 1")
    return value


def report_line(line: str) -> None:
    """Print a line of a training with its time, at once."""
    import sys
    import time

    click.echo(f"{time.strftime('%H:%M:%S')} {line}")
    sys.stdout.flush()


class TrainSeries(Protocol[Plan_contra]):
    """Function that trains a series of networks, such as `boneage.train.grid.train_grid`."""

    def __call__(
        self, plan: Plan_contra, *, jobs: int, report: Callable[[str], None], progress: Progress
    ) -> dict[str, int]:
        """Train the networks of a plan, and return the exit status of failed runs by name."""


def run_series(train: TrainSeries[Plan_contra], plan: Plan_contra, jobs: int, *, quiet: bool) -> dict[str, int]:
    """Train a series of networks with lines of a report and progress. Return the exit status of failed runs by name."""
    with sigterm_interrupts():
        return train(plan, jobs=jobs, report=report_line, progress=partial(with_progress, quiet=quiet))


def exit_by(failed: Mapping[str, int], consequence: str = "") -> NoReturn:
    """Name the failed runs, and end the command by their status; by 1 if they differ.

    Args:
        failed: exit status of failed runs by name.
        consequence: consequence of a failure, which the message adds to the number of failures.
    """
    if failed:
        click.echo(f"{len(failed)} training(s) failed{consequence}: {', '.join(failed)}", err=True)
    statuses = {max(status, 0) or 1 for status in failed.values()}  # below 0: killed by a signal
    click.get_current_context().exit(statuses.pop() if len(statuses) == 1 else min(len(statuses), 1))
