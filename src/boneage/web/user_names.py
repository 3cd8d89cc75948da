"""Names of users: one form in which they are kept, and no two that a reader of the audit log could mistake.

New names are of ASCII letters and digits, so no letter of another alphabet can pass for one of them. What still looks
alike within ASCII (case, ``1`` and ``l``, ``rn`` and ``m``, dots) is compared by `appearance_of`.
"""

from __future__ import annotations

import re
import unicodedata

NAME_LENGTH = 150
"""Most characters of a name."""

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
"""Names that the audit log, or its reader, could take for the service itself or for nobody."""

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9@.+_-]*[A-Za-z0-9])?")
_SEPARATORS = re.compile(r"[@.+_\-\s]+")
_LOOK_ALIKE = str.maketrans({"0": "o", "1": "l", "i": "l", "|": "l", "5": "s"})


def normalized(name: str) -> str:
    """Return a name in Unicode's form NFKC and without spaces around it, as the login form reads it."""
    return unicodedata.normalize("NFKC", name).strip()


def is_well_formed(name: str) -> bool:
    """Whether a new user may have this name: ASCII letters, digits and ``@ . + - _``, none of these at an end."""
    return len(name) <= NAME_LENGTH and _NAME.fullmatch(name) is not None


def appearance_of(name: str) -> str:
    """Return what a reader sees of a name at a glance: the same for names that look alike."""
    bare = _SEPARATORS.sub("", normalized(name).casefold()) or normalized(name)
    return bare.translate(_LOOK_ALIKE).replace("rn", "m").replace("vv", "w")[:NAME_LENGTH]


RESERVED_APPEARANCES = frozenset(appearance_of(name) for name in RESERVED)
"""What no new name may look like."""
