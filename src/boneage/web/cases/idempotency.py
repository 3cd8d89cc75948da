"""Idempotent submissions: ``Idempotency-Key`` (IETF draft-ietf-httpapi-idempotency-key-header).

A program that does not know whether its request arrived sends it again with the same key. The same request returns the
assessment that the first one created; another request with that key is rejected. A key belongs to its owner, and is
valid for a day, as long as the assessment exists.
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
from boneage.web.models import Assessment, SubmissionKey, User

KEPT = timedelta(hours=24)
"""Validity of a key."""

PATTERN = r'^(?:"[\x20\x21\x23-\x5b\x5d-\x7e]{1,255}"|[\x21\x23-\x5b\x5d-\x7e]{1,255})$'
"""A string of HTTP's structured fields without escapes; most programs omit the quotation marks."""


class KeyReusedError(BoneageError):
    """``idempotency_key_reused``: the key was used before with another request."""


@dataclass(frozen=True)
class Key:
    """A key and its request, both as digests.

    Attributes:
        digest: digest of owner and key, hexadecimal.
        request_digest: digest of the submission, hexadecimal.
    """

    digest: str
    request_digest: str


def key_of(request: HttpRequest, text: str, owner: str) -> Key:
    """Return the key of a request. This reads its form and file.

    Args:
        request: a submission.
        text: the header, matched by `PATTERN`.
        owner: the owner of the key.
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


def earlier(key: Key, user: User | None) -> Assessment | None:
    """Return the assessment that the same request created before; None if there is none, or no longer.

    Args:
        key: the key.
        user: its owner; None in the mode ``open``.

    Raises:
        KeyReusedError: it was another request.
    """
    row = SubmissionKey.objects.filter(digest=key.digest, at__gt=timezone.now() - KEPT).first()
    if row is None:
        return None
    assessment = assessments(user).filter(pk=row.assessment_id).first()
    if assessment is not None and row.request_digest != key.request_digest:
        raise KeyReusedError("idempotency_key_reused", "Another request came with this Idempotency-Key before.")
    return assessment


def keep(key: Key, assessment: Assessment, user: User | None) -> None:
    """Store a key in the transaction that creates its assessment.

    Args:
        key: the key.
        assessment: the assessment.
        user: the owner of the key; None in the mode ``open``.

    Raises:
        IntegrityError: the same key came at the same time, and its assessment is made already.
    """
    SubmissionKey.objects.filter(digest=key.digest, at__lte=timezone.now() - KEPT).delete()
    SubmissionKey.objects.exclude(assessment__in=assessments(user)).filter(digest=key.digest).delete()
    SubmissionKey.objects.create(digest=key.digest, request_digest=key.request_digest, assessment=assessment)


def _digest(text: str) -> str:
    return sha256_of(text.encode("utf-8", "surrogatepass"))
