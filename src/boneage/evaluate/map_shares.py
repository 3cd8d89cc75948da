"""Shares of heat maps on the groups of the hand's bones, by stage, held against Souza & Oliveira (section VI, Fig. 9).

The paper reports the bones that its mean maps highlight at each stage. Here each observation has a number. Every pixel
of the hand belongs to its nearest bone (`boneage.hand.bone_groups`). The *share* of a group is the part of the map that
lies on it, of all that lies on the hand. Large bones have large shares in any map, so that the *concentration* counts:
the share of the map divided by the share of the hand's area. It is 1 for an even map. An observation is confirmed if
the concentration on the bones that the paper names is higher than on those that it contrasts with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boneage.arrays import FloatArray, Vector
from boneage.evaluate.grid_orders import Verdict
from boneage.evaluate.metrics import Figure, measure
from boneage.evaluate.stages import Stage, stage_of
from boneage.evaluate.tables import SMALLEST_GROUP, markdown_table, two_decimals, with_interval
from boneage.files import write_text
from boneage.geometry import Transform
from boneage.hand.bone_groups import GROUPS, BoneGroup, nearest_groups
from boneage.hand.joints import Joints
from boneage.hand.registration import Hand
from boneage.hand.views import mask_through
from boneage.sex import Sex
from boneage.tables.csv_table import write_rows

_PHALANGES = frozenset(
    {BoneGroup.DISTAL_PHALANGES, BoneGroup.MIDDLE_PHALANGES, BoneGroup.PROXIMAL_PHALANGES},
)
_WRIST = frozenset({BoneGroup.CARPALS, BoneGroup.RADIUS, BoneGroup.ULNA})


@dataclass(frozen=True)
class Observation:
    """Observation of the paper on the maps of one stage.

    Attributes:
        stage: stage of development.
        words: bones that the paper names, in its words.
        named: their groups.
        others: groups that the paper contrasts with them.
    """

    stage: Stage
    words: str
    named: frozenset[BoneGroup]
    others: frozenset[BoneGroup]


def _against_all_others(stage: Stage, words: str, named: frozenset[BoneGroup]) -> Observation:
    return Observation(stage, words, named, frozenset(GROUPS) - named)


OBSERVATIONS: tuple[Observation, ...] = (
    _against_all_others(
        Stage.PRE_PUBERTY,
        "the ulna, radius, carpal and metacarpal bones are the most important structures",
        _WRIST | {BoneGroup.METACARPALS},
    ),
    _against_all_others(
        Stage.EARLY_MID_PUBERTY,
        "the metacarpal bones and proximal phalanges are the most distinctive structures",
        frozenset({BoneGroup.METACARPALS, BoneGroup.PROXIMAL_PHALANGES}),
    ),
    _against_all_others(
        Stage.LATE_PUBERTY,
        "the distal phalanges are the most relevant structures",
        frozenset({BoneGroup.DISTAL_PHALANGES}),
    ),
    Observation(
        Stage.LATE_PUBERTY,
        "the middle and proximal phalanges, and metacarpal bones are important too",
        (_PHALANGES - {BoneGroup.DISTAL_PHALANGES}) | {BoneGroup.METACARPALS},
        _WRIST,
    ),
    _against_all_others(Stage.POST_PUBERTY, "the phalanges are the most important structures", _PHALANGES),
    Observation(
        Stage.POST_PUBERTY,
        "the phalanges alone, and no longer the metacarpal bones",
        _PHALANGES,
        frozenset({BoneGroup.METACARPALS}),
    ),
)
"""Observations of section VI on its Fig. 9."""


@dataclass(frozen=True, eq=False)
class MapShares:
    """Shares of one radiograph's heat map.

    Attributes:
        sex: sex of the patient.
        age_months: label, months.
        outside: share of the map outside of the hand, 0..1.
        heat: share of each group in the map on the hand, float64 (groups,) in the order of `GROUPS`; the sum is 1.
        area: share of each group in the hand's area on the radiograph, likewise.
    """

    sex: Sex
    age_months: float
    outside: float
    heat: Vector
    area: Vector

    @property
    def stage(self) -> Stage:
        """Stage of the label."""
        return stage_of(self.age_months, self.sex)

    def concentration(self, groups: frozenset[BoneGroup]) -> float:
        """Return the share of groups in the map divided by their share in the area; 0 for groups without area."""
        rows = [GROUPS.index(group) for group in groups]
        area = float(self.area[rows].sum())
        return float(self.heat[rows].sum()) / area if area > 0 else 0.0


def map_shares(
    heat: FloatArray, hand: Hand, radiograph_shape: tuple[int, int], sex: Sex, age_months: float
) -> MapShares | None:
    """Return the shares of a heat map on the groups of bones.

    Args:
        heat: map on the radiograph or a reduced copy of it, (h, w), at least 0.
        hand: hand on the radiograph; typical joints are used if it has none.
        radiograph_shape: (H, W) of the radiograph, pixels.
        sex: sex of the patient.
        age_months: label, months.

    Returns:
        The shares; None if nothing of the map lies on the hand.
    """
    height, width = heat.shape
    to_map = Transform.scale(width / radiograph_shape[1], height / radiograph_shape[0])
    inside = mask_through(hand, to_map, (height, width)).astype(np.float64)
    centres = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=2)
    frame_xy = to_map.inverse().then(hand.radiograph_to_frame).points(centres)
    groups = nearest_groups(frame_xy, hand.joints or Joints.typical())
    on_hand = np.asarray(heat, np.float64) * inside
    total, whole = float(on_hand.sum()), float(np.sum(heat, dtype=np.float64))
    if not (total > 0 and inside.sum() > 0):
        return None
    sums = [np.bincount(groups.ravel(), weights.ravel(), len(GROUPS)) for weights in (on_hand, inside)]
    return MapShares(sex, age_months, 1.0 - total / whole, sums[0] / sums[0].sum(), sums[1] / sums[1].sum())


@dataclass(frozen=True)
class StageShares:
    """Mean shares of the radiographs of one stage.

    Attributes:
        count: number of radiographs.
        outside: mean share of the maps outside of the hand, 0..1.
        heat: mean share of the map by group, 0..1, with its 95 % confidence interval.
        concentration: mean concentration by group, likewise.
    """

    count: int
    outside: Figure
    heat: Mapping[BoneGroup, Figure]
    concentration: Mapping[BoneGroup, Figure]


def stage_shares(shares: Sequence[MapShares]) -> dict[Stage, StageShares]:
    """Return the mean shares by stage, without stages of fewer than `SMALLEST_GROUP` radiographs."""
    means = {}
    for stage in Stage:
        chosen = [one for one in shares if one.stage is stage]
        if len(chosen) >= SMALLEST_GROUP:
            means[stage] = StageShares(
                len(chosen),
                _mean([one.outside for one in chosen]),
                {group: _mean([one.heat[row] for one in chosen]) for row, group in enumerate(GROUPS)},
                {group: _mean([one.concentration(frozenset({group})) for one in chosen]) for group in GROUPS},
            )
    return means


@dataclass(frozen=True)
class Outcome:
    """Outcome of the test of an observation.

    Attributes:
        observation: observation of the paper.
        count: number of radiographs of its stage.
        named, others: mean concentration on the named and on the other bones.
        difference: mean of named minus others, paired, with its 95 % confidence interval.
    """

    observation: Observation
    count: int
    named: float
    others: float
    difference: Figure

    @property
    def verdict(self) -> Verdict:
        """Confirmed or contradicted if the interval excludes 0, else undecided."""
        if self.difference.low > 0:
            return Verdict.CONFIRMED
        return Verdict.CONTRADICTED if self.difference.high < 0 else Verdict.UNDECIDED


def judge_observations(shares: Sequence[MapShares]) -> list[Outcome]:
    """Test the observations of stages with at least `SMALLEST_GROUP` radiographs."""
    outcomes = []
    for observation in OBSERVATIONS:
        chosen = [one for one in shares if one.stage is observation.stage]
        if len(chosen) >= SMALLEST_GROUP:
            named, others = (
                np.array([one.concentration(groups) for one in chosen])
                for groups in (observation.named, observation.others)
            )
            difference = _mean(named - others)
            outcomes.append(Outcome(observation, len(chosen), float(named.mean()), float(others.mean()), difference))
    return outcomes


def _mean(values: Sequence[float] | NDArray[np.float64]) -> Figure:
    """Return the mean of values (N,) with its bootstrap confidence interval."""
    numbers = np.asarray(values, np.float64)
    return measure(numbers, numbers, {"mean": lambda one, _: one.mean(axis=-1)})["mean"]


def shares_lines(shares: Sequence[MapShares], notes: Sequence[str] = ()) -> list[str]:
    """Return all tables as lines of Markdown.

    Args:
        shares: Shares of radiographs.
        notes: Lines of the list below the heading, on the bundle and the radiographs.
    """
    means = stage_shares(shares)
    heads = ["", *(f"{stage.label} ({mean.count})" for stage, mean in means.items())]
    rows = [[group.label, *(_share_cell(mean, group) for mean in means.values())] for group in GROUPS]
    rows.append(["outside of the hand", *(f"{100 * mean.outside.value:.0f} % of the map" for mean in means.values())])
    tested = [
        [
            outcome.observation.stage.label,
            outcome.observation.words,
            two_decimals(outcome.named),
            two_decimals(outcome.others),
            with_interval(outcome.difference, "+"),
            outcome.verdict.value,
        ]
        for outcome in judge_observations(shares)
    ]
    tested_heads = ["stage", "the paper", "on these bones", "on the others", "difference", "verdict"]
    return [
        *("# Heat maps by groups of bones", ""),
        *(f"- {note}" for note in notes),
        *("", "## Share of the map, and concentration in brackets", "", *markdown_table(heads, rows)),
        *("", "## Observations of Souza & Oliveira, section VI", "", *markdown_table(tested_heads, tested)),
        *("", _ABOUT),
    ]


_ABOUT = (
    "A share is the part of the map on the hand that lies nearest to these bones, averaged over the radiographs of a"
    " stage by the label. The concentration is that share divided by their share in the hand's area, 1 for an even map."
    " Intervals are 95 % percentile bootstrap intervals over radiographs. A map of few cells is smooth, so that part of"
    " what belongs to a bone lies on its neighbours and outside of the hand."
)


def _share_cell(mean: StageShares, group: BoneGroup) -> str:
    return f"{100 * mean.heat[group].value:.0f} % ({two_decimals(mean.concentration[group].value)})"


def figures_path(path: Path) -> Path:
    """Return the path of the CSV file with the figures, beside the Markdown file `path`."""
    return path.with_suffix(".csv")


def write_shares(path: Path, shares: Sequence[MapShares], notes: Sequence[str] = ()) -> None:
    """Write the tables as Markdown, and the figures of all groups, by sex as well, as CSV beside it.

    Args:
        path: path of the Markdown file; the CSV file has the ending ``.csv``.
        shares: shares of radiographs.
        notes: notes on the bundle and the radiographs.
    """
    write_text(path, "\n".join(shares_lines(shares, notes)) + "\n")
    rows = []
    for sexes in (tuple(Sex), *((sex,) for sex in Sex)):
        title = sexes[0].value if len(sexes) == 1 else "all"
        for stage, mean in stage_shares([one for one in shares if one.sex in sexes]).items():
            for group in GROUPS:
                figures = (mean.heat[group], mean.concentration[group])
                numbers = [f"{number:.4f}" for one in figures for number in (one.value, one.low, one.high)]
                rows.append((title, stage, group, mean.count, *numbers))
    heads = ("share", "share_low", "share_high", "concentration", "concentration_low", "concentration_high")
    write_rows(figures_path(path), ("sex", "stage", "group", "count", *heads), rows)
