"""``boneage worker``: workers alone, for more machines on one database."""

from __future__ import annotations

from pathlib import Path

import click

from boneage.commands.serve import worker_options


@click.command(
    epilog="""\
\b
Settings are those of 'boneage serve', by environment variables (docs/serve.md); BONEAGE_DATABASE must be the same, and
so must bundle and atlas. SIGTERM and Ctrl-C finish the radiographs at hand and end it with 0."""
)
@click.option("--store", type=click.Path(file_okay=False, path_type=Path), help="Folder of the database (SQLite).")
@click.option("--database", metavar="URL", help="Better as BONEAGE_DATABASE: it holds a password.")
@worker_options
def worker(
    store: Path | None, database: str | None, bundle: str | None, atlas: str | None, workers: int | None
) -> None:
    """Assess radiographs of a service that runs elsewhere, until it is stopped.

    It needs the service's database (BONEAGE_DATABASE) and nothing else of it.
    """
    import django

    from boneage.web.processes import preparation
    from boneage.web.processes.server import Service, cores

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
