"""A real PACS for tests: Orthanc on free ports of the loopback interface, with storage of its own."""

from __future__ import annotations

import json
import random
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from boneage.node.configuration import Peer
from tests.programs import skip_without

PATIENCE_SECONDS = 30.0
_ROUTE = """\
-- Each radiograph goes to the node as it arrives, unless the node itself sent it.
function OnStoredInstance(instanceId, tags, metadata, origin)
  if (tags['Modality'] == 'DX' or tags['Modality'] == 'CR') and origin['RemoteAet'] ~= 'BONEAGE' then
    SendToModality(instanceId, 'boneage')
  end
end
"""


def free_port() -> int:
    """Return a port at which nothing listens, outside of the range from which connections take theirs."""
    while True:
        port = random.randrange(15_000, 30_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port), reuse_port=False):
            return port


class Orthanc:
    """An Orthanc server with the AE title PACS. It keeps its instances over restarts.

    Args:
        folder: empty folder for its storage, index and configuration.
        node_port: port of the node, which it knows as ``boneage`` with the AE title BONEAGE.
        routes: it sends each radiograph to the node when it arrives.
        settings: further settings of its configuration.
    """

    def __init__(self, folder: Path, node_port: int, *, routes: bool = False, **settings: Any) -> None:
        self.http_port, self.dicom_port = free_port(), free_port()
        self._log = folder / "orthanc.log"
        self._configuration = folder / "orthanc.json"
        (folder / "route.lua").write_text(_ROUTE if routes else "")
        configuration = {
            "Name": "TestPACS",
            "StorageDirectory": str(folder),
            "IndexDirectory": str(folder),
            "Plugins": [],
            "HttpPort": self.http_port,
            "HttpBindAddresses": ["127.0.0.1"],
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAet": "PACS",
            "DicomPort": self.dicom_port,
            "DicomCheckCalledAet": True,
            "DicomCheckModalityHost": True,
            "DicomAlwaysAllowEcho": False,
            "DicomAlwaysAllowStore": False,
            "OverwriteInstances": False,
            "StableAge": 1,
            "DefaultEncoding": "Utf8",
            "DicomModalities": {
                "boneage": {"AET": "BONEAGE", "Host": "127.0.0.1", "Port": node_port},
                "modality": {"AET": "DXROOM1", "Host": "127.0.0.1", "Port": 9},
            },
            "LuaScripts": ["route.lua"],
            **settings,
        }
        self._configuration.write_text(json.dumps(configuration))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def peer(self) -> Peer:
        """The server as a peer of the node."""
        return Peer(
            "pacs", "PACS", "127.0.0.1", self.dicom_port, may_send=True, results=("sc", "pdf", "pr", "sr"), commit=True
        )

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [orthanc_program(), str(self._configuration)], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                self.get("/system")
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"Orthanc does not start:\n{self._log.read_text()[-2000:]}") from None
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """Stop the server, and wait until its process is gone: its ports are free only then."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """Kill the server with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE_SECONDS)
            self._process = None

    def get(self, path: str) -> Any:
        """Return the JSON document at a path of the REST API."""
        return json.loads(self._request(path, None))

    def file(self, sop_instance_uid: str) -> bytes:
        """Return the DICOM file of an instance."""
        (identifier,) = self.find(sop_instance_uid)
        return self._request(f"/instances/{identifier}/file", None)

    def find(self, sop_instance_uid: str) -> list[str]:
        """Return Orthanc's identifiers of the instances with a UID: none or one."""
        matches = json.loads(self._request("/tools/lookup", sop_instance_uid.encode()))
        return [one["ID"] for one in matches if one["Type"] == "Instance"]

    def instances(self) -> list[dict[str, str]]:
        """Return the main elements of all instances, by keyword."""
        return [one["MainDicomTags"] | {"ID": one["ID"]} for one in self.get("/instances?expand")]

    def upload(self, file: bytes) -> None:
        """Store a DICOM file, as a modality does."""
        self._request("/instances", file)

    def _request(self, path: str, data: bytes | None) -> bytes:
        address = f"http://127.0.0.1:{self.http_port}{path}"
        with urllib.request.urlopen(urllib.request.Request(address, data=data), timeout=PATIENCE_SECONDS) as answer:
            return bytes(answer.read())


def orthanc_program() -> str:
    """Return the path of the program, or skip the test."""
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")
    return program or skip_without("Orthanc is not installed: `make system-packages` installs it")


@contextmanager
def running_orthanc(folder: Path, node_port: int, *, routes: bool = False, **settings: Any) -> Iterator[Orthanc]:
    """Start an Orthanc server, and stop it at the end of the block."""
    server = Orthanc(folder, node_port, routes=routes, **settings)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def node_port() -> int:
    """Return the port at which Orthanc expects the node."""
    return free_port()


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory, node_port: int) -> Iterator[Orthanc]:
    """Start an Orthanc server for all tests; each uses instances of its own."""
    with running_orthanc(tmp_path_factory.mktemp("orthanc"), node_port) as server:
        yield server
