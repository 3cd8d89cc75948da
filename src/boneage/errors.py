"""Named failures: every way in which an input can be rejected, with one code and one exit status each.

A :class:`Rejection` concerns one radiograph and carries a sentence for the person who chose it. A :class:`BoneageError`
of another kind concerns an input of the operator (a bundle, a recipe, a table). Codes are stable: the command line
prints them, the web service returns them, and logs carry them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class RejectionCode(StrEnum):
    """Reason why a radiograph is not assessed."""

    NOT_FOUND = "not_found"
    """The file does not exist or may not be opened."""
    UNREADABLE = "unreadable"
    """The file is no image or DICOM object, or is damaged."""
    UNSUPPORTED_FORMAT = "unsupported_format"
    """The format is recognised but not read, such as an archive, a video or a document; the message names it."""
    READING_TIMEOUT = "reading_timeout"
    """Reading the file took more processor time than its caller allows."""
    TOO_LARGE = "too_large"
    """The file has more bytes or pixels than the limits allow; this is found before decoding."""
    TOO_SMALL = "too_small"
    """The image has too few pixels to see ossification centres."""
    NOT_GRAYSCALE = "not_grayscale"
    """The image is in colours that are not grey."""
    SEVERAL_FRAMES = "several_frames"
    """The file is a multi-frame DICOM object or an animated image."""
    NOT_A_RADIOGRAPH = "not_a_radiograph"
    """The file is another DICOM object, or an image that cannot be a radiograph: a strip, or a drawing of few greys."""
    NO_CONTRAST = "no_contrast"
    """The radiograph is one even grey, or its DICOM window makes it so."""
    NO_HAND = "no_hand"
    """The radiograph shows no hand, or not enough of one."""
    SEVERAL_HANDS = "several_hands"
    """The radiograph shows more than one hand, so that the intended one is unknown."""
    POINTS_UNCERTAIN = "points_uncertain"
    """The radiograph shows a hand, but its fingertips and wrist are too uncertain to register it."""
    SEX_MISSING = "sex_missing"
    """No sex was given. It is never guessed."""
    ALL_REJECTED = "all_rejected"
    """None of several radiographs could be assessed, so that nothing can be evaluated."""


class BoneageError(Exception):
    """Base of all errors that the package raises on purpose.

    Attributes:
        code: Stable, lower-case, snake_case name of the failure.
        message: One or two sentences for a person.
    """

    exit_status = 1

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{message} [{code}]")
        self.code = str(code)
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how the error is pickled, so that it travels between processes."""
        return _restored, (type(self), self.code, self.message)


def _restored(kind: type[BoneageError], code: str, message: str) -> BoneageError:
    error = kind.__new__(kind)
    BoneageError.__init__(error, code, message)
    return error


class Rejection(BoneageError):  # noqa: N818 - not an error of the program
    """A radiograph that cannot, or must not, be assessed."""

    exit_status = 3

    def __init__(self, code: RejectionCode, message: str) -> None:
        super().__init__(code.value, message)


class BundleError(BoneageError):
    """A bundle that is missing, damaged or made for another version.

    ``bundle_not_found``: there is no bundle at that place.
    ``bundle_invalid``: its manifest is invalid.
    ``bundle_checksum``: a graph differs from the file that the manifest names.
    ``bundle_mismatch``: manifest, graphs or runs do not fit together.
    ``bundle_output``: a graph gave an invalid output.
    ``bundle_check_failed``: the self-test gave other ages than the manifest expects.
    ``bundle_exists``: it would overwrite another bundle.
    ``provider_missing``: the execution provider of the setting ``BONEAGE_PROVIDER`` cannot be used.
    """

    exit_status = 4


class RecipeError(BoneageError):
    """A training recipe, or a run by one, that cannot be used.

    ``recipe_invalid``: unknown keys, values out of range, or a run without its record.
    ``recipe_changed``: the folder holds a run of another recipe or of other radiographs.
    ``recipe_busy``: another process trains in the folder.
    ``recipe_diverged``: the loss of a training is no longer a number.
    """

    exit_status = 5


class TableError(BoneageError):
    """A table of radiographs or predictions that cannot be used.

    ``table_not_found``: there is no table at that place.
    ``table_unreadable``: it is not CSV, or not UTF-8.
    ``table_columns``: a column is missing or named twice, or the columns are not separated by commas.
    ``table_empty``: it has no rows.
    ``table_value``: a cell does not hold a value that its column allows.
    ``table_units``: its ages are in years.
    ``table_duplicate``: an id occurs twice.
    ``table_image_missing``: images are missing from their stated places.
    ``table_split``: a part of the split is missing or empty.
    ``table_exists``: results would replace files that the command has not written.
    ``table_resume``: it does not belong to an interrupted run with these radiographs and settings.
    ``table_busy``: another process writes it.
    ``table_archive``: a training archive is damaged, has another format, or has files that do not belong in one.
    ``table_archive_size``: the radiographs do not fit into a training archive of the wanted size.
    """

    exit_status = 6


class ConfigurationError(BoneageError):
    """A configuration with which the service or the DICOM node cannot run.

    ``pacs_invalid``: the file of the DICOM node is missing or invalid, or its certificates cannot be used.
    ``setting_invalid``: an environment variable has a value out of range.
    ``address_invalid``: the service cannot listen at this address, or no server answers there.
    ``port_in_use``: another program listens at this port.
    ``database_unusable``: the database cannot be opened or reached.
    ``database_outdated``: the database is of another version.
    """

    exit_status = 8


class AtlasError(BoneageError):
    """A reference atlas that cannot be used.

    ``atlas_not_found``: there is no atlas at that place, or it has no such plate.
    ``atlas_invalid``: its index or one of its images cannot be read.
    """

    exit_status = 7


class NodeError(BoneageError):
    """A PACS, or a peer of the DICOM node, that cannot be used.

    ``peer_not_ready``: it does not answer, or does not accept what is needed.
    """

    exit_status = 10
