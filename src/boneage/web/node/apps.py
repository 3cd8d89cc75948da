"""The application of the node, for Django. Its tables are apart from those of the service."""

from __future__ import annotations

from django.apps import AppConfig


class NodeConfig(AppConfig):
    """Configuration of the application, which is named ``node`` in the database."""

    name = "boneage.web.node"
    label = "node"
    verbose_name = "DICOM node"

    def ready(self) -> None:
        """Follow decisions and corrections, which need new result objects."""
        from boneage.web.node import following  # noqa: PLC0415 - models are there only now

        following.connect()
