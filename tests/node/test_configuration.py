"""The configuration file is read strictly, and each fault names its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from boneage.errors import ConfigurationError
from boneage.node.configuration import NodeConfiguration, Peer, read_configuration
from boneage.node.destinations import SecretError, read_secret

COMPLETE = """
[node]
ae_title = "BONEAGE"
host = "0.0.0.0"
port = 11112
associations = 4
object_mebibytes = 32
timeout_seconds = 20
idle_seconds = 40

[select]
modalities = ["CR", "DX"]
body_parts = ["HAND"]
descriptions = ["bone age"]
unstated_body_part = "skip"
max_age_years = 18
for_processing = "never"
study_quiet_seconds = 5
sides = "both"

[[peer]]
name = "pacs"
ae_title = "PACS"
host = "pacs.example.org"
addresses = ["10.0.0.0/24", "fd00::1"]
may_send = true
results = ["sr", "sc"]
commit = true

[[peer]]
name = "room-1"
ae_title = "DX ROOM 1"
host = "10.0.1.7"
port = 0
may_send = true

[[dicomweb]]
name = "archive"
url = "https://archive.example.org/dicom-web"
results = ["sr"]
commit = true
user = "boneage"
secret = "env:ARCHIVE_PASSWORD"

[[fhir]]
name = "charts"
url = "https://charts.example.org/fhir"
version = "R5"
patient_system = "urn:oid:1.2.3"
secret = "file:charts.token"

[[hl7]]
name = "ris"
host = "10.0.2.1"
application = "RIS"
tls = true

