"""Ranges of adult height predictions: the method's error combined with the error of the reading.

The errors by age of Bayley & Pinneau and of Roche, Wainer & Thissen are available to the project in one transcription
only. They are therefore not used. These figures are used instead:

* 4.7 cm (90 %) for RWT 1975 at 6 years 3 months (boys), printed in the article's worked example.
* 7 cm (boys) and 6 cm (girls) within which 95 % of predictions lie in the abstract of Tanner, Whitehouse, Marshall &
  Carter, Arch Dis Child 1975;50:14-26, for boys of 4 to 12 and girls of 4 to 11 years. The 90 % values are 5.9 and
  5.0 cm. That method also predicts from height, age and bone age. Its figures stand in for every other method and age,
  for want of verified ones.
* 3.5 cm at or near skeletal maturity, for the methods that use the bone age.

No range is narrower than 3.5 cm to either side before it is limited by the present height. The ranges are cautious:
a published error already holds the error of its own readings of bone age. All errors are those in healthy children;
in short, delayed or ill children they are often larger.
"""

from __future__ import annotations

import math

from boneage.clinical.height.codes import BandMeaning, Method
from boneage.clinical.height.inputs import Z_80
from boneage.sex import Sex

Z_90 = 1.6448536269514722
"""Half-width of the central 90 % of a normal distribution in standard deviations."""
Z_95 = 1.959963984540054
"""Half-width of the central 95 % of a normal distribution in standard deviations."""

LEAST_HALF_WIDTH_CM = 3.5
"""No range of a prediction is narrower to either side, in cm."""

RWT_PRINTED_90_CM = 4.7
"""90 % half-width in cm of RWT 1975 for a boy of 6 years 3 months (Pediatrics 1975;56:1026, worked example)."""
RWT_PRINTED_MONTHS = (73.5, 76.5)
"""Ages in months for which 6 years 3 months is the nearest age of the table."""

ASSUMED_95_CM = {Sex.MALE: 7.0, Sex.FEMALE: 6.0}
"""95 % half-width in cm by sex, printed in the abstract of Arch Dis Child 1975;50:14-26 for a comparable method."""


def method_half_width_90(method: Method, sex: Sex, age_months: float, *, mature: bool) -> tuple[float, BandMeaning]:
    """Return the method's own error as a 90 % half-width in cm, and its origin.

    Args:
        method: a method of prediction; target height has a range of its own.
        sex: sex of the child.
        age_months: chronological age in months.
        mature: True where the hand is at or near skeletal maturity.
    """
    if mature and method is not Method.KHAMIS_ROCHE_1995:
        return LEAST_HALF_WIDTH_CM, BandMeaning.LEAST
    low, high = RWT_PRINTED_MONTHS
    if method is Method.RWT_1975 and sex is Sex.MALE and low <= age_months < high:
        return RWT_PRINTED_90_CM, BandMeaning.PRINTED_90
    return ASSUMED_95_CM[sex] * Z_90 / Z_95, BandMeaning.ASSUMED_90


def combined_half_width(method_90_cm: float, reading_80_cm: float) -> float:
    """Return the 90 % half-width in cm of two independent normal errors, at least 3.5 cm.

    Args:
        method_90_cm: the method's own error as a 90 % half-width in cm.
        reading_80_cm: the error of the bone age, brought to cm by the method's slope, as an 80 % half-width.
    """
    return max(LEAST_HALF_WIDTH_CM, math.hypot(method_90_cm, reading_80_cm * Z_90 / Z_80))
