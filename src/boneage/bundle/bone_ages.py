"""Ages of single bones: the mean of the networks' distributions for each bone, calibrated, with its interval.

A bone's distribution is raised to a power, as the estimate's own (`boneage.bundle.curve`). The power of each bone is
the most likely one on radiographs on which no network was trained. The interval is that of one reader's age of the
whole hand, by what this bone alone shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from boneage.bundle.curve import AGES, central_interval, most_likely_power, sharpened
from boneage.bundle.manifest import Manifest, Member
from boneage.bundle.member_output import MemberOutput
from boneage.hand.bones import BONES, TILE_COLUMNS, Unreadable, tile_sides, tile_to_radiograph
from boneage.hand.outlines import Outline
from boneage.hand.registration import Hand
from boneage.hand.views import ViewSpec
from boneage.schema import BoneDocument, two_decimals

_LEAST_APART = 12.0
"""Least difference of an implausible bone from the median of all bones, months."""

_LARGEST_SUM = 40.0
"""Largest sum of a bone's difference from the median of all bones and of its distribution's standard deviation, months.

Below drawn plaster, 98 % of the bones that are read more than 24 months wrong have more, and 1 % of the bones on
radiographs for validation (docs/results.md). The standard deviation of an undisturbed bone is 12 to 15 months, so that
one that is certain may be 25 months apart: it may be the child that is unusual.
"""

_FEWEST_COMPARED = 6
"""Smallest number of bones that have a median."""

FEWEST_RADIOGRAPHS = 100
"""Smallest number of radiographs that show a bone and determine its power."""


@dataclass(frozen=True)
class BoneAge:
    """Reading of one bone.

    Attributes:
        name: name of the bone (`boneage.hand.bones.BONES`).
        corners_xy: corners of its tile on the radiograph, pixels, from the upper left of the upright bone, (4, 2).
        unreadable: reason why it was not read; None for a bone that was. An ``implausible`` one was, and counts in the
            age of the networks, but its age is not reported.
        age_months: bone age by this bone alone; None if it was not read.
        interval_months: 95 % prediction interval of one reader's age by this bone alone; None without a calibration.
        weight: share of the bone in the age of the networks for single bones, 0..1.
        outlines_xy: outlines of its epiphyses, or of the carpal bones, on the radiograph (`boneage.hand.outlines`),
            each float64 (N, 2), pixels; none of a bone that was not read, or without a network for outlines.
        distribution: float64 (240,), probability of each month; None if it was not read. That of an implausible bone
            is not calibrated.
    """

    name: str
    corners_xy: tuple[tuple[float, float], ...]
    unreadable: Unreadable | None = None
    age_months: float | None = None
    interval_months: tuple[float, float] | None = None
    weight: float = 0.0
    outlines_xy: tuple[Outline, ...] = field(default=(), repr=False, compare=False)
    distribution: NDArray[np.float64] | None = field(default=None, repr=False, compare=False)

    def document(self) -> BoneDocument:
        """Return the reading by the project's one schema."""
        ends = self.interval_months
        return BoneDocument(
            name=self.name,
            age_months=two_decimals(self.age_months),
            interval_months=None if ends is None else (round(ends[0], 2), round(ends[1], 2)),
            weight=round(self.weight, 4),
            unreadable=self.unreadable,
            corners=tuple((round(x, 1), round(y, 1)) for x, y in self.corners_xy),
            outlines=tuple(tuple((x, y) for x, y in outline.round(1).tolist()) for outline in self.outlines_xy),
        )


def bone_ages(
    members: Sequence[Member],
    outputs: Mapping[str, MemberOutput],
    manifest: Manifest,
    hand: Hand | None,
    unreadable: Mapping[str, Unreadable],
    outlines: Mapping[str, tuple[Outline, ...]] = MappingProxyType({}),
) -> tuple[BoneAge, ...]:
    """Return the reading of each bone, in their order; none if no member reads single bones.

    Args:
        members: members that were run.
        outputs: their outputs by name.
        manifest: manifest of their bundle.
        hand: hand on the radiograph, with its joints.
        unreadable: reason by the bone's name, of unreadable bones.
        outlines: outlines on the radiograph by the bone's name. Those of bones that are not read are left out.
    """
    reading = [(member, bones) for member in members if (bones := outputs[member.name].bones) is not None]
    if not reading or hand is None or hand.joints is None:
        return ()
    weights = [member.weight for member, _ in reading]
    curves = np.average([bones.distributions for _, bones in reading], axis=0, weights=weights)
    shares = np.average([bones.weights for _, bones in reading], axis=0, weights=weights)
    ages = _read(reading[0][0].view, curves, shares, manifest, hand, unreadable)
    return tuple(one if one.unreadable else replace(one, outlines_xy=outlines.get(one.name, ())) for one in ages)


