"""Named failures: every way in which an input can be refused, with one code and one exit status each.

A :class:`Refusal` speaks of one film and carries a sentence for the person who chose it. A :class:`BoneageError` of
another kind speaks of what the operator gave (a bundle, a recipe, a table). Codes are stable: the command line prints
them, the web service returns them, logs carry them.
"""

from __future__ import annotations

from enum import StrEnum


class RefusalCode(StrEnum):
    """Why a film is not assessed."""

    NOT_FOUND = "not_found"
    """The file does not exist or may not be opened."""
    UNREADABLE = "unreadable"
    """Not one of the supported formats, or damaged."""
    TOO_LARGE = "too_large"
    """More bytes or pixels than the limits allow; found before decoding."""
    TOO_SMALL = "too_small"
    """Too few pixels to see ossification centres."""
    NOT_GRAYSCALE = "not_grayscale"
    """A colour picture whose colours are not grey."""
    SEVERAL_FRAMES = "several_frames"
    """A multi-frame DICOM object or an animated picture."""
    NOT_A_RADIOGRAPH = "not_a_radiograph"
    """A DICOM object of another kind: modality, SOP class or content."""
    NO_CONTRAST = "no_contrast"
    """A film of one even grey: nothing to read."""
    SEX_MISSING = "sex_missing"
    """No sex was given. It is never guessed."""
    NO_HAND = "no_hand"
    """No hand was found on the film."""
    SEVERAL_HANDS = "several_hands"
    """More than one hand on the film."""
    POINTS_UNCERTAIN = "points_uncertain"
    """A hand was found, but not the points that register it."""


class BoneageError(Exception):
    """Base of all errors that the package raises on purpose.

    Attributes:
        code: stable, lower-case, snake_case name of the failure.
        message: one sentence that a person understands.
    """

    exit_status = 1

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{message} [{code}]")
        self.code = str(code)
        self.message = message


class Refusal(BoneageError):  # noqa: N818 - it is no error of the program
    """A film that cannot, or must not, be assessed."""

    exit_status = 3

    def __init__(self, code: RefusalCode, message: str) -> None:
        super().__init__(code.value, message)


class BundleError(BoneageError):
    """A bundle that is missing, damaged or made for another version. Codes begin with ``bundle_``."""

    exit_status = 4


class RecipeError(BoneageError):
    """A training recipe with unknown keys or values out of range. Code ``recipe_invalid``."""

    exit_status = 5


class TableError(BoneageError):
    """A table of films or predictions that cannot be used. Codes begin with ``table_``."""

    exit_status = 6
