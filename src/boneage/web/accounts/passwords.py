"""Rejection of passwords that are easy to guess, besides their length and Django's list of common passwords.

There are no rules about kinds of characters. A password is rejected if it consists mostly of words that anybody would
try here, or if zxcvbn (Wheeler, USENIX Security 2016) expects it among the first `LEAST_GUESSES`.
"""

from __future__ import annotations

import re
import threading
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.utils.translation import gettext

from boneage.web.models import User, configuration

LEAST_LENGTH = 15
"""Minimum number of characters; NIST SP 800-63B-4 requires as many where a password is the only factor."""

LEAST_GUESSES = 1e10
"""Minimum number of guesses by zxcvbn's estimate: its highest score begins here."""

LEAST_BESIDES = 10
"""Minimum number of characters besides the words of `context_words`."""

CONTEXT_WORDS = ("boneage", "bone", "radiolog", "radiograph", "hospital", "clinic", "klinik", "password", "passwort")
"""Words that anybody would try here, besides those of user and installation (docs/service-safety.md)."""

_EXAMINED = 48
"""Number of characters that zxcvbn examines: its time grows faster than their number."""

_ONE_SYMBOL = str.maketrans("@{[<!|$+", "4(((1157")
"""Symbols that stand for the same letter, mapped to one. zxcvbn tries all combinations, for seconds where there are
many."""

_SHORTEST_WORD = 3

_one_at_a_time = threading.Lock()
"""Lock, because zxcvbn stores the words of a call in a dictionary of its module."""


def context_words(user: User | None) -> list[str]:
    """Return the words that must not make up a password: the service, its address, and the user's names."""
    host = urlsplit(configuration().url).hostname or ""
    names = [user.username, user.first_name, user.last_name, user.email] if user is not None else []
    parts = [part for text in [host, *names] for part in [text, *re.split(r"[\W_\d]+", text)]]
    words = {word.casefold() for word in [*CONTEXT_WORDS, *parts]}
    return sorted((word for word in words if len(word) >= _SHORTEST_WORD), key=lambda word: (-len(word), word))


class GuessableValidator:
    """Django validator for passwords that are easy to guess."""

    def validate(self, password: str, user: Any = None) -> None:
        """Check whether a password may be used.

        Raises:
            ValidationError: ``password_context`` or ``password_guessable``.
        """
        words = context_words(user if isinstance(user, User) else None)
        if len(_besides(password, words)) < LEAST_BESIDES:
            message = gettext(
                "This password consists mostly of names or words that are easy to guess. Choose other words."
            )
            raise ValidationError(message, code="password_context")
        if _guesses(password[:_EXAMINED].translate(_ONE_SYMBOL), words) < LEAST_GUESSES:
            message = gettext("This password is easy to guess. Choose several words that do not belong together.")
            raise ValidationError(message, code="password_guessable")

    def get_help_text(self) -> str:
        """Return the help text of the form."""
        return gettext(
            "Use several words that do not belong together, or a password manager. Any characters may be used."
        )


def _besides(password: str, words: list[str]) -> str:
    """Return the rest of a password without these words, longest first."""
    left = password.casefold()
    for word in words:
        left = left.replace(word, "")
    return left


def _guesses(password: str, words: list[str]) -> float:
    from zxcvbn import zxcvbn  # noqa: PLC0415 - 0.1 s, and only where a password is chosen

    with _one_at_a_time:
        return float(zxcvbn(password, user_inputs=words)["guesses"])
