"""Command ``boneage sample``, which writes the drawn phantom."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path), default=Path("sample.png"))
@click.option("--force", is_flag=True, help="Replace an existing file of this name.")
def sample(path: Path, force: bool) -> None:
    """Write a drawn phantom hand to PATH (sample.png by default), a PNG file to try the program on.

    The phantom is not a patient, and its estimate has no meaning.
    """
    from boneage.files import atomic_write
    from boneage.phantom import sample_png

    if path.suffix.lower() != ".png":
        raise click.UsageError(f"The phantom is a PNG: {path} must end with .png.")
    drawn = sample_png()
    if path.exists() and not force and path.read_bytes() != drawn:
        raise click.UsageError(f"{path} exists already and is another file; --force replaces it.")
    with atomic_write(path) as temporary:
        temporary.write_bytes(drawn)
    click.echo(f"{path}: a drawn phantom, not a patient. Its bone age has no meaning.")
