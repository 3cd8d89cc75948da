"""``boneage curve``: the validation curves of several runs in one picture."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The PNG to write.")
def curve(runs: tuple[Path, ...], out: Path) -> None:
    """Draw validation MAD against epoch for RUNS (folders of boneage train), as Fig. 6 of Souza & Oliveira."""
    from boneage.train.curve import draw_curve, read_history

    names = [run.resolve().name for run in runs]
    shown = names if len(set(names)) == len(names) else [str(run) for run in runs]
    draw_curve({name: read_history(run) for name, run in zip(shown, runs, strict=True)}, out)
    click.echo(str(out))
