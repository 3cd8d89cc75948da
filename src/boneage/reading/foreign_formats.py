"""Names of file formats that are not read, so that a rejection can name the format and say what to do.

Only the first bytes of a file are examined; nothing is unpacked or decoded.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

_UNPACK = "Unpack it first, then give the radiograph inside."
_EXPORT = "Export it as DICOM, PNG or TIFF."
_EXPORT_PICTURE = "Save the radiograph itself as DICOM, PNG or TIFF."
_EXPORT_SLICE = "Export the radiograph as DICOM, or as PNG or TIFF of 16 bits."
_CONVERT_PHOTO = "Convert it to JPEG or PNG; the original DICOM file is better than a photograph."
_DEVELOP = "Develop it to TIFF, PNG or JPEG; the original DICOM file is better than a photograph."
_ONE_FRAME = "Give the radiograph as a single image, best the original DICOM file."
_GIVE_ORIGINAL = "Give the file that it belongs to or refers to."

_START = 4096
"""Bytes that are examined for the beginning of a text document."""
_ISO_9660 = 0x8001
_TAR = 257

_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "packed with gzip", _UNPACK),
    (b"\x1f\x9d", "packed with compress", _UNPACK),
    (b"BZh", "packed with bzip2", _UNPACK),
    (b"\xfd7zXZ\0", "packed with xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "packed with Zstandard", _UNPACK),
    (b"\x04\x22\x4d\x18", "packed with LZ4", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"MSCF\0\0\0\0", "a cabinet archive", _UNPACK),
    (b"GIF87a", "a GIF picture", _EXPORT),
    (b"GIF89a", "a GIF picture", _EXPORT),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture", _EXPORT),
    (b"\xff\x0a", "a JPEG XL picture", _EXPORT),
    (b"II\xbc\x01", "a JPEG XR picture", _EXPORT),
    (b"\x97JB2\r\n\x1a\n", "a JBIG2 scan", _EXPORT),
    (b"8BPS", "a Photoshop document", _EXPORT),
    (b"gimp xcf", "a GIMP document", _EXPORT),
    (b"\x76\x2f\x31\x01", "an OpenEXR picture", _EXPORT),
    (b"#?RADIANCE", "a Radiance HDR picture", _EXPORT),
    (b"\0\0\x01\0", "an icon", _EXPORT_PICTURE),
    (b"AT&TFORM", "a DjVu document", _EXPORT_PICTURE),
    (b"%!PS", "a PostScript document", _EXPORT_PICTURE),
    (b"{\\rtf", "an RTF document", _EXPORT_PICTURE),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document", _EXPORT_PICTURE),
    (b"FUJIFILMCCD-RAW", "a raw photograph (RAF)", _DEVELOP),
    (b"IIRO", "a raw photograph (ORF)", _DEVELOP),
    (b"IIRS", "a raw photograph (ORF)", _DEVELOP),
    (b"MMOR", "a raw photograph (ORF)", _DEVELOP),
    (b"IIU\0", "a raw photograph (RW2)", _DEVELOP),
    (b"FOVb", "a raw photograph (X3F)", _DEVELOP),
    (b"\0MRM", "a raw photograph (MRW)", _DEVELOP),
    (b"\x1aE\xdf\xa3", "a video (Matroska or WebM)", _ONE_FRAME),
    (b"\0\0\x01\xba", "a video (MPEG)", _ONE_FRAME),
    (b"\0\0\x01\xb3", "a video (MPEG)", _ONE_FRAME),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a video (Windows Media)", _ONE_FRAME),
    (b"FLV\x01", "a video (Flash)", _ONE_FRAME),
    (b"OggS", "a video or sound (Ogg)", _ONE_FRAME),
    (b"NRRD000", "an NRRD volume", _EXPORT_SLICE),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", _EXPORT_SLICE),
    (b"CDF\x01", "a NetCDF file", _EXPORT_SLICE),
    (b"CDF\x02", "a NetCDF file", _EXPORT_SLICE),
    (b"\x93NUMPY", "a NumPy array", _EXPORT_SLICE),
    (b"MATLAB 5.0 MAT-file", "a MATLAB file", _EXPORT_SLICE),
    (b"SIMPLE  =", "a FITS file", _EXPORT_SLICE),
    (b"\0\x05\x16\x07", "a companion file of macOS (its name begins with ._)", _GIVE_ORIGINAL),
    (b"L\0\0\0\x01\x14\x02\0", "a Windows shortcut", _GIVE_ORIGINAL),
    (b"[InternetShortcut]", "a link to a web page", _GIVE_ORIGINAL),
    (b"version https://git-lfs", "a pointer of Git LFS", _GIVE_ORIGINAL),
    (b"\x7fELF", "a program", _EXPORT_PICTURE),
    (b"MZ", "a Windows program", "Give the image files of the CD."),
)
"""First bytes, the kind of file (which completes "The file is ..."), and advice."""

_PORTABLE_MAP = re.compile(rb"P([1-7])\s")
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"mif2"}
_AVIF_BRANDS = {b"avif", b"avis"}
_RIFF_KINDS = {b"AVI ": ("a video (AVI)", _ONE_FRAME), b"WAVE": ("a sound", _EXPORT_PICTURE)}
_OFFICE = {
    b"word/": "a Word document",
    b"ppt/": "a PowerPoint presentation",
    b"xl/": "an Excel workbook",
    b"mimetypeapplication/vnd.oasis": "an OpenDocument file",
}


def name_foreign_format(data: bytes) -> tuple[str, str] | None:
    """Name the format of a file that is not read.

    Args:
        data: The whole file, or enough of its beginning.

    Returns:
        The kind of file, which completes "The file is ...", and a sentence on what to do. None if the format is
        unknown.
    """
    for signature, kind, advice in _SIGNATURES:
        if data.startswith(signature):
            return kind, advice
    return next(filter(None, (recognise(data) for recognise in _RECOGNISERS)), None)


def _zip(data: bytes) -> tuple[str, str] | None:
    if data[:4] not in {b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"}:
        return None
    for mark, kind in _OFFICE.items():
        if mark in data[:_START]:
            return kind, _EXPORT_PICTURE
    return "a ZIP archive", _UNPACK


def _tar(data: bytes) -> tuple[str, str] | None:
    return ("a tar archive", _UNPACK) if data[_TAR : _TAR + 5] == b"ustar" else None


def _disc(data: bytes) -> tuple[str, str] | None:
    return ("the image of a CD or DVD", _UNPACK) if data[_ISO_9660 : _ISO_9660 + 5] == b"CD001" else None


def _media(data: bytes) -> tuple[str, str] | None:
    """Recognise the family of ISO/IEC 14496-12: photographs from phones, and videos."""
    if data[4:8] != b"ftyp":
        return None
    size = min(max(16, int.from_bytes(data[:4], "big")), 256)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, size, 4))}
    if data[8:12] == b"crx ":
        return "a raw photograph (CR3)", _DEVELOP
    if brands & _AVIF_BRANDS:
        return "an AVIF picture", _CONVERT_PHOTO
    if brands & _HEIF_BRANDS:
        return "an HEIC picture, as phones take them", _CONVERT_PHOTO
    return "a video (MP4 or QuickTime)", _ONE_FRAME


def _riff(data: bytes) -> tuple[str, str] | None:
    return _RIFF_KINDS.get(data[8:12]) if data[:4] == b"RIFF" else None


def _portable_map(data: bytes) -> tuple[str, str] | None:
    return ("a portable bitmap (PGM, PPM or the like)", _EXPORT) if _PORTABLE_MAP.match(data) else None


def _pdf(data: bytes) -> tuple[str, str] | None:
    return ("a PDF document", _EXPORT_PICTURE) if b"%PDF-" in data[:1024] else None


def _volume(data: bytes) -> tuple[str, str] | None:
    """Recognise NIfTI-1 and -2, their predecessor Analyze, and MetaImage."""
    if len(data) >= 348 and 348 in struct.unpack_from("<i", data) + struct.unpack_from(">i", data):
        return ("a NIfTI volume" if data[344:347] in {b"n+1", b"ni1"} else "an Analyze volume"), _EXPORT_SLICE
    if data[4:7] in {b"n+2", b"ni2"}:
        return "a NIfTI volume", _EXPORT_SLICE
    if re.match(rb"\s*(ObjectType|NDims)\s*=", data[:_START]):
        return "a MetaImage volume (MHA or MHD)", _EXPORT_SLICE
    return None


def _markup(data: bytes) -> tuple[str, str] | None:
    start = data[:_START]
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        start = start.replace(b"\0", b"")[2:]
    start = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not start.startswith(b"<"):
        return None
    if b"<svg" in start:
        return "an SVG drawing", _EXPORT_PICTURE
    if b"<!doctype html" in start or b"<html" in start or b"<head" in start:
        return "a web page", "Save the radiograph that the page shows, or better its original DICOM file."
    return "an XML document", _EXPORT_PICTURE


_RECOGNISERS: tuple[Callable[[bytes], tuple[str, str] | None], ...] = (
    _zip,
    _tar,
    _disc,
    _media,
    _riff,
    _portable_map,
    _pdf,
    _volume,
    _markup,
)
