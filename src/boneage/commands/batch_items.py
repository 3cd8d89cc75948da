"""Radiographs of ``boneage assess``: files with one sex, or the rows of a list."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from boneage.commands.resume import BatchItem
from boneage.file_names import printable_name, shown

if TYPE_CHECKING:
    from boneage.clinical.ages import StatedAge
    from boneage.report.both_sexes import Assessed
    from boneage.tables.radiographs import ListedRadiograph


def batch_items(files: Sequence[str], sex: str | None, listed: Path | None, age: StatedAge) -> list[BatchItem]:
    """Return the radiographs of a command: its files with one sex, or the rows of a list.

    Args:
        files: Arguments of the command.
        sex: Option --sex.
        listed: Option --list.
        age: Dates and age of the options.

    Raises:
        click.UsageError: If the options contradict each other, or nothing is given.
        TableError: Same as in `boneage.tables.radiographs.read_list`; ``table_value`` for an age that cannot be read.
    """
    from boneage.clinical.ages import StatedAge

    if listed is not None:
        if files or sex is not None:
            raise click.UsageError("--list gives the radiographs and their sexes; leave out FILES and --sex.")
        if age != StatedAge():
            raise click.UsageError("--list gives dates and ages in its columns; leave out the options for them.")
        from boneage.tables.radiographs import read_list

        content = read_list(listed)
        items = [_listed_item(one) for one in content.radiographs]
        for warning in content.warnings():
            click.echo(f"warning: {shown(str(listed))}: {warning}", err=True)
        return items
    if not files:
        raise click.UsageError("Give FILES with --sex, or --list.")
    folder = next((file for file in files if os.path.isdir(file)), None)  # noqa: PTH112 - Path raises for some
    if folder is not None:
        is_empty = not any(path.is_file() for path in Path(folder).iterdir())
        remedy = "It has no files." if is_empty else f"Give its files: {Path(folder) / '*'}"
        raise click.UsageError(f"{folder} is a folder. {remedy}")
    if sex is None:
        raise click.UsageError(
            f"Give the sex, --sex F, M or both: it is required and never guessed.{_declared_sex(files)}"
        )
    return [BatchItem(Path(file), printable_name(file), sex, age) for file in files]


def _listed_item(listed: ListedRadiograph) -> BatchItem:
    """Return a row of a list.

    Raises:
        TableError: ``table_value`` for an age that cannot be read.
    """
    from boneage.listed_age import listed_age

    return BatchItem(listed.image, listed.name, listed.sex_text, listed_age(listed))


def missing_date(stated: StatedAge, assessed: Assessed) -> str:
    """Return a sentence on the date that is missing beside a stated one; empty if there is a chronological age."""
    from boneage.report.both_sexes import readings_of

    first = readings_of(assessed)[0]
    if first.reading.chronological_age is not None:
        return ""
    if stated.birth_date is not None and stated.study_date is None and first.facts.study_date is None:
        return "The study date is missing, so that the age is unknown. Give --study-date or the column study_date."
    if stated.study_date is not None and stated.birth_date is None and first.facts.birth_date is None:
        return "The date of birth is missing, so that the age is unknown. Give --birth-date or the column birth_date."
    return ""


def _declared_sex(files: Sequence[str]) -> str:
    """Return a sentence with the sex that the first file declares; empty if it declares none."""
    from boneage.errors import Rejection
    from boneage.reading.radiograph import read_radiograph

    try:
        sex = read_radiograph(files[0]).facts.sex
    except Rejection:
        return ""  # the rejection is reported when the radiograph is assessed
    return "" if sex is None else f" The file {Path(files[0]).name} declares {sex.value}."
