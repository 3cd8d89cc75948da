"""Transfer syntaxes that the node accepts."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.uid import UID

from boneage.reading.dicom.uids import JPEG, JPEG_2000, JPEG_LS, NATIVE, RLE

READ = frozenset(NATIVE | JPEG | JPEG_LS | JPEG_2000 | {RLE})
"""Transfer syntaxes of which radiographs are read."""


def by_preference(proposed: Sequence[UID]) -> list[UID]:
    """Return the transfer syntaxes of a presentation context, the preferred ones first.

    Those that are read come first, in the order of the peer: the first one is often that in which it has the object,
    and not every peer can convert. Others are the last resort: an object in one of them is kept and rejected later,
    whereas a rejected presentation context stops the forwarding of whole studies.

    Args:
        proposed: UIDs in the order in which the peer proposes them.
    """
    return sorted(proposed, key=lambda uid: uid not in READ)
