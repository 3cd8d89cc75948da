"""Checks that raise warnings: on the radiograph, on the contents of its file and on the outputs of the networks."""

from __future__ import annotations

import re
import statistics
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.bundle.bone_ages import BoneAge
from boneage.bundle.estimate import OLDEST_MONTHS, AgeEstimate, region_spread
from boneage.bundle.manifest import Member
from boneage.bundle.member_output import MemberOutput
from boneage.bundle.quality import QUALITY_LABELS, QualityLabel, QualityLimit
from boneage.checks.detail import Detail
from boneage.checks.phantom_similarity import SIMILARITY_LIMIT, phantom_similarity
from boneage.hand.borders import Window
from boneage.hand.registration import REGION_TITLES, Hand, Region
from boneage.hand.views import ViewSpec, view_transform
from boneage.image_pyramid import ImagePyramid, ImageSource
from boneage.reading.radiograph import RadiographFacts
from boneage.sex import Sex
from boneage.warnings_ import ResultWarning, WarningCode

_INVERSION_STEP = 0.1
"""Share of the grey range by which the border of an inverted radiograph is brighter than its middle. Of 500 radiographs
of the RSNA challenge, 0.8 % exceed it as they are (they have a bright frame), and 91 % after photometric inversion."""

_SATURATED_SHARE = 0.05
"""Largest share of pixels at the brightest level. Among 250 radiographs of the RSNA challenge the highest is 2.3 %."""

_ENLARGED = 1.7
"""Largest magnification of a hand by the views. The finest views of the bundle `standard` enlarge one training
radiograph in twenty more. The warning is only `info`: among 994 validation radiographs, the 44 that carry it have a MAD
of 7.0 months, and all together 6.4."""

_UNLIKE = 1.09
"""Out-of-distribution score above which a radiograph is unlike the validation radiographs. A score of 1 is the distance
that 99.5 % of them do not exceed in one view. Of 950 validation radiographs, 0.2 % exceed this limit in any view of
`standard`. A score of 1 is exceeded by 1.3 %, and these were read no worse than the others."""

_TIP_BEYOND = 0.004
"""Largest distance of the middle finger's tip beyond the radiograph's edge, as a share of the hand's length. It is
exceeded on 0.3 % of 950 validation radiographs, and on most of those whose fingertips were cut off and that are not
rejected."""

_DARK_QUARTER = 0.21
"""Lowest 25th percentile of the hand's grey levels, scaled so that the 1st percentile is 0 and the 90th is 1. Of 950
validation radiographs 0.3 % have less; with a gamma of 2 and 3, six and nine out of ten do."""

_BLURRED = 0.72
"""Blur (`boneage.checks.detail.blur`) above which there is a warning. None of 60 validation radiographs exceeds it. Of
997, five exceed 0.71, and the highest of 998 is 0.78. Median filters are the reason for so low a limit: one of 5 x 5
pixels on radiographs of half the size moved estimates by -8 months on average and by up to 19, at a blur of 0.57 to
0.77. Only a part of such radiographs exceeds the limit. Nine of ten that are blurred by 0.6 % of the hand's length, or
moved by 3 % across or along the fingers, exceed even 0.82."""

_UNREADABLY_BLURRED = 1.23
"""Blur above which the estimate must not be used. Radiographs that are blurred by 2 % of the hand's length exceed it,
and almost half of these moved the estimate of `standard` 8 by more than 12 months. Those blurred by 1.2 % do not, and
3 % of them moved it so far."""

_BLOCKS = 3.8
"""Blockiness (`boneage.checks.detail.blockiness`) above which there is a warning. The highest among 885 validation
radiographs with hands of fewer than 480 pixels is 3.6. Of copies as JPEG of quality 15, 95 % exceed it, and of those of
quality 30 about 60 %."""

_FEWEST_VALIDATED = 30
"""Number of validation radiographs from which the error of a bundle counts as known. Its 95 % interval is then about
a third of it to either side."""

_MANY_BONES = 5
"""Number of unreadable bones from which there is a warning, as on 1.5 % of 399 validation radiographs (`fast` 3)."""

_MOST_BONES = 0.5
"""Share of unreadable bones above which the estimate must not be used, as on 1 of 399 validation radiographs."""

