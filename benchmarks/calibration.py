"""Coverage of a bundle's prediction intervals, borderline determinations, nearest plates and carpal limits.

    python benchmarks/calibration.py --radiographs radiographs.csv --split validation

The radiographs must be those on which no network was trained. Intervals are the central parts of curves that were
calibrated with the radiographs of the other folds (`boneage.bundle.curve.curves_out_of_fold`). The output is Markdown.

Healthy children are simulated from the radiographs. Each estimate is read as that of children whose SDS are the
quantiles of a standard normal distribution, so that their chronological ages follow from the reference `gp-brush-sd`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from boneage.atlas import Atlas
from boneage.bundle.bundle import Bundle
from boneage.bundle.curve import central_interval, curves_out_of_fold
from boneage.clinical.ages import exact_age
from boneage.clinical.references import Reference, shipped_reference
from boneage.clinical.sds import OLDEST_MONTHS, Determination, judge
from boneage.evaluate.tables import markdown_table
from boneage.sex import Sex
from boneage.tables.radiographs import radiographs_of_split, read_radiographs
from boneage.train.bundle.measure import Answer, distributions, measurement, unlimited_answers

BANDS_YEARS = (0, 8, 11, 13, 20)
"""Bounds of the bands of the estimate, years: about a quarter of the radiographs each."""

CHILDREN = 40
"""Number of simulated children for each radiograph."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Readings:
    """Radiographs (N,) with labels, estimates, calibrated curves (N, 240), and the intervals of one reader."""

    sexes: tuple[Sex, ...]
    labels: NDArray[np.float64]
    ages: NDArray[np.float64]
    curves: NDArray[np.float64]

    @classmethod
    def of(cls, answers: Sequence[Answer]) -> Readings:
        """Return the readings by curves out of fold.

        Raises:
            SystemExit: The bundle has no age distribution, or there are too few radiographs.
        """
        curves = distributions(answers)
        if curves is None:
            raise SystemExit("The bundle gives no distribution of the age, or there are too few radiographs.")
        sexes = tuple(radiograph.sex for radiograph, _ in answers)
        labels = np.array([radiograph.boneage_months for radiograph, _ in answers], np.float64)
        ages = np.array([assessment.age_months for _, assessment in answers])
        return cls(sexes, labels, ages, curves_out_of_fold(sexes, labels, ages, curves))

    def intervals(self, percent: float) -> NDArray[np.float64]:
        """Return the bounds (N, 2) of the central parts of the curves, months."""
        return np.array([central_interval(curve, percent) for curve in self.curves])

    def groups(self) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """Yield the titles and members (N,) of all groups."""
        yield "all", np.ones(len(self.ages), np.bool_)
        of_sex = {sex: np.array([one is sex for one in self.sexes]) for sex in Sex}
        titles = {Sex.FEMALE: "girls", Sex.MALE: "boys"}
        yield from ((titles[sex], of_sex[sex]) for sex in Sex)
        for low, high in pairwise(BANDS_YEARS):
            inside = (self.ages >= 12 * low) & (self.ages < 12 * high)
            title = f"under {high} years" if not low else f"{low} years and over" if high == 20 else f"{low} to {high}"
            yield title, inside
            yield from ((f"{title}, {titles[sex]}", inside & of_sex[sex]) for sex in Sex)


def coverage_lines(readings: Readings, share: float) -> list[str]:
    """Return the table of coverage and width by sex and band of the estimate.

    Args:
        readings: radiographs.
        share: width of an interval for the mean of several readers as a share of that for one reader.
    """
    both = {percent: readings.intervals(percent) for percent in (80, 95)}
    rows = []
    for title, chosen in readings.groups():
        cells = [title, str(np.count_nonzero(chosen))]
        for bounds in both.values():
            held = (bounds[:, 0] <= readings.labels) & (readings.labels <= bounds[:, 1])
            width = float(np.diff(bounds[chosen], axis=1).mean())
            cells += [f"{100 * held[chosen].mean():.1f} %", f"{width:.1f}", f"{share * width:.1f}"]
        rows.append(cells)
    heads = ("estimate", "radiographs", *(f"{head} {p} %" for p in both for head in ("within", "width", "of several")))
    return markdown_table(heads, rows)


