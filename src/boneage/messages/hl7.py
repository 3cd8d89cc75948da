"""The result as an HL7 version 2.5.1 message, ORU^R01: an unsolicited observation for a radiology system."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib.metadata import version
from textwrap import wrap

from boneage.files import sha256_of
from boneage.messages.result import ResultSource, ResultValues, bone_code, bone_label, result_values
from boneage.schema import AssessmentDocument

_ESCAPES = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "\r": " ", "\n": " "}
_LONGEST_LINE = 120
"""Characters of a line of text. Receivers may cut values at 199, and an escape takes three."""
_CONTROL_ID_LENGTH = 20
"""Length of the control identifier (HL7 2.5.1, 2.15.9.10)."""
_UNITS = {"mo": "mo^month^UCUM", "1": "1^no units^UCUM"}


def oru_r01(
    document: AssessmentDocument, source: ResultSource, receiving_application: str = "", receiving_facility: str = ""
) -> str:
    r"""Return a result as an ORU^R01 message in the current language; segments end with ``\r``, text is UTF-8.

    A number that must not be used is absent: its observation has the status ``X``, and the reason follows as a note. A
    single bone that is not readable has the status ``X``, too.
    Equal messages have equal control identifiers (MSH-10), by which a receiver recognises one that is sent again.

    Args:
        document: the assessment.
        source: its origin.
        receiving_application: name of the receiving application (MSH-5).
        receiving_facility: name of the receiving facility (MSH-6).

    Raises:
        ClinicalError: the reference of the setting ``BONEAGE_REFERENCE`` cannot be read.
    """
    values = result_values(document, source)
    content = [_pid(source, values), _obr(source, values), *_obx(source, values)]
    receiver = (escaped(receiving_application), escaped(receiving_facility))
    return "".join(f"{segment}\r" for segment in (_msh(source, receiver, content), *content))


def retracted_message(sent: str, issued: datetime) -> str:
    r"""Return the message that retracts the result of another one.

    Each of its observations is marked as wrong (OBX-11 ``W``, HL7 table 0085: transmitted for the wrong patient, for
    example), and the report as a correction (OBR-25 ``C``). Values and identifiers are those of the first message, so
    that the receiver finds what it has.

    Args:
        sent: message that the receiver has (`oru_r01`).
        issued: moment of the retraction, with a time zone.
    """
    header, *content = (segment.split("|") for segment in sent.removesuffix("\r").split("\r"))
    for fields in content:
        if fields[0] == "OBR":
            fields[22], fields[25] = _moment(issued), "C"
        elif fields[0] == "OBX":
            fields[11] = "W"
    segments = ["|".join(fields) for fields in content]
    header[6], header[9] = _moment(issued), _control_id(header[4:6], segments)
    return "".join(f"{segment}\r" for segment in ("|".join(header), *segments))


def _msh(source: ResultSource, receiver: tuple[str, str], content: Sequence[str]) -> str:
    control_id = _control_id(receiver, content)
    fields = ["MSH", "^~\\&", "boneage", "", *receiver, _moment(source.issued), "", "ORU^R01^ORU_R01", control_id]
    return "|".join([*fields, "P", "2.5.1", "", "", "", "", "", "UNICODE UTF-8"])


def _control_id(receiver: Sequence[str], content: Sequence[str]) -> str:
    return sha256_of("\r".join((*receiver, *content)).encode())[:_CONTROL_ID_LENGTH]


def _pid(source: ResultSource, values: ResultValues) -> str:
    # The service knows no names. A name of the type U (unspecified) stands where the standard requires one.
    identifier = f"{escaped(source.patient)}^^^{escaped(source.issuer)}^PI" if source.patient else "^^^^U"
    return "|".join(["PID", "1", "", identifier, "", "^^^^^^U", "", "", values.sex])


def _obr(source: ResultSource, values: ResultValues) -> str:
    observed = "" if values.study_date is None else values.study_date.strftime("%Y%m%d")
    fields = ["OBR", "1", escaped(source.accession), escaped(source.id), "37362-1^XR Bone age^LN", "", "", observed]
    rest = [""] * 14 + [_moment(source.issued), "", "RAD", _status(source)]
    return "|".join([*fields, *rest])


def _obx(source: ResultSource, values: ResultValues) -> Iterator[str]:
    rows: list[tuple[str, str, str, str, str, str]] = []
    months = "" if values.months is None else f"{values.months:g}"
    normal = "" if values.normal_range is None else "{:g}-{:g}".format(*values.normal_range)
    rows.append(("NM", "85151-9^Bone age^LN", months, _UNITS["mo"], normal, values.interpretation or ""))
    for number in values.numbers:
        name = f"{number.code}^{escaped(number.name)}^99BONEAGE"
        rows.append(("NM", name, f"{number.value:g}", _UNITS[number.unit], "", ""))
    for bone in values.bones:
        name = f"{bone_code(bone)}^{escaped(bone_label(bone))}^99BONEAGE"
        age = "" if bone.age_months is None else f"{round(bone.age_months, 1):g}"
        rows.append(("NM", name, age, _UNITS["mo"], "", ""))
    texts = [*values.content.report_text, *(one for group in values.content.warnings for one in group.sentences)]
    texts += values.content.notice
    lines = [line for text in texts for line in wrap(text, _LONGEST_LINE)]
    rows += [("TX", "37362-1^XR Bone age^LN", escaped(line), "", "", "") for line in lines]
    producer = f"boneage {version('boneage')}"
    for place, (kind, name, value, unit, normal_range, flag) in enumerate(rows, start=1):
        status = "X" if not value else _status(source)
        fields = ["OBX", str(place), kind, name, str(place), value, unit, normal_range, flag, "", "", status, "", ""]
        yield "|".join([*fields, _moment(source.issued), producer, escaped(source.reader)]).rstrip("|")


def _status(source: ResultSource) -> str:
    return "F" if source.is_final else "P"


def _moment(when: datetime) -> str:
    return when.strftime("%Y%m%d%H%M%S%z")


def escaped(text: str) -> str:
    """Return text in which the separators of a message are escaped (HL7 2.5.1, 2.7)."""
    return "".join(_ESCAPES.get(letter, letter) for letter in text)
