"""Adult height by published methods side by side, with ranges, target height and height SDS.

:func:`predict_adult_height` takes :class:`HeightInputs` and returns an :class:`AdultHeightTable`. The numbers come from
published tables that lie as CSV in this folder. ``README.md`` there states sources, units and how they were compared.
Outside a table, or without an input that it needs, a method gives a reason and no number.
"""

from __future__ import annotations

from boneage.clinical.height.codes import BandMeaning, Contraindication, HeightSource, Method, Note, Reason
from boneage.clinical.height.errors import HeightInputError
from boneage.clinical.height.inputs import HeightInputs, ParentHeight
from boneage.clinical.height.midparental import target_height
from boneage.clinical.height.prediction import (
    CITATIONS,
    SDS_CITATION,
    AdultHeightTable,
    HeightPrediction,
    HeightSds,
    predict_adult_height,
)
from boneage.clinical.height.who_2007 import height_sds

__all__ = [
    "CITATIONS",
    "SDS_CITATION",
    "AdultHeightTable",
    "BandMeaning",
    "Contraindication",
    "HeightInputError",
    "HeightInputs",
    "HeightPrediction",
    "HeightSds",
    "HeightSource",
    "Method",
    "Note",
    "ParentHeight",
    "Reason",
    "height_sds",
    "predict_adult_height",
    "target_height",
]
