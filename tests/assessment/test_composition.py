import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from boneage.bundle.bundle import Bundle
from boneage.bundle.calibration import Disagreement
from boneage.bundle.manifest import Member
from boneage.bundle.member_output import MemberOutput
from boneage.composition import assess
from boneage.errors import BundleError, Rejection
from boneage.hand.registration import HAND_REGIONS
from boneage.hand.views import ViewSpec, cut_view
from boneage.reading.radiograph import read_radiograph
from boneage.severity import Severity
from boneage.sex import Sex
from boneage.warnings_ import WarningCode
from tests.assessment.radiographs import FloatArray, save
from tests.bundles import tiny_bundle


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
    import boneage.commands.assess
    import boneage.composition

    assert boneage.assess is boneage.composition.assess
    assert boneage.assess(png, sex="F", bundle=bundle).sex is Sex.FEMALE
    assert boneage.Bundle is Bundle
    assert "assess" in dir(boneage) and boneage.__version__
    with pytest.raises(AttributeError):
        _ = boneage.no_such_name


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
