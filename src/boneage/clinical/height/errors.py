"""The error of an input that cannot be used for adult height prediction."""

from __future__ import annotations

from boneage.clinical.errors import ClinicalError


class HeightInputError(ClinicalError):
    """An input of adult height prediction that cannot be right.

    ``not_a_number``: the value is not a finite number.
    ``age_out_of_range``: the chronological age is not above 0 and at most 300 months.
    ``age_in_years``: the chronological age looks like years where months are expected.
    ``bone_age_out_of_range``: the bone age is not from 0 to 240 months.
    ``bone_age_interval``: the interval is given without a bone age, or does not contain it.
    ``height_in_metres``: the height looks like metres where centimetres are expected.
    ``height_in_millimetres``: the height looks like millimetres where centimetres are expected.
    ``height_out_of_range``: the height is outside the range accepted for a child or for a parent.
    ``height_implausible``: the height lies more than 10 SD from the mean of the child's age.
    ``length_without_height``: a recumbent length is given without a standing height.
    ``length_and_height_disagree``: the recumbent length is more than 1 cm below or 5 cm above the standing height.
    ``weight_in_grams``: the weight looks like grams where kilograms are expected.
    ``weight_out_of_range``: the weight is not from 2 to 300 kg.
    ``menarche_of_boy``: menarche is given for a boy.
    ``menarche_age``: the age at menarche is below 60 months, above the chronological age, or contradicts ``menarche``.

    Attributes:
        field: name of the field of ``HeightInputs`` that holds the value.
    """

    exit_status = 2

    def __init__(self, code: str, message: str, field: str) -> None:
        super().__init__(code, message)
        self.field = field
