"""Bodies of STOW-RS requests give exactly the files that were put in, and nothing else."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage.node.multipart import MOST_PARTS, MultipartError, files_of

BOUNDARY = "b0undary"
CONTENT_TYPE = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


def body_of(*files: bytes, head: bytes = b"Content-Type: application/dicom") -> bytes:
    """Return the body with some files."""
    parts = [f"--{BOUNDARY}\r\n".encode() + head + b"\r\n\r\n" + file + b"\r\n" for file in files]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=5), st.binary(max_size=20))
def test_files_of(files: list[bytes], preamble: bytes) -> None:
    """The files come back byte for byte, in their order, whatever is before them."""
    assert files_of(CONTENT_TYPE, body_of(*files)) == files
    if BOUNDARY.encode() not in preamble:
        assert files_of(CONTENT_TYPE, preamble + b"\r\n" + body_of(*files)) == files


@pytest.mark.parametrize(
    "content_type",
    [
        f"multipart/related; boundary={BOUNDARY}",
        f'Multipart/Related; boundary="{BOUNDARY}"; type=application/dicom',
        f"multipart/related;type=APPLICATION/DICOM;boundary={BOUNDARY}",
    ],
)
def test_files_of_media_types(content_type: str) -> None:
    head = b"content-length: 1\r\nCONTENT-TYPE: application/dicom; transfer-syntax=1.2.840.10008.1.2.1"
    assert files_of(content_type, body_of(b"x", head=head)) == [b"x"]


@pytest.mark.parametrize(
    ("content_type", "body", "is_unsupported"),
    [
        ("application/dicom", b"x", True),
        ("multipart/form-data; boundary=b", b"x", True),
        (f'multipart/related; type="application/dicom+json"; boundary={BOUNDARY}', body_of(b"x"), True),
        (CONTENT_TYPE, body_of(b"x", head=b"Content-Type: image/jpeg"), True),
        (CONTENT_TYPE, body_of(b"x", head=b"X: y"), True),
        ('multipart/related; type="application/dicom"', body_of(b"x"), False),
        (f"multipart/related; boundary={'b' * 71}", body_of(b"x"), False),
        (CONTENT_TYPE, b"", False),
        (CONTENT_TYPE, f"--{BOUNDARY}--\r\n".encode(), False),
        (CONTENT_TYPE, body_of(b"x").partition(b"--b0undary--")[0], False),
        (CONTENT_TYPE, f"--{BOUNDARY}junk\r\n\r\nx\r\n--{BOUNDARY}--".encode(), False),
        (CONTENT_TYPE, body_of(*[b""] * (MOST_PARTS + 1)), False),
    ],
)
def test_files_of_fault(content_type: str, body: bytes, is_unsupported: bool) -> None:
    with pytest.raises(MultipartError) as error:
        files_of(content_type, body)
    assert error.value.is_unsupported is is_unsupported


@given(st.text(max_size=60), st.binary(max_size=100))
def test_files_of_anything(parameters: str, body: bytes) -> None:
    """Whatever arrives is taken apart or rejected."""
    for content_type in (parameters, f"multipart/related; {parameters}", CONTENT_TYPE):
        with suppress(MultipartError):
            files_of(content_type, body)
    with suppress(MultipartError):
        files_of(CONTENT_TYPE, body_of(b"x")[: len(body)] + body)
