"""``boneage train``: train a network from a recipe and a table of radiographs."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from boneage.commands.training import accelerator_option, cache_option

if TYPE_CHECKING:
    from boneage.train.run.loop import TrainingResult


@click.command()
@click.argument("recipe")
@click.option(
    "--radiographs",
    type=click.Path(path_type=Path),
    required=True,
    help="CSV with id,boneage,male, or an archive of `boneage pack`.",
)
@click.option("--images", type=click.Path(path_type=Path), help="Folder of <id>.png; if the CSV has no image column.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder of the run; an existing run is continued."
)
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change the recipe, e.g. train.epochs=3.")
@cache_option()
@accelerator_option
@click.option("--devices", default="auto", show_default=True, help="Number of devices; leave it out under torchrun.")
@click.option("--nodes", default=1, show_default=True, help="Number of machines.")
@click.option("--quiet", is_flag=True, help="Show no progress bars, one line per epoch.")
def train(
    recipe: str,
    radiographs: Path,
    images: Path | None,
    out: Path,
    changes: tuple[str, ...],
    cache: Path | None,
    accelerator: str,
    devices: str,
    nodes: int,
    quiet: bool,
) -> None:
    """Train RECIPE (a shipped name or a TOML file) on labelled radiographs.

    An archive of boneage pack is unpacked once, beside the decoded radiographs, and brings the hands along.

    The command shows the validation error of each epoch. It stores the last and the best epoch, and the last one's
    estimates for the validation radiographs (validation.csv). A run that was stopped continues after its last complete
    epoch. Needs boneage[train].

    Shipped recipes for regions of the hand: distribution-a to -e, -bones and -bones-robust (plan standard; the last
    also plan fast), registered-a, -b and -c, full-a to -e. For whole radiographs: residual, iglovikov, souza-a to
    souza-h, inception-v3. For hand networks: hand-mask, hand-locate, hand-refine, hand-locate-vgg, hand-joints,
    hand-outlines.

    \b
    Examples:
      boneage train registered-a --radiographs radiographs.csv --out runs/a --set data.hands=standard
      boneage train residual --radiographs radiographs.csv --out runs/residual
      boneage train distribution-a --radiographs training.zip --out runs/a --set data.hands=standard
      boneage train souza-h --radiographs train.csv --images train/ --out runs/h --set train.epochs=50
      torchrun --nproc-per-node 4 -m boneage train residual --radiographs radiographs.csv --out runs/r
    """
    from boneage.evaluate.predictions import write_predictions
    from boneage.tables.radiographs import read_radiographs
    from boneage.train.data.unpack import unpacked_table
    from boneage.train.recipe import load_recipe
    from boneage.train.run.engine import Engine
    from boneage.train.run.loop import train as run
    from boneage.train.run.predict import predict_validation

    if devices != "auto" and not devices.isdigit():
        raise click.UsageError(f"--devices is a number or auto, not {devices!r}.")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    engine = Engine(accelerator, int(devices) if devices.isdigit() else devices, nodes)
    chosen, cache = load_recipe(recipe, changes), cache or out.parent / "cache"
    labelled = read_radiographs(unpacked_table(radiographs, cache), images)
    finished = run(chosen, labelled, out, cache_folder=cache, engine=engine, quiet=quiet)
    if finished.rank == 0:
        _report(out, finished)
        if chosen.task == "age":
            table = predict_validation(out, labelled, cache)
            write_predictions(out / "validation.csv", table)


def _report(out: Path, finished: TrainingResult) -> None:
    """Print the closing lines of a run."""
    from boneage.train.run.curve import MEASURES

    state, last = finished.state, finished.state.history[-1]
    if finished.rejected:
        reasons = ", ".join(f"{code} ({count})" for code, count in Counter(finished.rejected.values()).items())
        click.echo(f"{len(finished.rejected)} radiograph(s) were rejected and left out: {reasons}")
    click.echo(
        f"{out}: {state.epoch} epochs, {MEASURES[finished.measure]}: {last[finished.measure]:.4g} after the last,"
        f" {state.best:.4g} after the best"
    )
