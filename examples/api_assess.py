"""Assess a radiograph over the REST API with Python's standard library alone.

    python api_assess.py RADIOGRAPH F|M [--correct MONTHS REASON]

SERVICE is the address of the service. TOKEN is needed in the mode clinic.
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


def call(path: str, body: bytes | None = None, content_type: str = "") -> bytes:
    """Return the answer of the service, and end the program with a message if there is none.

    Args:
        path: Path of the operation below ``/api/``.
        body: Body of a POST request; without one, the request is a GET.
        content_type: Media type of the body.
    """
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
    except (OSError, http.client.HTTPException) as error:  # the service is down, or the connection broke
        sys.exit(f"{SERVICE} cannot be reached: {getattr(error, 'reason', error)}")


def problem(error: urllib.error.HTTPError) -> str:
    """Return the service's message, or the HTTP status if a proxy answered in its place."""
    try:
        answer = json.loads(error.read())
        return f"{answer['message']} [{answer['code']}]"
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return f"{SERVICE} answers {error.code} {error.reason}"


def content(radiograph: Path) -> bytes:
    """Return the file's bytes, and end the program if the service would not accept them.

    The service closes the connection on a file that is too large, and then cannot send a message.
    """
    call("atlas")  # reports a wrong token before the upload
    limit = json.loads(call("service"))["limits"]["radiograph_bytes"]
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
    name = radiograph.name.translate({ord('"'): "%22", ord("\r"): "%0D", ord("\n"): "%0A"})  # browsers escape so
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="sex"\r\n\r\n{sex}\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="radiograph"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = head.encode(errors="replace") + content(radiograph) + f"\r\n--{boundary}--\r\n".encode()
    answer = json.loads(call("assessments?wait=30", body, f"multipart/form-data; boundary={boundary}"))
    while answer["state"] in {"queued", "running"}:  # other radiographs are waiting
        answer = json.loads(call(f"assessments/{answer['id']}?wait=30"))
    return dict(answer)


def main() -> None:
    """Assess one radiograph, and correct its bone age on request."""
    parser = argparse.ArgumentParser(description="Assess a radiograph over the REST API.")
    parser.add_argument("radiograph", type=Path)
    parser.add_argument("sex", choices=["F", "M"])
    parser.add_argument("--correct", nargs=2, metavar=("MONTHS", "REASON"), help="record another bone age")
    options = parser.parse_args()

    answer = submit(options.radiograph, options.sex)
    if answer["state"] != "done":
        sys.exit(f"{answer['message']} [{answer['code']}]")
    result = answer["result"]
    if any(warning["severity"] == "critical" for warning in result["warnings"]):
        print("Do not use this number.")
    else:
        print(f"Bone age: {result['age_text']} ({result['age_months']} months)")
    for warning in result["warnings"]:
        print(f"Warning ({warning['severity']}): {warning['message']}")
    Path("heat.png").write_bytes(call(f"assessments/{answer['id']}/heat.png"))
    Path("report.pdf").write_bytes(call(f"assessments/{answer['id']}/report.pdf"))
    print("heat.png and report.pdf are written.")

    if options.correct:
        months, reason = options.correct
        verdict = {"verdict": "corrected", "age_months": float(months), "reason": reason}
        body = json.dumps(verdict).encode()
        decided = json.loads(call(f"assessments/{answer['id']}/decision", body, "application/json"))
        print(f"Corrected to {decided['decision']['age_months']} months.")


if __name__ == "__main__":
    main()
