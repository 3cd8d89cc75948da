from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boneage.bundle.bundle import Bundle
from boneage.bundle.embedding_stats import EmbeddingStats
from boneage.bundle.member_output import MemberOutput
from boneage.checks.radiograph import estimate_warnings
from boneage.clinical.ages import StatedAge, exact_age
from boneage.clinical.errors import ClinicalError
from boneage.composition import assess
from boneage.errors import Rejection
from boneage.hand.views import ViewSpec
from boneage.phantom import draw_hand, write_sample
from boneage.schema import ChronologicalAgeDocument
from boneage.severity import Severity
from boneage.sex import Sex
from boneage.warnings_ import WARNING_TEXTS, WarningCode
from tests.assessment.radiographs import change_answers, change_facts, codes, radiograph, save
from tests.bundles import METRICS, tiny_bundle


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


def test_assess_uses_no_date_in_the_future(png: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither stated dates nor those of the file give an age then; today and the day of other time zones do."""
    today = datetime.now(UTC).date()
    for study, is_possible in ((today, True), (today + timedelta(days=2), False)):
        stated = StatedAge(birth_date=today - timedelta(days=4000), study_date=study)
        assessment = assess(png, "F", bundle, age=stated)
        assert (assessment.reading.chronological_age is not None) is is_possible
        assert assessment.has_warning(WarningCode.DATES_IMPOSSIBLE) is not is_possible
    change_facts(monkeypatch, birth_date=date(2010, 1, 1), study_date=today + timedelta(days=400))
    stated = StatedAge(birth_date=date(2014, 1, 1), study_date=date(2020, 1, 1))
    assessment = assess(png, "F", bundle, age=stated)
    assert assessment.reading.chronological_age is not None
    assert not codes(assessment) & {WarningCode.DATES_IMPOSSIBLE, WarningCode.AGE_DIFFERS_FROM_FILE}


def test_assess_uses_the_configured_reference(png: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    default = assess(png, "F", bundle, age=exact_age(120.0)).document()
    monkeypatch.setenv("BONEAGE_REFERENCE", "brush")
    brush = assess(png, "F", bundle, age=exact_age(120.0)).document()
    assert (default.reference.id, brush.reference.id) == ("gp-brush-sd", "brush")
    assert default.sds is not None and brush.sds is not None and default.sds != brush.sds
    monkeypatch.setenv("BONEAGE_REFERENCE", "/nowhere.csv")
    with pytest.raises(ClinicalError, match=r"nowhere\.csv"):
        assess(png, "F", bundle)


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
