"""``boneage maps``: where a bundle looks at each stage of skeletal development."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from boneage.commands.each_radiograph import (
    assess_each,
    chosen_radiographs,
    exit_status,
    none_assessed,
    open_for_many,
    summary,
)
from boneage.commands.progress import quiet_option
from boneage.errors import BoneageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from boneage.assessment import Assessment
    from boneage.bundle.bundle import Bundle
    from boneage.explain import Evidence
    from boneage.sex import Sex
    from boneage.tables.radiographs import LabelledRadiograph

_FRAME_SIDE = 128
"""Side of the square in which radiographs of every shape are averaged, as in a whole-radiograph view, pixels.

It is fine enough for hands that are not registered, and too coarse to read a radiograph's lead letters in a mean.
"""


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
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="PNG file of the sheet.")
@click.option(
    "--evidence",
    type=click.Choice(["both", "raising"]),
    default="both",
    show_default=True,
    help="Pixels in the maps: those that moved the age up or down, or only those that raised it, as in section VI.",
)
@quiet_option
def maps(
    radiographs: Path, images: Path | None, split: str | None, bundle: str, out: Path, evidence: Evidence, quiet: bool
) -> None:
    """Draw the mean activation map by sex and stage of development (Souza & Oliveira, Fig. 9).

    RADIOGRAPHS is a CSV table of labelled radiographs. Each panel is a mean of at least 20 radiographs, and smaller
    groups are only counted. The exit code is 3 if a radiograph was rejected, and 1 if one failed unexpectedly. The
    sheet then shows the other radiographs.

    \b
    Example:
      boneage maps radiographs.csv --split validation --out maps.png
    """  # click reads the control character
    from boneage.evaluate.maps import SMALLEST_MEAN, draw_maps, mean_maps
    from boneage.evaluate.plots import require_matplotlib
    from boneage.evaluate.stages import Stage
    from boneage.evaluate.tables import SEX_LABELS
    from boneage.sex import Sex

    require_matplotlib()
    errors: list[BoneageError] = []
    chosen = chosen_radiographs(radiographs, images, split)
    means = mean_maps(_samples(chosen, open_for_many(bundle), evidence, errors, quiet))
    if not means:
        raise none_assessed(errors)
    draw_maps(out, means)
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


def _samples(
    radiographs: Sequence[LabelledRadiograph],
    bundle: Bundle,
    evidence: Evidence,
    errors: list[BoneageError],
    quiet: bool,
) -> Iterator[tuple[Sex, float, NDArray[np.float32], NDArray[np.float32]]]:
    """Yield the arguments of `boneage.evaluate.maps.mean_maps`, and add the errors of radiographs to `errors`."""
    for radiograph, result in assess_each(radiographs, bundle, quiet=quiet):
        if isinstance(result, BoneageError):
            errors.append(result)
        else:
            heat, picture = _in_frame(result, evidence)
            yield radiograph.sex, radiograph.boneage_months, heat, picture


def _in_frame(assessment: Assessment, evidence: Evidence) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return heat map and radiograph in the common frame, padded as a whole-radiograph view, float32 (128, 128)."""
    import numpy as np

    from boneage.geometry import fit_inside, sample

    height, width = assessment.picture.shape
    to_frame = fit_inside(height, width, _FRAME_SIDE, _FRAME_SIDE)
    heat = sample(assessment.heat_map(evidence=evidence).values, to_frame, _FRAME_SIDE, _FRAME_SIDE)
    picture = sample(assessment.picture.astype(np.float32), to_frame, _FRAME_SIDE, _FRAME_SIDE)
    return np.clip(heat, 0.0, 1.0), picture
