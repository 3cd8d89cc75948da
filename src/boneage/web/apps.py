"""The application, for Django."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils import translation
from django.utils.translation import get_language, to_locale

from boneage.words import SOURCE_LANGUAGE, Translator


class WebConfig(AppConfig):
    """Configuration of the application, which is named ``web`` in the database and in the names of URLs."""

    name = "boneage.web"
    label = "web"
    verbose_name = "boneage"

    def ready(self) -> None:
        """Record each login's session, and use the language of each request for the words of the core."""
        from django.contrib.auth.signals import user_logged_in  # noqa: PLC0415 - models are there only now

        from boneage import words  # noqa: PLC0415
        from boneage.web.accounts import sessions  # noqa: PLC0415

        words.use_translator(_language_of_request)
        user_logged_in.connect(sessions.begin, dispatch_uid="boneage.web.accounts.sessions.begin")


def _language_of_request() -> tuple[str, Translator]:
    """Return the locale and the translator of the active language, as `boneage.words.use_translator` takes it."""
    return to_locale(get_language() or SOURCE_LANGUAGE), _DjangoTranslator()


class _DjangoTranslator:
    """Django's translation as a `boneage.words.Translator`."""

    gettext = staticmethod(translation.gettext)
    ngettext = staticmethod(translation.ngettext)