_HAND_WORDS = re.compile(
    r"HAND|WRIST|FINGER|THUMB|CARP|UP_EXM|UPPER[ _]?LIMB|BONE[ _]?AGE"
    r"|(?<![A-Z])(?:[LR]?HNDS?|MANOS?|MANI|MAINS?|MAOS?|MUNECAS?|POIGNETS?|POLS[IO]|PUNHOS?)(?![A-Z])"
)
"""Words in Body Part Examined, in upper case without accents, that agree with a hand (DICOM PS3.16, Annex L, common
variants, and hand and wrist in Spanish, French, Italian and Portuguese). Short ones must stand alone."""

_LOWER_EXTREMITY = re.compile(r"LOW|LEXTREM|INFER|UNTER")
"""Words beside ``EXTREM`` that tell the lower extremity from the upper one, in the same languages and in German."""


def radiograph_warnings(
    source: ImageSource, picture: NDArray[np.uint8], hand: Hand | None, window: Window
) -> Iterator[ResultWarning]:
    """Yield the warnings that a radiograph's pixels raise.

    Args:
        source: Radiograph as read, float32 (H, W), 0..1, or its pyramid.
        picture: The same radiograph as displayed, with bone bright, uint8 (h, w).
        hand: Hand that the bundle located; None from a bundle that does not locate hands.
        window: Window within the radiograph's uniform borders (`boneage.hand.borders.inner_window`).
    """
    pyramid = ImagePyramid.of(source)
    if phantom_similarity(pyramid, hand) >= SIMILARITY_LIMIT:
        yield ResultWarning.of(WarningCode.PHANTOM)
    if hand is None and _looks_inverted(picture):  # where the hand was found, its mask decides
        yield ResultWarning.of(WarningCode.LOOKS_INVERTED)
    if hand is not None and hand.inverted:
        yield ResultWarning.of(WarningCode.READ_INVERTED)
    if hand is not None and hand.mirrored:
        yield ResultWarning.of(WarningCode.READ_MIRRORED)
    if hand is not None and not hand.side_certain:
        yield ResultWarning.of(WarningCode.SIDE_UNCERTAIN)
    if _is_saturated(pyramid.pixels, hand, window):
        yield ResultWarning.of(WarningCode.SATURATED, percent=100 * _SATURATED_SHARE)


def _is_saturated(pixels: NDArray[np.float32], hand: Hand | None, window: Window) -> bool:
    """Return True if a large share of a radiograph, white borders aside, is at the brightest level of bone."""
    bright = np.float32(1.0) - pixels if hand is not None and hand.inverted else pixels
    inner = window.cut(bright)
    level = inner.max() - np.float32(1 / 255)
    inside = np.count_nonzero(inner >= level)
    border = np.count_nonzero(bright >= level) - inside if inner.size < pixels.size else 0
    return bool(inside > _SATURATED_SHARE * (pixels.size - border))


def detail_warnings(detail: Detail) -> Iterator[ResultWarning]:
    """Yield the warnings about detail that was lost to blur or to strong compression."""
    if detail.blur > _UNREADABLY_BLURRED:
        yield ResultWarning.of(WarningCode.BLURRED, "strongly")
    elif detail.blur > _BLURRED:
        yield ResultWarning.of(WarningCode.BLURRED)
    if detail.blockiness > _BLOCKS:
        yield ResultWarning.of(WarningCode.STRONGLY_COMPRESSED)


def size_warnings(
    radiograph_shape: tuple[int, int], members: Sequence[Member], hand: Hand | None
) -> Iterator[ResultWarning]:
    """Yield a warning if the networks read more pixels than the radiograph has, or far more than a located hand has."""
    height, width = radiograph_shape
    whole = [one.view for one in members if one.view.region == "radiograph"]
    larger = next((view for view in whole if height < view.height or width < view.width), None)
    if larger is not None:
        sizes = {"width": width, "height": height, "view_width": larger.width, "view_height": larger.height}
        yield ResultWarning.of(WarningCode.LOW_RESOLUTION, **sizes)
    # Tiles of bones enlarge most of the radiographs on which their network was trained.
    parts = [one.view for one in members if one.view.region not in ("radiograph", "bones")]
    if hand is None or not parts:
        return
    zoom = max(view_transform(radiograph_shape, view, hand).zoom for view in parts)
    if zoom > _ENLARGED:
        length = hand.length_pixels
        yield ResultWarning.of(WarningCode.LOW_RESOLUTION, "hand", pixels=length, view_pixels=zoom * length)


