"""``boneage finetune``: adapt a bundle to your own radiographs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from boneage.commands.training import accelerator_option, cache_option

if TYPE_CHECKING:
    from boneage.train.bundle.finetune import TuningResult

_METHODS = {
    "unchanged": "unchanged networks",
    "line": "estimates corrected by a line",
    "networks": "fine-tuned networks",
}


@click.command()
@click.argument("radiographs", type=click.Path(path_type=Path))
@click.option("--images", type=click.Path(path_type=Path), help="Folder of <id>.png; if the CSV has no image column.")
@click.option("--bundle", default="default", show_default=True, metavar="NAME_OR_DIR", help="Bundle to adapt.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the new bundle.")
@click.option("--epochs", type=click.IntRange(1), default=8, show_default=True, help="Epochs of fine-tuning.")
@click.option(
    "--learning-rate",
    type=click.FloatRange(0, min_open=True),
    default=1e-4,
    show_default=True,
    help="Highest learning rate.",
)
@click.option(
    "--folds",
    type=int,
    default=3,
    show_default=True,
    help="Folds of the cross-validation that chooses the method and calibrates; 0 to fine-tune without it.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Seed of the held-out radiographs and of the training.",
)
@click.option("--name", default="", help="Name of the new bundle. [default: the old one's with -tuned]")
@click.option("--data", default="", help="Description of the radiographs for the manifest.")
@click.option("--licence", default="", help="Licence of the new weights. [default: the old bundle's]")
@cache_option("among the runs")
@accelerator_option
@click.option("--overwrite", is_flag=True, help="Replace an existing bundle; trainings in OUT.runs stay.")
@click.option("--quiet", is_flag=True, help="Show no progress bars, one line per epoch.")
def finetune(
    radiographs: Path,
    images: Path | None,
    bundle: str,
    out: Path,
    epochs: int,
    learning_rate: float,
    folds: int,
    seed: int,
    name: str,
    data: str,
    licence: str,
    cache: Path | None,
    accelerator: str,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Adapt a bundle to a few hundred of your own labelled RADIOGRAPHS, a CSV with id,boneage,male.

    A fifth of the radiographs of each sex is held out at random (or the split validation, if the CSV has a column
    split). On the others, three methods are compared by cross-validation: unchanged networks, estimates corrected by a
    line, and fine-tuned networks. The best one becomes the new bundle, calibrated on the same radiographs if there are
    at least 100. The command reports the error on the held-out radiographs before and after. With fewer than 20 of
    them, and without a calibration, the new bundle gives no prediction intervals.

    Runs lie in OUT.runs. A stopped command resumes from there. Delete this folder to start again with other options.
    Needs boneage[train].

    \b
    Examples:
      boneage finetune ours.csv --out our-bundle
      boneage finetune ours.csv --images radiographs/ --bundle residual --out ours --data "our clinic, 2015 to 2024"
    """
    import logging
    from functools import partial

    from boneage.bundle.bundle import Bundle
    from boneage.commands.progress import with_progress
    from boneage.tables.radiographs import read_radiographs
    from boneage.train.bundle.finetune import finetune as run
    from boneage.train.bundle.tuning import TuningOptions
    from boneage.train.run.engine import Engine

    if folds not in range(11) or folds == 1:
        raise click.UsageError(f"--folds is 0, or 2 to 10, not {folds}.")
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("boneage").setLevel(logging.INFO)  # without messages of the exporter
    tuned = run(
        Bundle.open(bundle),
        read_radiographs(radiographs, images),
        out,
        TuningOptions(
            epochs=epochs,
            learning_rate=learning_rate,
            seed=seed,
            folds=folds,
            name=name,
            data=data,
            licence=licence,
        ),
        cache_folder=cache,
        engine=Engine(accelerator, 1),
        overwrite=overwrite,
        quiet=quiet,
        progress=partial(with_progress, quiet=quiet),
    )
    _report(tuned, out)


def _report(tuned: TuningResult, out: Path) -> None:
    """Print the closing lines."""
    from collections import Counter

    if tuned.rejected:
        reasons = ", ".join(f"{code} ({count})" for code, count in Counter(tuned.rejected.values()).items())
        click.echo(f"{len(tuned.rejected)} radiograph(s) were rejected and left out: {reasons}")
    for method, months in tuned.out_of_fold.items():
        taken = ", taken" if method == tuned.method else ""
        click.echo(
            f"{_METHODS[method]}: MAD {months:.2f} months on {tuned.training_radiographs} radiographs"
            f" out of fold{taken}"
        )
    change = tuned.difference
    click.echo(
        f"held out, {tuned.held_out_radiographs} radiographs: MAD {tuned.before:.2f} months before,"
        f" {tuned.after:.2f} after: {change.value:+.2f} (95 % interval {change.low:+.2f} to {change.high:+.2f})"
    )
    if not tuned.helped:
        click.echo("warning: no gain is shown on the held-out radiographs; the manifest records this.", err=True)
    manifest = tuned.bundle.manifest
    if manifest.calibration is None and manifest.has_measured_error:
        click.echo("not calibrated: intervals follow from the error on the held-out radiographs")
    elif manifest.calibration is None:
        from boneage.bundle.manifest import FEWEST_MEASURED

        click.echo(
            "warning: the new bundle gives no prediction interval and no error, since fewer than"
            f" {FEWEST_MEASURED} radiographs were held out. Hold out more, or do not use it.",
            err=True,
        )
    click.echo(str(out))
