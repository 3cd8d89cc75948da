"""``boneage serve``: the whole service with one command."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from boneage.web.configuration import Configuration

_PASSWORD = "BONEAGE_ADMIN_PASSWORD"  # noqa: S105 - a variable's name


def worker_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options ``--bundle``, ``--atlas`` and ``--workers``, which `boneage worker` shares."""
    for option in (
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            envvar="BONEAGE_WORKERS",
            show_envvar=True,
            help="Number of processes that assess radiographs.  [default: one for each core]",
        ),
        click.option("--atlas", help="Name of a shipped atlas, or a folder."),
        click.option("--bundle", help="Name of a shipped bundle, or a folder."),
    ):
        command = option(command)
    return command


@click.command(
    epilog="""\
\b
docs/serve.md lists all settings as environment variables. An option overrides its variable. Behind a reverse
proxy with https, set BONEAGE_URL=https://... and BONEAGE_PROXY=1. With BONEAGE_PACS=pacs.toml, the service is also
a DICOM node: it receives radiographs from a PACS, and sends the results back (docs/pacs.md).

SIGTERM or Ctrl-C finishes the current radiographs and stops the service with exit code 0. A second one stops
it at once."""
)
@click.option(
    "--host",
    default="127.0.0.1",
    envvar="BONEAGE_HOST",
    show_envvar=True,
    show_default=True,
    help="Address to listen on.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8000,
    envvar="BONEAGE_PORT",
    show_envvar=True,
    show_default=True,
    help="Port to listen on.",
)
@click.option("--url", help="Address that users open, if it is not host and port.")
@click.option(
    "--mode",
    metavar="open|clinic",
    help="open: no accounts, and nothing is stored permanently. clinic: accounts and a worklist.",
)
@click.option(
    "--store",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the database and the key.  [default: boneage-store]",
)
@click.option(
    "--database", metavar="URL", help="PostgreSQL database. Prefer BONEAGE_DATABASE, because the URL holds a password."
)
@worker_options
@click.option(
    "--create-administrator",
    "administrator",
    metavar="NAME",
    help=f"Create this account first, with the password in {_PASSWORD} or from a prompt.",
)
def serve(
    host: str,
    port: int,
    url: str | None,
    mode: str | None,
    store: Path | None,
    database: str | None,
    bundle: str | None,
    atlas: str | None,
    workers: int | None,
    administrator: str | None,
) -> None:
    """Serve the web pages and the REST API, and run workers, until stopped.

    \b
    Try it, and open http://127.0.0.1:8000:
      boneage serve
    """
    import django

    from boneage.processor import cores
    from boneage.web.processes import preparation
    from boneage.web.processes.server import Service

    configuration = preparation.configure(
        {
            "url": url or os.environ.get("BONEAGE_URL") or _own_url(host, port),
            "mode": mode,
            "store": str(store) if store else None,
            "database": database,
            "bundle": bundle,
            "atlas": atlas,
        }
    )
    preparation.ensure_free(host, port)
    node = preparation.ensure_node(configuration)
    preparation.ensure_models(configuration)
    preparation.prepare_store(configuration)
    django.setup()
    preparation.migrate()
    if administrator:
        _say(configuration, _make_administrator(administrator), logging.INFO)
    for warning in _warnings(configuration, host):
        _say(configuration, warning, logging.WARNING)
    count = workers or cores()

    def started() -> None:
        crew = "1 worker" if count == 1 else f"{count} workers"
        text = f"boneage is at {configuration.url} (mode {configuration.mode}, bundle {configuration.bundle}, {crew})."
        _say(configuration, f"{text} Ctrl-C stops it.", logging.INFO)
        if node is not None:
            text = f"The DICOM node {node.ae_title} listens at {node.host}:{node.port}."
            _say(configuration, text, logging.INFO)

    Service(count, configuration.lease_seconds, (host, port), is_node=node is not None).run(started)


def _own_url(host: str, port: int) -> str:
    from boneage.web.processes.server import reachable

    name = reachable(host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def _make_administrator(name: str) -> str:
    """Create an administrator unless there is an account of that name, and return what was done."""
    from boneage.web.accounts.setup import create_administrator
    from boneage.web.accounts.users import AccountError

    password = os.environ.get(_PASSWORD) or click.prompt(
        f"Password of {name}", hide_input=True, confirmation_prompt=True, err=True
    )
    try:
        create_administrator(name, password)
    except AccountError as error:
        if error.code != "user_exists":
            raise
        return f"There is an account {name} already; it was not changed."
    return f"{name} is an administrator."


def _say(configuration: Configuration, text: str, level: int) -> None:
    """Print a line for the operator: on standard output, a warning on standard error; as JSON through the log."""
    if configuration.log_format == "json":
        logging.getLogger("boneage.serve").log(level, "%s", text)
    elif level >= logging.WARNING:
        click.echo(f"warning: {text}", err=True)
    else:
        click.echo(text)


def _warnings(configuration: Configuration, host: str) -> Iterator[str]:
    """Yield warnings on settings that an operator may have overlooked."""
    from boneage.web.configuration import unknown_variables

    if not _is_loopback(host) and not configuration.is_https:
        yield (
            f"{host} can be reached from other machines, and radiographs and passwords travel in the clear. "
            "Put a proxy with https before it and set BONEAGE_URL=https://... (docs/serve.md)."
        )
    if not _is_loopback(host) and not configuration.proxy:
        yield (
            f"{host} can be reached from other machines without a reverse proxy, which would limit floods of "
            "requests. Listen at 127.0.0.1 behind one, and set BONEAGE_PROXY=1 (docs/serve.md)."
        )
    if not _is_loopback(host) and configuration.has_header_login:
        yield (
            f"A proxy logs users in (BONEAGE_HEADER_USER), and {host} can be reached from other machines. Let a "
            "firewall admit the addresses of BONEAGE_HEADER_PROXIES only, or listen at 127.0.0.1 (docs/serve.md)."
        )
    if not _is_loopback(host) and configuration.all_hosts == _OWN_NAMES:
        yield "Only this machine is answered: BONEAGE_URL or BONEAGE_HOSTS must name the service."
    for name in unknown_variables(os.environ):
        yield f"{name} is no setting of the service (docs/serve.md has all); it has no effect."
    if configuration.is_open and _has_users():
        yield (
            "This database is a clinic's, and it is served without accounts: nothing of the clinic is shown. "
            "BONEAGE_MODE=clinic serves it as one."
        )
    if not configuration.is_open and not _has_users():
        yield "There are no accounts: --create-administrator NAME makes the first."
    emergency = configuration.emergency_administrator
    if emergency and not _is_local_administrator(emergency):
        yield f"BONEAGE_EMERGENCY_ADMINISTRATOR: there is no active local administrator {emergency}."


_OWN_NAMES = ["127.0.0.1", "localhost", "[::1]"]


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _has_users() -> bool:
    from boneage.web.models import User

    return User.objects.exists()


def _is_local_administrator(name: str) -> bool:
    from boneage.web.models import Role, User

    return User.objects.filter(username=name, is_active=True, role=Role.ADMINISTRATOR, sign_on=None).exists()
