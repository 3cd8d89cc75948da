"""Transfer syntaxes that are read come first, in the order of the peer."""

from __future__ import annotations

from pydicom.uid import UID

from boneage.node.transfer_syntaxes import by_preference
from boneage.reading.dicom.uids import EXPLICIT_BIG, IMPLICIT_LITTLE


def test_by_preference() -> None:
    video, xl, lossless = (UID(f"1.2.840.10008.1.2.4.{number}") for number in (102, 110, 70))
    proposed = [xl, lossless, video, UID(EXPLICIT_BIG), UID(IMPLICIT_LITTLE)]
    assert by_preference(proposed) == [lossless, EXPLICIT_BIG, IMPLICIT_LITTLE, xl, video]
    assert by_preference([xl]) == [xl]
