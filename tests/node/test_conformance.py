"""The conformance statement and the configuration table say what the code does."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from pydicom.sr.coding import Code
from pydicom.uid import UID

from boneage.dicom import codes
from boneage.node import association, listener, retry
from boneage.node.answers import INVALID_ARGUMENT, PROCESSING_FAILURE, STATUSES, SUCCESS
from boneage.node.configuration import Delivery, NodeSettings, Peer, Selection, read_configuration
from boneage.node.destinations import DicomWebService, FhirServer, Hl7Receiver
from boneage.node.outcome import Result, judge_status
from boneage.node.requesting import TRANSFER_SYNTAXES
from boneage.node.result_classes import RESULT_CLASSES
from boneage.node.selection import SkipReason
from boneage.node.stow import judge_store
from boneage.node.transfer_syntaxes import READ
from boneage.node.web_client import Answer
from boneage.reading.dicom.uids import RADIOGRAPH_CLASSES

DOCS = Path(__file__).parents[2] / "docs"
STATEMENT = (DOCS / "dicom-conformance.md").read_text(encoding="utf-8")
PACS = (DOCS / "pacs.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\|(.*)\|$", re.MULTILINE)


def between(text: str, begin: str, end: str) -> str:
    """Return the part of a text between two others."""
    assert begin in text, begin
    rest = text.split(begin, 1)[1]
    assert end in rest, end
    return rest.split(end, 1)[0]


def rows(part: str) -> list[list[str]]:
    """Return the cells of all rows of tables but those of their heads."""
    cells = [[cell.strip() for cell in row.split("|")] for row in ROW.findall(part)]
    heads = {number - 1 for number, row in enumerate(cells) if set("".join(row)) <= set("-:")}
    return [row for number, row in enumerate(cells) if number not in heads and number - 1 not in heads]


def test_radiograph_classes() -> None:
    part = between(STATEMENT, "**SOP classes of radiographs**", "All other storage classes")
    named = {uid: name for name, uid in rows(part) if uid != "any"}
    assert set(named) == RADIOGRAPH_CLASSES
    assert all(name.startswith(UID(uid).name) for uid, name in named.items())


def test_transfer_syntaxes() -> None:
    part = between(STATEMENT, "**Transfer syntaxes** of radiographs", "**Association policies.**")
    assert {uid for _, uid in rows(part)} == READ
    proposed = between(STATEMENT, "**Transfer syntaxes** of all presentation contexts", "**Handling")
    assert tuple(re.findall(r"\(([\d.]+)\)", proposed)) == TRANSFER_SYNTAXES


def test_association_policies() -> None:
    policies = dict(rows(between(STATEMENT, "**Association policies.**", "**Rejection")))
    assert policies["Implementation class UID"] == association.IMPLEMENTATION_CLASS_UID
    assert str(association.LARGEST_PDU_BYTES) in policies["Maximum PDU length"]
    assert str(association._LARGEST_READ_BYTES) in policies["Maximum PDU length"]
    assert policies["Associations at a time"].startswith(str(NodeSettings().associations))
    rejections = rows(between(STATEMENT, "**Rejection of associations**", "**Statuses"))
    assert {numbers for _, numbers in rejections} == {
        ", ".join(map(str, numbers)) for numbers in listener._REJECTIONS.values()
    }


def test_statuses_of_listener() -> None:
    part = between(STATEMENT, "**Statuses of C-STORE:**", "**Statuses of N-EVENT-REPORT:**")
    assert {int(status, 16) for status, *_ in rows(part)} == {SUCCESS, *STATUSES.values()}
    reports = between(STATEMENT, "**Statuses of N-EVENT-REPORT:**", "An instance that arrives again")
    assert {int(one, 16) for one in re.findall(r"0x\w{4}", reports)} == {SUCCESS, PROCESSING_FAILURE, INVALID_ARGUMENT}


def test_result_classes() -> None:
    part = between(STATEMENT, "**SOP classes of results:**", "Further classes")
    named = [(kind.split("`")[1], uid) for kind, _, uid in rows(part)]
    assert sorted(named) == sorted((kind, uid) for kind, classes in RESULT_CLASSES.items() for uid in classes)
    for _, name, uid in rows(part):
        assert UID(uid).name == name


def test_handling_of_statuses() -> None:
    """Every status has the consequence of its row."""
    consequences: dict[int, str] = {}
    for cell, consequence in rows(between(STATEMENT, "**Handling of statuses**", "Attempts follow")):
        for first, last in re.findall(r"0x(\w{4})(?: to 0x(\w{4}))?", cell):
            consequences |= dict.fromkeys(range(int(first, 16), int(last or first, 16) + 1), consequence)
    words = {Result.DONE: "done", Result.WARNED: "done, with a warning", Result.RETRY: "another attempt"}
    for status in range(0x10000):
        stated = consequences.get(status, "no further attempt")
        result, _ = judge_status(status)
        assert stated.startswith(words.get(result, "no further attempt")), hex(status)
    assert f"after {retry.COMMITMENT_HOURS:.0f} hours" in STATEMENT
    assert f"{retry.COMMITMENT_SECONDS:.0f} s after the last object" in STATEMENT
    assert "10 s, 30 s, 1 min, 5 min" in STATEMENT
    assert [retry.pause_seconds(one) for one in range(1, 6)] == [10, 30, 60, 300, 900]


def _private(value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, Code):
        if value.scheme_designator == codes.PRIVATE_SCHEME:
            yield str(value.value), str(value.meaning)
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _private(one)


def test_private_codes() -> None:
    stated = {(code, meaning) for code, meaning in rows(between(STATEMENT, "scheme is 99BONEAGE:", "### 8.3"))}
    assert stated == {pair for value in vars(codes).values() for pair in _private(value)}


# --- docs/pacs.md ---


def test_configuration_table() -> None:
    """Every key of the file has its row, with its default."""
    table = {key.strip("`"): default for key, default, _ in rows(between(PACS, "Every key but those", "**TLS.**"))}
    tables = {"node": NodeSettings, "select": Selection, "peer": Peer, "deliver": Delivery}
    fields = {f"{name}.{one.name}": one for name, kind in tables.items() for one in dataclasses.fields(kind)}
    assert list(table) == list(fields)
    for key, one in fields.items():
        stated = table[key].strip("`").replace('"', "'")
        if stated.startswith(("bone age", "'bone age", "none", "needed", "its host")):
            continue
        default = list(one.default) if isinstance(one.default, tuple) else one.default
        as_toml = str(default).lower() if isinstance(default, bool) else repr(default).removesuffix(".0")
        assert stated == as_toml, key


def test_destination_table() -> None:
    """Every key of the other destinations has its row, with its default."""
    part = between(PACS, "### Other destinations", "A certificate is always verified")
    stated = {key.strip(" `"): default for keys, default, _ in rows(part) for key in keys.split(",")}
    tables = {"dicomweb": DicomWebService, "fhir": FhirServer, "hl7": Hl7Receiver}
    fields = {f"{name}.{one.name}": one for name, kind in tables.items() for one in dataclasses.fields(kind)}
    assert set(stated) == set(fields)
    for key, one in fields.items():
        default = "needed" if one.default is dataclasses.MISSING else json.dumps(one.default).removesuffix(".0")
        assert stated[key].strip("`") == default, key


def test_destination_example(tmp_path: Path) -> None:
    """The example of other destinations is valid beside the first one."""
    first, example = (between(PACS[PACS.index(head) :], "```toml\n", "```") for head in ("## Run a node", "### Other"))
    (tmp_path / "pacs.toml").write_text(first.partition("[deliver]")[0] + example, encoding="utf-8")
    receivers = read_configuration(tmp_path / "pacs.toml").receivers()
    assert [one.name for one in receivers] == ["pacs", "archive", "charts", "ris"]


def test_dicomweb_responses() -> None:
    """Every status without a reason has the consequence of its row."""
    words = {Result.DONE: "done", Result.WARNED: "done, with a warning", Result.RETRY: "another attempt later"}
    later = {401, 403, 407, 408, 425, 429, *range(500, 600)} - {501, 505}
    part = between(STATEMENT, "| Response | Consequence |", "With `commit`")
    assert "| 401, 403, 407, 408, 425, 429, 5xx without 501 and 505 | another attempt later |" in part
    for status in range(300, 600):
        outcome = judge_store(Answer(status, "", b""), "1.2")
        assert words.get(outcome.result, "no further attempt") == (
            "another attempt later" if status in later else "no further attempt"
        ), status


def test_configuration_example(tmp_path: Path) -> None:
    (tmp_path / "pacs.toml").write_text(between(PACS, "```toml\n", "```"), encoding="utf-8")
    assert read_configuration(tmp_path / "pacs.toml").receivers()


@pytest.mark.parametrize("reason", SkipReason)
def test_skip_reasons_documented(reason: SkipReason) -> None:
    assert f"`{reason.value}`" in between(PACS, "### What is read", "### Trouble")
