"""``boneage sample``: write the drawn phantom."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path), default=Path("sample.png"))
@click.option("--force", is_flag=True, help="Replace another file of this name.")
def sample(path: Path, force: bool) -> None:
    """Write a drawn phantom hand to PATH (sample.png by default), a PNG to try the program on.

    It is no patient: what the networks answer for it means nothing.
    """
    from boneage.files import atomic_write
    from boneage.phantom import sample_png

    if path.suffix.lower() != ".png":
        raise click.UsageError(f"The phantom is a PNG: {path} must end with .png.")
    drawn = sample_png()
    if path.exists() and not force and path.read_bytes() != drawn:
        raise click.UsageError(f"{path} is there already and is another file; --force replaces it.")
    with atomic_write(path) as temporary:
        temporary.write_bytes(drawn)
    click.echo(f"{path}: a drawn phantom, not a patient. Its bone age means nothing.")
