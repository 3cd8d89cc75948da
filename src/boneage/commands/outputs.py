"""Checks of output paths before long work: no output replaces an input, and a file has the ending of its format."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click


def require_ending(option: str, path: Path | None, ending: str) -> None:
    """Check that the path of an option has the ending of its format, in any case.

    Raises:
        click.UsageError: The path has another ending.
    """
    if path is not None and path.suffix.lower() != ending:
        raise click.UsageError(f"{option} must end in {ending}, and {path} does not.")


def keep_inputs(inputs: Iterable[Path | None], outputs: Iterable[Path | None]) -> None:
    """Check that no output replaces an input or another output. Paths of one file are recognised as such.

    Args:
        inputs: Files that the command reads; None for an option that was not given.
        outputs: Files that it writes, likewise.

    Raises:
        click.UsageError: Two of the paths are one file.
    """
    read = [path for path in inputs if path is not None]
    written: list[Path] = []
    for output in (path for path in outputs if path is not None):
        for other in read:
            if _is_same(output, other):
                raise click.UsageError(f"The output {output} would replace the input {other}. Choose another output.")
        for other in written:
            if _is_same(output, other):
                raise click.UsageError(f"Two outputs have the path {output}. Choose another one for one of them.")
        written.append(output)


def _is_same(one: Path, other: Path) -> bool:
    if one.resolve() == other.resolve():
        return True
    try:
        return one.samefile(other)
    except OSError:  # one of them does not exist
        return False
