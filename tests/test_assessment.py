import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from boneage.assessment import (
    Assessment,
    assess,
)
from boneage.atlas import Atlas
from boneage.bundle.bundle import Bundle
from boneage.bundle.calibration import Disagreement
from boneage.bundle.check import check_bundle
from boneage.bundle.embedding_stats import EmbeddingStats
from boneage.bundle.manifest import Member, read_manifest, write_manifest
from boneage.bundle.member_output import MemberOutput
from boneage.bundle.quality import QUALITY_LABELS
from boneage.checks.radiograph import estimate_warnings, quality_warnings
from boneage.clinical.ages import StatedAge, exact_age
from boneage.clinical.documents import read_again
from boneage.clinical.errors import ClinicalError
from boneage.errors import AtlasError, BundleError, Rejection
from boneage.explain import Evidence
from boneage.geometry import Transform
from boneage.hand.registration import HAND_REGIONS, REGION_TITLES, Hand
from boneage.hand.views import CellGrid, ViewSpec, cut_view, hand_levels
from boneage.phantom import draw_hand, phantom_points, write_sample
from boneage.reading.radiograph import Radiograph, read_file, read_radiograph
from boneage.schema import ChronologicalAgeDocument
from boneage.severity import Severity
from boneage.sex import Sex
from boneage.warnings_ import WARNING_TEXTS, WarningCode
from boneage.words import age_in_words, region_in_words
from tests.atlases import draw_atlas
from tests.bundles import CALIBRATION, CURVE, METRICS, REGION_VIEWS, tiny_bundle, write_quality_network

FloatArray = NDArray[np.floating]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.open(
        tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny", members=2, view=ViewSpec(height=64, width=64))
    )


def radiograph(shape: tuple[int, int] = (400, 300)) -> FloatArray:
    """Not the phantom: a bright blob on dark, with some texture."""
    noise = np.random.default_rng(3).random(shape, dtype=np.float32)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    distance = np.hypot(rows / shape[0] - 0.5, columns / shape[1] - 0.4)
    lit: FloatArray = np.clip(0.1 + 0.7 * np.exp(-((distance / 0.22) ** 4)) + 0.05 * noise, 0, 1)
    return lit


def save(path: Path, pixels: FloatArray) -> Path:
    assert cv2.imwrite(str(path), np.rint(pixels * 255).astype(np.uint8))
    return path


@pytest.fixture(scope="module")
def png(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("radiographs") / "radiograph.png", radiograph())


def codes(assessment: Assessment) -> set[WarningCode]:
    return {warning.code for warning in assessment.warnings}


