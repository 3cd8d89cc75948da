"""Assess a radiograph over the REST API with nothing but Python's own library.

    python api_assess.py RADIOGRAPH F|M [--correct MONTHS REASON]

SERVICE is the service's address; TOKEN is needed where it asks for one (mode clinic).
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

SERVICE = os.environ.get("SERVICE", "http://127.0.0.1:8000")
TOKEN = os.environ.get("TOKEN", "")


def ask(path: str, body: bytes | None = None, content_type: str = "") -> bytes:
    """What the service answers; a POST if there is a body. Ends the program with what is against it."""
    request = urllib.request.Request(f"{SERVICE}/api/{path}", body)
    if TOKEN:
        request.add_header("Authorization", f"Bearer {TOKEN}")
    if content_type:
        request.add_header("Content-Type", content_type)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        sys.exit(problem(error))
    except (OSError, http.client.HTTPException) as error:  # it is down, or breaks off
        sys.exit(f"{SERVICE} cannot be reached: {getattr(error, 'reason', error)}")


def problem(error: urllib.error.HTTPError) -> str:
    """What the service has against a request; the status alone, if something before the service says no."""
    try:
        said = json.loads(error.read())
        return f"{said['message']} [{said['code']}]"
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return f"{SERVICE} answers {error.code} {error.reason}"


def content(radiograph: Path) -> bytes:
    """The radiograph, unless the service would not take it: it breaks off what is too large, and cannot say why
    then.
    """
    ask("atlas")  # says of a wrong token what would be lost if the radiograph were broken off
    limit = json.loads(ask("service"))["limits"]["radiograph_bytes"]
    try:
        size = radiograph.stat().st_size
        if size > limit:
            sys.exit(
                f"{radiograph} has {size / 2**20:.1f} MiB, the service takes at most {limit / 2**20:g} MiB. [too_large]"
            )
        return radiograph.read_bytes()
    except OSError as error:
        sys.exit(f"{radiograph} cannot be read: {error.strerror}")


def submit(radiograph: Path, sex: str) -> dict[str, Any]:
    """Submit a radiograph, and wait for its answer."""
    boundary = uuid.uuid4().hex
    name = radiograph.name.translate({ord('"'): "%22", ord("\r"): "%0D", ord("\n"): "%0A"})  # as browsers write it
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="sex"\r\n\r\n{sex}\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="radiograph"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = head.encode(errors="replace") + content(radiograph) + f"\r\n--{boundary}--\r\n".encode()
    answer = json.loads(ask("assessments?wait=30", body, f"multipart/form-data; boundary={boundary}"))
    while answer["state"] in {"queued", "running"}:  # many radiographs wait
        answer = json.loads(ask(f"assessments/{answer['id']}?wait=30"))
    return dict(answer)


def main() -> None:
    """One radiograph."""
    parser = argparse.ArgumentParser(description="Assess a radiograph over the REST API.")
    parser.add_argument("radiograph", type=Path)
    parser.add_argument("sex", choices=["F", "M"])
    parser.add_argument("--correct", nargs=2, metavar=("MONTHS", "REASON"), help="say what the bone age is instead")
    asked = parser.parse_args()

    answer = submit(asked.radiograph, asked.sex)
    if answer["state"] != "done":
        sys.exit(f"{answer['message']} [{answer['code']}]")
    result = answer["result"]
    print(f"Bone age: {result['age_text']} ({result['age_months']} months)")
    for warning in result["warnings"]:
        print(f"Warning ({warning['severity']}): {warning['message']}")
    Path("heat.png").write_bytes(ask(f"assessments/{answer['id']}/heat.png"))
    Path("report.pdf").write_bytes(ask(f"assessments/{answer['id']}/report.pdf"))
    print("heat.png and report.pdf are written.")

    if asked.correct:
        months, reason = asked.correct
        verdict = {"verdict": "corrected", "age_months": float(months), "reason": reason}
        body = json.dumps(verdict).encode()
        decided = json.loads(ask(f"assessments/{answer['id']}/decision", body, "application/json"))
        print(f"Corrected to {decided['decision']['age_months']} months.")


if __name__ == "__main__":
    main()
