"""Warnings on a result: codes, severities and sentences. `boneage.checks.radiograph` raises them.

(The underscore keeps the standard library's ``warnings`` free.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TypeVar

from boneage.schema import WarningDocument
from boneage.severity import Severity


class WarningCode(StrEnum):
    """Stable codes of warnings."""

    PHANTOM = "phantom"
    BEYOND_SCALE = "beyond_scale"
    UNDER_TWO_YEARS = "under_two_years"
    OUTSIDE_TRAINING_RANGE = "outside_training_range"
    NEAR_MATURITY = "near_maturity"
    ESTIMATE_UNDER_TWO_YEARS = "estimate_under_two_years"
    UNLIKE_TRAINING = "unlike_training"
    REGIONS_DISAGREE = "regions_disagree"
    REGION_LEFT_OUT = "region_left_out"
    BONES_NOT_READABLE = "bones_not_readable"
    PLASTER = "plaster"
    METAL = "metal"
    FINGERTIPS_CUT = "fingertips_cut"
    ALTERED_GREY = "altered_grey"
    BLURRED = "blurred"
    STRONGLY_COMPRESSED = "strongly_compressed"
    PHOTOGRAPHED = "photographed"
    REGION_CUT_OFF = "region_cut_off"
    NOT_VALIDATED = "not_validated"
    LOOKS_INVERTED = "looks_inverted"
    READ_INVERTED = "read_inverted"
    READ_MIRRORED = "read_mirrored"
    SIDE_UNCERTAIN = "side_uncertain"
    SATURATED = "saturated"
    FOR_PROCESSING = "for_processing"
    LOW_RESOLUTION = "low_resolution"
    OTHER_BODY_PART_DECLARED = "other_body_part_declared"
    RIGHT_HAND_DECLARED = "right_hand_declared"
    BOTH_HANDS_DECLARED = "both_hands_declared"
    NOT_HUMAN_DECLARED = "not_human_declared"
    SAME_RADIOGRAPH_OTHER_PATIENT = "same_radiograph_other_patient"
    PIXEL_BITS_DIFFER = "pixel_bits_differ"
    PIXEL_SIZE_DIFFERS = "pixel_size_differs"
    BURNED_IN_ANNOTATION = "burned_in_annotation"
    SEX_DIFFERS_FROM_FILE = "sex_differs_from_file"
    AGE_DIFFERS_FROM_FILE = "age_differs_from_file"
    AGES_DIFFER = "ages_differ"
    STUDY_BEFORE_BIRTH = "study_before_birth"
    DATES_IMPOSSIBLE = "dates_impossible"
    AGE_IN_WHOLE_YEARS = "age_in_whole_years"
    PATIENT_AGE_MALFORMED = "patient_age_malformed"
    SEX_UNKNOWN = "sex_unknown"
    CARPAL_DISCORDANCE = "carpal_discordance"
    OVER_REFERENCE_AGE = "over_reference_age"
    OUTSIDE_REFERENCE = "outside_reference"
    NO_ACTIVATION = "no_activation"


_INFO, _CAUTION, _CRITICAL = Severity.INFO, Severity.CAUTION, Severity.CRITICAL

_WARNINGS: Mapping[str, tuple[Severity, str]] = MappingProxyType(
    {
        "phantom": (_CRITICAL, "This is the drawn phantom, not a patient: the estimate has no meaning."),
        "outside_training_range": (
            _CRITICAL,
            "The estimate lies outside the scale of bone age, 0 to {oldest_months:g} months: do not use it.",
        ),
        "beyond_scale": (
            _CRITICAL,
            "The chronological age lies beyond the scale of Greulich & Pyle, which ends at 18 years for girls and 19"
            " years for boys. Do not use the bone age, and do not estimate an age from it.",
        ),
        "under_two_years": (
            _CRITICAL,
            "The child is under two years old, when few ossification centres of the hand are present and the bone age"
            " is unreliable. Do not use the bone age.",
        ),
        "near_maturity": (
            _CAUTION,
            "The hand is at or near skeletal maturity, where the bones hardly change any more. Neither the difference"
            " from the chronological age nor an SDS is given.",
        ),
        "estimate_under_two_years": (
            _CAUTION,
            "The estimate lies under two years, when few ossification centres of the hand are present and the bone age"
            " is unreliable. Compare it with the child's age.",
        ),
        "unlike_training": (
            _CAUTION,
            "This radiograph differs from the training data. Check that it shows one whole hand, lying flat.",
        ),
        "regions_disagree": (
            _CAUTION,
            "The regions of the hand give ages that lie {spread_months:.0f} months apart (highest: {highest}; lowest:"
            " {lowest}). In validation {limit_months:.0f} months were rarely exceeded.",
        ),
        "regions_disagree.far": (
            _CRITICAL,
            "The regions of the hand give ages that lie {spread_months:.0f} months apart, and {limit_months:.0f} months"
            " are hardly ever exceeded: do not use the number.",
        ),
        "region_left_out": (
            _CAUTION,
            "One region alone ({region}) gives {months:.0f} months, far from all others: the estimate rests on the"
            " others. Look for something that covers this region.",
        ),
        "bones_not_readable": (
            _CAUTION,
            "{count:.0f} of {total:.0f} bones and joints cannot be read, or their ages are implausible. Look for what"
            " covers or blurs them, and compare the estimate with the radiograph.",
        ),
        "bones_not_readable.most": (
            _CRITICAL,
            "Most bones and joints ({count:.0f} of {total:.0f}) cannot be read, or their ages are implausible: do not"
            " use the number.",
        ),
        "plaster": (
            _CAUTION,
            "A cast, a splint or a bandage may lie over the hand. Check the radiograph before you use the number.",
        ),
        "plaster.certain": (
            _CRITICAL,
            "A cast, a splint or something else covers a part of the hand: do not use the number. Assess a radiograph"
            " without it, or of the other hand.",
        ),
        "metal": (
            _CAUTION,
            "Metal seems to lie over the bones, such as a wire or a plate. Compare the estimate with the radiograph.",
        ),
        "fingertips_cut": (
            _CAUTION,
            "The fingertips seem to lie outside the radiograph. Compare the estimate with the bones that are visible.",
        ),
        "altered_grey": (
            _CAUTION,
            "The grey values seem to be altered (gamma or a steep display curve), which can change the estimate by "
            "some months. Use the original file.",
        ),
        "blurred": (
            _CAUTION,
            "The radiograph is blurred, or was enlarged from a small image, so that the bone age can be wrong by some"
            " months. Use the original file or a sharper radiograph.",
        ),
        "blurred.strongly": (
            _CRITICAL,
            "The radiograph is too blurred: do not use the number. Use the original file or a sharper radiograph.",
        ),
        "strongly_compressed": (
            _CAUTION,
            "Strong compression has left blocks on the radiograph, which can change the estimate by some months. Use"
            " the original file.",
        ),
        "photographed": (
            _CAUTION,
            "This looks like a photograph of a screen or a light-box. Use the original file.",
        ),
        "region_cut_off": (
            _CAUTION,
            "A large part of the hand ({regions}) lies outside the radiograph: the age rests on the other regions.",
        ),
        "not_validated": (_CAUTION, "This model bundle has not been validated: its accuracy is unknown."),
        "not_validated.few": (
            _CAUTION,
            "This model bundle has been validated on {count:.0f} radiographs only: its accuracy is hardly known.",
        ),
        "looks_inverted": (
            _CAUTION,
            "The border is brighter than the middle: the radiograph may be inverted, or a bright frame surrounds it.",
        ),
        "read_inverted": (
            _INFO,
            "The radiograph is inverted (dark bone). It was read, and is shown, with bright bone.",
        ),
        "read_mirrored": (
            _INFO,
            "The hand was read as a mirror image: it is a right hand, or the radiograph is mirrored.",
        ),
        "side_uncertain": (
            _CAUTION,
            "The tip of the thumb was not found, so the side of the hand"
            " is uncertain. Check the thumb point on the radiograph.",
        ),
        "saturated": (
            _CAUTION,
            "Over {percent:g} % of the radiograph is pure white: a display window may hide the bones.",
        ),
        "for_processing": (
            _CAUTION,
            "The file contains raw detector data (DICOM: for processing), not the image for reading.",
        ),
        "low_resolution": (
            _CAUTION,
            "The radiograph has only {width} x {height} pixels, on a side fewer than the {view_width} x {view_height}"
            " that the network reads.",
        ),
        "low_resolution.hand": (
            _INFO,
            "From capitate to middle finger tip the hand has only {pixels:.0f} pixels, fewer than the"
            " {view_pixels:.0f} that the network reads.",
        ),
        "other_body_part_declared": (_CAUTION, "According to the file, the radiograph shows {part!r}, not a hand."),
        "right_hand_declared": (
            _CAUTION,
            "According to the file, this is a right hand; the networks and the atlases are made for left hands.",
        ),
        "both_hands_declared": (
            _CAUTION,
            "According to the file, the radiograph shows both hands, and one was read. Check which one.",
        ),
        "not_human_declared": (_CRITICAL, "According to the file, the patient is not human: do not use the estimate."),
        "same_radiograph_other_patient": (
            _CRITICAL,
            "The same radiograph is stored for another patient, and one of the two is the wrong one. Do not use the"
            " bone age before you know whose radiograph it is.",
        ),
        "pixel_bits_differ": (
            _CAUTION,
            "The pixels use more bits than the file states, and were read with all of them. Compare the grey values "
            "with the original.",
        ),
        "pixel_size_differs": (
            _CAUTION,
            "The file contains contradictory numbers of rows and columns. Check that the whole radiograph is shown.",
        ),
        "burned_in_annotation": (_INFO, "According to the file, the image contains text, which may name the patient."),
        "sex_differs_from_file": (_CAUTION, "The sex was given as {given}, but the file says {said}."),
        "age_differs_from_file": (
            _CAUTION,
            "The given age is {given_age}, but the file states {file_age}. Check that this is the right child.",
        ),
        "ages_differ": (
            _CAUTION,
            "The stated age and the dates of birth and study contradict each other, so that no chronological age is"
            " used. Give the correct date of birth.",
        ),
        "study_before_birth": (
            _CAUTION,
            "The study date lies before the date of birth, so that no chronological age is used. Check both dates.",
        ),
        "dates_impossible": (
            _CAUTION,
            "A date is too early or lies in the future, so that no chronological age is used. Check the dates.",
        ),
        "age_in_whole_years": (
            _CAUTION,
            "The chronological age is known in whole years only, so that difference and SDS are ranges at best, and"
            " there is no determination. Give the date of birth, or the age in years and months.",
        ),
        "patient_age_malformed": (
            _INFO,
            "The patient's age in the file cannot be read. The chronological age rests on the dates, where they are"
            " known.",
        ),
        "sex_unknown": (
            _CAUTION,
            "The sex is unknown or neither female nor male, so that there is no SDS.",
        ),
        "carpal_discordance": (
            _CAUTION,
            "The carpal bones read {months:.0f} months older than the other regions, more than is usual at this age.",
        ),
        "carpal_discordance.younger": (
            _CAUTION,
            "The carpal bones read {months:.0f} months younger than the other regions, more than is usual at this age.",
        ),
        "over_reference_age": (
            _INFO,
            "The child is over 16 years (girls) or 17 years (boys), so that there is no SDS.",
        ),
        "outside_reference": (
            _INFO,
            "The chosen reference has no values at this age and sex, so that there is no SDS.",
        ),
        "no_activation": (
            _CAUTION,
            "No place of the radiograph influenced the estimate: there is no heat map to show.",
        ),
    }
)
"""Severity and sentence, by code, and by code and reason where a code has several."""

WARNING_TEXTS: Mapping[str, str] = MappingProxyType({key: text for key, (_, text) in _WARNINGS.items()})
"""Sentences with placeholders for `ResultWarning.values`, by the same keys."""


@dataclass(frozen=True)
class ResultWarning:
    """A warning on a result.

    Attributes:
        code: Stable code.
        message: One finished sentence in English for the reader of the estimate.
        values: Values of the placeholders in the sentence's template.
        text: Key of the template in `WARNING_TEXTS`, which also selects its translation; empty for a sentence that was
            not made from a template.
    """

    code: WarningCode
    message: str
    values: Mapping[str, str | float] = field(default_factory=dict, hash=False)
    text: str = ""

    @classmethod
    def of(cls, code: WarningCode, reason: str | None = None, /, **values: str | float) -> ResultWarning:
        """Make a warning with a sentence of `WARNING_TEXTS`.

        Args:
            code: Code of the warning.
            reason: Choice among the code's sentences, where it has several.
            **values: Values of the template's placeholders.
        """
        text = code.value if reason is None else f"{code.value}.{reason}"
        return cls(code, WARNING_TEXTS[text].format(**values), values, text)

    @property
    def severity(self) -> Severity:
        """Severity of the sentence, or of the code if the sentence was not made from a template."""
        return _WARNINGS[self.text or self.code.value][0]

    def document(self) -> WarningDocument:
        """Return the warning by the project's schema."""
        return WarningDocument(
            code=self.code.value,
            severity=self.severity,
            message=self.message,
            template=self.text,
            values=dict(self.values),
        )


def severities(code: WarningCode) -> list[Severity]:
    """Return the severities of a code's sentences, the lowest first."""
    distinct = {severity for key, (severity, _) in _WARNINGS.items() if key.partition(".")[0] == code.value}
    return sorted(distinct, key=lambda severity: severity.rank)


AnyWarning = TypeVar("AnyWarning", ResultWarning, WarningDocument)


def by_severity(warnings: Iterable[AnyWarning]) -> tuple[AnyWarning, ...]:
    """Sort warnings by falling severity, and those of equal severity in the order of `WarningCode`, others last."""
    order = {code.value: number for number, code in enumerate(WarningCode)}
    return tuple(sorted(warnings, key=lambda one: (-one.severity.rank, order.get(one.code, len(order)))))
