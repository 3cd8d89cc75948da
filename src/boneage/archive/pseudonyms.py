"""Pseudonyms of identifiers: keyed hashes, which only the holder of the key can reproduce.

DICOM's profile for confidentiality (PS3.15, annex E) replaces or removes identifiers, UIDs and dates. A hash without a
key is no pseudonym, since whoever knows the few million possible patient numbers tries them all. The key therefore lies
in a file of its own (the salt), outside of the folder of results. Whoever keeps it can match the results of several
runs, or find the radiograph of a row; without it nobody can. When it is deleted, the results are anonymous as far as
their other columns allow.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from boneage.errors import TableError

_DIGITS = 32
"""Hexadecimal digits of a pseudonym: 128 bits, so that no two of any archive are equal by chance."""
_SALT_BYTES = 32


@dataclass(frozen=True)
class Pseudonyms:
    """Pseudonyms by one key.

    Attributes:
        salt: The key.
    """

    salt: bytes = field(repr=False)

    def of(self, kind: str, *identifiers: str) -> str:
        """Return the pseudonym of an identifier, 32 hexadecimal digits; empty if all of its parts are empty.

        Args:
            kind: Kind of identifier. Equal texts of different kinds have different pseudonyms.
            identifiers: Parts of the identifier, such as issuer and number of a patient.
        """
        if not any(identifiers):
            return ""
        # The length of each part is hashed too, so that ("ab", "c") and ("a", "bc") differ.
        parts = [f"{len(part)}:{part}" for part in (kind, *identifiers)]
        message = "".join(parts).encode("utf-8", "surrogatepass")
        return hmac.new(self.salt, message, hashlib.sha256).hexdigest()[:_DIGITS]

    @property
    def fingerprint(self) -> str:
        """Pseudonym of a fixed text, by which another key is recognised."""
        return self.of("fingerprint", "boneage")


def short_pseudonym(text: str) -> str:
    """Return the first digits of a pseudonym, which tell some hundred apart; any other text as it is."""
    is_pseudonym = len(text) == _DIGITS and set(text) <= set("0123456789abcdef")
    return text[:8] if is_pseudonym else text


def open_salt(path: Path) -> Pseudonyms:
    """Return the pseudonyms by the key of a file. A missing file is made, readable by its owner only.

    Raises:
        TableError: ``table_value`` if the file is not one that this function made.
        OSError: The file cannot be read or made.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:  # another process was faster
            return open_salt(path)
        try:
            with os.fdopen(opened, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(_SALT_BYTES) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError:  # a full disk must not leave an empty key
            path.unlink(missing_ok=True)
            raise
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    try:
        salt = bytes.fromhex(text)
    except ValueError:
        salt = b""
    if len(salt) != _SALT_BYTES:
        raise TableError("table_value", f"{path} is no salt: it must hold {2 * _SALT_BYTES} hexadecimal digits.")
    return Pseudonyms(salt)
