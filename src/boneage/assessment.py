"""The assessment of a radiograph: everything that is reported of it, with the one schema of every output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boneage.activations import ViewActivation, heat_map_of, to_shape
from boneage.bundle.bone_ages import BoneAge
from boneage.bundle.estimate import AgeEstimate
from boneage.clinical.ages import ChronologicalAge
from boneage.clinical.documents import age_document, clinical_document, clinical_values
from boneage.clinical.reading import ClinicalReading
from boneage.explain import Evidence, HeatMap
from boneage.geometry import Transform
from boneage.hand.document import hand_document
from boneage.hand.registration import BOXES, Hand, Region
from boneage.presentation import Presentation
from boneage.reading.radiograph import RadiographFacts
from boneage.schema import (
    SCHEMA,
    AssessmentDocument,
    BothSexesDocument,
    BundleDocument,
    BySexDocument,
    NearestPlatesDocument,
    RadiographDocument,
    two_decimals,
)
from boneage.severity import Severity, highest_severity
from boneage.sex import Sex
from boneage.strict import to_plain
from boneage.warnings_ import ResultWarning, WarningCode
from boneage.words import age_in_words

NOTICE = "Not a medical device. For research and teaching; a physician must read the radiograph."


@dataclass(frozen=True, repr=False)
class Assessment(Presentation):
    """Everything that is reported of one radiograph.

    It holds a reduced picture and not the radiograph itself, so that thousands may be kept.

    Attributes:
        source_name: name of the file without its folder, which may hold personal data, made printable by
            `boneage.file_names.printable_name`; None if it came from memory.
        source_sha256: checksum of the bytes that were decoded, 64 hexadecimal digits; None of a data set in memory.
        sex: sex that the user gave.
        facts: contents of the file beside its pixels.
        estimate: the bone age.
        reading: the clinical reading of the estimate: chronological age, difference, SDS and determination.
        warnings: the gravest first.
        bundle_name, bundle_version: bundle that made the estimate.
        interval_coverage: share, 0..1, of the bundle's validation radiographs that 95 % intervals like this one held;
            None if that was not measured.
        timings_ms: wall time by step: ``read``, ``find`` (of a bundle that finds the hand), ``cut``, ``run``,
            ``combine``, ``draw``; and ``total``. Drawing and the checks of pixels also go on during earlier steps.
        radiograph_shape: (H, W) of the radiograph, pixels.
        picture: uint8 (h, w), the radiograph as it is drawn (`boneage.explain.display_picture`), bone bright.
        activations: one for each view, or tile of a bone, and grid.
        repeat_sd_months: standard deviation of the bundle's repeated readings of one hand; None if it was not measured.
        nearest_plates: the most probable plates of the atlas; None without an atlas or a distribution of the age.
        age_in_file: chronological age at the study by the file alone; None if it states none, or contradicts itself.
        hand: where the hand lies on the radiograph; None if the bundle does not look for it.
        region_ages_months: the bone age by each region alone (`boneage.bundle.estimate.region_ages`), not corrected,
            also by one that the estimate leaves out (`boneage.bundle.estimate.lone_region`); empty
            for a bundle that reads one region.
        bones: reading of each single bone; empty for a bundle that does not read them.
        embeddings: float32 (E,) by member: its last hidden layer, for similarity (`boneage.atlas`).
    """

    source_name: str | None
    source_sha256: str | None
    sex: Sex
    facts: RadiographFacts
    estimate: AgeEstimate
    reading: ClinicalReading
    warnings: tuple[ResultWarning, ...]
    bundle_name: str
    bundle_version: str
    interval_coverage: float | None
    timings_ms: Mapping[str, float]
    radiograph_shape: tuple[int, int]
    picture: NDArray[np.uint8] = field(repr=False, compare=False)
    activations: tuple[ViewActivation, ...] = field(repr=False, compare=False)
    repeat_sd_months: float | None = None
    nearest_plates: NearestPlatesDocument | None = None
    age_in_file: ChronologicalAge | None = None
    hand: Hand | None = field(default=None, repr=False, compare=False)
    region_ages_months: Mapping[Region, float] = field(default_factory=dict)
    bones: tuple[BoneAge, ...] = field(default=(), repr=False)
    embeddings: Mapping[str, NDArray[np.float32]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def regions(self) -> tuple[Region, ...]:
        """Regions that the networks read, each once; single bones are none."""
        return tuple(dict.fromkeys(one.spec.region for one in self.activations if one.spec.region != "bones"))

    @property
    def boxed_regions(self) -> tuple[Region, ...]:
        """Regions that the networks read and that have a box on the hand, which the whole radiograph has not."""
        return tuple(region for region in self.regions if region in BOXES)

    @property
    def radiograph_to_picture(self) -> Transform:
        """Transform of the radiograph's coordinates to those of `picture`."""
        return to_shape(self.radiograph_shape, self.picture.shape)

    @property
    def age_months(self) -> float:
        """The bone age, months."""
        return self.estimate.age_months

    @property
    def age_text(self) -> str:
        """The bone age as people say it, to the nearest month: ``7 years 3 months``."""
        return age_in_words(self.estimate.age_months)

    @property
    def severity(self) -> Severity | None:
        """The gravest severity among the warnings, or None without any."""
        return highest_severity(warning.severity for warning in self.warnings)

    @property
    def is_meaningless(self) -> bool:
        """True if the number is no bone age and must not be shown as one: the drawn phantom's, or outside 0 to 19."""
        return self.has_warning(WarningCode.PHANTOM) or self.estimate.outside_range

    def has_warning(self, code: WarningCode) -> bool:
        """Return True if this warning was raised."""
        return any(warning.code is code for warning in self.warnings)

    def heat_map(self, shape: tuple[int, int] | None = None, evidence: Evidence = "both") -> HeatMap:
        """Return the heat map on the radiograph or a reduced copy of it. It is made at each call.

        Args:
            shape: (H, W) of the map; that of `picture` if not given, `radiograph_shape` for the radiograph's own
                pixels.
            evidence: see `boneage.explain.HeatMap.of`.

        Raises:
            ValueError: a side of `shape` has no pixel.
        """
        height, width = shape or self.picture.shape
        if min(height, width) < 1:
            raise ValueError(f"a heat map has at least one pixel a side, not {height} x {width}")
        return heat_map_of(self.activations, self.radiograph_shape, (height, width), evidence, self.hand)

    def document(self) -> AssessmentDocument:
        """Return the assessment by the project's one schema (`boneage.schema`)."""
        estimate, distribution = self.estimate, self.estimate.age_distribution
        return AssessmentDocument(
            schema=SCHEMA,
            image=self.source_name,
            sex=self.sex.value,
            age_months=round(estimate.age_months, 2),
            age_text=self.age_text,
            is_meaningless=self.is_meaningless,
            typical_error_months=two_decimals(estimate.typical_error_months),
            interval_months=_rounded_pair(estimate.interval_months),
            interval_80_months=_rounded_pair(estimate.interval_80_months),
            consensus_interval_months=_rounded_pair(estimate.consensus_interval_months),
            consensus_interval_80_months=_rounded_pair(estimate.consensus_interval_80_months),
            interval_calibrated=estimate.is_calibrated,
            interval_coverage=self.interval_coverage,
            **clinical_values(clinical_document(self.reading)),
            member_ages_months={name: round(age, 2) for name, age in estimate.member_ages_months.items()},
            region_ages_months={region: round(age, 2) for region, age in self.region_ages_months.items()},
            bones=tuple(bone.document() for bone in self.bones),
            age_distribution=None if distribution is None else tuple(round(float(share), 5) for share in distribution),
            nearest_plates=None if self.is_meaningless else self.nearest_plates,
            regions=self.regions,
            hand=None if self.hand is None else hand_document(self.hand, self.regions),
            warnings=tuple(warning.document() for warning in self.warnings),
            facts=self.facts.document(),
            age_in_file=age_document(self.age_in_file),
            radiograph=RadiographDocument(
                height_pixels=self.radiograph_shape[0],
                width_pixels=self.radiograph_shape[1],
                sha256=self.source_sha256,
            ),
            bundle=BundleDocument(
                name=self.bundle_name, version=self.bundle_version, repeat_sd_months=self.repeat_sd_months
            ),
            timings_ms={step: round(wall, 2) for step, wall in self.timings_ms.items()},
            notice=NOTICE,
        )


