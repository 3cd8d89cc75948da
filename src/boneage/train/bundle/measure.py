"""Figures of a finished bundle on validation radiographs.

They are computed through `boneage.composition.assess` like every assessment: reading, cutting, the exported graphs and
their mean. The figures are therefore those that a user gets.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boneage.assessment import Assessment
from boneage.bundle.bone_ages import fit_bone_powers
from boneage.bundle.bundle import Bundle
from boneage.bundle.calibration import DISAGREEMENT_RADIOGRAPHS, Disagreement
from boneage.bundle.curve import (
    FEWEST_RADIOGRAPHS,
    CurveCalibration,
    central_interval,
    curves_out_of_fold,
    fit_curve,
)
from boneage.bundle.estimate import Z_95, region_spread
from boneage.bundle.manifest import FEWEST_MEASURED, Manifest
from boneage.clinical.discordance import DiscordanceLimits, measure_limits
from boneage.composition import assess
from boneage.errors import Rejection, TableError
from boneage.evaluate.metrics import concordance, mean_absolute_difference, root_mean_square_error
from boneage.sex import Sex
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.data.cache import Progress

REGION_SPREAD_PERCENTILE = 97.5
"""Percentile of the validation radiographs' region spreads that is reported with the figures."""

log = logging.getLogger(__name__)

Answer = tuple[LabelledRadiograph, Assessment]
"""A labelled radiograph and its assessment."""


@dataclass(frozen=True)
class Measurement:
    """Figures and limits of a bundle, measured on validation radiographs.

    Attributes:
        metrics: figures, with the keys of `boneage.bundle.manifest.Metrics`.
        curve: calibration of the age distribution; None without a distribution, or with too few radiographs.
        disagreement: limits of the regions' disagreement; None for a bundle of one region, or with too few radiographs.
        carpal_limits: usual differences of the carpal bones; None without them, or with too few radiographs.
        bone_powers: powers of the age distributions of single bones, by name; empty without them, or with too few.
    """

    metrics: Mapping[str, Any]
    curve: CurveCalibration | None = None
    disagreement: Disagreement | None = None
    carpal_limits: DiscordanceLimits | None = None
    bone_powers: Mapping[str, float] = field(default_factory=dict)

    def into(self, manifest: Manifest, **metrics: Any) -> Manifest:
        """Return a manifest with these figures, further metrics, and these limits."""
        return replace(
            manifest,
            metrics={**self.metrics, **metrics},
            curve=self.curve,
            disagreement=self.disagreement,
            carpal_limits=self.carpal_limits,
            bone_powers=self.bone_powers,
        )


def measure_bundle(
    bundle: Bundle, radiographs: Sequence[LabelledRadiograph], *, progress: Progress = iter
) -> Measurement:
    """Measure a bundle on validation radiographs, and fit the limits and the curve that its manifest has.

    Rejected radiographs are left out and listed in the log. Figures that the radiographs do not determine are left out
    too: the concordance without any variation, the figures by sex if one sex is missing, and the coverage with fewer
    than `FEWEST_MEASURED` radiographs. The coverage is that of
    curves that were calibrated with other radiographs (`boneage.bundle.curve.curves_out_of_fold`).

    Raises:
        TableError: ``table_empty`` if no radiograph is left.
        BundleError: The bundle failed.
    """
    return measurement(bundle.manifest, unlimited_answers(bundle, progress(radiographs)))


def unlimited_answers(bundle: Bundle, radiographs: Iterable[LabelledRadiograph]) -> list[Answer]:
    """Assess radiographs without the calibration of the curve and without limits, which are yet to be measured.

    Rejected radiographs are left out and listed in the log.

    Raises:
        TableError: ``table_empty`` if no radiograph is left.
        BundleError: The bundle failed.
    """
    plain = bundle  # itself where it has none: a release collects its embeddings
    limited = bundle.manifest.curve, bundle.manifest.disagreement
    if limited != (None, None) or bundle.manifest.bone_powers:
        manifest = replace(bundle.manifest, curve=None, disagreement=None, bone_powers={})
        plain = Bundle(bundle.directory, manifest, threads=bundle.threads)
    answers = list(_answers(plain, radiographs))
    if not answers:
        raise TableError("table_empty", "None of the validation radiographs can be read.")
    return answers