def borderline_share(readings: Readings, sex: Sex, share: float, reference: Reference) -> float:
    """Return the share of simulated healthy children of a sex whose determination is borderline.

    Args:
        readings: radiographs.
        sex: sex of the children.
        share: width of the interval of the SDS as a share of the 80 % interval of one reader.
        reference: reference of the SDS.
    """
    ages = np.arange(24.0, OLDEST_MONTHS[sex] + 0.1, 0.5)
    mean, deviation = reference.curve(sex, ages)
    quantiles = [NormalDist().inv_cdf((number + 0.5) / CHILDREN) for number in range(CHILDREN)]
    verdicts = []
    for one, bone_age, (low, high) in zip(readings.sexes, readings.ages.tolist(), readings.intervals(80), strict=True):
        if one is not sex:
            continue
        scores = (bone_age - mean) / deviation
        interval = (bone_age + share * (low - bone_age), bone_age + share * (high - bone_age))
        for quantile in quantiles:
            place = int(np.argmin(np.abs(scores - quantile)))
            if abs(scores[place] - quantile) < 0.1:  # else the child's age lies outside the reference
                judged = judge(bone_age, interval, exact_age(float(ages[place])), sex, reference)
                verdicts.append(judged.determination is Determination.BORDERLINE)
    return float(np.mean(verdicts))


def plate_lines(readings: Readings, atlas: Atlas) -> list[str]:
    """Return the share of radiographs whose label is nearest to one of the most probable plates."""
    rows = []
    for count in (1, 3):
        held, claimed = [], []
        for sex, label, curve in zip(readings.sexes, readings.labels.tolist(), readings.curves, strict=True):
            plates = atlas.most_probable(sex, curve, count)
            held.append(atlas.nearest_by_age(sex, label) in [plate for plate, _ in plates])
            claimed.append(sum(probability for _, probability in plates))
        rows.append((str(count), f"{100 * np.mean(held):.1f} %", f"{100 * np.mean(claimed):.1f} %"))
    return markdown_table(("most probable plates", "hold the one nearest to the label", "stated probability"), rows)


def main() -> None:
    """Assess the radiographs and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--radiographs", type=Path, required=True)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--split", default="validation")
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--atlas", default="default")
    arguments = parser.parse_args()
    bundle, atlas = Bundle.open(arguments.bundle, threads=1), Atlas.open(arguments.atlas)
    chosen = radiographs_of_split(read_radiographs(arguments.radiographs, arguments.images), arguments.split)
    answers = unlimited_answers(bundle, chosen)
    readings, manifest = Readings.of(answers), bundle.manifest
    measured = measurement(manifest, answers)
    print(f"{manifest.name} {manifest.version}, {len(answers)} of {len(chosen)} radiographs,", end=" ")
    print(f"width for several readers: {manifest.consensus_share:.3f} of that for one\n")
    print("\n".join(coverage_lines(readings, manifest.consensus_share)))
    reference = shipped_reference()
    rows = [
        (
            sex.value,
            *(
                f"{100 * borderline_share(readings, sex, share, reference):.1f} %"
                for share in (1.0, manifest.consensus_share)
            ),
        )
        for sex in Sex
    ]
    print("", *markdown_table(("borderline", "by the interval of one reader", "of several"), rows), "", sep="\n")
    print(*plate_lines(readings, atlas), "", sep="\n")
    for sex, limits in ({} if measured.carpal_limits is None else measured.carpal_limits.by_sex).items():
        for limit in limits:
            ages = f"{limit.lower_age_months:g} to {limit.upper_age_months:g} months"
            print(f"- carpal bones, {sex.value}, {ages}: {limit.low_months:+.1f} to {limit.high_months:+.1f}")


if __name__ == "__main__":
    main()
