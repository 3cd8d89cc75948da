"""The one composition, which leads from a file to an `Assessment` with the one schema of every output.

(The module is not called ``assess``, so that ``boneage.assess`` is the function, whatever was imported before.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boneage.activations import ViewActivation, heat_map_of, mean_activations, shows_anything, to_shape
from boneage.atlas import Atlas
from boneage.bundle.bone_ages import BoneAge, bone_ages
from boneage.bundle.bundle import Bundle
from boneage.bundle.estimate import AgeEstimate, combine, lone_region, region_ages
from boneage.checks import radiograph as checks
from boneage.clinical.ages import ChronologicalAge, FileAge, StatedAge, age_at_study, age_in_file, parse_written_age
from boneage.clinical.discordance import DiscordanceLimits
from boneage.clinical.documents import clinical_document, clinical_values, file_difference, result_warnings
from boneage.clinical.maturity import AgeDistribution
from boneage.clinical.reading import BoneAgeEstimate, ClinicalReading, clinical_reading
from boneage.clinical.references import configured_reference
from boneage.errors import BundleError, Rejection, RejectionCode
from boneage.explain import Evidence, HeatMap
from boneage.file_names import printable_name
from boneage.files import sha256_of
from boneage.geometry import Transform
from boneage.hand.document import hand_document
from boneage.hand.registration import BOXES, REGION_TITLES, Hand, Region
from boneage.hand.views import view_transform
from boneage.preparation import PreparedRadiograph, StepClock, needs_hand
from boneage.presentation import Presentation
from boneage.reading.radiograph import Radiograph, RadiographFacts, RadiographSource, read_file, read_radiograph
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
from boneage.warnings_ import ResultWarning, WarningCode, by_severity
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


@dataclass(frozen=True)
class _Source:
    """Atlas, stated age and origin of the file of an assessment."""

    atlas: Atlas | None
    age: ChronologicalAge | StatedAge | None
    name: str | None
    sha256: str | None


def assess(
    source: RadiographSource,
    sex: str | Sex | None,
    bundle: str | Path | Bundle = "default",
    *,
    atlas: str | Path | Atlas | None = None,
    age: ChronologicalAge | StatedAge | str | None = None,
    name: str | None = None,
    spacing_mm: float | None = None,
) -> Assessment:
    """Assess the bone age on one radiograph of a hand.

    Args:
        source: a file's path, its bytes, a pydicom data set, a NumPy array or a Pillow image
            (`boneage.reading.pixel_arrays.png_of`).
        sex: sex of the patient, ``F`` or ``M`` (see `Sex.parse`). It is required, and never taken from the file.
            `assess_for_both_sexes` reads a radiograph of a child whose sex is unknown or other.
        bundle: an opened bundle, the name of a shipped one, or a bundle's folder. Open it once for many radiographs.
        atlas: an opened atlas, the name of a shipped one, or an atlas's folder, for the most probable plates.
        age: chronological age at the study, such as ``"11y2m"``, or dates of birth and study. Missing ones come from
            the file.
        name: name of a source from memory; a path's own file name if not given.
        spacing_mm: distance between neighbouring pixels, mm, of a source that does not state it.

    Raises:
        Rejection: the radiograph cannot be assessed; see `boneage.errors.RejectionCode`.
        BundleError: the bundle is missing or damaged.
        AtlasError: the atlas is missing or damaged.
        ClinicalError: the reference of the setting ``BONEAGE_REFERENCE`` cannot be read.
    """
    return _from_source(source, (_given_sex(source, sex),), bundle, atlas, age, name, spacing_mm)[0]


def assess_for_both_sexes(
    source: RadiographSource,
    bundle: str | Path | Bundle = "default",
    *,
    atlas: str | Path | Atlas | None = None,
    age: ChronologicalAge | StatedAge | None = None,
    name: str | None = None,
) -> BothSexesAssessment:
    """Read one radiograph for both sexes, for a child whose sex is unknown, or neither female nor male.

    The file is read, and the hand located, once.

    Args:
        source: see `assess`; likewise the other arguments.
        bundle: an opened bundle, the name of a shipped one, or a bundle's folder.
        atlas: an opened atlas, the name of a shipped one, or an atlas's folder.
        age: chronological age at the study, or dates of birth and study.
        name: name of a source from memory.

    Raises:
        Rejection, BundleError, AtlasError, ClinicalError: same as in `assess`.
    """
    return BothSexesAssessment(*_from_source(source, tuple(Sex), bundle, atlas, age, name))


def _from_source(
    source: RadiographSource,
    sexes: tuple[Sex, ...],
    bundle: str | Path | Bundle,
    atlas: str | Path | Atlas | None,
    age: ChronologicalAge | StatedAge | str | None,
    name: str | None,
    spacing_mm: float | None = None,
) -> tuple[Assessment, ...]:
    """Return one assessment of a file for each sex."""
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    plates = atlas if atlas is None or isinstance(atlas, Atlas) else Atlas.open(atlas)
    age = parse_written_age(age) if isinstance(age, str) else age
    clock = StepClock()
    with clock.step("read"):
        if isinstance(source, str | Path):
            name = name or printable_name(Path(source).name)
            source = read_file(Path(source))  # once: the checksum is of the bytes that are decoded
        radiograph = read_radiograph(source)
        if spacing_mm is not None and radiograph.facts.spacing_mm is None:
            radiograph = replace(radiograph, facts=replace(radiograph.facts, spacing_mm=(spacing_mm, spacing_mm)))
        sha256 = sha256_of(source) if isinstance(source, bytes) else None
    return assess_radiograph(radiograph, sexes, opened, atlas=plates, age=age, name=name, sha256=sha256, clock=clock)


def assess_radiograph(
    radiograph: Radiograph,
    sexes: tuple[Sex, ...],
    bundle: Bundle,
    *,
    atlas: Atlas | None = None,
    age: ChronologicalAge | StatedAge | None = None,
    name: str | None = None,
    sha256: str | None = None,
    clock: StepClock | None = None,
) -> tuple[Assessment, ...]:
    """Assess a radiograph that has been read: the same steps as `assess`, from the second on.

    Steps that do not depend on the sex run once.

    Args:
        radiograph: result of `boneage.reading.radiograph.read_radiograph`.
        sexes: sex of the patient; both if it is unknown or other.
        bundle: an opened bundle.
        atlas: an opened atlas, for the most probable plates.
        age: see `assess`.
        name: name of the file that it came from, if the assessment is to hold it.
        sha256: checksum of that file.
        clock: clock that has timed the reading.

    Returns:
        One assessment for each sex. Those for both sexes have no SDS.

    Raises:
        Rejection, BundleError, ClinicalError: same as in `assess`.
    """
    if not all(bundle.members_for(sex) for sex in sexes):
        raise BundleError("bundle_mismatch", f"The bundle {bundle.manifest.name} holds no network that gives an age.")
    members = tuple(member for member in bundle.members if set(member.sexes) & set(sexes))
    clock, source = clock or StepClock(), _Source(atlas, age, name, sha256)
    with clock.step("find") if needs_hand(bundle, members) else nullcontext():
        prepared = PreparedRadiograph(radiograph, bundle, members)
    return tuple(_read(prepared, sex, bundle, clock.fork(), source, sex_is_known=len(sexes) == 1) for sex in sexes)


def _read(
    prepared: PreparedRadiograph, sex: Sex, opened: Bundle, clock: StepClock, source: _Source, *, sex_is_known: bool
) -> Assessment:
    """Run the steps that depend on the sex."""
    manifest, facts, hand = opened.manifest, prepared.radiograph.facts, prepared.hand
    # Steps that do not wait for one another run at the same time, in the threads of the bundle.
    of_pixels = opened.start(lambda: _pixel_warnings(prepared))
    of_quality = opened.start(lambda: prepared.quality)
    of_outlines = opened.start(lambda: prepared.outlines)
    detail = prepared.detail if manifest.stand_ins else None  # else it is measured beside the networks
    members, cut_off = prepared.shown(opened.members_for(sex, lost_detail=detail is not None and detail.is_lost))
    with clock.step("cut"):
        views = prepared.views(members)
        to_radiograph = {
            spec: view_transform(prepared.shape, spec, hand).inverse() for spec in views if spec.region != "bones"
        }
    with clock.step("run"):
        runs = {member.name: opened.start(partial(opened.run, member, views[member.view], sex)) for member in members}
        outputs = {name: run.result() for name, run in runs.items()}
        quality, outlines = of_quality.result(), of_outlines.result()
    with clock.step("combine"):
        by_region = region_ages({name: output.age_months for name, output in outputs.items()}, manifest)
        left_out = lone_region(by_region, manifest)
        used = [member for member in members if member.view.region != left_out]
        estimate = combine({member.name: outputs[member.name] for member in used}, manifest, sex=sex)
        weighed = [replace(one, weight=weight) for one in used if (weight := estimate.member_weights[one.name]) > 0]
        activations = mean_activations(weighed, outputs, to_radiograph, hand)
        bones = bone_ages(members, outputs, manifest, hand, prepared.unreadable, outlines)
    with clock.step("draw"):
        warnings_of_pixels, picture = of_pixels.result(), prepared.picture
    warnings = [
        *warnings_of_pixels,
        *checks.size_warnings(prepared.shape, members, hand),
        *checks.file_warnings(facts, sex if sex_is_known else None, hand),
        *checks.estimate_warnings(estimate, members, outputs, manifest.metrics.get("radiographs", 0)),
        *checks.region_warnings(by_region, left_out, *manifest.region_limits_months),
        *checks.bone_warnings(bones),
        *(
            checks.quality_warnings(prepared.shape, hand, prepared.levels, quality, opened.quality_limits)
            if hand is not None and prepared.levels is not None
            else ()
        ),
        *(
            [ResultWarning.of(WarningCode.REGION_CUT_OFF, regions=", ".join(REGION_TITLES[one] for one in cut_off))]
            if cut_off
            else []
        ),
        *([] if shows_anything(activations, prepared.shape, hand) else [ResultWarning.of(WarningCode.NO_ACTIVATION)]),
    ]
    stated = source.age if isinstance(source.age, StatedAge) else StatedAge(age=source.age)
    at_study = age_at_study(stated, facts.patient_age, facts.birth_date, facts.study_date)
    reading = _clinical_reading(
        estimate, sex, at_study, by_region, warnings, manifest.carpal_limits, sex_is_known=sex_is_known
    )
    warnings += [
        *result_warnings(reading),
        *file_difference(at_study.age, age_in_file(facts.patient_age, facts.birth_date, facts.study_date).age),
    ]
    return Assessment(
        source_name=source.name,
        source_sha256=source.sha256,
        sex=sex,
        facts=facts,
        estimate=estimate,
        reading=reading,
        warnings=by_severity(warnings),
        bundle_name=manifest.name,
        bundle_version=manifest.version,
        interval_coverage=manifest.metrics.get("interval_coverage"),
        timings_ms=clock.timings_ms(),
        radiograph_shape=prepared.shape,
        picture=picture,
        activations=activations,
        repeat_sd_months=manifest.repeat_sd_months,
        nearest_plates=None if source.atlas is None else source.atlas.nearest_plates(sex, estimate.age_distribution),
        hand=hand,
        region_ages_months=by_region,
        bones=bones,
        embeddings={member: output.embedding for member, output in outputs.items()},
    )


def _pixel_warnings(prepared: PreparedRadiograph) -> list[ResultWarning]:
    """Draw the picture, and return the warnings that the radiograph's pixels raise."""
    warnings = list(checks.radiograph_warnings(prepared.pyramid, prepared.picture, prepared.hand, prepared.window))
    if prepared.detail is not None:
        warnings += checks.detail_warnings(prepared.detail)
    return warnings