def measurement(manifest: Manifest, answers: Sequence[Answer]) -> Measurement:
    """Return figures and limits by the assessments of `unlimited_answers`, at least one."""
    labels = np.array([radiograph.boneage_months for radiograph, _ in answers])
    months = np.array([assessment.age_months for _, assessment in answers])
    sexes = [radiograph.sex for radiograph, _ in answers]
    figures: dict[str, Any] = {
        "mad_months": round(float(mean_absolute_difference(labels, months)), 3),
        "rmse_months": round(float(root_mean_square_error(labels, months)), 3),
        "split": "validation",
        "radiographs": len(answers),
    }
    curves = distributions(answers)
    if curves is None:
        curve, errors = None, np.abs(months - labels)
        held = errors <= _half_widths(manifest, answers, figures["rmse_months"])
    else:
        curve = fit_curve(sexes, labels, months, curves)
        intervals = [central_interval(one, 95) for one in curves_out_of_fold(sexes, labels, months, curves)]
        held = np.array([low <= label <= high for (low, high), label in zip(intervals, labels, strict=True)])
    spreads = np.array([region_spread(one.region_ages_months) or 0.0 for _, one in answers])
    disagreement = None
    if spreads.any() and len(spreads) >= DISAGREEMENT_RADIOGRAPHS:
        disagreement = Disagreement.of(spreads)
        figures["region_spread_months"] = round(float(np.percentile(spreads, REGION_SPREAD_PERCENTILE)), 2)
    if len(answers) >= FEWEST_MEASURED:
        figures["interval_coverage"] = round(float(np.mean(held)), 3)
    agreement = float(concordance(labels, months))
    if math.isfinite(agreement):
        figures["ccc"] = round(agreement, 4)
    by_sex = _mad_by_sex(sexes, labels, months)
    if len(by_sex) == len(Sex):
        figures["mad_months_by_sex"] = by_sex
    powers = fit_bone_powers(labels, [assessment.bones for _, assessment in answers])
    return Measurement(figures, curve, disagreement, _carpal_limits(answers), powers)


def distributions(answers: Sequence[Answer]) -> NDArray[np.float64] | None:
    """Return the age distributions (N, 240); None if one is missing or there are too few to calibrate them."""
    curves = [assessment.estimate.age_distribution for _, assessment in answers]
    given = [curve for curve in curves if curve is not None]
    return np.stack(given) if len(given) == len(answers) >= FEWEST_RADIOGRAPHS else None


def _carpal_limits(answers: Sequence[Answer]) -> DiscordanceLimits | None:
    compared = [
        (one.sex, one.age_months, one.reading.carpal_discordance.difference_months)
        for _, one in answers
        if one.reading.carpal_discordance is not None
    ]
    sexes, ages, differences = zip(*compared, strict=True) if compared else ((), (), ())
    return measure_limits(sexes, ages, differences)


def _half_widths(manifest: Manifest, answers: Sequence[Answer], rmse_months: float) -> NDArray[np.float64]:
    """Return half of each 95 % interval of a bundle without a curve, months.

    It is the calibration's half width, or the one that follows from the error just measured.
    """
    calibration = manifest.calibration
    if calibration is None:
        return np.full(len(answers), Z_95 * rmse_months)
    bands = [calibration.by_sex[radiograph.sex].band(one.age_months) for radiograph, one in answers]
    return np.array([band.half_width_95_months for band in bands])


def _answers(bundle: Bundle, radiographs: Iterable[LabelledRadiograph]) -> Iterator[Answer]:
    """Yield the readable radiographs with their assessments."""
    for radiograph in radiographs:
        try:
            yield radiograph, assess(radiograph.image, radiograph.sex, bundle)
        except Rejection as rejection:
            log.warning("the radiograph %s is left out of the figures: %s", radiograph.id, rejection)


def _mad_by_sex(sexes: Sequence[Sex], labels: NDArray[np.float64], months: NDArray[np.float64]) -> Mapping[str, float]:
    by_sex = {sex: np.array([one == sex for one in sexes]) for sex in Sex if sex in sexes}
    return {
        sex.value: round(float(mean_absolute_difference(labels[chosen], months[chosen])), 3)
        for sex, chosen in by_sex.items()
    }
