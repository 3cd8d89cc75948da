"""Named failures: every way in which an input can be rejected, with one code and one exit status each.

A :class:`Rejection` speaks of one radiograph and carries a sentence for the person who chose it. A
:class:`BoneageError` of another kind speaks of what the operator gave (a bundle, a recipe, a table). Codes are stable:
the command line prints them, the web service returns them, logs carry them.
"""

from __future__ import annotations

from enum import StrEnum


class RejectionCode(StrEnum):
    """Why a radiograph is not assessed."""

    NOT_FOUND = "not_found"
    """The file does not exist or may not be opened."""
    UNREADABLE = "unreadable"
    """No picture or DICOM object, or damaged."""
    UNSUPPORTED_FORMAT = "unsupported_format"
    """A known format that is not read, such as an archive, a video or a document; the message names it."""
    READING_TIMEOUT = "reading_timeout"
    """Reading the file took more processor time than is allowed; found by whoever sets such a limit."""
    TOO_LARGE = "too_large"
    """More bytes or pixels than the limits allow; found before decoding."""
    TOO_SMALL = "too_small"
    """Too few pixels to see ossification centres."""
    NOT_GRAYSCALE = "not_grayscale"
    """A colour picture whose colours are not grey."""
    SEVERAL_FRAMES = "several_frames"
    """A multi-frame DICOM object or an animated picture."""
    NOT_A_RADIOGRAPH = "not_a_radiograph"
    """A DICOM object of another kind, or a picture that no radiograph can be: a strip, or a drawing of few greys."""
    NO_CONTRAST = "no_contrast"
    """A radiograph of one even grey, or one that its DICOM window makes so: nothing to read."""
    NO_HAND = "no_hand"
    """No hand is to be seen on the radiograph, or not enough of one."""
    SEVERAL_HANDS = "several_hands"
    """More than one hand: which is meant cannot be known."""
    POINTS_UNCERTAIN = "points_uncertain"
    """A hand, but its fingertips and wrist were not found for certain: it cannot be registered."""
    SEX_MISSING = "sex_missing"
    """No sex was given. It is never guessed."""
    ALL_REJECTED = "all_rejected"
    """Of several radiographs not one could be assessed: there is nothing to evaluate."""


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


class Rejection(BoneageError):  # noqa: N818 - it is no error of the program
    """A radiograph that cannot, or must not, be assessed."""

    exit_status = 3

    def __init__(self, code: RejectionCode, message: str) -> None:
        super().__init__(code.value, message)


class BundleError(BoneageError):
    """A bundle that is missing, damaged or made for another version.

    ``bundle_not_found``: there is none at that place.
    ``bundle_invalid``: its manifest is not one.
    ``bundle_checksum``: a graph is not the file that the manifest names.
    ``bundle_mismatch``: manifest, graphs or runs do not go together.
    ``bundle_output``: a graph gave what is no answer.
    ``bundle_check_failed``: the self-test gave other ages than the manifest expects.
    ``bundle_exists``: it would overwrite another.
    """

    exit_status = 4


class RecipeError(BoneageError):
    """A training recipe, or a run by one, that cannot be used.

    ``recipe_invalid``: unknown keys, values out of range, or a run without its record.
    ``recipe_changed``: the folder holds a run of another recipe or of other radiographs.
    ``recipe_busy``: another process trains in the folder.
    ``recipe_diverged``: the loss of a training became no number.
    """

    exit_status = 5


class TableError(BoneageError):
    """A table of radiographs or predictions that cannot be used.

    ``table_not_found``: there is none at that place.
    ``table_unreadable``: it is not CSV, or not UTF-8.
    ``table_columns``: a column is missing or named twice, or the columns are not separated by commas.
    ``table_empty``: it has no rows.
    ``table_value``: a cell does not hold what its column needs.
    ``table_units``: its ages are in years.
    ``table_duplicate``: an id comes twice.
    ``table_image_missing``: images are not where the table says.
    ``table_split``: a part of the split is missing or empty.
    ``table_resume``: it is no table of an interrupted run with these radiographs and settings.
    ``table_busy``: another process writes it.
    """

    exit_status = 6


class ConfigurationError(BoneageError):
    """The service cannot be run as it is set up.

    ``setting_invalid``: a variable of the environment has a value out of range.
    ``address_invalid``: it cannot listen at this address.
    ``port_in_use``: another program listens at this port.
    ``database_unusable``: the database cannot be opened or reached.
    ``database_outdated``: the database is of another version.
    """

    exit_status = 8


class AtlasError(BoneageError):
    """A reference atlas that cannot be used.

    ``atlas_not_found``: there is none at that place, or it has no such plate.
    ``atlas_invalid``: its index or one of its pictures cannot be read.
    """

    exit_status = 7
