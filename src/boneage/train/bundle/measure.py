"""Figures of a finished bundle on validation radiographs.

They are computed through `boneage.assessment.assess` like every assessment: reading, cutting, the exported graphs and
their mean. The figures are therefore those that a user gets.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boneage.assessment import Assessment, assess
from boneage.bundle.bundle import Bundle
from boneage.bundle.calibration import DISAGREEMENT_RADIOGRAPHS, Disagreement, fit_disagreement
from boneage.bundle.estimate import Z_95, region_spread
from boneage.bundle.manifest import Manifest
from boneage.errors import Rejection, TableError
from boneage.evaluate.metrics import concordance, mean_absolute_difference, root_mean_square_error
from boneage.sex import Sex
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.data.cache import Progress

REGION_SPREAD_PERCENTILE = 97.5
"""Percentile of the validation radiographs' region spreads that is reported with the figures."""

_FOLDS = 5

log = logging.getLogger(__name__)


def measure_bundle(
    bundle: Bundle, radiographs: Sequence[LabelledRadiograph], *, progress: Progress = iter
) -> tuple[dict[str, Any], Disagreement | None]:
    """Measure a bundle on validation radiographs, and fit its error there to the disagreement of its regions.

    Rejected radiographs are left out and listed in the log. Figures that the radiographs do not determine are left out
    too: the concordance without any variation, and the figures by sex if one sex is missing.

    Returns:
        The figures, with the keys of `boneage.bundle.manifest.Metrics`, and
        `boneage.bundle.calibration.Disagreement`, or None for a bundle of one region and for fewer than
        `DISAGREEMENT_RADIOGRAPHS`. The coverage is that of intervals widened by a scale that was fitted to other
        radiographs (five folds).

    Raises:
        TableError: ``table_empty`` if no radiograph is left.
        BundleError: The bundle failed.
    """
    plain = Bundle(bundle.directory, replace(bundle.manifest, disagreement=None), threads=bundle.threads)
    plain = bundle if bundle.manifest.disagreement is None else plain
    answers = list(_answers(plain, progress(radiographs)))
    if not answers:
        raise TableError("table_empty", "None of the validation radiographs can be read.")
    labels = np.array([radiograph.boneage_months for radiograph, _ in answers])
    months = np.array([assessment.age_months for _, assessment in answers])
    figures: dict[str, Any] = {
        "mad_months": round(float(mean_absolute_difference(labels, months)), 3),
        "rmse_months": round(float(root_mean_square_error(labels, months)), 3),
        "split": "validation",
        "radiographs": len(answers),
    }
    widths = _half_widths(bundle.manifest, answers, figures["rmse_months"])
    errors = np.abs(months - labels) / widths
    spreads = np.array([region_spread(one.region_ages_months) or 0.0 for _, one in answers])
    disagreement, widenings = None, np.ones(len(answers))
    if spreads.any() and len(spreads) >= DISAGREEMENT_RADIOGRAPHS:
        disagreement, widenings = fit_disagreement(spreads, errors), _widenings_out_of_fold(spreads, errors)
        figures["region_spread_months"] = round(float(np.percentile(spreads, REGION_SPREAD_PERCENTILE)), 2)
    figures["interval_coverage"] = round(float(np.mean(errors <= widenings)), 3)
    agreement = float(concordance(labels, months))
    if math.isfinite(agreement):
        figures["ccc"] = round(agreement, 4)
    by_sex = _mad_by_sex([radiograph.sex for radiograph, _ in answers], labels, months)
    if len(by_sex) == len(Sex):
        figures["mad_months_by_sex"] = by_sex
    return figures, disagreement


def _half_widths(
    manifest: Manifest, answers: Sequence[tuple[LabelledRadiograph, Assessment]], rmse_months: float
) -> NDArray[np.float64]:
    """Return half of each 95 % interval, months, before disagreement widens it.

    It is the calibration's half width, or the one that follows from the error just measured.
    """
    calibration = manifest.calibration
    if calibration is None:
        widths = np.full(len(answers), Z_95 * rmse_months)
    else:
        bands = [calibration.by_sex[radiograph.sex].band(one.age_months) for radiograph, one in answers]
        widths = np.array([band.half_width_95_months for band in bands])
    return np.asarray(np.maximum(widths, 1e-6))  # estimates may be without any error


def _widenings_out_of_fold(spreads: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the factor of each radiograph's interval, by a scale fitted to the other folds."""
    fold = np.arange(len(spreads)) % _FOLDS
    widenings = np.ones(len(spreads))
    for held in range(_FOLDS):
        others = fold != held
        if np.count_nonzero(others) >= DISAGREEMENT_RADIOGRAPHS:
            fitted = fit_disagreement(spreads[others], errors[others])
            widenings[~others] = [fitted.widening(spread) for spread in spreads[~others]]
    return widenings


def _answers(
    bundle: Bundle, radiographs: Iterable[LabelledRadiograph]
) -> Iterator[tuple[LabelledRadiograph, Assessment]]:
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