[deliver]
when = "decided"
to = ["pacs", "ris", "archive", "charts"]
on_rejection = "picture"
give_up_hours = 24
"""
LEAST = '[[peer]]\nname = "pacs"\nae_title = "PACS"\nhost = "10.0.0.5"\n'


def read(folder: Path, text: str) -> NodeConfiguration:
    """Read a configuration from a text."""
    path = folder / "pacs.toml"
    path.write_text(text, encoding="utf-8")
    return read_configuration(path)


def test_read_configuration_complete(tmp_path: Path) -> None:
    """Every key of the file reaches its attribute."""
    configuration = read(tmp_path, COMPLETE)
    assert (configuration.node.host, configuration.node.associations) == ("0.0.0.0", 4)
    assert configuration.select.body_parts == ("HAND",)
    assert [one.ae_title for one in configuration.peer] == ["PACS", "DX ROOM 1"]
    assert [one.name for one in configuration.receivers()] == ["pacs", "ris", "archive", "charts"]
    assert [one.kinds for one in configuration.receivers()] == [("sr", "sc"), ("hl7",), ("sr",), ("fhir",)]
    assert configuration.fhir[0].secret == f"file:{tmp_path / 'charts.token'}"
    assert [one.place for one in configuration.destinations()][2:] == [
        "https://archive.example.org/dicom-web",
        "https://charts.example.org/fhir",
        "10.0.2.1:2575",
    ]
    assert configuration.find_peer("room-1") == configuration.peer[1]
    assert configuration.find_peer("nobody") is None
    assert configuration.deliver.when == "decided"


def test_read_configuration_defaults(tmp_path: Path) -> None:
    """One peer with three keys is enough, and everything else has its default."""
    assert read(tmp_path, LEAST) == NodeConfiguration(peer=(Peer("pacs", "PACS", "10.0.0.5"),))


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("port = 11112", "prot = 11112", "node.prot is unknown"),
        ("port = 11112", "port = 70000", "node.port must be at most"),
        ('"BONEAGE"', '"A TITLE THAT IS TOO LONG"', "node.ae_title must be an AE title"),
        ('"BONEAGE"', '" BONEAGE"', "node.ae_title must be an AE title"),
        ('"BONEAGE"', r'"BONE\\AGE"', "node.ae_title must be an AE title"),
        ('"skip"', '"maybe"', "select.unstated_body_part must be one of"),
        ('"10.0.0.0/24"', '"10.0.0.0/8x"', r"peer\[0\].addresses\[0\] must be an IP address"),
        ('"room-1"', '"pacs"', r"peer\[1\].name is given twice"),
        ('results = ["sr", "sc"]\ncommit = true', "", r"deliver.to\[0\] names a peer without results"),
        ('results = ["sr", "sc"]', "", r"peer\[0\].commit needs results"),
        ('["sr", "sc"]', '["sr", "sr"]', r"peer\[0\].results names a kind twice"),
        ('["sr", "sc"]', '["seg"]', r"peer\[0\].results\[0\] must be one of"),
        ("commit = true", "commit = true\nport = 0", r"peer\[0\].port must be above 0"),
        ("commit = true", "commit = true\ntls = true", r"peer\[0\].tls needs the certificates"),
        ('to = ["pacs", ', 'to = ["elsewhere", ', r"deliver.to\[0\] names no peer"),
        ('to = ["pacs", ', 'to = ["ris", ', r"deliver.to\[1\] names a destination twice"),
        ('"charts"\n', '"ris"\n', r"hl7\[0\].name is given twice"),
        ("https://charts", "ftp://charts", r"fhir\[0\].url must be an address"),
        ("https://charts", "https://me:secret@charts", r"fhir\[0\].url must not hold a user"),
        ("example.org/fhir", "example.org/fhir/", r"fhir\[0\].url must be an address"),
        ('secret = "env:ARCHIVE_PASSWORD"\n', "", r"dicomweb\[0\].secret must be set"),
        ('"env:ARCHIVE_PASSWORD"', '"hunter2"', r"dicomweb\[0\].secret must be env:VARIABLE or file:PATH"),
        ('patient_system = "urn:oid:1.2.3"', "find_patient = true", r"fhir\[0\].patient_system must be set"),
        ("tls = true\n\n[deliver]", "certificate = true\n\n[deliver]", r"hl7\[0\].certificate needs tls"),
        (
            "tls = true\n\n[deliver]",
            "tls = true\ncertificate = true\n\n[deliver]",
            r"needs the certificates of node.tls",
        ),
        ('application = "RIS"', 'application = "R|S"', r"hl7\[0\].application must be at most 64"),
        ("port = 11112", "port = 11112\ntls = {required = true}", "node.tls.cert must be set"),
        ("port = 11112", 'port = 11112\ntls = {cert = "a", key = "a", ca = "a"}', "node.tls.cert names no file"),
        ("give_up_hours = 24", "give_up_hours = nan", "deliver.give_up_hours must be a finite number"),
        ("[node]", "[node", "is not TOML"),
    ],
)
def test_read_configuration_fault(tmp_path: Path, old: str, new: str, place: str) -> None:
    with pytest.raises(ConfigurationError, match=place) as error:
        read(tmp_path, COMPLETE.replace(old, new, 1))
    assert error.value.code == "pacs_invalid"


def test_read_configuration_no_peer(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="peer is missing"):
        read(tmp_path, "")


def test_read_configuration_not_a_text(tmp_path: Path) -> None:
    (tmp_path / "pacs.toml").write_bytes(b"\xff\xfe")
    for path in (tmp_path / "pacs.toml", tmp_path / "missing.toml", tmp_path):
        with pytest.raises(ConfigurationError) as error:
            read_configuration(path)
        assert error.value.code == "pacs_invalid"


def test_read_configuration_certificates_beside_file(tmp_path: Path) -> None:
    """Relative paths of certificates are relative to the file, not to the working directory."""
    (tmp_path / "node.pem").touch()
    tls = 'tls = {cert = "node.pem", key = "node.pem", ca = "node.pem"}'
    configuration = read(tmp_path, f"[node]\n{tls}\n{LEAST}tls = true\n")
    assert configuration.node.tls.cert == str(tmp_path / "node.pem")


def test_read_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret is read from its place each time; an empty or missing one is an error that names the place."""
    path = tmp_path / "token"
    path.write_text("one\n")
    assert read_secret(f"file:{path}") == "one"
    path.write_text("two")
    assert read_secret(f"file:{path}") == "two"
    monkeypatch.setenv("PACS_TOKEN", "three")
    assert read_secret("env:PACS_TOKEN") == "three"
    path.write_bytes(b"\n")
    for place in (f"file:{path}", f"file:{tmp_path / 'missing'}", "env:PACS_NOTHING"):
        with pytest.raises(SecretError, match=place.partition(":")[2]):
            read_secret(place)
