"""The application, for Django."""

from __future__ import annotations

from django.apps import AppConfig


class WebConfig(AppConfig):
    """Named ``web`` in the database and in URLs' names."""

    name = "boneage.web"
    label = "web"
    verbose_name = "boneage"

    def ready(self) -> None:
        """Have each login write down where and when its session begins."""
        from django.contrib.auth.signals import user_logged_in  # noqa: PLC0415 - models are there only now

        from boneage.web.accounts import sessions  # noqa: PLC0415

        user_logged_in.connect(sessions.begin, dispatch_uid="boneage.web.accounts.sessions.begin")
