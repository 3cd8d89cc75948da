"""Certificates for tests, made with OpenSSL: an authority, the node's and a peer's."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from boneage.node.configuration import TLSFiles
from tests.programs import skip_without


@dataclass(frozen=True)
class Certificates:
    """TLS files of the node, of a peer, and of a stranger whose authority nobody knows."""

    node: TLSFiles
    peer: TLSFiles
    stranger: TLSFiles


def _openssl(*words: str) -> None:
    program = shutil.which("openssl") or skip_without("OpenSSL is not installed")
    subprocess.run([program, *words], check=True, capture_output=True, timeout=60)


def _authority(folder: Path, name: str) -> Path:
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    usage = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"]
    _openssl("req", "-x509", *_new_key(key), "-out", str(certificate), "-days", "2", "-subj", f"/CN={name}", *usage)
    return certificate


def _new_key(path: Path) -> list[str]:
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(path)]


def _issued(folder: Path, name: str, signer: Path, ca: Path) -> TLSFiles:
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    signed_by = ["-CA", str(signer), "-CAkey", str(signer.with_suffix(".key"))]
    extension = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:node.example.org"]
    subject = ["-days", "2", "-subj", f"/CN={name}"]
    _openssl("req", "-x509", *_new_key(key), "-out", str(certificate), *subject, *signed_by, *extension)
    return TLSFiles(str(certificate), str(key), str(ca))


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Return certificates that are valid for two days."""
    folder = tmp_path_factory.mktemp("certificates")
    authority, other = _authority(folder, "authority"), _authority(folder, "other")
    return Certificates(
        _issued(folder, "node", authority, authority),
        _issued(folder, "peer", authority, authority),
        _issued(folder, "stranger", other, authority),
    )
