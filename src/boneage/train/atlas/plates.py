"""One plate of the open atlas: the weighted mean of registered hands, as an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.atlas_index import Plate
from boneage.sex import Sex
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.atlas.mean_hand import (
    MeanHand,
    RegisteredRadiograph,
    mean_hand,
)
from boneage.train.atlas.selection import (
    AGE_TOLERANCE_MONTHS,
    FEWEST_RADIOGRAPHS,
    age_weights,
    effective_count,
    trust_in,
    window_months,
)
from boneage.train.data.cache import RadiographCache
from boneage.train.data.hands import HandTable

_LEAST_WEIGHT_SHARE = 0.05
"""Share of the largest weight below which a radiograph does not count as part of a plate."""

SHARPENING, SHARPENING_PIXELS = 0.6, 1.5

_BRIGHTEST_LEVEL = 245

_QUALITY = 95


@dataclass(frozen=True)
class MadePlate:
    """Plate, or the reason why there is none.

    Attributes:
        sex, age_months: sex and age that it represents.
        left_out: reason why there is none; empty for a plate.
        picture: uint8 (PLATE_HEIGHT, PLATE_WIDTH).
        count: number of radiographs that it averages.
        effective_count: 1 / sum of squared weights.
        mean_age_months: weighted mean of the labels.
        ages_months: lowest and highest label.
        highest_correlation: correlation with the most similar training radiograph of the sex; -1 if not computed yet.
    """

    sex: Sex
    age_months: int
    left_out: str = ""
    picture: NDArray[np.uint8] | None = None
    count: int = 0
    effective_count: float = 0.0
    mean_age_months: float = math.nan
    ages_months: tuple[float, float] = (math.nan, math.nan)
    highest_correlation: float = -1.0

    @property
    def plate(self) -> Plate:
        """Entry of the plate in the atlas."""
        bare = Plate(self.sex, self.age_months, "", self.count)
        return Plate(self.sex, self.age_months, f"{bare.key}.webp", self.count)


def make_plate(
    radiographs: Sequence[LabelledRadiograph], cache: RadiographCache, hands: HandTable, sex: Sex, age_months: int
) -> MadePlate:
    """Make one plate.

    Args:
        radiographs: radiographs from `choose_radiographs`.
        cache: decoded radiographs.
        hands: hands on them.
        sex: sex of the plate.
        age_months: age of the plate.
    """
    if len(radiographs) < FEWEST_RADIOGRAPHS:
        return MadePlate(
            sex, age_months, left_out=f"only {len(radiographs)} radiographs within {window_months(age_months):g} months"
        )
    ages = np.array([radiograph.boneage_months for radiograph in radiographs])
    at_most = age_weights(ages, np.ones(len(ages)), age_months)
    if at_most is None or effective_count(at_most) < FEWEST_RADIOGRAPHS:
        return MadePlate(
            sex,
            age_months,
            left_out=f"too few of the {len(radiographs)} radiographs within reach lie on one side of its age",
        )

    def weigh(agreement: NDArray[np.float64]) -> NDArray[np.float64]:
        trust = trust_in(agreement) if agreement.any() else np.ones(len(ages))
        weights = age_weights(ages, trust, age_months)
        return trust / trust.sum() if weights is None else weights

    mean = mean_hand([_registered(radiograph, cache, hands) for radiograph in radiographs], weigh)
    weights = mean.weights
    counted = weights >= _LEAST_WEIGHT_SHARE * weights.max()
    count, effective, age = int(counted.sum()), effective_count(weights), float(weights @ ages)
    if abs(age - age_months) > AGE_TOLERANCE_MONTHS:
        return MadePlate(sex, age_months, left_out=f"the mean age of the radiographs within reach is {age:.1f} months")
    if min(count, effective) < FEWEST_RADIOGRAPHS:
        return MadePlate(sex, age_months, left_out=f"it would average {count} radiographs, in effect {effective:.1f}")
    return MadePlate(
        sex,
        age_months,
        picture=plate_picture(mean),
        count=count,
        effective_count=effective,
        mean_age_months=age,
        ages_months=(float(ages[counted].min()), float(ages[counted].max())),
    )


def plate_picture(mean: MeanHand) -> NDArray[np.uint8]:
    """Return a mean as an image, uint8: slightly sharpened, scaled such that only the brightest thousandth is cut."""
    blurred = cv2.GaussianBlur(mean.grey, (0, 0), SHARPENING_PIXELS)
    sharp = np.maximum(mean.grey + SHARPENING * (mean.grey - blurred), 0)
    brightest = float(np.percentile(sharp[mean.inside > 0.5], 99.9))
    return np.clip(np.rint(sharp / brightest * _BRIGHTEST_LEVEL), 0, 255).astype(np.uint8)


def _registered(radiograph: LabelledRadiograph, cache: RadiographCache, hands: HandTable) -> RegisteredRadiograph:
    pixels, hand = cache.pixels(radiograph.id), hands.hand(radiograph.id)
    return RegisteredRadiograph(pixels, hand, cache.grey(radiograph.id, "hand", hand))


def stored_as(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image as it is read back from its file."""
    return np.asarray(cv2.imdecode(np.frombuffer(encoded(picture), np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)


def encoded(picture: NDArray[np.uint8]) -> bytes:
    """Return the picture as the bytes of its WebP file."""
    _, coded = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])
    return coded.tobytes()
