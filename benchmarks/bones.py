"""Accuracy of single bones by stage, and what each adds to the others, on radiographs for validation.

    python benchmarks/bones.py --runs runs/standard/bones-fold-* --radiographs radiographs.csv --cache runs/cache \
        --plot docs/images/bones.png

The runs are folds of one network for single bones (recipe ``distribution-bones``). Figures are those of the mean of
their ages on the split ``validation``, on which none was trained. A bone's own age is the expectation of its
distribution. Ages by a bone alone, and without it, are those of the network's combination of the bones that are left.
The output is Markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from boneage.evaluate.metrics import mean_absolute_difference, measure
from boneage.evaluate.plots import drawing
from boneage.evaluate.stages import Stage, stage_of
from boneage.evaluate.tables import markdown_table
from boneage.hand.bones import BONES
from boneage.sex import Sex
from boneage.tables.radiographs import LabelledRadiograph, radiographs_of_split, read_radiographs
from boneage.train.data.cache import build_cache
from boneage.train.data.epochs import validation_batches
from boneage.train.data.hands import open_hands
from boneage.train.networks.bones import BoneNetwork
from boneage.train.run.predict import is_readable
from boneage.train.run.weights import load_run

GROUPS: Mapping[str, tuple[str, ...]] = {
    "radius and ulna": ("radius", "ulna"),
    "carpals": ("carpals",),
    "thumb": ("metacarpal_1", "mcp_1", "ip_1"),
    "metacarpals and proximal phalanges (MCP 2 to 5)": ("mcp_2", "mcp_3", "mcp_4", "mcp_5"),
    "middle phalanges (PIP 2 to 5)": ("pip_2", "pip_3", "pip_4", "pip_5"),
    "distal phalanges (DIP 2 to 5)": ("dip_2", "dip_3", "dip_4", "dip_5"),
}
"""Groups of bones that are left out, or read alone, together."""

STAGES = (Stage.PRE_PUBERTY, Stage.EARLY_MID_PUBERTY, Stage.LATE_PUBERTY, Stage.POST_PUBERTY)


@dataclass(frozen=True)
class Read:
    """Ages of N radiographs by the networks.

    Attributes:
        radiographs: the radiographs.
        subsets: ages by K subsets of bones, months (N, K); NaN without any of its bones.
        bones: age by each bone, months (N, B); NaN where it cannot be read.
        weights: weight of each bone in the age (N, B).
    """

    radiographs: tuple[LabelledRadiograph, ...]
    subsets: NDArray[np.float64]
    bones: NDArray[np.float64]
    weights: NDArray[np.float64]

    @property
    def labels(self) -> NDArray[np.float64]:
        """Labels, months (N,)."""
        return np.array([one.boneage_months for one in self.radiographs])

    def of_stage(self, stage: Stage) -> NDArray[np.bool_]:
        """Return a mask of the radiographs whose label is of a stage."""
        return np.array([stage_of(one.boneage_months, one.sex) is stage for one in self.radiographs])


def subsets_of_bones() -> dict[str, NDArray[np.bool_]]:
    """Return the subsets by name: all bones, each bone and group alone, and all without it."""
    names = np.array([bone.name for bone in BONES])
    parts = {bone.name: (bone.name,) for bone in BONES} | dict(GROUPS)
    subsets = {"all": np.ones(len(names), np.bool_)}
    for title, bones in parts.items():
        subsets[f"only {title}"] = np.isin(names, bones)
        subsets[f"without {title}"] = ~np.isin(names, bones)
    return subsets


@torch.no_grad()
def read_bones(
    runs: Sequence[Path], radiographs: Sequence[LabelledRadiograph], cache_folder: Path, subsets: NDArray[np.bool_]
) -> Read:
    """Return the means over the runs for the radiographs of the split ``validation`` that have a hand."""
    sums: list[NDArray[np.float64]] = []
    chosen: list[LabelledRadiograph] = []
    for run in runs:
        recipe, network, unit, _ = load_run(run, "last")
        if not isinstance(network, BoneNetwork):
            raise SystemExit(f"{run} holds no network for single bones.")
        cache = build_cache(radiographs, cache_folder, longest_side=recipe.data.longest_side)
        hands = open_hands(recipe.data.hands, radiographs, cache)
        split = radiographs_of_split(radiographs, "validation")
        chosen = [one for one in split if is_readable(one, recipe, cache, hands)]
        batches = validation_batches(chosen, cache, recipe.view, hands=hands, batch_size=32, workers=0)
        parts: list[list[NDArray[np.float64]]] = [[], [], []]
        for views, sexes, _ in batches:
            explained = network.explain(views, sexes)
            assert explained.bones is not None and explained.bone_weights is not None
            ages = explained.bones.double().numpy() @ np.arange(240.0)
            weights = explained.bone_weights.double().numpy()
            by_subset = unit.to_months(network.ages_by(views, sexes, torch.from_numpy(subsets)))
            arrays = by_subset.double().numpy(), np.where(weights > 0, ages, np.nan), weights
            for part, values in zip(parts, arrays, strict=True):
                part.append(values)
        sums = [np.concatenate(part) / len(runs) + (sums[place] if sums else 0.0) for place, part in enumerate(parts)]
    return Read(tuple(chosen), *sums)


def mad(labels: NDArray[np.float64], ages: NDArray[np.float64]) -> str:
    """Return the MAD with its 95 % interval, of the radiographs with an age."""
    finite = np.isfinite(ages)
    if finite.sum() < 20:
        return ""
    figure = measure(labels[finite], ages[finite], {"mad": mean_absolute_difference})["mad"]
    return f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}]"


def paired(labels: NDArray[np.float64], first: NDArray[np.float64], second: NDArray[np.float64]) -> str:
    """Return the MAD of the second ages less that of the first, with its 95 % interval over radiographs."""
    difference = np.abs(second - labels) - np.abs(first - labels)
    difference = difference[np.isfinite(difference)]
    generator = np.random.default_rng(0)
    means = [difference[generator.integers(len(difference), size=len(difference))].mean() for _ in range(2000)]
    low, high = np.percentile(means, (2.5, 97.5))
    return f"{difference.mean():+.2f} [{low:+.2f}, {high:+.2f}]"


def tables(read: Read, names: Sequence[str]) -> str:
    """Return the tables as Markdown."""
    place = {name: column for column, name in enumerate(names)}
    whole, labels = read.subsets[:, place["all"]], read.labels
    rows = [["all bones", mad(labels, whole), "", "", "", *(mad(labels[m], whole[m]) for m in _masks(read))]]
    for column, bone in enumerate(BONES):
        ages = read.bones[:, column]
        rows.append(
            [
                bone.name,
                mad(labels, ages),
                paired(labels, whole, read.subsets[:, place[f"without {bone.name}"]]),
                f"{100 * np.isnan(ages).mean():.1f} %",
                f"{100 * np.nanmean(read.weights[:, column]):.1f} %",
                *(mad(labels[mask], ages[mask]) for mask in _masks(read)),
            ]
        )
    heads = ["bone or joint", "MAD alone", "without it", "not readable", "weight", *(one.label for one in STAGES)]
    groups = [
        [
            title,
            mad(labels, read.subsets[:, place[f"only {title}"]]),
            paired(labels, whole, read.subsets[:, place[f"without {title}"]]),
            *(f"{100 * read.weights[mask][:, _columns(bones)].sum(axis=1).mean():.0f} %" for mask in _masks(read)),
        ]
        for title, bones in GROUPS.items()
    ]
    group_heads = ["group", "MAD alone", "without it", *(f"weight, {one.label.lower()}" for one in STAGES)]
    counts = ", ".join(f"{stage.label} {mask.sum()}" for stage, mask in zip(STAGES, _masks(read), strict=True))
    lines = [f"{len(labels)} radiographs: {counts}.", "", *markdown_table(heads, rows), ""]
    return "\n".join([*lines, *markdown_table(group_heads, groups), ""])


def _masks(read: Read) -> list[NDArray[np.bool_]]:
    return [read.of_stage(stage) for stage in STAGES]


def _columns(bones: Sequence[str]) -> list[int]:
    return [column for column, bone in enumerate(BONES) if bone.name in bones]


def draw(path: Path, read: Read) -> None:
    """Draw the MAD of each bone by stage as a grid of colours with numbers."""
    masks = [np.ones(len(read.radiographs), np.bool_), *_masks(read)]
    errors = np.abs(read.bones - read.labels[:, None])
    grid = np.array([np.nanmean(errors[mask], axis=0) for mask in masks]).T
    with drawing(path, 6.4, 7.2) as figure:
        axes = figure.add_subplot()
        axes.imshow(grid, aspect="auto", cmap="viridis_r")
        axes.grid(visible=False)
        axes.set_xticks(range(len(masks)), ["All", *(one.label for one in STAGES)], rotation=20, ha="right")
        axes.set_yticks(range(len(BONES)), [bone.name.replace("_", " ") for bone in BONES])
        for row, column in np.ndindex(*grid.shape):
            ink = "white" if grid[row, column] > (grid.min() + grid.max()) / 2 else "black"
            axes.text(column, row, f"{grid[row, column]:.1f}", ha="center", va="center", fontsize=8, color=ink)
        axes.set_title("MAD of single bones, months")


def main() -> None:
    """Print the tables, and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, nargs="+", required=True)
    parser.add_argument("--radiographs", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    subsets = subsets_of_bones()
    read = read_bones(options.runs, read_radiographs(options.radiographs), options.cache, np.stack([*subsets.values()]))
    print(tables(read, list(subsets)))
    for sex in Sex:
        of_sex = np.array([one.sex is sex for one in read.radiographs])
        print(f"{sex.value}: {mad(read.labels[of_sex], read.subsets[of_sex, 0])}")
    if options.plot:
        draw(options.plot, read)


if __name__ == "__main__":
    main()
