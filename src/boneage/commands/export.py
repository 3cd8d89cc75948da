"""``boneage export``: make a bundle from trained runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from boneage.commands.progress import quiet_option, with_progress

if TYPE_CHECKING:
    from boneage.bundle.bundle import Bundle
    from boneage.train.bundle.release import ReleaseResult


@click.command()
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the bundle.")
@click.option(
    "--radiographs", type=click.Path(path_type=Path), help="Radiographs of the runs, on which the bundle is measured."
)
@click.option(
    "--images", type=click.Path(path_type=Path), help="Folder of the table's images; if it has no image column."
)
@click.option("--hand", metavar="NAME_OR_DIR", help="Bundle whose hand networks are copied.")
@click.option("--mask", type=click.Path(path_type=Path), help="Run of the hand's mask (task mask).")
@click.option("--locate", type=click.Path(path_type=Path), help="Run of the key points on whole radiographs.")
@click.option("--refine", type=click.Path(path_type=Path), help="Run of the key points on registered hands.")
@click.option("--joints", type=click.Path(path_type=Path), help="Run of the hand's joints (task joints), with --renew.")
@click.option("--outlines", type=click.Path(path_type=Path), help="Run of the outlines (task outlines), with --renew.")
@click.option("--quality", type=click.Path(path_type=Path), help="Run of the quality network (task quality).")
@click.option("--renew", metavar="NAME_OR_DIR", help="Bundle whose networks are kept as they are; RUNS are added.")
@click.option(
    "--weight",
    type=click.FloatRange(min=0, min_open=True),
    help="Weight in the mean of each of RUNS that --renew adds. [default: that of the network that it replaces, or 1]",
)
@click.option(
    "--repeat-sd",
    type=click.FloatRange(min=0, min_open=True),
    help="Standard deviation of repeated readings of one hand, in months, for the manifest of the bundle.",
)
@click.option(
    "--weights",
    type=click.Choice(["last", "best"]),
    default="last",
    show_default=True,
    help="Epoch whose weights are exported.",
)
@click.option("--name", help="Name of the bundle. [default: the folder's]")
@click.option("--version", default="1", show_default=True, help="Version of the bundle.")
@click.option("--title", default="", help="One line for people. [default: the recipe's]")
@click.option("--data", default="", help="Description of the training data.")
@click.option("--licence", default="", help="Licence of the weights.")
@click.option(
    "--mirror/--no-mirror",
    default=True,
    show_default=True,
    help="Run each network on the mirror image of a radiograph too, and average: a little better, twice the time.",
)
@click.option(
    "--weight-bits",
    type=click.Choice(["8", "16"]),
    default="16",
    show_default=True,
    help="Bits of a stored weight. 8 bits halve the files and move an estimate by up to 0.1 months.",
)
@click.option(
    "--integers",
    is_flag=True,
    help="The networks compute with 8-bit integers, in half of the time; with --renew and --radiographs, whose split"
    " train sets their ranges.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing bundle.")
@quiet_option
def export(
    runs: tuple[Path, ...],
    out: Path,
    radiographs: Path | None,
    images: Path | None,
    hand: str | None,
    mask: Path | None,
    locate: Path | None,
    refine: Path | None,
    joints: Path | None,
    outlines: Path | None,
    quality: Path | None,
    renew: str | None,
    weight: float | None,
    repeat_sd: float | None,
    weights: Literal["last", "best"],
    name: str | None,
    version: str,
    title: str,
    data: str,
    licence: str,
    mirror: bool,
    weight_bits: str,
    integers: bool,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Export RUNS of boneage train as one bundle: ONNX graphs, checksums, self-test, recipe and figures.

    Several runs become an ensemble with equal weights; boneage build takes other weights from its plan. With
    --radiographs, the bundle is measured on the validation radiographs that all runs share and that none was
    trained on. Its graphs are compared with the networks on 200 of them.

    Networks that read regions of a registered hand need hand networks. These come from the bundle that the runs were
    trained with (--hand) or from their own runs (--mask, --locate and --refine). Hand networks alone make a bundle that
    only locates hands. With --quality, the bundle also detects casts, metal and other problems of a radiograph.

    With --renew, a bundle is measured again on the radiographs of the split validation: its figures, the calibration of
    its age distribution, and the limits of its regions. It may get another quality network, networks for joints and
    outlines, further networks for ages (RUNS, which need --radiographs and replace networks of the same name), networks
    that compute with integers (--integers) and another --version. Needs boneage[train].

    \b
    Examples:
      boneage export runs/residual --radiographs radiographs.csv --out my-bundle
      boneage export --mask runs/mask --locate runs/locate --refine runs/refine --out hand
      boneage export runs/a runs/b runs/c --hand hand --radiographs radiographs.csv --out regions
      boneage export --renew standard --quality runs/quality --radiographs radiographs.csv --version 3 --out standard
    """
    from functools import partial

    from boneage.bundle.bundle import Bundle
    from boneage.tables.radiographs import read_radiographs
    from boneage.train.bundle import release as releasing
    from boneage.train.bundle.release import ReleaseOptions, release
    from boneage.train.bundle.runs import HandRuns

    hand_runs = [run for run in (mask, locate, refine) if run is not None]
    bits: Literal[8, 16] = 8 if weight_bits == "8" else 16
    progress = partial(with_progress, label="assessing", quiet=quiet)
    if integers and not (renew and radiographs):
        raise click.UsageError("--integers needs --renew and --radiographs.")
    if renew is not None:
        changes = radiographs or quality or joints or outlines or repeat_sd
        if hand or hand_runs or not changes or (runs and not radiographs):
            raise click.UsageError(
                "--renew needs --radiographs, --joints, --outlines, --quality or --repeat-sd, and no other hand"
                " networks. Further RUNS need --radiographs."
            )
        renewed = releasing.renew(
            Bundle.open(renew),
            out,
            version=version,
            repeat_sd_months=repeat_sd,
            runs=runs,
            weights={} if weight is None else {run.resolve().name.lower(): weight for run in runs},
            joints=joints,
            outlines=outlines,
            quality=quality,
            radiographs=read_radiographs(radiographs, images) if radiographs else (),
            integers=integers,
            weight_bits=bits,
            overwrite=overwrite,
            progress=progress,
        )
        tell_bundle(renewed, radiographs=0)
        return
    if joints is not None or outlines is not None:
        raise click.UsageError("--joints and --outlines go with --renew: their networks are added to a bundle.")
    if len(hand_runs) not in (0, 3) or (hand_runs and hand):
        raise click.UsageError("Give --mask, --locate and --refine together, or --hand, or none of them.")
    if not runs and not hand_runs:
        raise click.UsageError("Give RUNS for ages, or the three runs of hand networks, or both.")
    if radiographs and not runs:
        raise click.UsageError("--radiographs measures networks for ages: give RUNS too.")
    hand_source = HandRuns(*hand_runs) if hand_runs else Bundle.open(hand) if hand else None
    released = release(
        runs,
        out,
        ReleaseOptions(
            name=name or out.resolve().name.lower(),
            version=version,
            title=title,
            weights=weights,
            data=data,
            licence=licence,
            mirror=mirror,
            weight_bits=bits,
            repeat_sd_months=repeat_sd,
        ),
        hand=hand_source,
        quality=quality,
        radiographs=read_radiographs(radiographs, images) if radiographs else (),
        overwrite=overwrite,
        progress=progress,
    )
    tell_released(released)


