"""HL7 messages are valid, hold the values of the assessment, and survive any text."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hl7apy.consts import VALIDATION_LEVEL  # type: ignore[import-untyped]
from hl7apy.parser import parse_message  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from boneage import words
from boneage.messages.hl7 import escaped, oru_r01, retracted_message
from boneage.messages.result import ResultSource
from boneage.report.comparison import Decided
from boneage.schema import AssessmentDocument
from tests.documents import bone_documents
from tests.messages.sources import FINAL, PRELIMINARY, document, unusable


def rows(message: str) -> list[list[str]]:
    """Return the fields of the observations."""
    return [line.split("|") for line in message.split("\r") if line.startswith("OBX")]


@pytest.mark.parametrize("language", words.languages())
@pytest.mark.parametrize("source", [PRELIMINARY, FINAL, replace(PRELIMINARY, patient="", accession="")])
@pytest.mark.parametrize(
    "made", [document(), document(bones=bone_documents()), unusable()], ids=["usable", "bones", "unusable"]
)
def test_oru_r01_is_valid(made: AssessmentDocument, source: ResultSource, language: str) -> None:
    """The strict parser of hl7apy accepts every message."""
    with words.use_language(language):
        message = oru_r01(made, source)
    assert parse_message(message, validation_level=VALIDATION_LEVEL.STRICT, find_groups=True).validate()


def test_oru_r01_values() -> None:
    """Bone age, normal range, flag and SDS are those of the assessment."""
    made = document()
    assert made.normal_range is not None
    by_code = {fields[3].split("^")[0]: fields for fields in rows(oru_r01(made, PRELIMINARY)) if fields[2] == "NM"}
    assert by_code["85151-9"][5:9] == [
        "94.3",
        "mo^month^UCUM",
        f"{made.normal_range.lower_months:.1f}-{made.normal_range.upper_months:.1f}".replace(".0", ""),
        {"delayed": "L", "normal": "N", "advanced": "H", "borderline": "IND"}[str(made.determination)],
    ]
    assert float(by_code["SDS"][5]) == made.sds
    assert {fields[11] for fields in by_code.values()} == {"P"}
    assert {fields[11] for fields in rows(oru_r01(made, FINAL))} == {"F"}


def test_oru_r01_unusable_number() -> None:
    """A number that must not be used is absent, and its observation is marked."""
    message = oru_r01(unusable(), PRELIMINARY)
    (bone_age,) = [fields for fields in rows(message) if fields[2] == "NM"]
    assert (bone_age[5], bone_age[11]) == ("", "X")
    assert "94.3" not in message


def test_oru_r01_single_bones() -> None:
    """Each bone has an observation, as in FHIR; one that is not readable has no value, and is marked."""
    made = document(bones=bone_documents())
    by_code = {fields[3].split("^")[0]: fields for fields in rows(oru_r01(made, PRELIMINARY))}
    assert any(bone.age_months is None for bone in made.bones)
    for bone in made.bones:
        fields = by_code[f"BABONE.{bone.name}"]
        value = "" if bone.age_months is None else f"{round(bone.age_months, 1):g}"
        assert (fields[5], fields[6], fields[11]) == (value, "mo^month^UCUM", "P" if value else "X")
    corrected = replace(FINAL, decided=Decided(120.0, is_corrected=True))
    for message in (oru_r01(made, corrected), oru_r01(unusable(), PRELIMINARY)):
        assert not any(fields[3].startswith("BABONE") for fields in rows(message))


RETRACTED_AT = datetime(2024, 5, 7, 8, tzinfo=UTC)


@pytest.mark.parametrize("source", [PRELIMINARY, FINAL, replace(PRELIMINARY, patient="", accession="")])
@pytest.mark.parametrize(
    "made", [document(), document(bones=bone_documents()), unusable()], ids=["usable", "bones", "unusable"]
)
def test_retracted_message(made: AssessmentDocument, source: ResultSource) -> None:
    """A retraction is valid, and marks what was sent as wrong; all other fields are those of the sent message."""
    sent = oru_r01(made, source, "RIS", "CLINIC")
    retracted = retracted_message(sent, RETRACTED_AT)
    assert parse_message(retracted, validation_level=VALIDATION_LEVEL.STRICT, find_groups=True).validate()
    assert retracted.endswith("\r")
    changed: dict[str, set[int]] = {}
    for old, new in zip(sent.split("\r"), retracted.split("\r"), strict=True):
        fields = zip(old.split("|"), new.split("|"), strict=True)
        changed.setdefault(old[:3], set()).update(place for place, (one, two) in enumerate(fields) if one != two)
    assert changed == {"MSH": {6, 9}, "PID": set(), "OBR": {22, 25}, "OBX": {11}, "": set()}
    header, _, request = (line.split("|") for line in retracted.split("\r")[:3])
    assert header[6] == request[22] == "20240507080000+0000"
    assert request[25] == "C"
    assert {fields[11] for fields in rows(retracted)} == {"W"}


@given(reader=st.text(), accession=st.text(max_size=16))
def test_retracted_message_any_text(reader: str, accession: str) -> None:
    """No text shifts a field. Each retraction has a control identifier of its own, unless it is repeated."""
    sent = oru_r01(document(), replace(FINAL, reader=reader, accession=accession))
    retracted, later = (retracted_message(sent, at) for at in (RETRACTED_AT, RETRACTED_AT.replace(hour=9)))
    assert len({one.split("\r")[0].split("|")[9] for one in (sent, retracted, later)}) == 3
    assert retracted_message(retracted, RETRACTED_AT) == retracted == retracted_message(sent, RETRACTED_AT)
    assert [fields[5] for fields in rows(retracted)] == [fields[5] for fields in rows(sent)]


@given(st.text())
def test_escaped_holds_no_separator(text: str) -> None:
    """No text can end a field, a component or a segment."""
    assert not set("|^&~\r\n") & set(escaped(text))
    assert escaped(text).count("\\") == 2 * sum(letter in "|^&~\\" for letter in text)


def test_oru_r01_hostile_reader() -> None:
    """Separators in a name do not shift fields."""
    fields = rows(oru_r01(document(), FINAL))[0]
    assert fields[16] == r"Curie \T\ Sons \F\ \S\Marie\R\ ".rstrip()


def test_oru_r01_control_id() -> None:
    """Equal messages have equal control identifiers of at most 20 characters, and other ones have others."""
    sources = [PRELIMINARY, FINAL, replace(PRELIMINARY, accession="A-98")]
    headers = [oru_r01(document(), one).split("\r")[0].split("|") for one in (*sources, PRELIMINARY)]
    identifiers = [fields[9] for fields in headers]
    assert identifiers[0] == identifiers[-1]
    assert len(set(identifiers)) == len(sources)
    assert {len(one) for one in identifiers} == {20}


def test_oru_r01_receiver_and_issuer() -> None:
    """The message names its receiver, and the authority that issued the patient's identifier."""
    header, patient, *_ = oru_r01(document(), replace(PRELIMINARY, issuer="HOSPITAL"), "RIS", "CLINIC").split("\r")
    assert header.split("|")[4:6] == ["RIS", "CLINIC"]
    assert patient.split("|")[3] == "4711^^^HOSPITAL^PI"
