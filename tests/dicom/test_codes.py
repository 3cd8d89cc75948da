"""Codes are those of the standard where pydicom's dictionaries hold them."""

from __future__ import annotations

import pytest
from pydicom.sr.codedict import codes as standard
from pydicom.sr.coding import Code

from boneage.dicom import codes
from boneage.hand.bones import BONES


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (codes.HAND, standard.SCT.Hand),
        (codes.SIDES["L"], standard.SCT.Left),
        (codes.SIDES["R"], standard.SCT.Right),
        (codes.SUBJECT_SEX, standard.DCM.SubjectSex),
        (codes.SUBJECT_AGE, standard.DCM.SubjectAge),
        (codes.SUBJECT_CLASS, standard.DCM.SubjectClass),
        (codes.PATIENT, standard.DCM.Patient),
        (codes.Z_SCORE, standard.DCM.ZScoreOfMeasurement),
        (codes.COMMENT, standard.DCM.Comment),
        (codes.REJECTED, standard.DCM.RejectedForPatientSafetyReasons),
        (codes.ARTIFICIAL_INTELLIGENCE, standard.DCM.ArtificialIntelligence),
        (codes.SOURCE_IMAGE, standard.DCM.SourceImageForImageProcessingOperation),
        (codes.PROCEDURE, standard.SCT.ImagingProcedure),
        (codes.MONTHS, standard.UCUM.Month),
        (codes.NO_UNITS, standard.UCUM.NoUnits),
        (codes.bone_site("radius")[0], standard.SCT.DistalRadius),
        (codes.bone_site("ulna")[0], standard.SCT.DistalUlna),
        (codes.bone_site("carpals")[0], standard.SCT.WristRegionStructure),
        (codes.bone_site("mcp_1")[0], standard.SCT.ThumbStructure),
    ],
)
def test_codes_of_the_standard(ours: Code, theirs: Code) -> None:
    """The value and scheme of a code are those of the standard."""
    assert (ours.value, ours.scheme_designator) == (theirs.value, theirs.scheme_designator)


def test_schemes_identify_private_codes() -> None:
    """All schemes beyond those of PS3.16 are identified, and their codes differ."""
    private = [one for one in vars(codes).values() if isinstance(one, Code) and one.scheme_designator == "99BONEAGE"]
    private += codes.DETERMINATIONS.values()
    private += {part for bone in BONES if (part := codes.bone_site(bone.name)[1]) is not None}
    private += [one for one in codes.NUMBERS.values() if one.scheme_designator == "99BONEAGE"]
    assert len({one.value for one in private}) == len(private)
    assert {item.CodingSchemeDesignator for item in codes.schemes()} == {"99BONEAGE", "RADELEMENT"}
    assert all(len(one.value) <= 16 and len(one.meaning) <= 64 for one in private)
