"""The application, for Django."""

from __future__ import annotations

from django.apps import AppConfig


class WebConfig(AppConfig):
    """Named ``web`` in the database and in URLs' names."""

    name = "boneage.web"
    label = "web"
    verbose_name = "boneage"
