"""The one composition, which leads from the file of a radiograph to its `Assessment`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from boneage.activations import mean_activations, shows_anything
from boneage.assessment import Assessment, BothSexesAssessment
from boneage.atlas import Atlas
from boneage.bundle.bone_ages import bone_ages
from boneage.bundle.bundle import Bundle
from boneage.bundle.estimate import AgeEstimate, combine, lone_region, region_ages
from boneage.checks import radiograph as checks
from boneage.clinical.ages import (
    ChronologicalAge,
    FileAge,
    StatedAge,
    age_at_study,
    age_in_file,
    latest_study_day,
    parse_written_age,
)
from boneage.clinical.discordance import DiscordanceLimits
from boneage.clinical.documents import file_difference, result_warnings
from boneage.clinical.maturity import AgeDistribution
from boneage.clinical.reading import BoneAgeEstimate, ClinicalReading, clinical_reading
from boneage.clinical.references import configured_reference
from boneage.errors import BundleError, Rejection, RejectionCode
from boneage.file_names import printable_name
from boneage.files import sha256_of
from boneage.hand.registration import REGION_TITLES, Region
from boneage.hand.views import view_transform
from boneage.preparation import PreparedRadiograph, StepClock, needs_hand
from boneage.reading.radiograph import Radiograph, RadiographSource, read_file, read_radiograph
from boneage.severity import Severity
from boneage.sex import Sex
from boneage.warnings_ import ResultWarning, WarningCode, by_severity


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
    outlined: bool = True,
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
        outlined: False to leave out the outlines of epiphyses and carpal bones, which take an eighth of the time.

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
    return tuple(
        _read(prepared, sex, bundle, clock.fork(), source, sex_is_known=len(sexes) == 1, outlined=outlined)
        for sex in sexes
    )


def _read(
    prepared: PreparedRadiograph,
    sex: Sex,
    opened: Bundle,
    clock: StepClock,
    source: _Source,
    *,
    sex_is_known: bool,
    outlined: bool,
) -> Assessment:
    """Run the steps that depend on the sex."""
    manifest, facts, hand = opened.manifest, prepared.radiograph.facts, prepared.hand
    # Steps that do not wait for one another run at the same time, in the threads of the bundle.
    of_pixels = opened.start(lambda: _pixel_warnings(prepared))
    of_quality = opened.start(lambda: prepared.quality)
    of_outlines = opened.start(lambda: prepared.outlines if outlined else {})
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
    in_file, last_day = (facts.patient_age, facts.birth_date, facts.study_date), latest_study_day()
    at_study, of_file = age_at_study(stated, *in_file, last_day=last_day), age_in_file(*in_file, last_day=last_day)
    reading = _clinical_reading(
        estimate, sex, at_study, by_region, warnings, manifest.carpal_limits, sex_is_known=sex_is_known
    )
    warnings += [*result_warnings(reading), *file_difference(at_study.age, of_file.age)]
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
        interval_coverage=manifest.metrics.get("interval_coverage") if manifest.has_measured_error else None,
        timings_ms=clock.timings_ms(),
        radiograph_shape=prepared.shape,
        picture=picture,
        activations=activations,
        repeat_sd_months=manifest.repeat_sd_months,
        nearest_plates=None if source.atlas is None else source.atlas.nearest_plates(sex, estimate.age_distribution),
        age_in_file=of_file.age,
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
