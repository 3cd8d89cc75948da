"""Rejections of files, worded alike by all readers."""

from __future__ import annotations

from boneage.errors import Rejection, RejectionCode


def damaged(problem: str, advice: str = "Copy or export it again, as DICOM, PNG or TIFF.") -> Rejection:
    """Return the rejection of a file that is damaged or of a rare kind.

    Args:
        problem: A main clause that completes "The file cannot be read: ...", without the full stop.
        advice: A sentence on what to do.
    """
    return Rejection(RejectionCode.UNREADABLE, f"The file cannot be read: {problem}. {advice}")


def unsupported(kind: str, advice: str) -> Rejection:
    """Return the rejection of a file whose format is recognised but not read.

    Args:
        kind: The kind of file, which completes "The file is ...".
        advice: A sentence on what to do.
    """
    return Rejection(RejectionCode.UNSUPPORTED_FORMAT, f"The file is {kind}, which is not read. {advice}")


def several_frames(kind: str) -> Rejection:
    """Return the rejection of a file with more than one image.

    Args:
        kind: The kind of file, or the number of frames.
    """
    return Rejection(
        RejectionCode.SEVERAL_FRAMES,
        f"The file holds several pictures ({kind}). Save the one radiograph of the hand as a file of its own.",
    )


def rejection_of(error: BaseException) -> Rejection:
    """Return the rejection for an error while a DICOM object is read.

    pydicom may raise an error in place of the rejection from which it comes, as it does in sequences. The text of an
    error may quote patient data, so only its kind is reported.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, Rejection):
            return cause
        if isinstance(cause, RecursionError):
            return damaged("the sequences of the DICOM object are nested too deeply")
        cause = cause.__context__
    return damaged(f"the DICOM object is damaged ({type(error).__name__})")
