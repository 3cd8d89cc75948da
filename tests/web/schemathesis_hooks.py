"""Sequences of requests begin with a radiograph that can be assessed, so that there is a result to follow."""

from __future__ import annotations

import schemathesis
from hypothesis import strategies as st

from boneage.phantom import sample_png

schemathesis.openapi.media_type("application/octet-stream", st.just(sample_png()))
