"""``boneage worker``: workers only, for more machines on one database."""

from __future__ import annotations

from pathlib import Path

import click

from boneage.commands.serve import worker_options


@click.command(
    epilog="""\
\b
The settings are the environment variables of 'boneage serve' (docs/serve.md). BONEAGE_DATABASE, bundle and atlas
must be the same as there. SIGTERM or Ctrl-C finishes the current radiographs and ends with exit code 0."""
)
@click.option("--store", type=click.Path(file_okay=False, path_type=Path), help="Folder of the database (SQLite).")
@click.option(
    "--database", metavar="URL", help="PostgreSQL database. Prefer BONEAGE_DATABASE, because the URL holds a password."
)
@worker_options
def worker(
    store: Path | None, database: str | None, bundle: str | None, atlas: str | None, workers: int | None
) -> None:
    """Assess radiographs for a service on another machine, until stopped.

    The only connection to the service is its database (BONEAGE_DATABASE).
    """
    import django

    from boneage.processor import cores
    from boneage.web.processes import preparation
    from boneage.web.processes.server import Service

    configuration = preparation.configure(
        {"store": str(store) if store else None, "database": database, "bundle": bundle, "atlas": atlas}
    )
    preparation.ensure_models(configuration)
    django.setup()
    preparation.ensure_migrated()
    count = workers or cores()
    Service(count, configuration.lease_seconds).run(
        lambda: click.echo(f"{count} workers of the bundle {configuration.bundle} wait for radiographs.")
    )
