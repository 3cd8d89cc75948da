"""User names: their normalised form, and the rule that no two names may look alike in the audit log.

New names consist of ASCII letters and digits, so that no letter of another alphabet can imitate one of them. Similar
looks within ASCII (case, ``1`` and ``l``, ``rn`` and ``m``, dots) are compared by `appearance_of`.
"""

from __future__ import annotations

import re
import unicodedata

NAME_LENGTH = 150
"""Maximum number of characters of a name."""

RESERVED = (
    "anonymous",
    "api",
    "boneage",
    "deleted",
    "everyone",
    "nobody",
    "none",
    "null",
    "retention",
    "root",
    "service",
    "system",
    "token",
    "unknown",
    "worker",
)
"""Names that a reader of the audit log could take for the service itself or for nobody."""

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9@.+_-]*[A-Za-z0-9])?")
_SEPARATORS = re.compile(r"[@.+_\-\s]+")
_LOOK_ALIKE = str.maketrans({"0": "o", "1": "l", "i": "l", "|": "l", "5": "s"})


def normalized(name: str) -> str:
    """Return a name in Unicode's form NFKC without surrounding spaces, as the login form reads it."""
    return unicodedata.normalize("NFKC", name).strip()


def is_well_formed(name: str) -> bool:
    """Return whether a new user may have this name: ASCII letters, digits and inner ``@ . + - _``."""
    return len(name) <= NAME_LENGTH and _NAME.fullmatch(name) is not None


def appearance_of(name: str) -> str:
    """Return a key for the look of a name: the same for names that look alike."""
    bare = _SEPARATORS.sub("", normalized(name).casefold()) or normalized(name)
    return bare.translate(_LOOK_ALIKE).replace("rn", "m").replace("vv", "w")[:NAME_LENGTH]


RESERVED_APPEARANCES = frozenset(appearance_of(name) for name in RESERVED)
"""Appearances that no new name may have."""
