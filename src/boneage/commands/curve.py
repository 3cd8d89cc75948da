"""``boneage curve``: the validation curves of several runs in one picture, or their learning curve."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The PNG to write.")
@click.option(
    "--against",
    type=click.Choice(["epochs", "radiographs", "resolution"]),
    default="epochs",
    show_default=True,
    help="What: epochs, or the training radiographs or view heights of finished runs.",
)
def curve(runs: tuple[Path, ...], out: Path, against: Literal["epochs", "radiographs", "resolution"]) -> None:
    """Draw the validation errors of RUNS (folders of boneage train) against epochs, as Fig. 6 of Souza & Oliveira.

    Against radiographs or resolution, the error after the last epoch of each run is a point of a learning curve, and a
    table in Markdown is written beside the picture. From four numbers of radiographs on, the power law a + b n^-c is
    fitted, and drawn dashed up to four times the radiographs. The runs should validate on the same radiographs.

    \b
    Examples:
      boneage curve runs/a runs/b --out curve.png
      boneage curve --against radiographs runs/radiographs-* --out radiographs.png
    """
    from boneage.train.run.curve import draw_curve, draw_learning_curve, end_of_run, read_history

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