def file_warnings(facts: RadiographFacts, given: Sex | None, hand: Hand | None) -> Iterator[ResultWarning]:
    """Yield a warning for each entry of the file that conflicts with the assessment.

    Args:
        facts: Contents of the file.
        given: Sex as the user gave it; None if the radiograph is read for both sexes.
        hand: Hand on the radiograph; None from a bundle that does not locate hands.
    """
    if facts.for_processing:
        yield ResultWarning.of(WarningCode.FOR_PROCESSING)
    if facts.body_part and not _agrees_with_hand(facts.body_part):
        yield ResultWarning.of(WarningCode.OTHER_BODY_PART_DECLARED, part=facts.body_part)
    if facts.side == "R" and (hand is None or not hand.mirrored):  # mirrored, it was read as a left hand
        yield ResultWarning.of(WarningCode.RIGHT_HAND_DECLARED)
    if facts.both_sides:
        yield ResultWarning.of(WarningCode.BOTH_HANDS_DECLARED)
    if facts.not_human:
        yield ResultWarning.of(WarningCode.NOT_HUMAN_DECLARED)
    if facts.bits_differ:
        yield ResultWarning.of(WarningCode.PIXEL_BITS_DIFFER)
    if facts.size_differs:
        yield ResultWarning.of(WarningCode.PIXEL_SIZE_DIFFERS)
    if facts.burned_in:
        yield ResultWarning.of(WarningCode.BURNED_IN_ANNOTATION)
    if given is not None and facts.sex is not None and facts.sex != given:
        yield ResultWarning.of(WarningCode.SEX_DIFFERS_FROM_FILE, given=given.value, said=facts.sex.value)


def _agrees_with_hand(body_part: str) -> bool:
    """Return True if a declared body part is a hand or contains one, such as an extremity that is not the lower one."""
    plain = "".join(one for one in unicodedata.normalize("NFKD", body_part) if not unicodedata.combining(one)).upper()
    if _HAND_WORDS.search(plain):
        return True
    return "EXTREM" in plain and not _LOWER_EXTREMITY.search(plain)


def estimate_warnings(
    estimate: AgeEstimate,
    members: Sequence[Member],
    outputs: Mapping[str, MemberOutput],
    validation_radiographs: float,
) -> Iterator[ResultWarning]:
    """Yield the warnings that the outputs of the bundle's members raise, and one if its accuracy is not known.

    Args:
        estimate: Estimate of the bundle.
        members: Members that read the radiograph.
        outputs: Outputs by the members' names.
        validation_radiographs: Number of radiographs on which the bundle was measured.
    """
    if estimate.outside_range:
        yield ResultWarning.of(WarningCode.OUTSIDE_TRAINING_RANGE, oldest_months=OLDEST_MONTHS)
    # The scores of one view are averaged over the networks of all folds. Otherwise more networks would make more
    # ordinary radiographs exceed the limit.
    ood_scores: dict[ViewSpec, list[float]] = {}
    for member in members:
        if (score := member.ood_score(outputs[member.name].embedding)) is not None:
            ood_scores.setdefault(member.view, []).append(score)
    if any(statistics.fmean(of_view) > _UNLIKE for of_view in ood_scores.values()):
        yield ResultWarning.of(WarningCode.UNLIKE_TRAINING)
    if estimate.typical_error_months is None and not validation_radiographs:
        yield ResultWarning.of(WarningCode.NOT_VALIDATED)
    elif validation_radiographs < _FEWEST_VALIDATED:
        yield ResultWarning.of(WarningCode.NOT_VALIDATED, "few", count=validation_radiographs)


