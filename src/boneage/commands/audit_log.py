"""``boneage audit-log``: the audit log of a service, for other systems."""

from __future__ import annotations

import time
from pathlib import Path

import click

from boneage.commands.accounts import open_store, store_options

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def audit_log() -> None:
    """Send the audit log of a service in the mode clinic to other systems."""


@audit_log.command()
@click.argument("destination")
@click.option("--every", type=click.IntRange(min=1), metavar="SECONDS", help="Continue, and send new events so often.")
@click.option("--ca", "authorities", type=_FILE, help="Certificates of trusted authorities, for tls://.")
@click.option("--certificate", type=_FILE, help="Own certificate, for a server that requires one.")
@click.option("--key", type=_FILE, help="Key of the own certificate.")
@store_options
def export(
    destination: str,
    every: int | None,
    authorities: Path | None,
    certificate: Path | None,
    key: Path | None,
    store: Path | None,
    database: str | None,
) -> None:
    """Send the new events of the audit log to DESTINATION: udp://HOST:PORT, tcp://HOST:PORT, tls://HOST:PORT, or a
    file.

    Each event is a DICOM audit message (PS3.15, A.5) in a syslog message (RFC 5424). The place is stored for each
    destination, so that each event is sent once and in order.
    """
    open_store(store, database)
    from boneage.web.accounts.audit_export import AuditExportError, Tls
    from boneage.web.accounts.audit_export import export as send

    while True:
        try:
            count = send(destination, Tls(authorities, certificate, key))
        except AuditExportError as error:
            if every is None or error.code == "audit_destination_invalid":
                raise
            click.echo(f"warning: {error.message} [{error.code}]", err=True)
        else:
            if count or every is None:
                click.echo(f"{count} events have been sent to {destination}.")
        if every is None:
            return
        time.sleep(every)
