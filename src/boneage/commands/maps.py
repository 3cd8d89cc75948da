"""``boneage maps``: where a bundle looks at each stage of skeletal development."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from boneage.commands.each_radiograph import (
    attempt,
    chosen_radiographs,
    each_radiograph,
    exit_status,
    none_assessed,
    open_for_many,
    summary,
)
from boneage.commands.outputs import keep_inputs, require_ending
from boneage.commands.progress import quiet_option
from boneage.errors import BoneageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from boneage.assessment import Assessment
    from boneage.bundle.bundle import Bundle
    from boneage.evaluate.map_shares import MapShares
    from boneage.explain import Evidence
    from boneage.hand.registration import Hand
    from boneage.sex import Sex
    from boneage.tables.radiographs import LabelledRadiograph

_FRAME_SIDE = 128
"""Side of the square in which radiographs of every shape are averaged, as in a whole-radiograph view, pixels.

It is fine enough for hands that are not registered, and too coarse to read a radiograph's lead letters in a mean.
"""

_SHARES_SIDE = 256
"""Longest side of the maps whose shares on bones are measured, pixels."""


@click.command()
@click.argument("radiographs", type=click.Path(path_type=Path))
@click.option("--images", type=click.Path(path_type=Path), help="Folder of the images; by default beside the CSV.")
@click.option("--split", help="Split of the radiographs (column split), or all.")
@click.option(
    "--bundle",
    default="default",
    show_default=True,
    metavar="NAME_OR_DIR",
    help="Bundle that assesses the radiographs.",
)
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File of the sheet (.png).")
@click.option(
    "--evidence",
    type=click.Choice(["both", "raising"]),
    default="both",
    show_default=True,
    help="Pixels in the maps: those that moved the age up or down, or only those that raised it, as in section VI.",
)
@click.option(
    "--shares",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Markdown file (.md) for the shares of the maps on groups of bones; a CSV file is written beside it.",
)
@click.option("--hands", metavar="NAME_OR_DIR", help="Bundle that finds the hands for --shares. [default: --bundle]")
@quiet_option
def maps(
    *,
    radiographs: Path,
    images: Path | None,
    split: str | None,
    bundle: str,
    out: Path,
    evidence: Evidence,
    shares: Path | None,
    hands: str | None,
    quiet: bool,
) -> None:
    """Draw the mean activation map by sex and stage of development (Souza & Oliveira, Fig. 9).

    RADIOGRAPHS is a CSV table of labelled radiographs. Each panel is a mean of at least 20 radiographs, and smaller
    groups are only counted. The exit code is 3 if a radiograph was rejected, and 1 if one failed unexpectedly. The
    sheet then shows the other radiographs.

    With --shares, the command measures how much of the maps lies on carpals, metacarpals, phalanges, radius and ulna at
    each stage, and tests the observations of section VI with these numbers. Pixels belong to their nearest bone. A
    bundle that does not find the hand needs another one that does (--hands).

    \b
    Examples:
      boneage maps radiographs.csv --split validation --out maps.png
      boneage maps radiographs.csv --bundle residual --hands standard --out maps.png --shares shares.md
    """  # click reads the control character
    from boneage.evaluate.map_shares import figures_path
    from boneage.evaluate.maps import SMALLEST_MEAN, draw_maps, mean_maps
    from boneage.evaluate.plots import require_matplotlib
    from boneage.evaluate.stages import Stage
    from boneage.evaluate.tables import SEX_LABELS
    from boneage.sex import Sex

    require_matplotlib()
    require_ending("--out", out, ".png")
    require_ending("--shares", shares, ".md")
    keep_inputs([radiographs], [out, shares, None if shares is None else figures_path(shares)])
    if hands is not None and shares is None:
        raise click.UsageError("--hands is for --shares.")
    opened = open_for_many(bundle)
    finder = None if shares is None else opened if hands is None else open_for_many(hands)
    if finder is not None and not finder.finds_hands:
        raise click.UsageError(f"The bundle {finder.manifest.name} does not find the hand: choose one with --hands.")
    errors: list[BoneageError] = []
    measured: list[MapShares] = []
    chosen = chosen_radiographs(radiographs, images, split)
    means = mean_maps(_samples(_assessed(chosen, opened, finder, quiet), evidence, errors, measured))
    if not means:
        raise none_assessed(errors)
    draw_maps(out, means)
    if shares is not None:
        _report_shares(shares, measured, opened)
    for sex in Sex:
        for stage in Stage:
            if (sex, stage) in means:
                mean = means[sex, stage]
                note = "" if mean.heat is not None else f"  left out: fewer than {SMALLEST_MEAN}"
                radiographs_word = "radiograph " if mean.count == 1 else "radiographs"
                click.echo(f"{SEX_LABELS[sex]:6}{stage.label:24}{mean.count:6} {radiographs_word}{note}")
    click.echo(summary(len(chosen), errors), err=True)
    click.echo(f"Sheet: {out}")
    click.get_current_context().exit(exit_status(errors))


def _assessed(
    radiographs: Sequence[LabelledRadiograph], bundle: Bundle, finder: Bundle | None, quiet: bool
) -> Iterator[tuple[LabelledRadiograph, tuple[Assessment, Hand | None] | BoneageError]]:
    """Yield the assessment of each radiograph with its hand, or its error. Without a finder there is no hand."""
    from boneage.composition import assess
    from boneage.reading.radiograph import read_radiograph

    def work(radiograph: LabelledRadiograph) -> tuple[Assessment, Hand | None]:
        assessment = assess(radiograph.image, radiograph.sex, bundle)
        if finder is None:
            return assessment, None
        if finder is bundle:
            return assessment, assessment.hand
        return assessment, finder.find_hand(read_radiograph(radiograph.image).pixels)

    return each_radiograph(radiographs, lambda radiograph: attempt(lambda: work(radiograph)), quiet=quiet)


def _samples(
    assessed: Iterable[tuple[LabelledRadiograph, tuple[Assessment, Hand | None] | BoneageError]],
    evidence: Evidence,
    errors: list[BoneageError],
    measured: list[MapShares],
) -> Iterator[tuple[Sex, float, NDArray[np.float32], NDArray[np.float32]]]:
    """Yield the arguments of `boneage.evaluate.maps.mean_maps`.

    Errors of radiographs are added to `errors`, and the shares of those with a hand to `measured`.
    """
    import numpy as np

    from boneage.evaluate.map_shares import map_shares
    from boneage.explain import display_size

    for radiograph, result in assessed:
        if isinstance(result, BoneageError):
            errors.append(result)
            continue
        assessment, hand = result
        if hand is not None:
            shape = assessment.radiograph_shape
            heat = np.abs(assessment.heat_map(display_size(shape, _SHARES_SIDE), evidence).values)
            shares = map_shares(heat, hand, shape, radiograph.sex, radiograph.boneage_months)
            if shares is not None:
                measured.append(shares)
        yield (radiograph.sex, radiograph.boneage_months, *_in_frame(assessment, evidence))


def _report_shares(path: Path, measured: Sequence[MapShares], bundle: Bundle) -> None:
    from boneage.evaluate.map_shares import shares_lines, write_shares

    manifest = bundle.manifest
    notes = [f"Bundle: {manifest.name} {manifest.version}", f"Radiographs: {len(measured)}"]
    write_shares(path, measured, notes)
    click.echo("\n".join(shares_lines(measured, notes)))
    click.echo(f"Shares: {path}")


def _in_frame(assessment: Assessment, evidence: Evidence) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return heat map and radiograph in the common frame, padded as a whole-radiograph view, float32 (128, 128)."""
    import numpy as np

    from boneage.geometry import fit_inside, sample

    height, width = assessment.picture.shape
    to_frame = fit_inside(height, width, _FRAME_SIDE, _FRAME_SIDE)
    strength = np.abs(assessment.heat_map(evidence=evidence).values)  # evidence of both signs would cancel in a mean
    heat = sample(strength, to_frame, _FRAME_SIDE, _FRAME_SIDE)
    picture = sample(assessment.picture.astype(np.float32), to_frame, _FRAME_SIDE, _FRAME_SIDE)
    return np.clip(heat, 0.0, 1.0), picture
