"""The outline of the hand and the bone age as a Grayscale Softcopy Presentation State (PS3.3, A.33.1)."""

from __future__ import annotations

from datetime import datetime

import highdicom as hd
from pydicom import Dataset

from boneage.dicom.identity import (
    MANUFACTURER,
    MODEL,
    ResultKey,
    add_origin,
    laterality,
    reference_to,
)
from boneage.dicom.structured_report import outline_on
from boneage.schema import AssessmentDocument

SERIES_NUMBER = 993


def presentation_state(
    source: Dataset, document: AssessmentDocument, key: ResultKey, *, text: str, now: datetime
) -> Dataset | None:
    """Return the presentation state of a radiograph; None without an outline of the hand.

    Args:
        source: data set of the radiograph.
        document: its assessment.
        key: key of the result.
        text: words beside the outline.
        now: moment at which it is made, with a time zone.
    """
    outline = outline_on(source, document)
    if outline is None:
        return None
    layer = hd.pr.GraphicLayer("BONEAGE", order=1, description="Hand and bone age")
    units, reference = hd.pr.AnnotationUnitsValues.PIXEL, reference_to(source)
    left, top = float(outline[:, 0].min()), float(outline[:, 1].min())
    annotation = hd.pr.GraphicAnnotation(
        [reference],
        layer,
        graphic_objects=[hd.pr.GraphicObject(hd.pr.GraphicTypeValues.POLYLINE, outline, units)],
        text_objects=[hd.pr.TextObject(text, units, anchor_point=(left, top), anchor_point_visible=False)],
    )
    state: Dataset = hd.pr.GrayscaleSoftcopyPresentationState(
        referenced_images=[reference],
        series_instance_uid=key.uid("series pr"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=key.uid("pr"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL,
        software_versions=f"{MODEL} {key.program}",
        device_serial_number=key.program,
        content_label="BONE AGE",
        content_description="Hand and bone age",
        graphic_annotations=[annotation],
        graphic_layers=[layer],
    )
    when = add_origin(state, source, key, now)
    state.Laterality = laterality(source)
    state.PresentationCreationDate = when.strftime("%Y%m%d")
    state.PresentationCreationTime = when.strftime("%H%M%S")
    return state
