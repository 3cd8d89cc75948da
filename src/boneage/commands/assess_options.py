"""Checks of the options of ``boneage assess``, and of its file names."""

from __future__ import annotations

import os
from datetime import date
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from boneage.clinical.ages import ChronologicalAge

_SEXES = ("f", "m", "female", "male", "both")


class FilesCommand(click.Command):
    """Command that accepts file names with a leading hyphen, which a shell pattern may expand to."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments after prefixing such names with the current folder."""
        options = {name for parameter in self.get_params(ctx) for name in parameter.opts}
        end = args.index("--") if "--" in args else len(args)
        is_file = [one.startswith("-") and one not in options and os.path.lexists(one) for one in args[:end]]
        named = [f"./{one}" if yes else one for one, yes in zip(args[:end], is_file, strict=True)]
        return super().parse_args(ctx, [*named, *args[end:]])


def complete_sex(_ctx: click.Context, _parameter: click.Parameter, beginning: str) -> list[str]:
    """Return the values of --sex that begin like this, for completion in a shell."""
    return [value for value in ("F", "M", "both") if value.startswith(beginning)]


def complete_language(_ctx: click.Context, _parameter: click.Parameter, beginning: str) -> list[str]:
    """Return the languages that begin like this, for completion in a shell."""
    from boneage.words import languages

    return [value for value in languages() if value.startswith(beginning)]


def checked_sex(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Return the sex as it was given, if the networks can use it.

    Raises:
        click.BadParameter: it is not one.
    """
    if value is not None and value.lower() not in _SEXES:
        raise click.BadParameter(f"{value!r} is not a sex that the networks can use: give F, M or both.")
    return value


def checked_date(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> date | None:
    """Return the date of an option.

    Raises:
        click.BadParameter: it is not one.
    """
    try:
        return None if value is None else date.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no date: give it like 2014-03-10.") from None


def checked_language(_ctx: click.Context, _parameter: click.Parameter, value: str) -> str:
    """Return the language as it was given, if the program has it.

    Raises:
        click.BadParameter: it is not one.
    """
    from boneage.words import languages

    if value not in languages():
        raise click.BadParameter(f"{value!r} is not a language of the program: give {', '.join(languages())}.")
    return value


def checked_age(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> ChronologicalAge | None:
    """Return the chronological age of an option.

    Raises:
        click.BadParameter: it is not one.
    """
    from boneage.clinical.ages import parse_written_age
    from boneage.clinical.errors import ClinicalError

    try:
        return None if value is None else parse_written_age(value)
    except ClinicalError as error:
        raise click.BadParameter(error.message) from None
