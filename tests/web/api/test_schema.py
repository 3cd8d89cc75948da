"""schemathesis asks the running service all that its description allows and forbids, in both modes.

No request makes the service fail, and every status, header and body is described. Wrong requests are rejected and right
ones are not, tokens are required, and deleted assessments are not found. docs/api.md has the commands for a longer run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from boneage.phantom import sample_png
from tests.web.api_service import ApiService, api_service  # noqa: F401 - a fixture

HERE = Path(__file__).parents[1]
ROOT = HERE.parents[1]
EXAMPLES = os.environ.get("BONEAGE_API_EXAMPLES", "3")
"""So many requests are tried for each operation and phase, besides those at the edges of the description."""


def submit_phantom(service: ApiService) -> tuple[str, str]:
    """The ids of a radiograph that is done, and of its case; a random one in the mode ``open``."""
    boundary = uuid.uuid4().hex
    parts = f'--{boundary}\r\nContent-Disposition: form-data; name="sex"\r\n\r\nF\r\n--{boundary}\r\n'
    parts += f'Content-Disposition: form-data; name="reference"\r\n\r\nP-1\r\n--{boundary}\r\n'
    parts += 'Content-Disposition: form-data; name="radiograph"; filename="radiograph.png"\r\n\r\n'
    body = parts.encode() + sample_png() + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Authorization": f"Bearer {service.token}"}
    with urlopen(Request(f"{service.url}/api/assessments?wait=30", body, headers), timeout=60) as answer:
        document = json.loads(answer.read())
    assert document["state"] == "done"
    return str(document["id"]), str(document["case"] or uuid.uuid4())


@pytest.mark.parametrize(
    ("configuration", "phases"),
    [("schemathesis.toml", "examples,coverage,fuzzing"), ("schemathesis_sequences.toml", "stateful")],
)
def test_service_matches_description(
    api_service: ApiService,  # noqa: F811
    configuration: str,
    phases: str,
    tmp_path: Path,
) -> None:
    """The service does what its description says."""
    program = Path(sys.executable).with_name("schemathesis")
    command = [str(program), "--config-file", str(HERE / configuration), "run", f"{api_service.url}/api/openapi.json"]
    command += ["--phases", phases, "--max-examples", EXAMPLES, "--no-color", "--generation-deterministic"]
    assessment, case = submit_phantom(api_service)
    environment = {
        **os.environ,
        "TOKEN": api_service.token or "none",
        "ASSESSMENT": assessment,
        "CASE": case,
        "PLATE": "F-096",
        "PYTHONPATH": str(ROOT),
    }
    assert shutil.which(str(program))
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "No issues found" in done.stdout