def _clinical_reading(
    estimate: AgeEstimate,
    sex: Sex,
    at_study: FileAge,
    region_ages_months: Mapping[Region, float],
    warnings: Sequence[ResultWarning],
    carpal_limits: DiscordanceLimits | None,
    *,
    sex_is_known: bool,
) -> ClinicalReading:
    """Return the clinical reading of an estimate, by the reference of the setting ``BONEAGE_REFERENCE``."""
    distribution = estimate.age_distribution
    return clinical_reading(
        BoneAgeEstimate(
            estimate.age_months,
            estimate.interval_80_months,
            estimate.interval_months,
            estimate.consensus_interval_80_months,
            None if distribution is None else AgeDistribution.by_month(distribution),
            {str(region): months for region, months in region_ages_months.items()},
        ),
        sex=sex,
        age=at_study.age,
        reference=configured_reference(),
        age_issue=at_study.issue,
        is_meaningless=estimate.outside_range or any(one.code is WarningCode.PHANTOM for one in warnings),
        has_critical_warning=any(one.severity is Severity.CRITICAL for one in warnings),
        carpal_limits=carpal_limits,
        sex_is_known=sex_is_known,
    )


def _given_sex(source: RadiographSource, sex: str | Sex | None) -> Sex:
    """Return the sex that the user gave; a rejection also names the sex in the file, which is not used."""
    try:
        return Sex.parse(sex)
    except Rejection as rejection:
        in_file = read_radiograph(source).facts.sex
        if in_file is None:
            raise
        message = f"{rejection.message} The file says {in_file.value}; confirm it by giving it."
        raise Rejection(RejectionCode.SEX_MISSING, message) from None


def _rounded_pair(bounds: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if bounds is None else (round(bounds[0], 2), round(bounds[1], 2))
