"""``boneage curve``: the validation curves of several runs in one picture, or their learning curve."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from boneage.commands.outputs import require_ending


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write (.png).")
@click.option(
    "--against",
    type=click.Choice(["epochs", "radiographs", "resolution"]),
    default="epochs",
    show_default=True,
    help="Horizontal axis: epochs, or the number of training radiographs or the view height of finished runs.",
)
def curve(runs: tuple[Path, ...], out: Path, against: Literal["epochs", "radiographs", "resolution"]) -> None:
    """Plot the validation errors of RUNS (folders of boneage train) by epoch, like Fig. 6 of Souza & Oliveira.

    With --against radiographs or resolution, each run is one point of a learning curve: its error after the last epoch.
    A table in Markdown is written beside the image. With at least four points by number of radiographs, the power law
    a + b n^-c is fitted and drawn dashed up to four times the largest number. The runs should share their validation
    radiographs.

    \b
    Examples:
      boneage curve runs/a runs/b --out curve.png
      boneage curve --against radiographs runs/radiographs-* --out radiographs.png
    """
    from boneage.train.run.curve import draw_curve, draw_learning_curve, end_of_run, read_history

    require_ending("--out", out, ".png")
    names = [run.resolve().name for run in runs]
    shown = names if len(set(names)) == len(names) else [str(run) for run in runs]
    histories = {name: read_history(run) for name, run in zip(shown, runs, strict=True)}
    if against == "epochs":
        draw_curve(histories, out)
        click.echo(str(out))
        return
    from boneage.train.run.run_folder import read_run_record

    ends = [
        end_of_run(histories[name], read_run_record(run), against, name) for name, run in zip(shown, runs, strict=True)
    ]
    table = draw_learning_curve(ends, against, out)
    click.echo(table.read_text(encoding="utf-8"), nl=False)
    click.echo(str(out))
