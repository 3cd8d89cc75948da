"""The intended use agrees with the ages at which there is an SDS, and lists every contra-indication."""

from __future__ import annotations

from boneage.clinical.intended_use import INTENDED_USE, Contraindication
from boneage.sex import Sex


def test_intended_use_states_ages_and_conditions() -> None:
    assert (INTENDED_USE.method, INTENDED_USE.projection, INTENDED_USE.hands) == ("Greulich & Pyle", "PA", 1)
    assert INTENDED_USE.youngest_months == 24.0
    assert INTENDED_USE.oldest_months == {Sex.FEMALE: 192.0, Sex.MALE: 204.0}
    assert INTENDED_USE.user == "physician"
    assert INTENDED_USE.contraindications == tuple(Contraindication)
