import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boneage.atlas import Atlas
from boneage.bundle.bundle import Bundle
from boneage.bundle.calibration import Disagreement
from boneage.bundle.check import check_bundle
from boneage.bundle.manifest import Member, write_manifest
from boneage.bundle.member_output import MemberOutput
from boneage.bundle.quality import QUALITY_LABELS
from boneage.checks.radiograph import quality_warnings
from boneage.clinical.ages import exact_age
from boneage.clinical.documents import read_again
from boneage.composition import assess
from boneage.errors import AtlasError, BundleError, Rejection
from boneage.geometry import Transform
from boneage.hand.registration import HAND_REGIONS, REGION_TITLES, Hand
from boneage.hand.views import ViewSpec, hand_levels
from boneage.phantom import draw_hand, phantom_points
from boneage.reading.radiograph import read_radiograph
from boneage.severity import Severity
from boneage.sex import Sex
from boneage.warnings_ import WarningCode
from boneage.words import region_in_words
from tests.assessment.radiographs import TURNS, FloatArray, change_answers, change_facts, codes, save
from tests.atlases import draw_atlas
from tests.bundles import CURVE, METRICS, REGION_VIEWS, tiny_bundle, write_quality_network


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
