"""Stable codes of adult height prediction: methods, reasons, notes, meanings of a range, contra-indications."""

from __future__ import annotations

from enum import StrEnum


class Method(StrEnum):
    """A method that is offered, in the order of the rows of the table."""

    BAYLEY_PINNEAU = "bayley_pinneau"
    """Bayley & Pinneau 1952: percent of mature height by bone age."""
    RWT_1975 = "rwt_1975"
    """Roche, Wainer & Thissen 1975: regression on length, weight, parents and bone age."""
    RWT_ADJUSTED_1993 = "rwt_adjusted_1993"
    """Khamis & Guo 1993: the adjusted Roche-Wainer-Thissen regression on stature."""
    KHAMIS_ROCHE_1995 = "khamis_roche_1995"
    """Khamis & Roche 1994 with the tables of the erratum of 1995: regression without a radiograph."""
    REINEHR_2019 = "reinehr_2019"
    """Reinehr et al. 2019: percent of adult height for boys with constitutional delay."""
    TARGET_HEIGHT = "target_height"
    """Tanner, Goldstein & Whitehouse 1970: sex-adjusted midparental height."""


class Reason(StrEnum):
    """Reason why a method gives no prediction, or a height no SDS."""

    CONTRAINDICATED = "contraindicated"
    """A condition is present for which no prediction is valid."""
    NO_TABLE = "no_table"
    """The age, the bone age or the group lies outside the published table; nothing is extrapolated."""
    NEEDS_EXACT_AGE = "needs_exact_age"
    """The chronological age is known in whole years only."""
    NEEDS_HEIGHT = "needs_height"
    """The child's height is missing."""
    NEEDS_CURRENT_HEIGHT = "needs_current_height"
    """The height was measured more than three months before or after the radiograph."""
    NEEDS_WEIGHT = "needs_weight"
    """The child's weight is missing."""
    NEEDS_PARENTS_HEIGHTS = "needs_parents_heights"
    """The height of the mother or of the father is missing."""
    NEEDS_BONE_AGE = "needs_bone_age"
    """The bone age is missing."""
    BOYS_ONLY = "boys_only"
    """The method was published for boys only."""
    NEEDS_DELAY = "needs_delay"
    """The bone age is not more than one year behind the chronological age."""
    UNDER_TWO_YEARS = "under_two_years"
    """The child or the bone age is under two years; the bone age of the hand is unreliable at that age."""
    NEAR_MATURITY = "near_maturity"
    """The hand is at or near skeletal maturity, where the method does not apply."""
    BELOW_PRESENT_HEIGHT = "below_present_height"
    """The method gives less than the child's present height and cannot apply to this child."""


class Note(StrEnum):
    """A remark beside a prediction."""

    SEVERAL_GROUPS = "several_groups"
    """The interval of the bone age crosses a bound between groups; each group's prediction has its own row."""
    GROUP_OF_ESTIMATE = "group_of_estimate"
    """Among several groups, this row is the group of the estimated bone age itself."""
    LENGTH_FROM_STATURE = "length_from_stature"
    """Recumbent length was taken as stature plus 1.25 cm, as the authors advise."""
    WHOLE_HAND_BONE_AGE = "whole_hand_bone_age"
    """RWT takes the median of bone ages read bone by bone; a bone age of the whole hand stands in."""
    UNUSUAL_BONE_AGE = "unusual_bone_age"
    """Bone age and age differ by two years or more; the regression was fitted to healthy children."""
    TABLE_VALUE_UNCERTAIN = "table_value_uncertain"
    """A coefficient used here is uncertain in print; it may shift the prediction by about 0.5 cm."""
    INCREMENT_AFTER_18 = "increment_after_18"
    """The authors' increment after 18 years is included: 0.8 cm for boys, 0.6 cm for girls."""
    PARENTS_HEIGHTS_REPORTED = "parents_heights_reported"
    """The height of a parent was reported, not measured."""
    READING_ERROR_ASSUMED = "reading_error_assumed"
    """No interval of the bone age was given; a standard deviation of 7 months between readers was assumed."""
    HEIGHT_NOT_SAME_DAY = "height_not_same_day"
    """The height was measured more than one month before or after the radiograph."""
    HEIGHT_DATE_UNKNOWN = "height_date_unknown"
    """The date of the height is unknown; it was taken as the day of the radiograph."""
    NEAR_MATURITY = "near_maturity"
    """The hand is at or near skeletal maturity; little growth remains."""
    ONLY_IF_CONSTITUTIONAL_DELAY = "only_if_constitutional_delay"
    """The method is valid only where constitutional delay of growth and puberty has been diagnosed."""
    DELAY_UNCERTAIN = "delay_uncertain"
    """The interval of the bone age includes a delay of one year or less."""
    LIMITED_BY_PRESENT_HEIGHT = "limited_by_present_height"
    """The lower end of the range is the child's present height."""
    CONTRAINDICATION_PRESENT = "contraindication_present"
    """A contra-indication is present; the midparental height may not apply to this child."""
    CONTRAINDICATIONS_NOT_RECORDED = "contraindications_not_recorded"
    """It is not recorded whether a contra-indication is present."""


class BandMeaning(StrEnum):
    """Meaning of the range from ``lower_cm`` to ``upper_cm``. None of them is a verified prediction interval."""

    PRINTED_90 = "printed_90"
    """The method's 90 % error as printed by its authors for this age, combined with the error of the reading."""
    ASSUMED_90 = "assumed_90"
    """A 90 % error assumed from a comparable method, combined with the error of the reading."""
    LEAST = "least"
    """The least error to reckon with, 3.5 cm, combined with the error of the reading. It has no probability."""
    TARGET_RANGE = "target_range"
    """Target range: the target height and 8.5 cm to either side. It describes the family and not this child."""


class Contraindication(StrEnum):
    """A condition under which no method of prediction is valid."""

    UNDER_TREATMENT = "under_treatment"
    """Treatment that changes growth or skeletal maturation."""
    PRECOCIOUS_PUBERTY = "precocious_puberty"
    """Precocious puberty."""
    SKELETAL_DYSPLASIA = "skeletal_dysplasia"
    """Skeletal dysplasia."""
    TURNER_SYNDROME = "turner_syndrome"
    """Turner syndrome."""
    SMALL_FOR_GESTATIONAL_AGE = "small_for_gestational_age"
    """Born small for gestational age."""


class HeightSource(StrEnum):
    """Origin of a parent's height."""

    MEASURED = "measured"
    """Measured in the clinic."""
    REPORTED = "reported"
    """Reported by the parent or by somebody else."""
