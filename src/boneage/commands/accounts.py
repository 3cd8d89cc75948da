"""``boneage accounts``: changes of accounts by the operator of the machine, for those who cannot log in any more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from boneage.web.models import User


def store_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options ``--store`` and ``--database`` of commands on the data of a service."""
    for option in (
        click.option(
            "--database", metavar="URL", help="PostgreSQL database. Prefer BONEAGE_DATABASE: the URL holds a password."
        ),
        click.option(
            "--store", type=click.Path(file_okay=False, path_type=Path), help="Folder of the database (SQLite) and key."
        ),
    ):
        command = option(command)
    return command


def open_store(store: Path | None, database: str | None) -> None:
    """Set Django up on the data of a service in the mode ``clinic``.

    Raises:
        ConfigurationError: the settings are invalid, or the database is not that of this version.
    """
    import django

    from boneage.web.processes import preparation

    configuration = preparation.configure(
        {"mode": "clinic", "store": str(store) if store else None, "database": database}
    )
    preparation.prepare_store(configuration)
    django.setup()
    preparation.ensure_migrated()


@click.group()
def accounts() -> None:
    """Change accounts of a service in the mode clinic, on its own machine."""


@accounts.command()
@click.argument("name")
@click.argument("departments", nargs=-1)
@store_options
def set_departments(name: str, departments: tuple[str, ...], store: Path | None, database: str | None) -> None:
    """Set the departments of the user NAME, whose cases this user sees; none without DEPARTMENTS.

    Departments are names of the file that BONEAGE_DEPARTMENTS names.
    """
    open_store(store, database)
    from boneage.web.accounts import users

    user = _user(name)
    users.set_departments(None, user, departments)
    click.echo(f"{name} sees the cases of {', '.join(departments)}." if departments else f"{name} has no department.")


@accounts.command()
@click.argument("name")
@store_options
def reset_second_factor(name: str, store: Path | None, database: str | None) -> None:
    """Remove the second factor of the user NAME, and end the sessions of this user.

    This is for an administrator who has lost app and recovery codes; administrators reset those of other users on
    the page of the user. The password stays as it is.
    """
    open_store(store, database)
    from boneage.web.accounts import second_factor

    user = _user(name)
    if second_factor.remove(None, user):
        click.echo(f"{name} logs in with the password only.")
    else:
        click.echo(f"{name} has no second factor.")


def _user(name: str) -> User:
    """Return a user by name. Django must be set up.

    Raises:
        click.UsageError: there is none.
    """
    from boneage.web.models import User

    user = User.objects.filter(username=name).first()
    if user is None:
        raise click.UsageError(f"There is no user {name!r}.")
    return user
