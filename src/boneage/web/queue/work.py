"""A worker's work on one radiograph: bytes in, answer out. No database; networks are loaded once in each process."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import cv2
import numpy as np

from boneage.assessment import Assessment as Assessed
from boneage.atlas import similarity_member
from boneage.bundle.check import predict_phantom
from boneage.clinical.ages import StatedAge
from boneage.clinical.references import configured_reference
from boneage.composition import assess_radiograph
from boneage.errors import Rejection, RejectionCode
from boneage.explain import display_picture, encode_picture
from boneage.files import sha256_of
from boneage.preparation import bone_bright
from boneage.reading.limit import CPU_SECONDS, read_radiograph_limited, start_reading_process
from boneage.reading.radiograph import Radiograph
from boneage.schema import values_of
from boneage.sex import Sex
from boneage.web.documents import PlatesDocument, SimilarPlate, StoredResult
from boneage.web.installation import atlas, bundle
from boneage.web.models import BOTH, Assessment, PictureKind, State
from boneage.web.queue.answer import Answer, PutOffError
from boneage.web.queue.pictures import grey_png, reduced, reduced_shape

log = logging.getLogger(__name__)

LARGEST_PICTURE = 4096
"""Longest side of the radiograph in the viewer, pixels: what every graphics card takes as a texture."""

HEAT_SIDE = 512
"""Longest side of the heat map in the viewer, pixels; it is smooth."""

THUMBNAIL_SIDE = 160
"""Longest side of the radiograph in lists, pixels."""

_PICTURE_BITS = 8
"""Bits of a grey level that the viewer's ordinary picture holds."""

FIRST_READING_SECONDS = 2.0
"""Processor time for reading a radiograph at first. What takes longer, few files in use, is put to the end of the queue
and gets all of `boneage.reading.limit.CPU_SECONDS`, so that files that hang hold up nobody for long.
"""

MOST_SIMILAR = 3
"""So many plates are offered by similarity."""


def warm_up() -> None:
    """Load all that the first radiograph would wait for."""
    cv2.setNumThreads(1)  # there are as many workers as cores
    start_reading_process()
    configured_reference()
    opened = bundle()
    if opened.finds_hands:
        opened.hand_networks()
    for member in opened.members:
        predict_phantom(opened, member)
    atlas().embeddings(opened)


def assess_bytes(submitted: Assessment, radiograph: bytes) -> Answer:
    """Assess a radiograph. Whatever is wrong with it becomes an answer.

    Raises:
        PutOffError: it takes long to read, and this is the first attempt.
    """
    try:
        return _answered(submitted, radiograph)
    except Rejection as rejection:
        if rejection.code == RejectionCode.READING_TIMEOUT and submitted.attempt <= 1:
            raise PutOffError from None
        return Answer(State.REJECTED, rejection.code, rejection.message)
    except Exception as error:
        log.exception("assessment %s failed", submitted.pk)
        code = getattr(error, "code", "internal_error")
        return Answer(State.FAILED, str(code), "The radiograph could not be assessed: a fault of the program.")


def _answered(submitted: Assessment, upload: bytes) -> Answer:
    radiograph = read_radiograph_limited(upload, FIRST_READING_SECONDS if submitted.attempt <= 1 else CPU_SECONDS)
    both = submitted.sex == BOTH
    readings = assess_radiograph(
        radiograph,
        tuple(Sex) if both else (Sex(submitted.sex),),
        bundle(),
        atlas=atlas(),
        age=StatedAge(submitted.birth_date, submitted.study_date, submitted.given_age),
        name=submitted.radiograph_name or None,
        sha256=sha256_of(upload),
    )
    age = readings[0].reading.chronological_age
    return Answer(
        State.DONE,
        age_months=None if both else readings[0].age_months,
        chronological_age_months=None if age is None else age.middle_months,
        chronological_age_precision="" if age is None else age.precision.value,
        study_date=radiograph.facts.study_date,
        pixels_sha256=pixels_sha256(radiograph),
        results=tuple(map(_stored, readings)),
        pictures=_pictures(radiograph, readings),
    )


def pixels_sha256(radiograph: Radiograph) -> str:
    """Return the checksum of the pixels of a radiograph as they were read, 64 hexadecimal digits.

    It is the same for the same radiograph in another file: with another header, or another lossless compression. Grey
    levels are rounded to 16 bits, so that machines agree.
    """
    height, width = radiograph.pixels.shape
    levels = np.rint(radiograph.pixels * np.float32(65535)).astype("<u2")
    return sha256_of(f"{height} {width} ".encode() + levels.tobytes())


def _stored(assessed: Assessed) -> StoredResult:
    return StoredResult(**values_of(assessed.document()), plates=_plates(assessed))


def _pictures(radiograph: Radiograph, readings: Sequence[Assessed]) -> dict[PictureKind, tuple[str, bytes]]:
    """Return the pictures for the pages. Two readings have two heat maps, of which none is stored."""
    hand = readings[0].hand
    picture = bone_bright(display_picture(radiograph.pixels, LARGEST_PICTURE), hand)
    pictures = {
        PictureKind.RADIOGRAPH: ("image/jpeg", encode_picture(".jpg", picture)),
        PictureKind.THUMBNAIL: ("image/jpeg", encode_picture(".jpg", reduced(picture, THUMBNAIL_SIDE))),
    }
    if len(readings) == 1:
        heat = readings[0].heat_map(reduced_shape(readings[0].radiograph_shape, HEAT_SIDE))
        pictures[PictureKind.HEAT] = ("image/png", encode_picture(".png", heat.levels))
    if radiograph.facts.bits_stored > _PICTURE_BITS:
        is_inverted = hand is not None and hand.inverted
        pictures[PictureKind.GREY] = ("image/png", grey_png(radiograph.pixels, is_inverted=is_inverted))
    return pictures


def _plates(assessed: Assessed) -> PlatesDocument | None:
    """Keys of the plate nearest by age, and of the most similar ones with their distances; None without any of the
    sex.
    """
    plates, opened, sex = atlas(), bundle(), assessed.sex
    if not plates.for_sex(sex):
        return None
    by_age = plates.nearest_by_age(sex, assessed.age_months)
    embedding = assessed.embeddings.get(similarity_member(opened, sex).name)  # None if stand-ins read the radiograph
    most_similar = () if embedding is None else plates.nearest_by_similarity(sex, embedding, opened, MOST_SIMILAR)
    return PlatesDocument(
        atlas=plates.name,
        by_age=by_age.key,
        by_similarity=tuple(
            SimilarPlate(key=plate.key, distance=round(distance, 4)) for plate, distance in most_similar
        ),
    )
