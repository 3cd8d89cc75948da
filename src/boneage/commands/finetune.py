"""``boneage finetune``: a bundle, and radiographs of one's own, to a bundle that fits them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from boneage.train.bundle.finetune import TuningResult

_METHODS = {
    "unchanged": "the networks as they are",
    "line": "the networks' answers through a line",
    "networks": "networks that learnt on",
}


@click.command()
@click.argument("radiographs", type=click.Path(path_type=Path))
@click.option("--images", type=click.Path(path_type=Path), help="Folder of <id>.png; if the CSV has no image column.")
@click.option("--bundle", default="default", show_default=True, metavar="NAME_OR_DIR", help="To start from.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the new bundle.")
@click.option("--epochs", type=click.IntRange(1), default=8, show_default=True, help="Of the networks that learn on.")
@click.option(
    "--learning-rate", type=click.FloatRange(0, min_open=True), default=1e-4, show_default=True, help="The highest."
)
@click.option(
    "--folds",
    type=int,
    default=3,
    show_default=True,
    help="Of the cross-validation that chooses the way and calibrates; 0 for none: networks learn on, unasked.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Of radiographs held out, and training.",
)
@click.option("--name", default="", help="Of the new bundle. [default: the old one's with -tuned]")
@click.option("--data", default="", help="What the radiographs are, for the manifest.")
@click.option("--licence", default="", help="Terms of the new weights. [default: the old bundle's]")
@click.option(
    "--cache", type=click.Path(path_type=Path), help="Folder of decoded radiographs. [default: among the runs]"
)
@click.option(
    "--accelerator", type=click.Choice(["auto", "cpu", "gpu"]), default="auto", show_default=True, help="On what."
)
@click.option("--overwrite", is_flag=True, help="Put it in the place of a bundle that is there.")
@click.option("--quiet", is_flag=True, help="No progress bars; one line an epoch.")
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
    """Adapt a bundle to labelled RADIOGRAPHS of one's own, some hundreds: a CSV with id,boneage,male.

    A fifth of the radiographs, drawn by sex, is held out (or the radiographs of the split validation, if the CSV has a
    column split). On the others three ways are compared by cross-validation: the networks as they are, a line through
    their answers, and networks that learn on. The best becomes the new bundle, calibrated on the same radiographs if
    they are 100 or more. Told are the errors before and after on the radiographs held out.

    Trainings lie in OUT.runs, and go on from there if this is killed and started again. Needs boneage[train].

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
    logging.getLogger("boneage").setLevel(logging.INFO)  # and not what the exporter says of its own work
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
    """The closing lines."""
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
        f"held out, {tuned.held_out_radiographs} radiographs: MAD {tuned.before:.2f} months before, "
        f"{tuned.after:.2f} after:"
        f" {change.value:+.2f} (95 % interval {change.low:+.2f} to {change.high:+.2f})"
    )
    if not tuned.helped:
        click.echo("warning: no gain is shown on the radiographs held out; the manifest says so.", err=True)
    if tuned.bundle.manifest.calibration is None:
        click.echo("not calibrated: intervals are those of the radiographs held out")
    click.echo(str(out))