def change_answers(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    run = Bundle.run
    monkeypatch.setattr(Bundle, "run", lambda *arguments: replace(run(*arguments), **changes))


# --- assessment ---


def test_assess_averages_members_on_their_views(png: Path, bundle: Bundle) -> None:
    assessment = assess(png, "F", bundle)
    pixels = read_radiograph(png).pixels
    members = bundle.members_for(Sex.FEMALE)
    outputs = [bundle.run(member, cut_view(pixels, member.view), Sex.FEMALE) for member in members]
    weights = [member.weight for member in members]
    expected = np.average([output.age_months for output in outputs], weights=weights)
    assert assessment.age_months == pytest.approx(max(expected, 0.0))
    assert set(assessment.estimate.member_ages_months) == {member.name for member in members}
    assert assessment.radiograph_shape == (400, 300)
    assert (assessment.bundle_name, assessment.bundle_version) == (bundle.manifest.name, bundle.manifest.version)


def test_assess_cuts_shared_view_once(png: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    views: list[ViewSpec] = []

    def counted(pixels: FloatArray, spec: ViewSpec, **options: Any) -> FloatArray:
        views.append(spec)
        return cut_view(pixels, spec, **options)

    monkeypatch.setattr("boneage.preparation.cut_view", counted)
    assess(png, "F", bundle)
    assert len(views) == len(set(views)) == len({member.view for member in bundle.members_for(Sex.FEMALE)})


def test_assess_same_result_for_path_text_and_bytes(png: Path, bundle: Bundle) -> None:
    ages = {assess(source, "M", bundle).age_months for source in (png, str(png), png.read_bytes())}
    assert len(ages) == 1


def test_assess_keeps_only_the_file_name(png: Path, bundle: Bundle) -> None:
    assert assess(png, "F", bundle).source_name == "radiograph.png"
    assert str(png.parent) not in json.dumps(assess(png, "F", bundle).to_json())
    assert assess(png.read_bytes(), "F", bundle).source_name is None
    assert assess(png.read_bytes(), "F", bundle, name="upload").source_name == "upload"


def test_assess_accepts_bundle_folder(png: Path, bundle: Bundle) -> None:
    assert assess(png, "F", bundle.directory).age_months == assess(png, "F", bundle).age_months
    with pytest.raises(BundleError):
        assess(png, "F", "no-such-bundle")


@pytest.mark.parametrize("sex", [None, "", "O", "unknown"])
def test_assess_requires_sex(png: Path, bundle: Bundle, sex: str | None) -> None:
    with pytest.raises(Rejection) as caught:
        assess(png, sex, bundle)
    assert caught.value.code == "sex_missing"


def test_assess_passes_rejections_on(tmp_path: Path, bundle: Bundle) -> None:
    with pytest.raises(Rejection) as caught:
        assess(tmp_path / "none.png", "F", bundle)
    assert caught.value.code == "not_found"
    with pytest.raises(Rejection) as caught:
        assess(save(tmp_path / "grey.png", np.full((300, 300), 0.5, np.float32)), "F", bundle)
    assert caught.value.code == "no_contrast"


def test_assess_of_package_is_the_function(png: Path, bundle: Bundle) -> None:
    import boneage.assessment
    import boneage.commands.assess

    assert boneage.assess is boneage.assessment.assess
    assert boneage.assess(png, sex="F", bundle=bundle).sex is Sex.FEMALE
    assert boneage.Bundle is Bundle
    assert "assess" in dir(boneage) and boneage.__version__
    with pytest.raises(AttributeError):
        _ = boneage.no_such_name


# --- warnings ---


def test_ordinary_radiograph_has_no_warning(png: Path, bundle: Bundle) -> None:
    assert codes(assess(png, "F", bundle)) <= {
        WarningCode.NOT_VALIDATED,
        WarningCode.NO_ACTIVATION,
        WarningCode.LOW_RESOLUTION,
    }


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff"])
@pytest.mark.parametrize("size", [(2000, 1500), (640, 480)])
def test_phantom_warning_in_every_format_and_size(
    tmp_path: Path, bundle: Bundle, suffix: str, size: tuple[int, int]
) -> None:
    path = save(tmp_path / f"hand{suffix}", draw_hand(height=size[0], width=size[1]))
    assessment = assess(path, "F", bundle)
    assert assessment.warnings[0].code is WarningCode.PHANTOM
    assert "no meaning" in assessment.warnings[0].message


def test_phantom_warning_for_written_sample(tmp_path: Path, bundle: Bundle) -> None:
    assert assess(write_sample(tmp_path / "x.png"), "F", bundle).has_warning(WarningCode.PHANTOM)


@pytest.mark.parametrize("age_years", [1.0, 16.0])
def test_phantom_warning_at_other_ages(tmp_path: Path, bundle: Bundle, age_years: float) -> None:
    path = save(tmp_path / "hand.png", draw_hand(age_years, height=1000, width=750))
    assert assess(path, "M", bundle).has_warning(WarningCode.PHANTOM)


def test_looks_inverted_warning(tmp_path: Path, bundle: Bundle, png: Path) -> None:
    path = save(tmp_path / "inverted.png", 1 - radiograph())
    assert WarningCode.LOOKS_INVERTED in codes(assess(path, "F", bundle))
    assert WarningCode.LOOKS_INVERTED not in codes(assess(png, "F", bundle))


def test_low_resolution_warning(tmp_path: Path, bundle: Bundle) -> None:
    fine = Bundle.open(tiny_bundle(tmp_path / "fine", view=ViewSpec(height=256, width=256)))
    small = save(tmp_path / "small.png", radiograph((100, 100)))
    (warning,) = (one for one in assess(small, "F", fine).warnings if one.code is WarningCode.LOW_RESOLUTION)
    assert "100 x 100 pixels" in warning.message and "256 x 256" in warning.message
    assert not assess(small, "F", bundle).has_warning(WarningCode.LOW_RESOLUTION)
    narrow = save(tmp_path / "narrow.png", radiograph((400, 200)))  # reduced to fit, and still without enough columns
    assert assess(narrow, "F", fine).has_warning(WarningCode.LOW_RESOLUTION)
    enough = save(tmp_path / "enough.png", radiograph((256, 256)))
    assert not assess(enough, "F", fine).has_warning(WarningCode.LOW_RESOLUTION)


def test_unlike_training_warning(tmp_path: Path, png: Path) -> None:
    for limit, is_warned in ((1e-3, True), (1e3, False)):
        embedding_stats = EmbeddingStats((0.0,) * 4, (0.1,) * 4, limit)
        unlike = Bundle.open(tiny_bundle(tmp_path / f"b{limit}", embedding_stats=embedding_stats))
        assert assess(png, "F", unlike).has_warning(WarningCode.UNLIKE_TRAINING) is is_warned


@pytest.mark.parametrize(
    ("views", "limits", "is_warned"),
    [
        ((96, 96), (1.0, 0.4), True),  # mean of distances 1 and 2.5
        ((96, 96), (2.0, 0.9), False),  # mean of distances 0.5 and 1.1
        ((96, 64), (2.0, 0.9), True),  # networks of two views are not averaged
    ],
)
def test_unlike_training_averages_networks_of_one_view(
    bundle: Bundle, png: Path, views: tuple[int, int], limits: tuple[float, float], is_warned: bool
) -> None:
    network = bundle.members[0]
    members = [
        replace(
            network,
            name=f"m{side}-{limit}",
            view=ViewSpec(height=side, width=side),
            embedding_stats=EmbeddingStats((0.0,), (1.0,), limit),
        )
        for side, limit in zip(views, limits, strict=True)
    ]
    output = MemberOutput(100.0, np.ones(1, np.float32), np.zeros((1, 1), np.float32))
    outputs = {one.name: output for one in members}
    warnings = estimate_warnings(assess(png, "F", bundle).estimate, members, outputs, 999)
    assert (WarningCode.UNLIKE_TRAINING in {warning.code for warning in warnings}) is is_warned


@pytest.mark.parametrize(("radiographs", "severity"), [(8, Severity.CAUTION), (29, Severity.CAUTION), (30, None)])
def test_not_validated_warning_by_number(
    png: Path, bundle: Bundle, radiographs: int, severity: Severity | None
) -> None:
    """A bundle that was fine-tuned with few radiographs has an error, but hardly a measured one."""
    metrics = dict(METRICS) | {"radiographs": radiographs}
    measured = Bundle(bundle.directory, replace(bundle.manifest, metrics=metrics), threads=1)
    warnings = {one.code: one for one in assess(png, "F", measured).warnings}
    warning = warnings.get(WarningCode.NOT_VALIDATED)
    assert (warning and warning.severity) == severity
    assert warning is None or str(radiographs) in warning.message


@pytest.mark.parametrize(("white", "is_warned"), [(0.0, False), (0.04, False), (0.07, True)])
def test_saturated_warning(tmp_path: Path, bundle: Bundle, white: float, is_warned: bool) -> None:
    pixels = 0.9 * radiograph()
    pixels[100 : 100 + round(400 * white / 0.5), 75:225] = 1.0  # half of the columns
    path = save(tmp_path / "white.png", pixels)
    assert assess(path, "F", bundle).has_warning(WarningCode.SATURATED) is is_warned
    framed = save(tmp_path / "framed.png", np.pad(pixels, 100, constant_values=1.0))  # a page is no saturation
    assert assess(framed, "F", bundle).has_warning(WarningCode.SATURATED) is is_warned


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"for_processing": True}, WarningCode.FOR_PROCESSING),
        (
            {"patient_age": "003Y", "birth_date": date(2011, 10, 15), "study_date": date(2020, 6, 15)},
            WarningCode.AGES_DIFFER,
        ),
        ({"patient_age": "013Y"}, WarningCode.AGE_IN_WHOLE_YEARS),
        ({"patient_age": "010M"}, WarningCode.UNDER_TWO_YEARS),
        ({"patient_age": "thirteen"}, WarningCode.PATIENT_AGE_MALFORMED),
    ],
)
def test_file_warnings_for_entries_of_the_file(
    png: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], code: WarningCode
) -> None:
    assert not assess(png, "F", bundle).has_warning(code)
    change_facts(monkeypatch, **changes)
    assert assess(png, "F", bundle).has_warning(code)


