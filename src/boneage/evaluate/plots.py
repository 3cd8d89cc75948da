"""Plots of a predictions table as PNG: Bland-Altman, estimate against label, error by developmental stage.

matplotlib belongs to the extra ``plot`` and is imported when a plot is drawn. Its object interface avoids window
systems, global state and user styles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from boneage.errors import BoneageError
from boneage.evaluate.metrics import Figure, bias, mean_absolute_difference, measure
from boneage.evaluate.predictions import Predictions
from boneage.evaluate.stages import STAGE_STARTS_MONTHS, Stage
from boneage.evaluate.tables import SEX_LABELS, SMALLEST_GROUP, radiographs_in_words
from boneage.files import atomic_write
from boneage.sex import Sex

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure as Canvas

_DOTS_PER_INCH = 160
_INK = "#22272e"
_QUIET = "#8a929c"
_FAINT = "#e6e8eb"
# The sexes differ in hue, lightness and marker, for colour-blind readers and for grey print.
_COLOURS = {Sex.FEMALE: "#b5367a", Sex.MALE: "#1f77a4"}
_MARKERS = {Sex.FEMALE: "o", Sex.MALE: "D"}
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "axes.titlesize": 12.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12.0,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _QUIET,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": _FAINT,
    "grid.linewidth": 0.8,
    "text.color": _INK,
    "xtick.color": _QUIET,
    "ytick.color": _QUIET,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}
AGREEMENT = 1.96
"""Distance of the limits of agreement from the bias, standard deviations (Bland & Altman, Lancet 1986).

