"""Transfer syntaxes in the order in which the node prefers to receive them."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.uid import UID

from boneage.reading.dicom.uids import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    JPEG,
    JPEG_2000,
    JPEG_LS,
    RLE,
)

JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
JPEG_LS_LOSSLESS = "1.2.840.10008.1.2.4.80"
JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"

PREFERRED = (
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    JPEG_LOSSLESS,
    JPEG_LS_LOSSLESS,
    RLE,
    JPEG_2000_LOSSLESS,
    DEFLATED,
    EXPLICIT_BIG,
    *sorted((JPEG | JPEG_LS | JPEG_2000) - {JPEG_LOSSLESS, JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS}),
)
"""Transfer syntaxes of which radiographs are read: uncompressed ones first, then lossless ones, then the others."""


def by_preference(proposed: Sequence[UID]) -> list[UID]:
    """Return the transfer syntaxes of a presentation context, the preferred ones first.

    Args:
        proposed: UIDs in the order in which the peer proposes them. Those that are not read keep their order at the
            end: the last resort is to accept an object that is rejected later, since a receiver that rejects a
            presentation context stops the forwarding of whole studies.
    """
    return sorted(proposed, key=lambda uid: PREFERRED.index(uid) if uid in PREFERRED else len(PREFERRED))
