"""Preparation before the service starts: its folder, its secret key, its tables."""

from __future__ import annotations

import errno
import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from boneage.errors import ConfigurationError
from boneage.files import atomic_write
from boneage.web.configuration import PREFIX, Configuration

if TYPE_CHECKING:
    from boneage.node.configuration import NodeSettings

KEY_FILE = "secret.key"
"""Name of the key file in the store."""

_KEY_BYTES = 64
_SHORTEST_KEY = 50
_MIGRATION_LOCK = 0x626F6E66
"""Number of the PostgreSQL lock under which one machine at a time changes the tables."""


def configure(options: Mapping[str, str | None]) -> Configuration:
    """Return the configuration from the environment and from options, which take precedence and become part of the
    environment.

    This happens before Django is set up, and passes the options to the processes that this one starts.

    Args:
        options: values by the names of `Configuration`'s fields; None for an option that was not given.

    Raises:
        ConfigurationError: ``setting_invalid``.
    """
    os.environ.update({PREFIX + name.upper(): value for name, value in options.items() if value is not None})
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "boneage.web.settings")
    return Configuration.from_environment()


def prepare_store(configuration: Configuration) -> None:
    """Create the store, for this user alone, and the secret key if none is set. The key becomes part of the
    environment.

    Raises:
        ConfigurationError: ``setting_invalid``: a key too short to be one.
        OSError: the store cannot be written.
    """
    os.umask(0o077)  # for the database too
    configuration.store.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = configuration.secret_key or secret_key(configuration.store / KEY_FILE)
    if len(key) < _SHORTEST_KEY:
        raise ConfigurationError(
            "setting_invalid", f"BONEAGE_SECRET_KEY has {len(key)} characters; {_SHORTEST_KEY} are the fewest."
        )
    os.environ[f"{PREFIX}SECRET_KEY"] = key


def secret_key(path: Path) -> str:
    """Return the key from a file. The file is created if it does not exist, readable by this user alone."""
    if not path.exists():
        with atomic_write(path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(secrets.token_urlsafe(_KEY_BYTES) + "\n", encoding="ascii")
    return path.read_text(encoding="ascii").strip()


def ensure_free(host: str, port: int, setting: str = "--port") -> None:
    """Check that an address is free to listen at.

    Args:
        host: name or address of this machine.
        port: port to listen at.
        setting: setting that takes another port, for the message.

    Raises:
        ConfigurationError: ``port_in_use``, ``address_invalid``.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError(
                "port_in_use", f"Another program listens at port {port} of {host}; {setting} takes another."
            ) from error
        raise ConfigurationError(
            "address_invalid", f"The service cannot listen at port {port} of {host}: {error.strerror or error}."
        ) from error


def ensure_node(configuration: Configuration) -> NodeSettings | None:
    """Check the configuration of the DICOM node, if there is one, and that its address is free.

    Returns:
        The node's settings; None if the service is not a node.

    Raises:
        ConfigurationError: ``pacs_invalid``, ``port_in_use`` or ``address_invalid``.
        ModuleNotFoundError: the packages of the extra ``pacs`` are not installed.
    """
    if not configuration.pacs:
        return None
    from boneage.node.configuration import read_configuration  # noqa: PLC0415 - only for a node

    for package in ("pynetdicom", "highdicom"):  # the extra ``pacs`` installs them
        import_module(package)
    node = read_configuration(Path(configuration.pacs).expanduser()).node
    ensure_free(node.host, node.port, "`node.port` of the configuration")
    return node


def ensure_models(configuration: Configuration) -> None:
    """Check that model bundle and atlas can be opened.

    Raises:
        BundleError: it cannot.
        AtlasError: it cannot.
    """
    from boneage.atlas import Atlas  # noqa: PLC0415 - much to import
    from boneage.bundle.bundle import Bundle  # noqa: PLC0415

    Bundle.open(configuration.bundle, threads=1)
    Atlas.open(configuration.atlas)


def migrate() -> None:
    """Bring the tables of the database up to date. Django must be set up.

    Raises:
        ConfigurationError: ``database_unusable``.
    """
    from django.core.management import call_command  # noqa: PLC0415 - Django is an extra

    with _faults_of_database(), _one_machine():
        call_command("migrate", interactive=False, verbosity=0)


def ensure_migrated() -> None:
    """Check that the tables of the database are those of this version. Django must be set up.

    Raises:
        ConfigurationError: ``database_unusable``, ``database_outdated``.
    """
    from django.db import connection  # noqa: PLC0415
    from django.db.migrations.executor import MigrationExecutor  # noqa: PLC0415

    with _faults_of_database():
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        raise ConfigurationError(
            "database_outdated", "The database is not prepared for this version: start boneage serve of it first."
        )


@contextmanager
def _faults_of_database() -> Iterator[None]:
    """Report a fault of the database in one line, without its address, which holds a password."""
    from django.core.exceptions import ImproperlyConfigured  # noqa: PLC0415
    from django.db import Error  # noqa: PLC0415

    try:
        yield
    except (Error, ImproperlyConfigured) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigurationError(
            "database_unusable", f"The database cannot be used: {lines[0].rstrip('.')}."
        ) from error


@contextmanager
def _one_machine() -> Iterator[None]:
    from django.db import connection  # noqa: PLC0415

    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [_MIGRATION_LOCK])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_MIGRATION_LOCK])
