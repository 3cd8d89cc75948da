"""Bodies of STOW-RS requests: ``multipart/related`` with DICOM files as parts (PS3.18, 8.6; RFC 2046, 5.1)."""

from __future__ import annotations

import re
from email.message import Message

MOST_PARTS = 256
"""Largest number of parts of a request."""
DICOM = "application/dicom"
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")


class MultipartError(Exception):
    """A body that cannot be taken apart.

    Attributes:
        is_unsupported: its media type is not supported; otherwise it is malformed.
    """

    def __init__(self, reason: str, *, is_unsupported: bool = False) -> None:
        super().__init__(reason)
        self.is_unsupported = is_unsupported


def boundary_of(content_type: str) -> bytes:
    """Return the boundary of a request whose parts are DICOM files.

    Args:
        content_type: header ``Content-Type``.

    Raises:
        MultipartError: it is another media type, or has no boundary.
    """
    header = Message()
    header["Content-Type"] = content_type.replace("\r", " ").replace("\n", " ")
    kind = header.get_param("type", DICOM)
    if header.get_content_type() != "multipart/related" or not isinstance(kind, str) or kind.lower() != DICOM:
        raise MultipartError("The media type must be multipart/related of application/dicom.", is_unsupported=True)
    boundary = header.get_param("boundary", "")
    if not isinstance(boundary, str) or not _BOUNDARY.fullmatch(boundary):
        raise MultipartError("The media type has no valid boundary.")
    return boundary.encode("ascii")


def files_of(content_type: str, body: bytes) -> list[bytes]:
    """Return the files of a request, in its order.

    Args:
        content_type: header ``Content-Type``.
        body: the complete body.

    Raises:
        MultipartError: the media type is not supported, or the body is malformed, has no part or too many of them.
    """
    delimiter = b"\r\n--" + boundary_of(content_type)
    _, *pieces = (b"\r\n" + body).split(delimiter, MOST_PARTS + 1)
    if len(pieces) > MOST_PARTS:
        raise MultipartError(f"The request has more than {MOST_PARTS} parts.")
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise MultipartError("The request has no part, or no end.")
    return [_file(piece) for piece in pieces[:-1]]


def _file(piece: bytes) -> bytes:
    """Return the content of a part, whose headers say that it is a DICOM file."""
    head, separator, content = piece.partition(b"\r\n\r\n")
    padding, _, lines = head.partition(b"\r\n")
    if not separator or padding.strip(b" \t"):
        raise MultipartError("A part of the request is malformed.")
    headers = Message()
    for line in lines.split(b"\r\n"):
        name, colon, value = line.decode("latin-1").partition(":")
        if colon and name.lower() == "content-type":
            headers["Content-Type"] = value.strip()
    if headers.get_content_type() != DICOM:  # without the header it is text (RFC 2045, 5.2)
        raise MultipartError("A part of the request is no DICOM file.", is_unsupported=True)
    return content