The limits contain 95 % of a normal distribution.
"""


def require_matplotlib() -> None:
    """Check that plots can be drawn, before a long computation.

    Raises:
        BoneageError: ``extra_missing``.
    """
    if find_spec("matplotlib") is None:
        raise BoneageError("extra_missing", "Plots need matplotlib: pip install 'boneage[plot]'.")


@contextmanager
def drawing(path: Path, width: float, height: float) -> Iterator[Canvas]:
    """Yield a figure in the project's style, which is saved as PNG when the block ends without an error.

    Args:
        path: Path of the PNG file.
        width: Width, inches.
        height: Height, inches.

    Raises:
        BoneageError: ``extra_missing``.
    """
    require_matplotlib()
    from matplotlib import rc_context  # noqa: PLC0415 - the extra's import stays inside
    from matplotlib.figure import Figure as Canvas  # noqa: PLC0415

    with rc_context(_STYLE):  # type: ignore[arg-type]  # the stubs want literal keys
        figure = Canvas(figsize=(width, height), dpi=_DOTS_PER_INCH, layout="constrained")
        yield figure
        with atomic_write(path) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})


def draw_bland_altman(path: Path, predictions: Predictions) -> None:
    """Draw difference against mean of label and estimate, with bias and limits of agreement (Bland & Altman 1986)."""
    errors = predictions.error_months
    centre, spread = float(errors.mean()), float(errors.std(ddof=1)) if len(predictions) > 1 else 0.0
    with drawing(path, 8.0, 5.0) as figure:
        axes = figure.add_subplot()
        _scatter(axes, predictions, (predictions.boneage_months + predictions.age_months) / 2, errors)
        lines = (
            (centre, "bias", "-"),
            (centre + AGREEMENT * spread, "+1.96 SD", (0, (5, 3))),
            (centre - AGREEMENT * spread, "−1.96 SD", (0, (5, 3))),
        )
        for height, name, dashes in lines:
            axes.axhline(height, color=_INK, linewidth=1.2, linestyle=dashes)
            axes.annotate(
                f"{name}\n{height:+.1f}".replace("-", "−"),
                (1.0, height),
                xycoords=axes.get_yaxis_transform(),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
        reach = 1.08 * max(float(np.abs(errors).max()), AGREEMENT * spread + abs(centre), 1.0)
        axes.set_ylim(-reach, reach)
        axes.set_title("Agreement of estimate and label (Bland–Altman)")
        axes.set_xlabel("Mean of label and estimate (years)")
        axes.set_ylabel("Estimate minus label (months)")
        _years(axes.xaxis, 2)
        # The legend is outside the axes, because points and lines may lie anywhere inside.
        figure.legend(loc="outside lower center", ncols=2, handletextpad=0.3, borderaxespad=0.3)


def draw_scatter(path: Path, predictions: Predictions) -> None:
    """Draw estimate against label with the identity line, and a band of one year around it."""
    figures = measure(predictions.boneage_months, predictions.age_months, resamples=1)
    with drawing(path, 6.2, 6.2) as figure:
        axes = figure.add_subplot()
        top = 1.03 * max(float(predictions.boneage_months.max()), float(predictions.age_months.max()), 12.0)
        ends = np.array([0.0, top])
        axes.fill_between(ends, ends - 12, ends + 12, color="#eef1f4", linewidth=0, label="within 12 months")
        axes.plot(ends, ends, color=_INK, linewidth=1.2)
        _scatter(axes, predictions, predictions.boneage_months, predictions.age_months)
        axes.set(xlim=(-0.02 * top, top), ylim=(min(-0.02 * top, float(predictions.age_months.min())), top))
        axes.set_aspect("equal")
        axes.set_title("Estimate against label")
        axes.set_xlabel("Label (years)")
        axes.set_ylabel("Estimate (years)")
        _years(axes.xaxis, 2)
        _years(axes.yaxis, 2)
        axes.legend(loc="upper left", handletextpad=0.4, borderaxespad=0.3)
        axes.annotate(
            f"MAD {figures['mad'].value:.2f} months\nCCC {figures['ccc'].value:.3f}\n"
            f"{radiographs_in_words(len(predictions))}",
            (0.97, 0.04),
            xycoords="axes fraction",
            ha="right",
            va="bottom",
            linespacing=1.5,
        )


def draw_error_by_stage(path: Path, predictions: Predictions) -> None:
    """Draw MAD and bias with 95 % confidence intervals by stage and sex (Iglovikov et al., Fig. 9).

    Groups of fewer than five radiographs are left out. The number of radiographs is below each group.
    """
    metrics = {"mad": mean_absolute_difference, "bias": bias}
    with drawing(path, 9.0, 6.4) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        for sex, shift in ((Sex.FEMALE, -0.13), (Sex.MALE, 0.13)):
            groups = _stage_figures(predictions, sex, metrics)
            places = [place + shift for place, (_, figures) in enumerate(groups) if figures]
            for axes, name in ((upper, "mad"), (lower, "bias")):
                _intervals(axes, sex, places, [figures[name] for _, figures in groups if figures])
            for place, (count, _) in enumerate(groups):
                height = 0.055 if sex is Sex.FEMALE else 0.005
                upper.annotate(
                    f"n = {count}",
                    (place, height),
                    xycoords=upper.get_xaxis_transform(),
                    ha="center",
                    va="bottom",
                    fontsize=8,
                    color=_COLOURS[sex],
                )
        upper.set_ylim(bottom=-0.16 * upper.get_ylim()[1])
        upper.set_yticks([tick for tick in upper.get_yticks() if 0 <= tick <= upper.get_ylim()[1]])
        upper.set_title("Error by stage of skeletal development")
        upper.set_ylabel("MAD (months)")
        upper.legend(loc="upper right", ncols=2, handletextpad=0.4)
        lower.axhline(0.0, color=_INK, linewidth=1.0)
        lower.set_ylabel("Bias (months)")
        lower.set_xticks(range(len(Stage)), [_stage_tick(stage) for stage in Stage])
        lower.set_xlabel("Stage, and the bone age from which it counts for girls / boys", labelpad=10)
        lower.yaxis.set_major_formatter("{x:+g}")
        lower.set_xlim(-0.5, len(Stage) - 0.5)
        for axes in (upper, lower):
            axes.grid(visible=False, axis="x")
            axes.tick_params(axis="x", length=0)


PLOTS: Mapping[str, Callable[[Path, Predictions], None]] = MappingProxyType(
    {"bland_altman": draw_bland_altman, "scatter": draw_scatter, "error_by_stage": draw_error_by_stage}
)
"""All plots by the name of their file."""


def draw_plots(folder: Path, predictions: Predictions) -> list[Path]:
    """Draw all plots into a folder and return their paths.

    Raises:
        BoneageError: ``extra_missing`` without matplotlib.
    """
    paths = []
    for name, draw in PLOTS.items():
        paths.append(folder / f"{name}.png")
        draw(paths[-1], predictions)
    return paths


def _scatter(axes: Axes, predictions: Predictions, x: Sequence[float] | np.ndarray, y: np.ndarray) -> None:
    sexes = np.array(predictions.sexes)
    # Many points are drawn small and translucent, which shows their density.
    size, opacity = (26.0, 0.75) if len(predictions) < 200 else (13.0, 0.45)
    for sex in Sex:
        chosen = sexes == sex
        if chosen.any():
            axes.scatter(
                np.asarray(x)[chosen],
                y[chosen],
                s=size,
                alpha=opacity,
                color=_COLOURS[sex],
                marker=_MARKERS[sex],
                linewidths=0,
                label=f"{SEX_LABELS[sex]} ({int(chosen.sum())})",
            )


def _stage_figures(
    predictions: Predictions, sex: Sex, metrics: Mapping[str, Callable[..., np.ndarray]]
) -> list[tuple[int, dict[str, Figure]]]:
    stages = predictions.stages()
    groups = []
    for stage in Stage:
        chosen = np.array([pair == (sex, stage) for pair in zip(predictions.sexes, stages, strict=True)])
        count = int(chosen.sum())
        labels, estimates = predictions.boneage_months[chosen], predictions.age_months[chosen]
        groups.append((count, measure(labels, estimates, metrics) if count >= SMALLEST_GROUP else {}))
    return groups


def _intervals(axes: Axes, sex: Sex, places: Sequence[float], figures: Sequence[Figure]) -> None:
    values = np.array([figure.value for figure in figures])
    axes.errorbar(
        places,
        values,
        yerr=bar_lengths(figures),
        fmt=_MARKERS[sex],
        color=_COLOURS[sex],
        markersize=7,
        markeredgecolor="white",
        elinewidth=1.8,
        capsize=0,
        label=SEX_LABELS[sex],
    )


def bar_lengths(figures: Sequence[Figure]) -> np.ndarray:
    """Return the lengths of error bars below and above each value, float64 (2, N), in the figures' unit."""
    # A percentile interval of a tiny group may exclude the value itself; a bar cannot have a negative length.
    return np.array([[max(f.value - f.low, 0.0) for f in figures], [max(f.high - f.value, 0.0) for f in figures]])


def _stage_tick(stage: Stage) -> str:
    """Return the stage's name, and its beginning for girls and boys."""
    girls, boys = (STAGE_STARTS_MONTHS[sex][stage] for sex in (Sex.FEMALE, Sex.MALE))
    if girls == boys == 0:
        begins = "from birth"
    elif girls % 12 or boys % 12:
        begins = f"from {girls} / {boys} months"
    else:
        begins = f"from {girls // 12} / {boys // 12} years"
    return f"{stage.label}\n{begins}"


def _years(axis: Axis, step: int) -> None:
    """Set the ticks of an axis in months to every `step` years, written as years."""
    from matplotlib.ticker import FuncFormatter, MultipleLocator  # noqa: PLC0415 - the extra's import stays inside

    axis.set_major_locator(MultipleLocator(12.0 * step))
    axis.set_major_formatter(FuncFormatter(lambda months, _: f"{months / 12:g}"))