def region_warnings(
    ages_months: Mapping[Region, float],
    left_out: Region | None,
    caution_months: float | None,
    critical_months: float | None,
) -> Iterator[ResultWarning]:
    """Yield a warning for a region that was left out, and one for regions that disagree unusually.

    Args:
        ages_months: Bone age by region, in months.
        left_out: Region that the estimate does not use (`boneage.bundle.estimate.lone_region`), or None.
        caution_months: Limit of the spread (`boneage.bundle.manifest.Manifest.region_limits_months`), or None.
        critical_months: Limit of the spread for a critical warning (see there), or None.
    """
    if left_out is not None:
        title = REGION_TITLES[left_out]
        yield ResultWarning.of(WarningCode.REGION_LEFT_OUT, region=title, months=ages_months[left_out])
        ages_months = {region: age for region, age in ages_months.items() if region != left_out}
    spread = region_spread(ages_months)
    if spread is None or caution_months is None or spread <= caution_months:
        return
    if critical_months is not None and spread > critical_months:
        months = {"spread_months": spread, "limit_months": critical_months}
        yield ResultWarning.of(WarningCode.REGIONS_DISAGREE, "far", **months)
    else:
        highest, lowest = (REGION_TITLES[end(ages_months, key=ages_months.__getitem__)] for end in (max, min))
        months = {"spread_months": spread, "limit_months": caution_months}
        yield ResultWarning.of(WarningCode.REGIONS_DISAGREE, highest=highest, lowest=lowest, **months)


def bone_warnings(bones: Sequence[BoneAge]) -> Iterator[ResultWarning]:
    """Yield a warning if many single bones could not be read, or have implausible ages.

    Args:
        bones: reading of each bone; empty for a bundle that reads none, or did not read them here.
    """
    unreadable = sum(bone.unreadable is not None for bone in bones)
    if unreadable > _MOST_BONES * len(bones):
        yield ResultWarning.of(WarningCode.BONES_NOT_READABLE, "most", count=unreadable, total=len(bones))
    elif unreadable >= _MANY_BONES:
        yield ResultWarning.of(WarningCode.BONES_NOT_READABLE, count=unreadable, total=len(bones))


def quality_warnings(
    radiograph_shape: tuple[int, int],
    hand: Hand,
    levels: NDArray[np.float32],
    probabilities: Mapping[QualityLabel, float],
    limits: Mapping[QualityLabel, QualityLimit],
) -> Iterator[ResultWarning]:
    """Yield one warning for each quality problem of the radiograph.

    Fingertips that are cut off and altered grey levels are also detected by measures, without a network.

    Args:
        radiograph_shape: Shape (H, W) of the radiograph, pixels.
        hand: Hand that was located on it.
        levels: Grey levels inside the hand's mask, bone bright (`boneage.hand.views.hand_levels`).
        probabilities: Probability of each label by the quality network; empty without one.
        limits: Limits of the network's labels; empty without one.
    """
    measured = {
        label
        for label, applies in (
            ("fingertips_cut", _tip_beyond(radiograph_shape, hand)),
            ("altered_grey", _is_dark(levels)),
        )
        if applies
    }
    for label in QUALITY_LABELS:
        limit, probability = limits.get(label), probabilities.get(label, 0.0)
        if limit is not None and limit.critical is not None and probability > limit.critical:
            yield ResultWarning.of(WarningCode(label), "certain")
        elif label in measured or (limit is not None and probability > limit.caution):
            yield ResultWarning.of(WarningCode(label))


def _tip_beyond(radiograph_shape: tuple[int, int], hand: Hand) -> bool:
    """Return True if the middle finger's tip lies clearly outside the radiograph."""
    height, width = radiograph_shape
    x, y = hand.points_xy[0]
    outside = max(-x, -y, x - width, y - height)
    return bool(outside > _TIP_BEYOND * hand.length_pixels)


def _is_dark(levels: NDArray[np.float32]) -> bool:
    """Return True if soft tissue is so much darker than bone that only a gamma above 1 explains it."""
    if not levels.size:
        return False
    low, quarter, high = (float(level) for level in np.percentile(levels, (1, 25, 90)))
    return quarter - low < _DARK_QUARTER * (high - low)


def _looks_inverted(picture: NDArray[np.uint8]) -> bool:
    """Return True if the outer twelfth of a radiograph is clearly brighter than its middle.

    The middle is the inner half of width and height. Hands lie there and are bright, and the air around them is dark.
    Medians are compared because they disregard a lead marker.
    """
    small = cv2.resize(picture, (48, 48), interpolation=cv2.INTER_AREA)
    border = np.ones(small.shape, dtype=bool)
    border[4:-4, 4:-4] = False
    return float(np.median(small[border])) - float(np.median(small[12:-12, 12:-12])) > 255 * _INVERSION_STEP
