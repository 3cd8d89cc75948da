"""DICOM files to data sets, and the kinds of object that are read."""

from __future__ import annotations

import logging
import struct
import zlib
from typing import TYPE_CHECKING

from boneage.errors import Rejection, RejectionCode
from boneage.reading.dicom.bounds import BoundedBytes
from boneage.reading.dicom.tags import number, text
from boneage.reading.dicom.uids import DEFLATED, DICOMDIR, RADIOGRAPH_CLASSES, STANDARD_ROOT
from boneage.reading.facts import ReadLimits
from boneage.reading.rejections import damaged, several_frames

if TYPE_CHECKING:
    from pydicom import Dataset
logger = logging.getLogger(__name__)

_PROJECTION_MODALITIES = {"CR", "DX", "RG", "RF", "XR", "DR"}
"""Modalities of projection radiographs.

CR, DX, RG (digitised film) and RF (fluoroscope) are defined terms. XR and DR are not, but occur in files.
"""
_RADIOGRAPH_MODALITIES = _PROJECTION_MODALITIES | {"SC", "OT"}
"""Modalities that are read. OT is for Secondary Capture; SC is not a defined term but occurs in files."""
_PIXEL_DATA = b"\xe0\x7f\x10\x00"
"""Tag of Pixel Data in little endian."""
_SEQUENCE_DELIMITER = b"\xfe\xff\xdd\xe0\0\0\0\0"


def parse_object(data: bytes, limits: ReadLimits) -> Dataset:
    """Parse a DICOM file, with or without a preamble, also deflated.

    Raises:
        Rejection: ``unreadable``, or ``too_large`` for a deflated object. Other errors are those of pydicom.
    """
    dataset = _parse_once(data, limits)
    if "PixelData" not in dataset and _PIXEL_DATA in data:
        # pydicom drops compressed pixels whose sequence ends with the file. The decoder finds whether they are whole.
        again = _parse_once(data + _SEQUENCE_DELIMITER, limits)
        if "PixelData" in again:
            logger.warning("the sequence of the DICOM object's compressed pixels has no end: the file's end is taken")
            return again
    return dataset


def _parse_once(data: bytes, limits: ReadLimits) -> Dataset:
    import pydicom  # noqa: PLC0415  # slow to import, and not needed for other files
    from pydicom.filereader import read_dataset  # noqa: PLC0415

    body = data[132:] if data[128:132] == b"DICM" else data
    if not body.startswith(b"\x02\x00"):
        return pydicom.dcmread(BoundedBytes(data), force=True)
    stream = BoundedBytes(body)
    meta = read_dataset(stream, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
    if text(meta, "TransferSyntaxUID") != DEFLATED:
        # The preamble was long optional, but pydicom takes a file without one for a data set without file meta.
        return pydicom.dcmread(BoundedBytes(data if body is not data else bytes(128) + b"DICM" + data), force=True)
    # pydicom would inflate without any bound.
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(body[meta_end(body) :], limits.max_bytes + 1)
    limits.check_bytes(len(inflated))
    if not inflater.eof:
        raise damaged("the deflated DICOM object is cut off")
    dataset = read_dataset(BoundedBytes(inflated), False, True)
    dataset.file_meta = pydicom.dataset.FileMetaDataset(meta)
    return dataset


def meta_end(body: bytes) -> int:
    """Return the offset at which the file meta group ends, from File Meta Information Group Length (PS3.10, 7.1)."""
    if body[:8] != b"\x02\x00\x00\x00UL\x04\x00":
        raise damaged("the DICOM file meta group has no length")
    return 12 + int(struct.unpack_from("<I", body, 8)[0])


def check_kind(dataset: Dataset) -> None:
    """Reject an object that is not a single radiograph.

    Raises:
        Rejection: ``not_a_radiograph``, ``several_frames`` or ``unreadable``.
    """
    modality = (text(dataset, "Modality") or "").upper()
    sop_class = text(dataset, "SOPClassUID")
    if _is_directory(dataset):
        raise Rejection(
            RejectionCode.NOT_A_RADIOGRAPH,
            "The file is a DICOMDIR, the index of a CD or folder. Give the image files that it lists.",
        )
    if sop_class and sop_class not in RADIOGRAPH_CLASSES and not _is_private_radiograph(sop_class, modality):
        raise _not_a_radiograph(_class_name(sop_class))
    if modality and modality not in _RADIOGRAPH_MODALITIES:
        raise _not_a_radiograph(f"its modality is {modality[:16]}")
    if "PixelData" not in dataset:
        if sop_class or modality:
            raise _not_a_radiograph("it holds no pixels")
        raise damaged("it is neither a picture nor a DICOM object with pixels")
    frames = number(dataset, "NumberOfFrames")
    if frames is not None and frames < 1:
        logger.warning("the DICOM object declares %.0f frames: read as one", frames)
    elif frames is not None and frames != 1:
        raise several_frames(f"{frames:.0f} frames")


def _not_a_radiograph(why: str) -> Rejection:
    return Rejection(
        RejectionCode.NOT_A_RADIOGRAPH,
        f"The DICOM object is not a radiograph: {why}. Choose the object that holds the radiograph of the hand.",
    )


def _is_directory(dataset: Dataset) -> bool:
    meta = getattr(dataset, "file_meta", None)
    stated = text(meta, "MediaStorageSOPClassUID") if meta is not None else None
    return stated == DICOMDIR or "DirectoryRecordSequence" in dataset


def _is_private_radiograph(sop_class: str, modality: str) -> bool:
    """Return whether the object is a radiograph of a private class.

    Manufacturers store radiographs under classes of their own, with the pixel module of CR.
    """
    return not sop_class.startswith(STANDARD_ROOT) and modality in _PROJECTION_MODALITIES


def _class_name(sop_class: str) -> str:
    from pydicom.uid import UID  # noqa: PLC0415  # slow to import

    name = UID(sop_class).name if sop_class.startswith(STANDARD_ROOT) else sop_class
    return "it is of another SOP class" if name == sop_class else f"it is of the class {name}"
