"""Files of other formats are named in the rejection, with what to do about them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.errors import Rejection
from boneage.reading.foreign_formats import name_foreign_format
from boneage.reading.radiograph import read_radiograph
from tests.radiograph_files import VALID


def archive(name: str, content: bytes = VALID["png 8"]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(name, content)
    return buffer.getvalue()


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        entry = tarfile.TarInfo("hand.dcm")
        entry.size = 1000
        file.addfile(entry, io.BytesIO(bytes(1000)))
    return buffer.getvalue()


def media(brand: bytes, *compatible: bytes) -> bytes:
    box = b"ftyp" + brand + bytes(4) + b"".join(compatible)
    return struct.pack(">I", len(box) + 4) + box + bytes(500)


def raw_photograph(tags: list[tuple[int, int]]) -> bytes:
    """Return a TIFF whose one directory declares it a camera's."""
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted([(256, 100), (257, 100), *tags])]
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(200)


FOREIGN = [
    (archive("hand.dcm"), "ZIP archive", "Unpack it first"),
    (archive("word/document.xml"), "Word document", "Save the radiograph"),
    (archive("ppt/slides/slide1.xml"), "PowerPoint", "Save the radiograph"),
    (tar(), "tar archive", "Unpack it first"),
    (gzip.compress(VALID["dicom explicit"]), "gzip", "Unpack it first"),
    (bz2.compress(VALID["png 8"]), "bzip2", "Unpack it first"),
    (lzma.compress(VALID["png 8"]), "xz", "Unpack it first"),
    (b"7z\xbc\xaf\x27\x1c" + bytes(100), "7-Zip", "Unpack it first"),
    (b"Rar!\x1a\x07\x01\0" + bytes(100), "RAR", "Unpack it first"),
    (bytes(0x8001) + b"CD001" + bytes(100), "CD or DVD", "Unpack it first"),
    (media(b"heic", b"mif1"), "HEIC", "Convert it to JPEG or PNG"),
    (media(b"mif1", b"heic"), "HEIC", "Convert it to JPEG or PNG"),
    (media(b"mif1", b"avif"), "AVIF", "Convert it to JPEG or PNG"),
    (media(b"avif"), "AVIF", "Convert it to JPEG or PNG"),
    (media(b"isom", b"mp41"), "MP4", "single image"),
    (media(b"qt  "), "QuickTime", "single image"),
    (media(b"crx "), "raw photograph", "Develop it"),
    (b"RIFF\xff\xff\0\0AVI LIST" + bytes(50), "AVI", "single image"),
    (b"\x1aE\xdf\xa3" + bytes(50), "Matroska", "single image"),
    (b"%PDF-1.7\n" + bytes(50), "PDF", "Save the radiograph"),
    (b"\r\n\r\n%PDF-1.4\n" + bytes(50), "PDF", "Save the radiograph"),
    (b"%!PS-Adobe-3.0\n", "PostScript", "Save the radiograph"),
    (b"GIF89a" + bytes(500), "GIF", "Export it"),
    (b"\xff\x0a" + bytes(50), "JPEG XL", "Export it"),
    (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(50), "JPEG XL", "Export it"),
    (b"P5\n64 64\n255\n" + bytes(4096), "portable bitmap", "Export it"),
    (b"8BPS\0\1" + bytes(50), "Photoshop", "Export it"),
    (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"></svg>', "SVG", "Save the radiograph"),
    (b"\xef\xbb\xbf\n<!DOCTYPE html><html><body>Login</body></html>", "web page", "that the page shows"),
    ("<html>".encode("utf-16"), "web page", "that the page shows"),
    (b"<NativeDicomModel/>", "XML", "Save the radiograph"),
    (struct.pack("<i", 348) + bytes(340) + b"n+1\0" + bytes(4), "NIfTI", "Export the radiograph"),
    (struct.pack(">i", 348) + bytes(340) + b"ni1\0" + bytes(4), "NIfTI", "Export the radiograph"),
    (struct.pack("<i", 348) + bytes(400), "Analyze", "Export the radiograph"),
    (struct.pack("<i", 540) + b"n+2\0\r\n\x1a\n" + bytes(532), "NIfTI", "Export the radiograph"),
    (b"ObjectType = Image\nNDims = 2\n", "MetaImage", "Export the radiograph"),
    (b"NDims = 3\n", "MetaImage", "Export the radiograph"),
    (b"NRRD0005\n", "NRRD", "Export the radiograph"),
    (b"\x93NUMPY\1\0" + bytes(50), "NumPy", "Export the radiograph"),
    (b"FUJIFILMCCD-RAW 0201" + bytes(50), "RAF", "Develop it"),
    (b"II*\0\x10\0\0\0CR\2\0" + bytes(50), "raw photograph", "Develop it"),
    (raw_photograph([(262, 32803)]), "raw photograph", "Develop it"),
    (raw_photograph([(254, 1), (262, 2), (50706, 1)]), "raw photograph", "Develop it"),
    (b"\0\5\x16\7" + bytes(50), "macOS", "belongs to"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "Office", "Save the radiograph"),
    (b"MZ" + bytes(50), "program", "CD"),
]


@pytest.mark.parametrize(
    ("data", "name", "advice"), FOREIGN, ids=[f"{name} {index}" for index, (_, name, _) in enumerate(FOREIGN)]
)
def test_read_radiograph_foreign_format(data: bytes, name: str, advice: str) -> None:
    """The rejection names a foreign format and what to do."""
    with pytest.raises(Rejection, match=name) as caught:
        read_radiograph(data)
    assert caught.value.code == "unsupported_format"
    assert advice in caught.value.message
    assert caught.value.message.count(". ") <= 1, "two sentences at most"


@pytest.mark.parametrize("data", VALID.values(), ids=VALID.keys())
def test_name_foreign_format_read_format(data: bytes) -> None:
    """Formats that are read have no foreign name."""
    assert name_foreign_format(data) is None


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([data for data, _, _ in FOREIGN]), st.integers(0, 600))
def test_name_foreign_format_any_beginning(data: bytes, length: int) -> None:
    """Any beginning of a file is examined without an error."""
    named = name_foreign_format(data[:length])
    assert named is None or all(named)


@pytest.mark.parametrize("data", [b"", b"a,b\n1,2\n", b"{}", bytes(700), b"\xff" * 10])
def test_name_foreign_format_unknown_format(data: bytes) -> None:
    assert name_foreign_format(data) is None
