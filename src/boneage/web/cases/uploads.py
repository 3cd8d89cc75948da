"""Uploads of radiographs: in memory, never on disk, and no more bytes than allowed."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from django.core.files.uploadedfile import InMemoryUploadedFile, UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, StopUpload

from boneage.web.models import configuration


class LimitedUpload(FileUploadHandler):
    """Upload handler that keeps one file in memory and stops reading as soon as it exceeds
    `Configuration.radiograph_bytes`.

    A stopped file is missing from ``request.FILES``; ``request.upload_too_large`` is then true.
    """

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Begin a file."""
        super().new_file(*args, **kwargs)
        self._buffer = BytesIO()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Store a part of the file.

        Raises:
            StopUpload: the file is too large.
        """
        if start + len(raw_data) > configuration().radiograph_bytes:
            if self.request is not None:
                self.request.upload_too_large = True  # type: ignore[attr-defined]  # told to the view
            raise StopUpload(connection_reset=False)
        self._buffer.write(raw_data)

    def file_complete(self, file_size: int) -> UploadedFile[bytes]:
        """Return the whole file."""
        self._buffer.seek(0)
        return InMemoryUploadedFile(
            file=self._buffer,
            field_name=self.field_name,
            name=self.file_name,
            content_type=self.content_type,
            size=file_size,
            charset=self.charset,
            content_type_extra=self.content_type_extra,
        )
