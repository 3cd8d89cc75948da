"""The REST API with all its operations. `docs/api.md` shows it in use.

Responses with an error status always have the form ``{"code", "message"}`` (`boneage.web.api.errors`). Importing this
module registers the operations, in the order in which the description lists them.
"""

from __future__ import annotations

from boneage.web.api import cases, messages, radiographs, results, search, service
from boneage.web.api.application import api
from boneage.web.api.fallbacks import add_fallbacks

__all__ = ["api", "cases", "messages", "radiographs", "results", "search", "service"]

add_fallbacks()