def tell_released(released: ReleaseResult) -> None:
    """Print a new bundle's figures and size."""
    tell_bundle(released.bundle, radiographs=released.validation_radiographs, parity_months=released.parity_months)


def tell_bundle(bundle: Bundle, *, radiographs: int, parity_months: float | None = None) -> None:
    """Print a bundle's figures, measured on at most `radiographs` validation radiographs, its parity and its size."""
    metrics = bundle.manifest.metrics
    if metrics:
        agreement = f"CCC {metrics['ccc']:.3f}, " if "ccc" in metrics else ""
        fewer = f" of the {radiographs}" if metrics["radiographs"] < radiographs else ""
        click.echo(
            f"validation MAD {metrics['mad_months']:.2f} months, {agreement}{metrics['radiographs']}{fewer} radiographs"
        )
        coverage = metrics.get("interval_coverage")
        if coverage is not None:
            click.echo(f"{coverage:.1%} of the radiographs lie within the interval that is printed")
    if parity_months is not None:
        click.echo(f"torch and ONNX Runtime differ by at most {parity_months:.4f} months")
    size = sum(file.stat().st_size for file in bundle.directory.iterdir()) / 1e6
    click.echo(f"{bundle.directory}: {len(bundle.members)} member(s), {size:.1f} MB")