def test_difference_omitted_outside_comparable_ages(png: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    for changes, compared in (
        ({"patient_age": "100M"}, True),
        ({"patient_age": "215M"}, True),
        ({"patient_age": "216M"}, False),
        ({"patient_age": "023M"}, False),
        ({"patient_age": "100M", "birth_date": date(2000, 1, 1), "study_date": date(2020, 1, 1)}, False),
    ):
        change_facts(monkeypatch, **changes)
        assert (assess(png, "F", bundle).document().difference is not None) is compared
    change_facts(monkeypatch, patient_age="100M")
    change_answers(monkeypatch, age_months=400.0)
    absurd = assess(png, "F", bundle)
    assert absurd.document().difference is None and absurd.is_meaningless
    assert absurd.document().determination_reason == "meaningless"


def test_assess_age_of_the_user_goes_before_the_file(
    png: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_facts(monkeypatch, patient_age="100M")
    given = assess(png, "F", bundle, age=exact_age(120.0))
    assert given.reading.chronological_age == exact_age(120.0)
    assert given.has_warning(WarningCode.AGE_DIFFERS_FROM_FILE)
    assert not assess(png, "F", bundle, age=exact_age(101.9)).has_warning(WarningCode.AGE_DIFFERS_FROM_FILE)
    dates = StatedAge(birth_date=date(2010, 1, 1), study_date=date(2018, 5, 1))
    assert assess(png, "F", bundle, age=dates).document().chronological_age == ChronologicalAgeDocument(
        months=100.0,
        lower_months=100.0,
        upper_months=100.0,
        years=8,
        completed_months=4,
        precision="days",
        source="dates",
    )


def test_assess_uses_the_configured_reference(png: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    default = assess(png, "F", bundle, age=exact_age(120.0)).document()
    monkeypatch.setenv("BONEAGE_REFERENCE", "brush")
    brush = assess(png, "F", bundle, age=exact_age(120.0)).document()
    assert (default.reference.id, brush.reference.id) == ("gp-brush-sd", "brush")
    assert default.sds is not None and brush.sds is not None and default.sds != brush.sds
    monkeypatch.setenv("BONEAGE_REFERENCE", "/nowhere.csv")
    with pytest.raises(ClinicalError, match=r"nowhere\.csv"):
        assess(png, "F", bundle)


def change_facts(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    def read(source: Path) -> Radiograph:
        radiograph = read_radiograph(source)
        return replace(radiograph, facts=replace(radiograph.facts, **changes))

    monkeypatch.setattr("boneage.assessment.read_radiograph", read)


def test_file_warnings_for_contradicted_input(png: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    change_facts(monkeypatch, side="R", sex=Sex.MALE, patient_age="025Y")
    assessment = assess(png, "F", bundle)
    assert {
        WarningCode.RIGHT_HAND_DECLARED,
        WarningCode.SEX_DIFFERS_FROM_FILE,
        WarningCode.BEYOND_SCALE,
    } <= codes(assessment)
    assert assessment.sex is Sex.FEMALE  # the user's word counts
    change_facts(monkeypatch, side="L", sex=Sex.FEMALE, patient_age="100M")
    assert not codes(assess(png, "F", bundle)) & {
        WarningCode.RIGHT_HAND_DECLARED,
        WarningCode.SEX_DIFFERS_FROM_FILE,
    }


@pytest.mark.parametrize(
    ("part", "is_warned"), [("CHEST", True), ("HAND", False), ("left hand", False), ("UP_EXM", False), (None, False)]
)
def test_other_body_part_warning(
    png: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, part: str | None, is_warned: bool
) -> None:
    change_facts(monkeypatch, body_part=part)
    assert (WarningCode.OTHER_BODY_PART_DECLARED in codes(assess(png, "F", bundle))) is is_warned


def test_missing_sex_rejected_with_sex_in_file(png: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    change_facts(monkeypatch, sex=Sex.MALE)
    with pytest.raises(Rejection, match="The file says M") as caught:
        assess(png, None, bundle)
    assert caught.value.code == "sex_missing"


@pytest.mark.parametrize("months", [-30.0, 400.0])
def test_impossible_age_warning(png: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, months: float) -> None:
    change_answers(monkeypatch, age_months=months)
    assert WarningCode.OUTSIDE_TRAINING_RANGE in codes(assess(png, "F", bundle))


def test_no_activation_warning_for_empty_map(png: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    change_answers(monkeypatch, activation=np.zeros((4, 4), np.float32))
    assessment = assess(png, "F", bundle)
    assert WarningCode.NO_ACTIVATION in codes(assessment)
    assert assessment.heat_map().is_empty
    beside = np.zeros((16, 16), np.float32)
    beside[8, 0] = 3.0  # in the padding of the square view, beside the tall radiograph
    change_answers(monkeypatch, activation=beside)
    assert assess(png, "F", bundle).has_warning(WarningCode.NO_ACTIVATION)


def test_warning_codes_and_sentences_correspond(png: Path, bundle: Bundle) -> None:
    assert {key.partition(".")[0] for key in WARNING_TEXTS} == {code.value for code in WarningCode}
    warnings = assess(png, "F", Bundle(bundle.directory, replace(bundle.manifest, metrics={}))).warnings
    assert warnings  # the bundle was never validated
    for warning in warnings:
        assert warning.message == WARNING_TEXTS[warning.text].format(**warning.values)
        assert warning.text.partition(".")[0] == warning.code.value


# --- the hand, found and registered ---

TURNS: dict[str, tuple[Callable[[FloatArray], FloatArray], float]] = {
    "upright": (lambda radiograph: radiograph, 0.0),
    "quarter": (lambda radiograph: np.rot90(radiograph, -1), 90.0),
    "half": (lambda radiograph: radiograph[::-1, ::-1], 180.0),
    "mirrored": (lambda radiograph: radiograph[:, ::-1], 0.0),
    "inverted": (lambda radiograph: 1 - radiograph, 0.0),
    "upside down and inverted": (lambda radiograph: 1 - radiograph[::-1], 180.0),
}


@pytest.fixture(scope="module")
def by_regions(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.open(tiny_bundle(tmp_path_factory.mktemp("bundle") / "regions", views=REGION_VIEWS, hand=True))


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("phantoms")
    drawn = draw_hand(height=1000, width=750)
    return {
        name: save(folder / f"{number}.png", np.ascontiguousarray(turned(drawn)))
        for number, (name, (turned, _)) in enumerate(TURNS.items())
    }


@pytest.mark.parametrize("name", TURNS)
def test_assess_independent_of_orientation(phantoms: dict[str, Path], by_regions: Bundle, name: str) -> None:
    upright, turned = (assess(phantoms[one], "F", by_regions) for one in ("upright", name))
    assert turned.age_months == pytest.approx(upright.age_months, abs=0.5)
    assert turned.region_ages_months == pytest.approx(upright.region_ages_months, abs=1.0)
    hand = turned.hand
    assert hand is not None
    mirrored, inverted = name in {"mirrored", "upside down and inverted"}, "inverted" in name
    assert (hand.mirrored, hand.inverted) == (mirrored, inverted)
    off = (hand.rotation_degrees - TURNS[name][1] + 180) % 360 - 180
    assert abs(off) < 3
    raised = codes(turned)
    assert (WarningCode.READ_MIRRORED in raised, WarningCode.READ_INVERTED in raised) == (mirrored, inverted)
    assert WarningCode.PHANTOM in raised and WarningCode.LOOKS_INVERTED not in raised


def test_hand_in_pixels_of_the_radiograph(phantoms: dict[str, Path], by_regions: Bundle) -> None:
    document = json.loads(json.dumps(assess(phantoms["upright"], "F", by_regions).to_json(), allow_nan=False))
    points = phantom_points(height=1000, width=750)
    located = [document["hand"]["points"][name] for name in ("middle_tip", "thumb_tip", "capitate")]
    length = float(np.linalg.norm(points[0] - points[2]))
    np.testing.assert_allclose(np.array(located), points, atol=0.02 * length)
    assert document["hand"]["length_pixels"] == pytest.approx(length, rel=0.02)
    assert document["hand"]["rotation_degrees"] == pytest.approx(0.5, abs=2)
    assert (document["hand"]["mirrored"], document["hand"]["inverted"]) == (False, False)
    assert 0 <= document["hand"]["spread"] < 0.05
    assert set(document["timings_ms"]) == {"read", "find", "cut", "run", "combine", "draw", "total"}
    assert set(document["region_ages_months"]) == {"A", "B", "C"}
    assert document["schema"] == 1


def test_inverted_radiograph_is_displayed_with_bright_bone(phantoms: dict[str, Path], by_regions: Bundle) -> None:
    upright, inverted = (assess(phantoms[one], "F", by_regions) for one in ("upright", "inverted"))
    np.testing.assert_allclose(inverted.picture.astype(int), upright.picture.astype(int), atol=2)
    assert inverted.has_warning(WarningCode.PHANTOM)  # measured on the displayed image


def test_heat_map_rotates_with_the_radiograph(phantoms: dict[str, Path], by_regions: Bundle) -> None:
    upright, half, mirrored = (
        assess(phantoms[one], "F", by_regions).heat_map((200, 150)).values for one in ("upright", "half", "mirrored")
    )
    assert np.abs(upright - upright[::-1, ::-1]).mean() > 0.05  # or anything would pass
    assert np.abs(half[::-1, ::-1] - upright).mean() < 0.02
    assert np.abs(mirrored[:, ::-1] - upright).mean() < 0.02


def test_heat_map_is_zero_outside_regions(phantoms: dict[str, Path], tmp_path: Path) -> None:
    carpal = Bundle.open(tiny_bundle(tmp_path / "carpal", view=REGION_VIEWS[1], hand=True))
    assessment = assess(phantoms["upright"], "F", carpal)
    assert assessment.regions == ("B",) and assessment.region_ages_months == {}
    values = assessment.heat_map((1000, 750)).values
    assert values[700, 384] > 0  # the capitate
    assert not values[:500].any()


def test_assess_rejects_image_without_hand(tmp_path: Path) -> None:
    whole = Bundle.open(tiny_bundle(tmp_path / "whole", hand=True))  # though its member reads the whole radiograph
    empty = np.full((400, 300), 0.05, np.float32)
    empty[180:188, 130:138] = 0.8
    empty += 0.01 * np.random.default_rng(0).standard_normal(empty.shape, dtype=np.float32)
    with pytest.raises(Rejection) as caught:
        assess(save(tmp_path / "empty.png", empty), "F", whole)
    assert caught.value.code == "no_hand"
    assert assess(save(tmp_path / "hand.png", draw_hand(height=1000, width=750)), "F", whole).hand is not None


def test_assess_without_hand_networks_locates_no_hand(png: Path, bundle: Bundle) -> None:
    document = assess(png, "F", bundle).to_json()
    assert document["hand"] is None and document["region_ages_months"] == {} and "find" not in document["timings_ms"]


def test_assess_with_hand_networks_only_is_an_error(png: Path, by_regions: Bundle) -> None:
    with pytest.raises(BundleError) as caught:
        assess(png, "F", Bundle(by_regions.directory, replace(by_regions.manifest, members=())))
    assert caught.value.code == "bundle_mismatch"


@pytest.mark.parametrize(("limit", "is_warned"), [(0.01, True), (200.0, False), (None, False)])
def test_regions_disagree_warning(
    phantoms: dict[str, Path], by_regions: Bundle, limit: float | None, is_warned: bool
) -> None:
    metrics = dict(METRICS) if limit is None else METRICS | {"region_spread_months": limit}
    assessment = assess(
        phantoms["upright"], "F", Bundle(by_regions.directory, replace(by_regions.manifest, metrics=metrics))
    )
    assert assessment.has_warning(WarningCode.REGIONS_DISAGREE) is is_warned
    if is_warned:
        (warning,) = (one for one in assessment.warnings if one.code is WarningCode.REGIONS_DISAGREE)
        ages = assessment.region_ages_months
        assert warning.values["spread_months"] == max(ages.values()) - min(ages.values())
        assert {warning.values["highest"], warning.values["lowest"]} <= {REGION_TITLES[region] for region in ages}


@pytest.mark.parametrize(
    ("caution", "critical", "severity"),
    [(0.01, 0.02, Severity.CRITICAL), (0.01, 200.0, Severity.CAUTION), (200.0, 200.0, None)],
)
def test_regions_disagree_severity(
    phantoms: dict[str, Path], by_regions: Bundle, caution: float, critical: float, severity: Severity | None
) -> None:
    limits = Disagreement(caution_months=caution, critical_months=critical)
    manifest = replace(by_regions.manifest, disagreement=limits)
    assessment = assess(phantoms["upright"], "F", Bundle(by_regions.directory, manifest))
    severities = [one.severity for one in assessment.warnings if one.code is WarningCode.REGIONS_DISAGREE]
    assert severities == ([] if severity is None else [severity])


@pytest.mark.parametrize(("probability", "severity"), [(0.4, None), (0.6, Severity.CAUTION), (0.95, Severity.CRITICAL)])
def test_quality_warnings_by_probability(
    phantoms: dict[str, Path], by_regions: Bundle, tmp_path: Path, probability: float, severity: Severity | None
) -> None:
    """The tiny network has the same output for every view. Only plaster has a critical limit."""
    folder = tmp_path / "judged"
    shutil.copytree(by_regions.directory, folder)
    quality = write_quality_network(folder, [probability] * len(QUALITY_LABELS))
    write_manifest(replace(by_regions.manifest, quality=quality), folder)
    judged = Bundle.open(folder, threads=1)
    assert all(result.passed for result in check_bundle(judged))
    assessment = assess(phantoms["upright"], "F", judged)
    labels = {one.code: one.severity for one in assessment.warnings if one.code.value in QUALITY_LABELS}
    if severity is None:
        assert labels == {}
    else:
        assert set(labels) == {WarningCode(label) for label in QUALITY_LABELS}
        assert labels.pop(WarningCode.PLASTER) is severity
        assert set(labels.values()) == {Severity.CAUTION}


def test_quality_network_with_invalid_output_rejected(
    phantoms: dict[str, Path], by_regions: Bundle, tmp_path: Path
) -> None:
    folder = tmp_path / "judged"
    shutil.copytree(by_regions.directory, folder)
    quality = write_quality_network(folder, [1.5] * len(QUALITY_LABELS))
    write_manifest(replace(by_regions.manifest, quality=quality), folder)
    judged = Bundle.open(folder, threads=1)
    assert [result.name for result in check_bundle(judged) if not result.passed] == ["signature of the quality network"]
    with pytest.raises(BundleError) as caught:
        assess(phantoms["upright"], "F", judged)
    assert caught.value.code == "bundle_output"


@pytest.mark.parametrize(("name", "is_warned"), [("upright", True), ("mirrored", False)])
def test_right_hand_warning_not_raised_if_mirrored(
    phantoms: dict[str, Path], by_regions: Bundle, monkeypatch: pytest.MonkeyPatch, name: str, is_warned: bool
) -> None:
    change_facts(monkeypatch, side="R")
    assert assess(phantoms[name], "F", by_regions).has_warning(WarningCode.RIGHT_HAND_DECLARED) is is_warned


def test_low_resolution_warning_for_hand(phantoms: dict[str, Path], by_regions: Bundle, tmp_path: Path) -> None:
    assert not assess(phantoms["upright"], "F", by_regions).has_warning(WarningCode.LOW_RESOLUTION)
    ample = Bundle.open(tiny_bundle(tmp_path / "ample", view=ViewSpec("B", 400, 400, "hand"), hand=True))
    assert not assess(phantoms["upright"], "F", ample).has_warning(
        WarningCode.LOW_RESOLUTION
    )  # enlarged, as training radiographs
    fine = Bundle.open(tiny_bundle(tmp_path / "fine", view=ViewSpec("B", 500, 500, "hand"), hand=True))
    (warning,) = (
        one for one in assess(phantoms["upright"], "F", fine).warnings if one.code is WarningCode.LOW_RESOLUTION
    )
    assert warning.text == "low_resolution.hand"
    assert warning.values["view_pixels"] == pytest.approx(500 / 750 * 1500)
    assert warning.values["pixels"] == pytest.approx(537, rel=0.02)


@pytest.mark.parametrize("wider", [True, False])
def test_networks_of_cut_off_regions_are_not_used(
    phantoms: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wider: bool
) -> None:
    """A bundle without a network of the whole hand uses all networks."""
    views = (REGION_VIEWS if wider else REGION_VIEWS[1:]) + (ViewSpec("E", 24, 40, "hand"),)
    bundle = Bundle.open(tiny_bundle(tmp_path / "regions", views=views, hand=True))
    assert not assess(phantoms["upright"], "F", bundle).has_warning(WarningCode.REGION_CUT_OFF)
    # The tiny networks find the hand in proportion to the radiograph, wherever that ends.
    shares = {"A": 0.5, "B": 0.71, "C": 1.0, "E": 0.69}
    monkeypatch.setattr(
        "boneage.preparation.share_on_radiograph", lambda region, hand, radiograph_shape: shares[region]
    )
    short = assess(phantoms["upright"], "F", bundle)
    assert short.has_warning(WarningCode.REGION_CUT_OFF) is wider
    assert ("E" in short.region_ages_months) is not wider
    if wider:
        (warning,) = (one for one in short.warnings if one.code is WarningCode.REGION_CUT_OFF)
        assert warning.values["regions"] == "radius and ulna"
        weights = {member.name: member.weight for member in bundle.members}
        used = short.estimate.member_ages_months
        mean = sum(weights[name] * age for name, age in used.items()) / sum(weights[name] for name in used)
        assert short.age_months == pytest.approx(max(mean, 0.0))


def test_age_distribution_reported_if_available(png: Path, bundle: Bundle, tmp_path: Path) -> None:
    assert assess(png, "F", bundle).document().age_distribution is None
    spread = Bundle.open(tiny_bundle(tmp_path / "spread", distribution=True))
    assessment = assess(png, "F", spread)
    distribution = assessment.to_json()["age_distribution"]
    expected = CURVE.calibrated(np.full(240, 1 / 240), Sex.FEMALE, assessment.age_months)
    np.testing.assert_allclose(distribution, expected, atol=1e-5)
    assert assessment.document().interval_calibrated


def test_nearest_plates_of_the_atlas(png: Path, bundle: Bundle, tmp_path: Path) -> None:
    """They need an atlas with plates of the sex and a distribution of the age."""
    spread = Bundle.open(tiny_bundle(tmp_path / "spread", distribution=True))
    own = draw_atlas(tmp_path / "own", sexes="F")
    assessment = assess(png, "F", spread, atlas=own)
    assert assessment.estimate.age_distribution is not None
    plates = assessment.document().nearest_plates
    assert plates is not None and plates.atlas == "own"
    expected = Atlas.open(own).most_probable(Sex.FEMALE, assessment.estimate.age_distribution)
    assert [(one.key, one.age_months) for one in plates.plates] == [(one.key, one.age_months) for one, _ in expected]
    assert [one.probability for one in plates.plates] == pytest.approx([share for _, share in expected], abs=1e-3)
    for other in (
        assess(png, "F", spread),
        assess(png, "M", spread, atlas=own),
        assess(png, "F", bundle, atlas="default"),
    ):
        assert other.document().nearest_plates is None
    with pytest.raises(AtlasError):
        assess(png, "F", spread, atlas="no such atlas")


def test_nearest_plates_withheld_outside_the_range(png: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spread = Bundle.open(tiny_bundle(tmp_path / "spread", distribution=True))
    change_answers(monkeypatch, age_months=300.0)
    assessment = assess(png, "F", spread, atlas="default")
    assert assessment.nearest_plates is not None
    assert assessment.document().nearest_plates is None


def test_carpal_discordance_by_the_limits_of_the_bundle(
    phantoms: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limits of the manifest raise the warning, and stay when the assessment is read by another age."""
    views = [ViewSpec(region, 48, 48, "hand") for region in HAND_REGIONS]
    bundle = Bundle.open(tiny_bundle(tmp_path / "five", views=views, hand=True), threads=1)
    run = Bundle.run

    def answer(opened: Bundle, member: Member, view: FloatArray, sex: Sex) -> MemberOutput:
        return replace(run(opened, member, view, sex), age_months=125.0 if member.view.region == "B" else 100.0)

    monkeypatch.setattr(Bundle, "run", answer)
    monkeypatch.setattr("boneage.checks.radiograph.phantom_similarity", lambda pixels, hand: 0.0)
    document = assess(phantoms["upright"], "F", bundle).document()
    assert document.carpal_discordance is not None
    assert document.carpal_discordance.limits_months == (-12.0, 14.0)
    assert (document.carpal_discordance.difference_months, document.carpal_discordance.is_beyond) == (25.0, True)
    assert WarningCode.CARPAL_DISCORDANCE in {one.code for one in document.warnings}
    again = read_again(document, exact_age(96.0))
    assert again.carpal_discordance == document.carpal_discordance
    assert WarningCode.CARPAL_DISCORDANCE in {one.code for one in again.warnings}
    assert document.bundle.repeat_sd_months == 1.3


def test_regions_in_words() -> None:
    assert region_in_words("B") == "B carpal bones" and region_in_words("radiograph") == "whole radiograph"


# --- the heat map ---


def test_heat_map_position_independent_of_size(png: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = np.zeros((8, 8), np.float32)
    grid[2, 4] = 2.0
    change_answers(monkeypatch, activation=grid)
    assessment = assess(png, "F", bundle)
    # Cell (2, 4) lies at (18, 10) of the square view; the radiograph, 300 x 400, takes the middle three quarters of it.
    side = bundle.members[0].view.height
    x, y = (18 / side - 0.125) / 0.75, 10 / side
    peaks = []
    for shape in (None, assessment.radiograph_shape, (100, 75)):
        heat = assessment.heat_map(shape)
        height, width = heat.values.shape
        found_y, found_x = np.unravel_index(heat.values.argmax(), heat.values.shape)
        assert (found_x + 0.5) / width == pytest.approx(x, abs=0.02)
        assert (found_y + 0.5) / height == pytest.approx(y, abs=0.02)
        peaks.append(heat.peak_months)
    assert peaks == pytest.approx([peaks[0]] * 3, rel=0.02)
    assert assessment.heat_map().values.shape == assessment.picture.shape


def test_activations_averaged_by_grid(png: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Bundle.run
    grids = {"member-0": np.full((8, 8), 4.0, np.float32), "member-1": np.full((8, 8), 1.0, np.float32)}
    monkeypatch.setattr(
        Bundle, "run", lambda self, member, *rest: replace(run(self, member, *rest), activation=grids[member.name])
    )
    (activation,) = assess(png, "F", bundle).activations
    first, second = (member.weight for member in bundle.members)
    assert activation.share == 1.0
    np.testing.assert_allclose(activation.grid, (4 * first + second) / (first + second), rtol=1e-6)
    grids["member-1"] = np.full((4, 4), 1.0, np.float32)
    assert [one.grid.shape for one in assess(png, "F", bundle).activations] == [(8, 8), (4, 4)]


@pytest.mark.parametrize("evidence", ["both", "raising"])
@pytest.mark.parametrize("shape", [(401, 300), (300, 400)])
def test_heat_map_of_mirror_image_is_mirrored(tmp_path: Path, shape: tuple[int, int], evidence: Evidence) -> None:
    """This also holds for a view that is wider than high and not divisible by its cells."""
    folder = tiny_bundle(tmp_path / "tiny", members=2, view=ViewSpec(height=64, width=80), mirror=True)
    manifest = read_manifest(folder)
    shifted = tuple(replace(member, cells=CellGrid(4.0, 0.5)) for member in manifest.members)
    write_manifest(replace(manifest, members=shifted), folder)
    both = Bundle.open(folder)
    pixels = radiograph(shape)
    pixels[20:60, 30:200] = 0.9
    plain, mirror = (
        assess(save(tmp_path / name, one), "F", both) for name, one in (("a.png", pixels), ("b.png", pixels[:, ::-1]))
    )
    assert [one.share for one in plain.activations] == [0.5, 0.5]
    assert plain.age_months == pytest.approx(mirror.age_months, abs=1e-3)
    first, second = plain.heat_map(evidence=evidence), mirror.heat_map(evidence=evidence)
    assert np.abs(first.values - first.values[:, ::-1]).max() > 0.3  # or anything would pass
    np.testing.assert_allclose(first.values, second.values[:, ::-1], atol=0.03)
    assert first.peak_months == pytest.approx(second.peak_months, rel=0.01)


@pytest.mark.parametrize("shape", [(0, 0), (10, 0), (-1, 5)])
def test_heat_map_rejects_empty_shape(png: Path, bundle: Bundle, shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        assess(png, "F", bundle).heat_map(shape)


# --- JSON ---


def test_checksum_of_decoded_bytes(png: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file changes right after it was read."""
    radiograph = tmp_path / "radiograph.png"
    radiograph.write_bytes(png.read_bytes())

    def changing(path: Path) -> bytes:
        data = read_file(path)
        path.write_bytes(b"changed since")
        return data

    monkeypatch.setattr("boneage.assessment.read_file", changing)
    assert assess(radiograph, "F", bundle).source_sha256 == hashlib.sha256(png.read_bytes()).hexdigest()


def test_to_json_is_plain_and_complete(png: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    change_facts(monkeypatch, patient_age="090M", side="L", sex=Sex.FEMALE, spacing_mm=(0.1, 0.1))
    document = json.loads(json.dumps(assess(png, "F", bundle).to_json(), allow_nan=False))
    assert document["schema"] == 1 and document["image"] == "radiograph.png" and document["sex"] == "F"
    assert document["chronological_age"]["months"] == 90.5
    assert document["difference"]["months"] == pytest.approx(document["age_months"] - 90.5, abs=0.011)
    assert document["reference"]["id"] == "gp-brush-sd"
    digest = hashlib.sha256(png.read_bytes()).hexdigest()
    assert document["radiograph"] == {"height_pixels": 400, "width_pixels": 300, "sha256": digest}
    assert assess(png.read_bytes(), "F", bundle).source_sha256 == digest
    assert document["interval_coverage"] is None
    assert set(document["timings_ms"]) == {"read", "cut", "run", "combine", "draw", "total"}
    assert all(wall >= 0 for wall in document["timings_ms"].values())
    assert "birth_date" not in json.dumps(document)
    assert {"age_text", "typical_error_months", "interval_months", "warnings", "facts", "bundle", "notice"} <= set(
        document
    )


def test_to_json_states_calibration(png: Path, bundle: Bundle) -> None:
    plain = assess(png, "F", bundle).to_json()
    manifest = replace(bundle.manifest, calibration=CALIBRATION)
    document = assess(png, "F", Bundle(bundle.directory, manifest, threads=1)).to_json()
    assert (plain["interval_calibrated"], document["interval_calibrated"]) == (False, True)
    assert document["member_ages_months"] == plain["member_ages_months"]
    for one in (plain, document):
        wide, narrow = one["interval_months"], one["interval_80_months"]
        assert 0 <= wide[0] <= narrow[0] <= one["age_months"] <= narrow[1] <= wide[1]
        assert all(round(bound, 2) == bound for bound in (*wide, *narrow))
    of_sex = CALIBRATION.by_sex[Sex.FEMALE]
    corrected = of_sex.corrected(plain["age_months"])
    assert document["age_months"] == pytest.approx(corrected, abs=0.011)
    assert document["typical_error_months"] == of_sex.band(corrected).typical_error_months


def data_set(pixels: FloatArray) -> pydicom.Dataset:
    """A DX object with what a modality writes about a patient."""
    file = pydicom.Dataset()
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = pydicom.uid.generate_uid()
    file.Modality, file.BodyPartExamined = "DX", "HAND"
    file.PatientName, file.PatientID, file.PatientBirthDate = "Doe^Jane", "4711", "20120203"
    file.PatientSex, file.PatientAge, file.StudyDate = "F", "007Y", "20190304"
    file.ImageLaterality, file.PixelSpacing = "R", [0.15, 0.15]
    file.Rows, file.Columns = pixels.shape
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 12, 11, 0
    file.PixelData = np.rint(pixels * 4095).astype(np.uint16).tobytes()
    return file


def test_to_json_of_dicom_omits_identity(tmp_path: Path, bundle: Bundle) -> None:
    path = tmp_path / "hand.dcm"
    data_set(radiograph()).save_as(path, enforce_file_format=True)
    for source in (path, data_set(radiograph())):
        assessment = assess(source, "M", bundle)
        written = json.dumps(assessment.to_json(), allow_nan=False)
        assert not any(secret in written for secret in ("Doe", "4711", "2012"))
        document = json.loads(written)
        assert (
            document["facts"]["sex"] == "F"
            and document["facts"]["side"] == "R"
            and document["facts"]["modality"] == "DX"
        )
        assert document["facts"]["spacing_mm"] == [0.15, 0.15]
        assert document["chronological_age"]["months"] == pytest.approx(85, abs=0.1)
        assert {WarningCode.SEX_DIFFERS_FROM_FILE, WarningCode.RIGHT_HAND_DECLARED} <= codes(assessment)


@given(st.floats(min_value=0, max_value=300))
def test_ages_in_words_round_to_nearest_month(months: float) -> None:
    words = age_in_words(months).split()
    counts = dict(zip((unit.rstrip("s") for unit in words[1::2]), map(int, words[::2]), strict=True))
    total = 12 * counts.get("year", 0) + counts.get("month", 0)
    assert abs(total - months) <= 0.5
    assert all((unit.endswith("s")) == (int(count) != 1) for count, unit in zip(words[::2], words[1::2], strict=True))


@pytest.mark.parametrize(
    ("months", "words"),
    [
        (87.3, "7 years 3 months"),
        (13, "1 year 1 month"),
        (84, "7 years"),
        (9, "9 months"),
        (0, "0 months"),
        (11.6, "1 year"),
    ],
)
def test_ages_in_words(months: float, words: str) -> None:
    assert age_in_words(months) == words


def test_lone_region_left_out_with_warning(
    phantoms: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of five networks estimates 60 months more; estimate and heat map come from the others."""
    views = [ViewSpec(region, 48, 48, "hand") for region in HAND_REGIONS]
    bundle = Bundle.open(tiny_bundle(tmp_path / "five", views=views, hand=True), threads=1)
    limits = Disagreement(caution_months=30.0, critical_months=45.0)
    bundle = Bundle(bundle.directory, replace(bundle.manifest, disagreement=limits), threads=1)
    run = Bundle.run

    def answer(opened: Bundle, member: Member, view: FloatArray, sex: Sex) -> MemberOutput:
        far = 60.0 if member.view.region == "D" else 0.0
        return replace(run(opened, member, view, sex), age_months=100.0 + far)

    monkeypatch.setattr(Bundle, "run", answer)
    assessment = assess(phantoms["upright"], "F", bundle)
    assert assessment.age_months == pytest.approx(100.0)
    assert assessment.region_ages_months["D"] == pytest.approx(160.0)
    assert "D" not in assessment.regions
    assert len(assessment.estimate.member_ages_months) == 4
    (warning,) = (one for one in assessment.warnings if one.code is WarningCode.REGION_LEFT_OUT)
    assert (warning.severity, warning.values["region"]) == (Severity.CAUTION, "middle and distal phalanges")
    assert not assessment.has_warning(WarningCode.REGIONS_DISAGREE)


def test_stand_ins_read_radiographs_that_lost_detail(
    phantoms: dict[str, Path], by_regions: Bundle, tmp_path: Path
) -> None:
    """A blurred radiograph is read by the robust network alone, and a sharp one by all others."""
    last = by_regions.members[-1]
    members = (*by_regions.members[:-1], replace(last, robust=True))
    bundle = Bundle(by_regions.directory, replace(by_regions.manifest, members=members), threads=1)
    assert bundle.members_for(Sex.FEMALE) == members[:-1]
    assert bundle.members_for(Sex.FEMALE, lost_detail=True) == members[-1:]
    sharp = read_radiograph(phantoms["upright"]).pixels
    length = by_regions.find_hand(sharp).length_pixels
    for share, expected in ((0.0, members[:-1]), (0.006, members[-1:]), (0.02, members[-1:])):
        blurred = cv2.GaussianBlur(sharp, (0, 0), share * length) if share else sharp
        assessment = assess(save(tmp_path / f"{share}.png", np.asarray(blurred, np.float32)), "F", bundle)
        assert list(assessment.estimate.member_ages_months) == [member.name for member in expected]
    assert list(assess(tmp_path / "0.02.png", "F", by_regions).estimate.member_ages_months) == [
        member.name for member in by_regions.members
    ]


def measured_warnings(pixels: FloatArray, hand: Hand) -> list[WarningCode]:
    """Return the quality warnings that measures raise without a network."""
    shape = (pixels.shape[0], pixels.shape[1])
    levels = hand_levels(pixels.astype(np.float32), hand)
    return [one.code for one in quality_warnings(shape, hand, levels, {}, {})]


def test_fingertips_cut_warning(phantoms: dict[str, Path], by_regions: Bundle) -> None:
    pixels = read_radiograph(phantoms["upright"]).pixels
    hand = by_regions.find_hand(pixels)
    assert measured_warnings(pixels, hand) == []
    rows = int(hand.points_xy[0, 1] + 0.03 * hand.length_pixels)
    to_mask = Transform.shift(0, rows).then(hand.radiograph_to_mask)
    cut, above = pixels[rows:], replace(hand, points_xy=hand.points_xy - (0, rows), radiograph_to_mask=to_mask)
    assert measured_warnings(cut, above) == [WarningCode.FINGERTIPS_CUT]


def test_altered_grey_warning(phantoms: dict[str, Path], by_regions: Bundle) -> None:
    pixels = read_radiograph(phantoms["upright"]).pixels
    hand = by_regions.find_hand(pixels)
    darker = np.power(pixels, np.float32(4))
    assert measured_warnings(darker, hand) == [WarningCode.ALTERED_GREY]
    negative = replace(hand, inverted=True)
    assert measured_warnings(1 - darker, negative) == [WarningCode.ALTERED_GREY]
    assert measured_warnings(1 - pixels, negative) == []
