"""Mean heat maps by stage of skeletal development (Souza & Oliveira, section VI and Fig. 9).

Heat maps of single radiographs vary. The mean over many radiographs of one stage and sex shows the regions on which the
estimates depend. Radiographs are superimposed in the network's view without registration, so that outlines are blurred.

A mean of few radiographs could show the hand of a single child. Means of fewer than `SMALLEST_MEAN` radiographs are
never returned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from boneage.arrays import FloatArray
from boneage.evaluate.plots import drawing
from boneage.evaluate.stages import Stage, stage_of
from boneage.evaluate.tables import SEX_LABELS, radiographs_in_words
from boneage.sex import Sex

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMALLEST_MEAN = 20


_STRONGEST_OPACITY = 0.72
_COLOUR_SCALE = "inferno"


@dataclass(frozen=True, eq=False)
class MeanMap:
    """Means over the radiographs of one sex and stage.

    Attributes:
        count: Number of radiographs.
        heat: Mean of the heat maps, float64 (h, w), 0..1; None if there are too few radiographs to show.
        radiograph: Mean of the radiographs, float64 (h, w), 0..1; None in the same case.
    """

    count: int
    heat: NDArray[np.float64] | None = None
    radiograph: NDArray[np.float64] | None = None


class _Sum:
    """Running sum of heat maps and radiographs."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.count = 0
        self.heat = np.zeros(shape)
        self.radiograph = np.zeros(shape)

    def add(self, heat: FloatArray, radiograph: FloatArray) -> None:
        self.count += 1
        self.heat += heat
        # Radiographs differ in exposure, so that each is scaled by its own range.
        low, high = float(radiograph.min()), float(radiograph.max())
        self.radiograph += (radiograph - low) / (high - low) if high > low else 0.0

    def mean(self) -> MeanMap:
        if self.count < SMALLEST_MEAN:
            return MeanMap(self.count)
        return MeanMap(self.count, self.heat / self.count, self.radiograph / self.count)


def mean_maps(samples: Iterable[tuple[Sex, float, FloatArray, FloatArray]]) -> dict[tuple[Sex, Stage], MeanMap]:
    """Average heat maps by sex and stage, with sums only, for any number of radiographs.

    Args:
        samples: Sex, label in months, heat map (h, w) of 0..1 relative to its maximum, and radiograph in the same frame
            (h, w) with any grey scale, for each radiograph.

    Returns:
        Means by sex and stage, without pictures for fewer than `SMALLEST_MEAN` radiographs.

    Raises:
        ValueError: If the shapes of the maps differ, or a value is not within 0 to 1.
    """
    sums: dict[tuple[Sex, Stage], _Sum] = {}
    shape: tuple[int, ...] | None = None
    for sex, age_months, heat, radiograph in samples:
        shape = shape or heat.shape
        if heat.shape != shape or radiograph.shape != shape or len(shape) != 2:
            raise ValueError(
                f"heat {heat.shape} and radiograph {radiograph.shape} must have one shape (h, w), here {shape}"
            )
        if not (heat.min() >= 0.0 and heat.max() <= 1.0):
            raise ValueError("a heat map must lie within 0 to 1")
        sums.setdefault((sex, stage_of(age_months, sex)), _Sum(shape)).add(heat, radiograph)
    return {key: one.mean() for key, one in sums.items()}


def draw_maps(path: Path, means: Mapping[tuple[Sex, Stage], MeanMap]) -> None:
    """Draw the mean heat maps in colour over the mean radiographs, with one row for each sex and one column a stage.

    All panels share one colour scale, from 0 to the strongest mean. Stages without radiographs are left out. Groups too
    small to show are named with their number of radiographs.

    Args:
        path: Path of the PNG file.
        means: Means from `mean_maps`.

    Raises:
        BoneageError: ``extra_missing`` without matplotlib.
    """
    stages = [stage for stage in Stage if any((sex, stage) in means for sex in Sex)]
    strongest = max((float(mean.heat.max()) for mean in means.values() if mean.heat is not None), default=1.0) or 1.0
    tallness = next((mean.heat.shape[0] / mean.heat.shape[1] for mean in means.values() if mean.heat is not None), 1.0)
    with drawing(path, 0.9 + 2.1 * max(len(stages), 1), 1.3 + 3.75 * tallness) as figure:
        figure.suptitle("Mean activation by stage of skeletal development", fontsize=12, fontweight="bold")
        grid = figure.subplots(len(Sex), max(len(stages), 1), squeeze=False)
        for row, sex in zip(grid, Sex, strict=True):
            for axes, stage in zip(row, stages, strict=False):
                _panel(axes, means.get((sex, stage), MeanMap(0)), strongest, tallness)
                if sex is Sex.FEMALE:
                    axes.set_title(stage.label, fontsize=10, loc="center", pad=8)
            row[0].set_ylabel(SEX_LABELS[sex], fontsize=10, fontweight="bold", labelpad=8)
        _colour_bar(grid, strongest)


def _panel(axes: Axes, mean: MeanMap, strongest: float, tallness: float) -> None:
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    if mean.heat is None or mean.radiograph is None:
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect=tallness, facecolor="#f3f4f6")
        note = f"{radiographs_in_words(mean.count)}:\ntoo few to show" if mean.count else "no radiographs"
        axes.text(0.5, 0.5, note, ha="center", va="center", fontsize=9, color="#8a929c")
        return
    axes.imshow(mean.radiograph, cmap="gray", interpolation="bilinear")
    share = mean.heat / strongest
    axes.imshow(
        share, cmap=_COLOUR_SCALE, vmin=0.0, vmax=1.0, alpha=_STRONGEST_OPACITY * share, interpolation="bilinear"
    )
    axes.set_xlabel(f"mean of {mean.count} radiographs", fontsize=8, labelpad=5)


def _colour_bar(grid: NDArray[np.object_], strongest: float) -> None:
    from matplotlib.cm import ScalarMappable  # noqa: PLC0415 - the extra's import stays inside
    from matplotlib.colors import Normalize  # noqa: PLC0415

    scale = ScalarMappable(Normalize(0.0, strongest), _COLOUR_SCALE)
    bar = grid[0, 0].figure.colorbar(scale, ax=grid, shrink=0.7, aspect=30, pad=0.02)
    bar.set_label("Mean activation\n(share of each radiograph's strongest)", fontsize=9)
    bar.outline.set_visible(False)
    bar.ax.grid(visible=False)
