"""No patient data in logs."""

from __future__ import annotations

import logging


class WithoutPatients(logging.Filter):
    """Takes the request off a record, so that no handler prints its headers, cookies or form."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always keep the record."""
        record.__dict__.pop("request", None)
        return True
