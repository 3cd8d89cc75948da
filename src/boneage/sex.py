"""Sex of the patient as the networks take it: required, never guessed."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from boneage.errors import Rejection, RejectionCode

BOTH_SEXES = "both"
"""Stated sex of a child whose sex is unknown, or neither female nor male: the radiograph is read for both."""

_NAMES = {"f": "F", "female": "F", "girl": "F", "m": "M", "male": "M", "boy": "M"}


class Sex(StrEnum):
    """Female or male. The order of the members is that of the one-hot vector (Souza & Oliveira, section IV)."""

    FEMALE = "F"
    MALE = "M"

    @classmethod
    def parse(cls, text: object) -> Sex:
        """Parse a sex as people write it (``F``, ``female``, ``M``, ``male``; case does not matter).

        Raises:
            Rejection: ``sex_missing`` for anything else: an empty text, DICOM's ``O``, and any value that is not text,
                such as the NaN of an empty table cell, or a boolean.
        """
        name = _NAMES.get(text.strip().lower()) if isinstance(text, str) else None
        if name is None:
            raise Rejection(
                RejectionCode.SEX_MISSING,
                f"The sex must be given as F or M, not {text!r}: boys and girls mature at different ages.",
            )
        return cls(name)

    def one_hot(self) -> NDArray[np.float32]:
        """Return float32 (2,), with 1 at the place of this sex, female first."""
        return np.asarray([self is Sex.FEMALE, self is Sex.MALE], dtype=np.float32)


def is_both_sexes(text: object) -> bool:
    """Return whether a text asks for a reading for both sexes: ``both``, in either case."""
    return isinstance(text, str) and text.strip().lower() == BOTH_SEXES
