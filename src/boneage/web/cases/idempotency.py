"""Submitting once although a program asks twice: ``Idempotency-Key`` (IETF draft-ietf-httpapi-idempotency-key-header).

A program that does not know whether its request arrived sends it again with the same key. The same request gets the
assessment that the first one made; another request with that key is rejected. Keys count for their owner alone, for a
day, and as long as the assessment is kept.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta

from django.http import HttpRequest
from django.utils import timezone

from boneage.errors import BoneageError
from boneage.files import sha256_of
from boneage.web.accounts.access import assessments
from boneage.web.models import Assessment, SubmissionKey

KEPT = timedelta(hours=24)
"""How long a key counts."""

PATTERN = r'^(?:"[\x20\x21\x23-\x5b\x5d-\x7e]{1,255}"|[\x21\x23-\x5b\x5d-\x7e]{1,255})$'
"""A string of HTTP's structured fields without escapes; most programs leave the quotation marks out."""


class KeyReusedError(BoneageError):
    """``idempotency_key_reused``: another request came with this key before."""


@dataclass(frozen=True)
class Key:
    """A key with the request that came with it, both as digests.

    Attributes:
        digest: of owner and key, hexadecimal.
        request_digest: of what was submitted, hexadecimal.
    """

    digest: str
    request_digest: str


def key_of(request: HttpRequest, text: str, owner: str) -> Key:
    """The key of a request. Reads its form and file.

    Args:
        request: a submission.
        text: the header, matched by `PATTERN`.
        owner: whose key it is.
    """
    radiograph = request.FILES.get("radiograph")
    digest = hashlib.sha256()
    for part in radiograph.chunks() if radiograph is not None else ():
        digest.update(part)
    if radiograph is not None:
        radiograph.seek(0)
    fields = sorted((name, values) for name, values in request.POST.lists())
    submitted = json.dumps([fields, radiograph.name if radiograph is not None else None, digest.hexdigest()])
    return Key(_digest(json.dumps([owner, text.strip('"')])), _digest(submitted))


def earlier(key: Key) -> Assessment | None:
    """The assessment that was made by the same request before; None if there is none, or no longer.

    Raises:
        KeyReusedError: it was another request.
    """
    found = SubmissionKey.objects.filter(digest=key.digest, at__gt=timezone.now() - KEPT).first()
    if found is None:
        return None
    assessment = assessments().filter(pk=found.assessment_id).first()
    if assessment is not None and found.request_digest != key.request_digest:
        raise KeyReusedError("idempotency_key_reused", "Another request came with this Idempotency-Key before.")
    return assessment


def keep(key: Key, assessment: Assessment) -> None:
    """Keep a key in the transaction that makes its assessment.

    Raises:
        IntegrityError: the same key came at the same time, and its assessment is made already.
    """
    SubmissionKey.objects.filter(digest=key.digest, at__lte=timezone.now() - KEPT).delete()
    SubmissionKey.objects.exclude(assessment__in=assessments()).filter(digest=key.digest).delete()
    SubmissionKey.objects.create(digest=key.digest, request_digest=key.request_digest, assessment=assessment)


def _digest(text: str) -> str:
    return sha256_of(text.encode("utf-8", "surrogatepass"))
