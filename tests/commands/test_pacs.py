"""Command ``boneage pacs``: result objects of a DICOM radiograph, and the check of a configuration."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from click.testing import CliRunner, Result

from boneage.cli import cli
from boneage.errors import ConfigurationError, NodeError, Rejection
from boneage.node.configuration import Peer
from tests.bundles import tiny_bundle
from tests.dicom.sources import content_items, source
from tests.node.orthanc import free_port
from tests.node.parts import peer_serving
from tests.radiograph_files import dicom_file


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny bundle."""
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def radiograph(tmp_path: Path) -> Path:
    """Return the path of a drawn radiograph as a DICOM file."""
    path = tmp_path / "radiograph.dcm"
    path.write_bytes(dicom_file(source()))
    return path


def run(*words: object) -> Result:
    """Run ``boneage pacs objects``."""
    return CliRunner().invoke(cli, ["pacs", "objects", *map(str, words)], standalone_mode=False)


def test_objects_of_a_radiograph(radiograph: Path, bundle: Path, tmp_path: Path) -> None:
    """The objects lie in the folder, and hold the sex that was given."""
    out = tmp_path / "objects"
    done = run(radiograph, "--out", out, "--sex", "M", "--bundle", bundle, "--kind", "sr", "--kind", "sc")
    assert done.exception is None
    assert {path.name for path in out.iterdir()} == {"sr.dcm", "sc.dcm"}
    report = pydicom.dcmread(out / "sr.dcm")
    assert content_items(report, "Subject Sex")[0].ConceptCodeSequence[0].CodeValue == "M"
    assert report.SOPInstanceUID in done.output


def test_objects_sex_of_the_file(radiograph: Path, bundle: Path, tmp_path: Path) -> None:
    """Without an option the file's sex counts."""
    assert run(radiograph, "--out", tmp_path / "o", "--bundle", bundle).exception is None
    (item,) = content_items(pydicom.dcmread(tmp_path / "o" / "sr.dcm"), "Subject Sex")
    assert item.ConceptCodeSequence[0].CodeValue == "F"


def test_objects_without_a_sex(bundle: Path, tmp_path: Path) -> None:
    """A file whose sex is neither F nor M needs the option, and nothing is written."""
    path = tmp_path / "radiograph.dcm"
    path.write_bytes(dicom_file(source(PatientSex="O")))
    done = run(path, "--out", tmp_path / "o", "--bundle", bundle)
    assert isinstance(done.exception, Rejection)
    assert done.exception.code == "sex_missing"
    assert not (tmp_path / "o").exists()


def test_objects_of_another_file(tmp_path: Path) -> None:
    """A picture has no study to which results could belong."""
    from boneage.phantom import sample_png

    path = tmp_path / "hand.png"
    path.write_bytes(sample_png())
    done = run(path, "--out", tmp_path / "o", "--sex", "F")
    assert done.exception is not None
    assert "not a DICOM file" in str(done.exception)


def checked(folder: Path, peer: Peer) -> Result:
    """Run ``boneage pacs check`` with one peer that receives results."""
    path = folder / "pacs.toml"
    path.write_text(
        f"[node]\nport = {free_port()}\ntimeout_seconds = 1\n[[peer]]\nname = 'pacs'\nae_title = '{peer.ae_title}'\n"
        f"host = '{peer.host}'\nport = {peer.port}\nresults = ['sr', 'sc']\ncommit = true\n"
        "[[peer]]\nname = 'room'\nae_title = 'ROOM'\nhost = '10.0.0.9'\nport = 0\nmay_send = true\n"
    )
    return CliRunner().invoke(cli, ["pacs", "check", str(path)], standalone_mode=False)


def test_check_ready(tmp_path: Path) -> None:
    """Each peer's answer and what it accepts are printed."""
    with peer_serving() as peer:
        done = checked(tmp_path, peer)
    assert done.exception is None, done.exception
    for part in (
        "BONEAGE at 127.0.0.1",
        "free",
        "room: ROOM, calls only",
        "answers in",
        "Comprehensive 3D SR",
        "query",
    ):
        assert part in done.output


def test_check_not_ready(tmp_path: Path) -> None:
    """A peer that does not answer is named, with advice, and there is an exit status for it."""
    done = checked(tmp_path, Peer("pacs", "PACS", "127.0.0.1", free_port()))
    assert isinstance(done.exception, NodeError)
    assert (done.exception.code, done.exception.exit_status) == ("peer_not_ready", 10)
    assert "NO ANSWER: unreachable. Check host and port" in done.output


def test_check_invalid_file(tmp_path: Path) -> None:
    (tmp_path / "pacs.toml").write_text("[nod]\n")
    done = CliRunner().invoke(cli, ["pacs", "check", str(tmp_path / "pacs.toml")], standalone_mode=False)
    assert isinstance(done.exception, ConfigurationError)