@dataclass(frozen=True)
class BothSexesAssessment:
    """One radiograph read for both sexes: for a child whose sex is unknown, or neither female nor male.

    Neither reading counts by itself, and neither has an SDS.

    Attributes:
        female: the radiograph read by the networks for girls.
        male: the radiograph read by the networks for boys.
    """

    female: Assessment
    male: Assessment

    @property
    def readings(self) -> tuple[Assessment, Assessment]:
        """Both readings, that for girls first."""
        return self.female, self.male

    @property
    def source_name(self) -> str | None:
        """Name of the file; see `Assessment`."""
        return self.female.source_name

    @property
    def source_sha256(self) -> str | None:
        """Checksum of the file; see `Assessment`."""
        return self.female.source_sha256

    def document(self) -> BothSexesDocument:
        """Return both readings by the project's one schema (`boneage.schema`)."""
        girls, boys = self.female.document(), self.male.document()
        return BothSexesDocument(
            schema=SCHEMA, image=girls.image, radiograph=girls.radiograph, by_sex=BySexDocument(F=girls, M=boys)
        )

    def to_json(self) -> dict[str, Any]:
        """Return `document` as plain JSON."""
        value: dict[str, Any] = to_plain(self.document())
        return value


def _rounded_pair(bounds: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if bounds is None else (round(bounds[0], 2), round(bounds[1], 2))