def _read(
    spec: ViewSpec,
    curves: NDArray[np.float64],
    shares: NDArray[np.float64],
    manifest: Manifest,
    hand: Hand,
    unreadable: Mapping[str, Unreadable],
) -> Iterator[BoneAge]:
    is_read = np.array([bone.name not in unreadable for bone in BONES])
    implausible = np.zeros(len(BONES), np.bool_)
    implausible[is_read] = are_implausible(curves[is_read])
    for index, bone in enumerate(BONES):
        corners = _corners(hand, index, spec)
        if bone.name in unreadable:
            yield BoneAge(bone.name, corners, unreadable[bone.name])
            continue
        if implausible[index]:
            curve = np.asarray(curves[index] / curves[index].sum(), np.float64)
            yield BoneAge(bone.name, corners, "implausible", weight=float(shares[index]), distribution=curve)
            continue
        power = manifest.bone_powers.get(bone.name)
        curve = np.asarray(curves[index], np.float64)
        curve = curve / curve.sum() if power is None else sharpened(curve, power)
        interval = None if power is None else central_interval(curve, 95)
        if interval is not None:
            interval = max(interval[0], 0.0), interval[1]
        age = float(curve @ np.arange(AGES))
        weight = float(shares[index])
        yield BoneAge(bone.name, corners, None, age, interval, weight=weight, distribution=curve)


def are_implausible(curves: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether each bone's age is implausible: uncertain, and far from that of the other bones.

    A bone below plaster looks like none, and its age says nothing. Its joints may still be found by those around them.

    Args:
        curves: uncalibrated distributions of the bones that were read, (N, 240).

    Returns:
        bool (N,); False for all of fewer than 6 bones.
    """
    if len(curves) < _FEWEST_COMPARED:
        return np.zeros(len(curves), np.bool_)
    months = np.arange(AGES)
    shares = curves / curves.sum(axis=1, keepdims=True)
    ages = shares @ months
    spreads = np.sqrt((shares * (months - ages[:, None]) ** 2).sum(axis=1))
    apart = np.abs(ages - np.median(ages))
    return np.asarray((apart > _LEAST_APART) & (apart + spreads > _LARGEST_SUM))


def _corners(hand: Hand, index: int, spec: ViewSpec) -> tuple[tuple[float, float], ...]:
    height, width = tile_sides(spec)
    left, top = index % TILE_COLUMNS * width, index // TILE_COLUMNS * height
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]]) + np.array([left, top])
    return tuple((float(x), float(y)) for x, y in tile_to_radiograph(hand, index, spec).points(corners))


def fit_bone_powers(labels_months: ArrayLike, readings: Sequence[Sequence[BoneAge]]) -> dict[str, float]:
    """Return the most likely power of each bone's distribution, by name, on radiographs with labels.

    Args:
        labels_months: (N,), the readers' ages.
        readings: uncalibrated bones of each of the N radiographs.

    Returns:
        Powers of the bones that `FEWEST_RADIOGRAPHS` radiographs show.
    """
    labels = np.asarray(labels_months, np.float64)
    curves: dict[str, list[tuple[float, NDArray[np.float64]]]] = {}
    for label, bones in zip(labels.tolist(), readings, strict=True):
        for bone in bones:
            if bone.distribution is not None and bone.unreadable is None:
                curves.setdefault(bone.name, []).append((label, bone.distribution))
    return {
        name: most_likely_power([label for label, _ in rows], np.stack([curve for _, curve in rows]))
        for name, rows in curves.items()
        if len(rows) >= FEWEST_RADIOGRAPHS
    }
