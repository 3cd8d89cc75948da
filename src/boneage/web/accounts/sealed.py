"""Encryption of secrets that are stored in the database, with a key derived from the secret key of the installation."""

from __future__ import annotations

import base64

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings


def seal(text: str) -> str:
    """Return a text, encrypted and authenticated."""
    return _cipher().encrypt(text.encode()).decode("ascii")


def unseal(sealed: str) -> str | None:
    """Return the text; None if it was sealed with another secret key."""
    try:
        return _cipher().decrypt(sealed.encode("ascii")).decode()
    except InvalidToken:
        return None


def _cipher() -> Fernet:
    derived = HKDF(SHA256(), 32, salt=None, info=b"boneage.web.accounts.sealed").derive(settings.SECRET_KEY.encode())
    return Fernet(base64.urlsafe_b64encode(derived))
