"""Codes of the objects: bone age, its method, bounds and classes, the hand, and who observed it.

Sources: LOINC 85151-9 and 37362-1; RadElement set RDES14 "Pediatric bone age"; SNOMED CT and DICOM (PS3.16, annex D).
No public code was found for Greulich and Pyle's method, the bounds of an interval, the difference of two ages and a
borderline class: they have private codes of the scheme `PRIVATE_SCHEME`, which every object identifies.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from boneage.report.numbers import NAMES, NumberCode, Unit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from boneage.schema import DeterminationCode, SexCode

PRIVATE_SCHEME = "99BONEAGE"

BONE_AGE = Code("85151-9", "LN", "Bone age")
REPORT = Code("37362-1", "LN", "XR Bone age")
BONE_AGE_BY_BONE = Code("BABONE", PRIVATE_SCHEME, "Bone age by this bone alone")
UNREADABLE_BONE = Code("UNREADABLE", PRIVATE_SCHEME, "Bone that was not read")
FINDING = Code("RDES14", "RADELEMENT", "Pediatric bone age")
DETERMINATION = Code("RDE1733", "RADELEMENT", "Bone age determination")
METHOD = Code("GP", PRIVATE_SCHEME, "Greulich and Pyle")
WARNING = Code("WARNING", PRIVATE_SCHEME, "Warning on the estimate")
REFERENCE = Code("REFERENCE", PRIVATE_SCHEME, "Reference of healthy children")
DETERMINATIONS: Mapping[DeterminationCode, Code] = MappingProxyType(
    {
        "delayed": Code("DELAYED", PRIVATE_SCHEME, "Delayed"),
        "normal": Code("NORMAL", PRIVATE_SCHEME, "Within normal limits"),
        "advanced": Code("ADVANCED", PRIVATE_SCHEME, "Advanced"),
        "borderline": Code("BORDERLINE", PRIVATE_SCHEME, "Borderline"),
    }
)

Z_SCORE = Code("121416", "DCM", "Z-score of measurement")
NUMBERS: Mapping[NumberCode, Code] = MappingProxyType(
    {
        **{code: Code(code, PRIVATE_SCHEME, NAMES[code]) for code in ("BA95L", "BA95U", "BAMINUSCA")},
        "SDS": Z_SCORE,
    }
)
"""Codes of the measurements beside the bone age; the chronological age is that of the subject."""
COMMENT = Code("121106", "DCM", "Comment")
REJECTED = Code("113037", "DCM", "Rejected for Patient Safety Reasons")
"""Title of a rejection note (CID 7010): the objects to which it refers must not be used."""
PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
SUBJECT_CLASS = Code("121024", "DCM", "Subject Class")
PATIENT = Code("121025", "DCM", "Patient")
SUBJECT_SEX = Code("121032", "DCM", "Subject Sex")
SUBJECT_AGE = Code("121033", "DCM", "Subject Age")
SEXES: Mapping[SexCode, Code] = MappingProxyType({"F": Code("F", "DCM", "Female"), "M": Code("M", "DCM", "Male")})
SOURCE = Code("260753009", "SCT", "Source")
MODALITIES: Mapping[str, Code] = MappingProxyType(
    {
        "CR": Code("CR", "DCM", "Computed Radiography"),
        "DX": Code("DX", "DCM", "Digital Radiography"),
        "RG": Code("RG", "DCM", "Radiographic imaging"),
        "RF": Code("RF", "DCM", "Radiofluoroscopy"),
        "OT": Code("OT", "DCM", "Other Modality"),
    }
)
SOURCE_IMAGE = Code("121322", "DCM", "Source Image for Image Processing Operation")
ENGLISH = Code("en", "RFC5646", "English")

HAND = Code("85562004", "SCT", "Hand")
_FINGERS: Mapping[str, Code] = MappingProxyType(
    {
        "1": Code("76505004", "SCT", "Thumb"),
        "2": Code("83738005", "SCT", "Index finger"),
        "3": Code("65531009", "SCT", "Middle finger"),
        "4": Code("82002001", "SCT", "Ring finger"),
        "5": Code("12406000", "SCT", "Little finger"),
    }
)
_PARTS: Mapping[str, Code] = MappingProxyType(
    {
        "metacarpal": Code("MCBASE", PRIVATE_SCHEME, "Base of the metacarpal"),
        "mcp": Code("MCP", PRIVATE_SCHEME, "Metacarpophalangeal joint"),
        "pip": Code("PIP", PRIVATE_SCHEME, "Proximal interphalangeal joint"),
        "dip": Code("DIP", PRIVATE_SCHEME, "Distal interphalangeal joint"),
        "ip": Code("IP", PRIVATE_SCHEME, "Interphalangeal joint of the thumb"),
    }
)
_BONES: Mapping[str, Code] = MappingProxyType(
    {
        "radius": Code("75129005", "SCT", "Distal Radius"),
        "ulna": Code("91238003", "SCT", "Distal Ulna"),
        "carpals": Code("8205005", "SCT", "Wrist"),
    }
)


def bone_site(name: str) -> tuple[Code, Code | None]:
    """Return the finding site of a bone or joint, and the part of it.

    SNOMED CT has the finger. Which of its joints is meant is a modifier of our own.

    Args:
        name: name of the bone (`boneage.schema.BoneDocument`).
    """
    if name in _BONES:
        return _BONES[name], None
    part, _, ray = name.partition("_")
    return _FINGERS[ray], _PARTS[part]


SIDES: Mapping[str, Code] = MappingProxyType(
    {"L": Code("7771000", "SCT", "Left"), "R": Code("24028007", "SCT", "Right")}
)

MONTHS = Code("mo", "UCUM", "month")
YEARS = Code("a", "UCUM", "year")
NO_UNITS = Code("1", "UCUM", "no units")
UNITS: Mapping[Unit, Code] = MappingProxyType({"mo": MONTHS, "1": NO_UNITS})
PIXELS = Code("{pixels}", "UCUM", "Pixels")


def coded(code: Code) -> Dataset:
    """Return a code as the item of a code sequence (PS3.3, table 8.8-1)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item


def schemes() -> list[Dataset]:
    """Return the identification of the schemes beyond those of PS3.16 (PS3.3, C.12.1.1.1, Coding Scheme)."""
    private = Dataset()
    private.CodingSchemeDesignator = PRIVATE_SCHEME
    private.CodingSchemeName = "Codes of the program boneage"
    private.CodingSchemeResponsibleOrganization = "The boneage developers"
    elements = Dataset()
    elements.CodingSchemeDesignator = "RADELEMENT"
    elements.CodingSchemeName = "RadElement common data elements"
    elements.CodingSchemeResponsibleOrganization = "RSNA and ACR"
    return [private, elements]
