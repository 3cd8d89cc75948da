"""Stages of skeletal development, which group figures and mean maps.

The stages are those of V. Gilsanz and O. Ratib, *Hand Bone Age: A Digital Atlas of Skeletal Maturity*, Springer 2005,
which Iglovikov et al. (section 5, Fig. 9) and Souza & Oliveira (section VI, Fig. 9) use without stating their bounds:

====================  ========================  ========================
stage                 girls                     boys
====================  ========================  ========================
infancy               birth to 10 months        birth to 14 months
toddlers              10 months to 2 years      14 months to 3 years
pre-puberty           2 to 7 years              3 to 9 years
early, mid-puberty    7 to 13 years             9 to 14 years
late puberty          13 to 15 years            14 to 16 years
post-puberty          15 to 17 years            17 to 19 years
====================  ========================  ========================

Here every age has a stage. An interval includes its lower bound and excludes its upper one. Boys of 16 to 17 years,
whom the book leaves out, and all ages above the last bound count as post-puberty. Both papers leave out infants and
toddlers for lack of radiographs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from boneage.sex import Sex


class Stage(StrEnum):
    """Stage of skeletal development, in order of age."""

    INFANCY = "infancy"
    TODDLER = "toddler"
    PRE_PUBERTY = "pre_puberty"
    EARLY_MID_PUBERTY = "early_mid_puberty"
    LATE_PUBERTY = "late_puberty"
    POST_PUBERTY = "post_puberty"

    @property
    def label(self) -> str:
        """Name of the stage in tables and plots."""
        return _LABELS[self]


_LABELS = {
    Stage.INFANCY: "Infancy",
    Stage.TODDLER: "Toddlers",
    Stage.PRE_PUBERTY: "Pre-puberty",
    Stage.EARLY_MID_PUBERTY: "Early and mid-puberty",
    Stage.LATE_PUBERTY: "Late puberty",
    Stage.POST_PUBERTY: "Post-puberty",
}

STAGE_STARTS_MONTHS: Mapping[Sex, Mapping[Stage, int]] = MappingProxyType(
    {
        Sex.FEMALE: MappingProxyType(dict(zip(Stage, (0, 10, 24, 84, 156, 180), strict=True))),
        Sex.MALE: MappingProxyType(dict(zip(Stage, (0, 14, 36, 108, 168, 192), strict=True))),
    }
)
"""Bone age at which each stage begins, months. It ends where the next one begins."""


def stage_of(age_months: float, sex: Sex) -> Stage:
    """Return the stage of a bone age.

    Args:
        age_months: Bone age, months. An estimate below 0 counts as infancy.
        sex: Sex of the patient. The stages of girls begin earlier.

    Raises:
        ValueError: If the age is not a number.
    """
    if math.isnan(age_months):
        raise ValueError("an age that is not a number has no stage")
    starts = STAGE_STARTS_MONTHS[sex]
    return max((stage for stage in Stage if starts[stage] <= age_months), key=starts.__getitem__, default=Stage.INFANCY)
