import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import boneage
from boneage.activations import ViewActivation
from boneage.assessment import Assessment
from boneage.bundle.bone_ages import BoneAge
from boneage.bundle.bundle import Bundle
from boneage.bundle.estimate import AgeEstimate
from boneage.clinical.ages import exact_age
from boneage.clinical.reading import BoneAgeEstimate, ClinicalReading, clinical_reading
from boneage.errors import Rejection, RejectionCode
from boneage.explain import encode_picture, overlay
from boneage.file_names import shown as safely_shown
from boneage.geometry import Transform
from boneage.hand.registration import Hand
from boneage.hand.views import CellGrid, ViewSpec, view_transform
from boneage.reading.radiograph import RadiographFacts
from boneage.report.page import Lines, overlay_png, page
from boneage.report.report import (
    CSV_COLUMNS,
    SETTINGS_COLUMNS,
    Rejected,
    csv_rows,
    csv_settings,
    json_text,
    may_write,
    outputs_of,
    text,
    write_files,
    write_rejection,
)
from boneage.sex import Sex
from boneage.warnings_ import ResultWarning, WarningCode
from tests.bundles import tiny_bundle

WHEN = datetime(2025, 3, 4, 15, 6, tzinfo=UTC)
INTERVALS = ((65.7, 108.9), (73.2, 101.4), (72.1, 102.5), (77.4, 97.2))
"""95 and 80 % intervals for one reader, then for the mean of several."""
SETTINGS = {"bundle": "tiny", "bundle_version": "1.0", "program_version": "0.1"}
REJECTED = Rejected("F", Rejection(RejectionCode.UNREADABLE, "The file is damaged."))


def facts(**changes: Any) -> RadiographFacts:
    facts: dict[str, Any] = {
        "format": "dicom",
        "bits_stored": 12,
        "photometric": "MONOCHROME2",
        "inverted": False,
        "spacing_mm": (0.15, 0.15),
        "side": "L",
        "body_part": "HAND",
        "sex": Sex.FEMALE,
        "birth_date": None,
        "study_date": None,
        "modality": "DX",
    }
    return RadiographFacts(**(facts | changes))


def activation(grid: NDArray[np.float32]) -> ViewActivation:
    """On a radiograph of 2000 x 1500 pixels."""
    spec = ViewSpec()
    return ViewActivation(spec, view_transform((2000, 1500), spec).inverse(), CellGrid(32.0, 16.0), grid, 1.0)


def reading(estimate: AgeEstimate, age_months: float | None = 96.0, *, is_meaningless: bool = False) -> ClinicalReading:
    """Return the clinical reading of a girl's estimate by an exact age."""
    return clinical_reading(
        BoneAgeEstimate(
            estimate.age_months,
            estimate.interval_80_months,
            estimate.interval_months,
            estimate.consensus_interval_80_months,
        ),
        sex=Sex.FEMALE,
        age=None if age_months is None else exact_age(age_months),
        is_meaningless=is_meaningless,
    )


def assessment(chronological_months: float | None = 96.0, **changes: Any) -> Assessment:
    estimate = changes.get("estimate", AgeEstimate(87.3, {"network": 87.3}, 8.2, *INTERVALS))
    grid = np.zeros((8, 8), np.float32)
    grid[5, 4] = 3.0
    made = Assessment(
        source_name="hand.dcm",
        source_sha256="ab" * 32,
        sex=Sex.FEMALE,
        facts=facts(),
        estimate=estimate,
        reading=reading(estimate, chronological_months, is_meaningless=estimate.outside_range),
        warnings=(),
        bundle_name="tiny",
        bundle_version="1.0",
        interval_coverage=None,
        timings_ms={"read": 20.0, "total": 60.0},
        radiograph_shape=(2000, 1500),
        picture=np.tile(np.linspace(0, 255, 480).astype(np.uint8), (640, 1)),
        activations=(activation(grid),),
    )
    return replace(made, **changes)


def hand(**changes: Any) -> Hand:
    """A hand that lies on its side, fingers to the right, on a radiograph of 2000 x 1500 pixels."""
    mask = np.zeros((100, 75), np.uint8)
    mask[30:70, 10:65] = 1
    points_xy = np.array([[1300.0, 1000.0], [900.0, 1400.0], [400.0, 1000.0]])
    return replace(Hand(points_xy=points_xy, mask=mask, radiograph_to_mask=Transform.scale(1 / 20)), **changes)


class Page(HTMLParser):
    """Tags and words of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(source)
        self.words = " ".join(self.words.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


def test_result_line_age_error_sex_and_warnings() -> None:
    warning = ResultWarning(WarningCode.RIGHT_HAND_DECLARED, "The file says right.")
    lines = text("a/hand.dcm", assessment(warnings=(warning,))).splitlines()
    assert lines == [
        "a/hand.dcm: 7 years 3 months",
        "  87.3 months by Greulich & Pyle, female",
        "  Likely range of this reading: 6 years 1 month to 8 years 5 months (80 % prediction interval)",
        "  Likely range of the mean of several readers: 6 years 5 months to 8 years 1 month (80 % prediction interval)",
        "  95 % prediction interval of the estimate: 5 years 6 months to 9 years 1 month",
        "  Chronological age: 8 years",
        "  Difference: 8.7 months behind the chronological age",
        "  SDS \N{MINUS SIGN}0.85 (80 % interval \N{MINUS SIGN}1.82 to +0.12): within normal limits",
        "  Normal range at this age: 6 years 4 months to 9 years 8 months (mean ± 2 SD)",
        "  Reference: Greulich & Pyle (mean = chronological age, SD of Brush Foundation)",
        "  Mean absolute difference (MAD) of the estimate: 8.2 months",
        "  Caution: The file says right. [right_hand_declared]",
    ]


def test_result_line_unvalidated_bundle_claims_no_error() -> None:
    assert "MAD" not in text("x", assessment(estimate=AgeEstimate(87.3, {"network": 87.3})))


def test_phantom_estimate_marked_meaningless_everywhere() -> None:
    phantom = assessment(
        warnings=(ResultWarning(WarningCode.PHANTOM, "This is the drawn phantom: the number means nothing."),)
    )
    assert "has no meaning" in text("x", phantom).splitlines()[0]
    assert "has no meaning" in Page(page(phantom)).words and "MAD" not in Page(page(phantom)).words
    assert "means nothing" in json_text(phantom)
    assert "phantom" in csv_rows("x", phantom, SETTINGS)[0]


def test_json_text_one_line_or_indented() -> None:
    assert "\n" not in json_text(assessment())
    assert json.loads(json_text(assessment(), indent=2)) == assessment().to_json()
    assert json.loads(json_text(REJECTED, "x.png")) == {
        "schema": 1,
        "image": "x.png",
        "sex": "F",
        "age_months": None,
        "error": {"code": "unreadable", "message": "The file is damaged."},
        "radiograph": {"sha256": None},
    }
    assert json.loads(json_text(assessment(), "b/hand.dcm"))["image"] == "b/hand.dcm"


def test_table_columns_and_empty_age_of_rejected_radiographs() -> None:
    warnings = (ResultWarning(WarningCode.NOT_VALIDATED, "a"), ResultWarning(WarningCode.LOW_RESOLUTION, "b"))
    image = 'a "b", c/ä.png'
    written = [
        *csv_rows(image, assessment(warnings=warnings), SETTINGS, "ä-2"),
        *csv_rows("bad.png", REJECTED, SETTINGS),
    ]
    rows = [dict(zip(CSV_COLUMNS, row, strict=True)) for row in written]
    assert CSV_COLUMNS[:3] == ("image", "sex", "age_months")
    assert all(row[column] == value for row in rows for column, value in SETTINGS.items())
    assert [row["severity"] for row in rows] == ["caution", ""]
    assert rows[0]["image"] == image and float(rows[0]["age_months"]) == 87.3 and rows[0]["error"] == ""
    assert rows[0]["warnings"] == "not_validated low_resolution" and rows[0]["difference_months"] == "-8.7"
    assert rows[1]["age_months"] == "" and rows[1]["error"] == "unreadable" and rows[1]["sex"] == "F"
    assert rows[1]["message"] == "The file is damaged."
    assert [row["report"] for row in rows] == ["ä-2", ""]


def test_table_settings_name_bundle_and_versions(tmp_path: Path) -> None:
    bundle = Bundle.open(tiny_bundle(tmp_path / "tiny"))
    assert tuple(csv_settings(bundle).items()) == (
        ("bundle", "tiny"),
        ("bundle_version", "1.0"),
        ("program_version", boneage.__version__),
    )
    assert set(SETTINGS) == set(SETTINGS_COLUMNS) <= set(CSV_COLUMNS)


CRITICAL = ResultWarning(WarningCode.OUTSIDE_TRAINING_RANGE, "Of an adult.")
CAUTION = ResultWarning(WarningCode.SATURATED, "Much white.")
INFO = ResultWarning(WarningCode.READ_MIRRORED, "A mirror image.")


def test_critical_estimate_marked_everywhere() -> None:
    marked = assessment(warnings=(CRITICAL, CAUTION, INFO))
    first, *others = text("x", marked).splitlines()
    assert first == "x: 7 years 3 months - Do not use this number"
    assert others[-3:] == [
        "  Critical: Of an adult. [outside_training_range]",
        "  Caution: Much white. [saturated]",
        "  Information: A mirror image. [read_mirrored]",
    ]
    shown = Page(page(marked))
    assert ("p", {"class": "age void"}) in shown.tags and ("p", {"class": "stamp"}) in shown.tags
    assert not re.findall("MAD|% prediction|ahead|behind", shown.words)
    assert [attributes["class"] for tag, attributes in shown.tags if tag == "section"][1:4] == [
        "warnings critical",
        "warnings caution",
        "warnings info",
    ]
    row = dict(zip(CSV_COLUMNS, *csv_rows("x", marked, SETTINGS), strict=True))
    assert row["severity"] == "critical"


def test_estimate_without_critical_warning_not_marked() -> None:
    for warnings in ((CAUTION, INFO), (INFO,), ()):
        plain = assessment(warnings=warnings)
        assert "do not use" not in text("x", plain).lower() + Page(page(plain)).words.lower()
        assert "MAD" in text("x", plain)
        assert ("p", {"class": "age"}) in Page(page(plain)).tags


UNSAFE = "a\x1b[31m\x9b\u202e\udcff\x7f"


def test_result_line_escapes_control_characters() -> None:
    warning = ResultWarning(WarningCode.OTHER_BODY_PART_DECLARED, UNSAFE)
    made = assessment(source_name=UNSAFE, warnings=(warning,))
    texts = [text(UNSAFE, made), json_text(made), json_text(REJECTED, UNSAFE), page(made)]
    assert all(safely_shown(line) == line for one in texts for line in one.splitlines())
    assert json.loads(texts[1])["image"] == UNSAFE  # the escapes are JSON's own


def test_write_files_under_announced_names(tmp_path: Path) -> None:
    written = write_files(assessment(), tmp_path / "new", "hand")
    assert written == list(outputs_of(tmp_path / "new", "hand"))
    assert [path.name for path in written] == ["hand.overlay.png", "hand.html", "hand.json"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(path.name for path in written)
    assert json.loads(written[2].read_text(encoding="utf-8"))["age_months"] == 87.3


def test_overlay_png_keeps_colours() -> None:
    picture = np.asarray(cv2.imdecode(np.frombuffer(overlay_png(assessment()), np.uint8), cv2.IMREAD_COLOR))
    assert picture.shape[0] == 640 and picture.shape[1] > 480
    blue, _, red = picture[5 * 80 + 40, 4 * 60 + 30].astype(int)
    assert red > blue + 40


def test_page_is_self_contained() -> None:
    source = page(assessment(), created=WHEN)
    shown = Page(source)
    for words in (
        "7 years 3 months",
        "87.3 months",
        "8.2 months",
        "95 % prediction interval of the estimate: 5 years 6 months to 9 years 1 month",
        "Likely range of this reading: 6 years 1 month to 8 years 5 months",
        "Chronological age: 8 years",
        "Difference: 8.7 months behind the chronological age",
        "hand.dcm",
        "March 4, 2025, 15:06 UTC",
        "tiny, version 1.0",
        "Not a medical device",
        "Not for the estimation of an unknown age",
        "1,500 × 2,000 pixels",
    ):
        assert words in shown.words
    images = [attributes["src"] or "" for tag, attributes in shown.tags if tag == "img"]
    assert len(images) == 2 and all(image.startswith("data:image/jpeg;base64,") for image in images)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in shown.tags}
    assert not re.search(r"https?://|url\(", source)
    assert "contained" not in source


def test_interval_coverage_shown_if_measured() -> None:
    words = Page(page(assessment(interval_coverage=0.943))).words
    assert "(contained 94.3 % of the readings of the validation radiographs)" in words
    assert assessment(interval_coverage=0.943).to_json()["interval_coverage"] == 0.943


@pytest.mark.parametrize("age_months", [291.0, 0.0])
def test_impossible_age_only_in_the_data(age_months: float) -> None:
    absurd = assessment(
        estimate=AgeEstimate(age_months, {"network": -3.0}, 8.2, (0.0, 20.0), (0.0, 13.0), outside_range=True),
        warnings=(ResultWarning(WarningCode.OUTSIDE_TRAINING_RANGE, "Do not rely on it."),),
    )
    line = text("x", absurd).splitlines()[0]
    assert line == "x: Not a bone age: outside 0 to 19 years"
    shown = Page(page(absurd))
    assert "Not a bone age: outside 0 to 19 years" in shown.words
    assert not re.findall("MAD|% prediction|ahead|behind", shown.words)
    assert ("p", {"class": "age void"}) in shown.tags
    document = json.loads(json_text(absurd))
    assert document["age_months"] == age_months and document["warnings"][0]["code"] == "outside_training_range"
    row = dict(zip(CSV_COLUMNS, *csv_rows("x", absurd, SETTINGS), strict=True))
    assert float(row["age_months"]) == age_months and row["warnings"] == "outside_training_range"
    assert row["difference_months"] == ""


def test_age_outside_scale_not_compared() -> None:
    adult = assessment(240.0)
    assert adult.document().difference is None
    assert "ahead" not in text("x", adult) and "behind" not in text("x", adult)
    assert "behind" not in Page(page(adult)).words and "Chronological age" in Page(page(adult)).words


def test_positive_evidence_alone_is_named() -> None:
    grid = np.zeros((8, 8), np.float32)
    grid[5, 4] = -3.0
    lowering = assessment(activations=(activation(grid),))
    assert len(re.findall("<img", page(lowering))) == 2
    raising = page(lowering, evidence="raising")
    assert len(re.findall("<img", raising)) == 1 and "no place of the radiograph raised the estimate" in raising
    grid[2, 4] = 1.0
    raising = page(lowering, evidence="raising")
    assert len(re.findall("<img", raising)) == 2 and "Grad-CAM, positive part" in raising
    assert overlay_png(lowering, "raising") != overlay_png(lowering)


def test_file_stems_are_unique(tmp_path: Path) -> None:
    assert may_write(tmp_path / "none", "hand", None)
    write_files(assessment(), tmp_path, "hand")
    assert may_write(tmp_path, "hand", "ab" * 32)
    assert not may_write(tmp_path, "hand", "cd" * 32) and not may_write(tmp_path, "hand", None)
    (tmp_path / "page.html").touch()
    (tmp_path / "old.json").write_text("{}")
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "folder.json").mkdir()
    assert not any(may_write(tmp_path, stem, "ab" * 32) for stem in ("page", "old", "broken", "folder"))


def test_rejection_replaces_assessment(tmp_path: Path) -> None:
    write_files(assessment(), tmp_path, "hand")
    write_rejection(replace(REJECTED, sha256="ab" * 32), tmp_path, "hand", "hand.dcm")
    assert [path.name for path in tmp_path.iterdir()] == ["hand.json"]
    document = json.loads((tmp_path / "hand.json").read_text())
    assert (document["image"], document["age_months"], document["error"]["code"]) == ("hand.dcm", None, "unreadable")
    assert may_write(tmp_path, "hand", "ab" * 32)


def test_page_escapes_text_from_files() -> None:
    evil = '"><script>alert(1)</script><img src=x onerror=y>$notice'
    shown = Page(
        page(
            assessment(
                source_name=evil,
                facts=facts(body_part=evil, photometric=evil),
                bundle_name=evil,
                warnings=(ResultWarning(WarningCode.SEX_DIFFERS_FROM_FILE, evil),),
            )
        )
    )
    assert shown.words.count(evil) == 5  # title, heading, warning, body part, bundle
    assert "script" not in {tag for tag, _ in shown.tags}
    assert len([tag for tag, _ in shown.tags if tag == "img"]) == 2


def test_page_without_heat_map_shows_radiograph() -> None:
    empty = assessment(
        activations=(activation(np.zeros((8, 8), np.float32)),),
    )
    shown = Page(page(empty))
    assert [tag for tag, _ in shown.tags].count("img") == 1
    assert "Grad-CAM" not in shown.words


def test_page_omits_unknown_facts() -> None:
    bare = assessment(
        None,
        source_name=None,
        facts=facts(side=None, spacing_mm=None, sex=None, modality=None, body_part=None),
        estimate=AgeEstimate(87.3, {"network": 87.3}),
    )
    words = Page(page(bare)).words
    assert "None" not in words and "Chronological" not in words and "MAD" not in words
    assert "Pixel spacing" not in words


@pytest.mark.parametrize(
    ("age", "words"), [(100.0, "12.7 months behind"), (87.3, "the same as"), (80.0, "7.3 months ahead of")]
)
def test_difference_from_chronological_age_in_words(age: float, words: str) -> None:
    shown = Page(page(assessment(age))).words
    assert f"Difference: {words} the chronological age" in shown


def test_region_ages_stand_beside_the_estimate() -> None:
    several = assessment(region_ages_months={"A": 85.1, "B": 99.4, "C": -2.0})
    assert "carpal" not in text("x", several)
    assert (
        text("x", several, is_brief=True, regions=True).splitlines()[1:4]
        == (lines := text("x", several, regions=True).splitlines())[-3:]
    )
    assert lines[-3:] == [
        "  A · whole hand: 7 years 1 month (85.1 months)",
        "  B · carpal bones: 8 years 3 months (99.4 months)",
        "  C · metacarpals and proximal phalanges: 0 months (0.0 months)",
    ]
    shown = Page(page(several))
    assert "B · carpal bones: 8 years 3 months" in shown.words
    assert json.loads(json_text(several))["region_ages_months"] == {"A": 85.1, "B": 99.4, "C": -2.0}
    assert "carpal" not in Page(page(assessment())).words


def test_region_ages_hidden_if_meaningless() -> None:
    phantom = assessment(region_ages_months={"A": 85.1, "B": 99.4}, warnings=(ResultWarning.of(WarningCode.PHANTOM),))
    assert "carpal" not in text("x", phantom, regions=True) and "carpal" not in Page(page(phantom)).words


@pytest.mark.parametrize(
    ("points_xy", "inverted", "words"),
    [
        ([[1300.0, 1000.0], [900.0, 1400.0], [400.0, 1000.0]], False, "rotated by 90° clockwise"),
        ([[1300.0, 1000.0], [900.0, 600.0], [400.0, 1000.0]], True, "rotated by 90° clockwise, mirrored, inverted"),
        ([[700.0, 400.0], [1200.0, 900.0], [700.0, 1400.0]], False, "upright"),
        ([[300.0, 1000.0], [700.0, 600.0], [1200.0, 1000.0]], False, "rotated by 90° anticlockwise"),
    ],
)
def test_page_describes_hand_position(points_xy: list[list[float]], inverted: bool, words: str) -> None:
    result = assessment(hand=hand(points_xy=np.array(points_xy), inverted=inverted))
    assert f"Position of the hand{words}Model bundle" in Page(page(result)).words
    assert "Position of the hand" not in Page(page(assessment())).words


def test_outline_drawn_unless_disabled() -> None:
    result = assessment(hand=hand())
    bare = overlay_png(result, lines=Lines(hand=False))
    assert bare == encode_picture(".png", overlay(result.picture, result.heat_map()))

    def decoded(data: bytes) -> NDArray[np.int64]:
        return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.int64)

    changed = np.abs(decoded(overlay_png(result)) - decoded(bare)).max(axis=2) > 30
    assert 0 < changed.mean() < 0.03
    rows, columns = np.nonzero(changed)
    # The mask's border, on a picture at 0.32: rows 600 to 1400 and columns 200 to 1300 of the radiograph.
    assert (rows.min(), rows.max()) == pytest.approx((192, 448), abs=8)
    assert (columns.min(), columns.max()) == pytest.approx((64, 416), abs=8)
    assert "Lines: outline and key points of the hand" in Page(page(result)).words
    assert "Lines" not in Page(page(result, lines=Lines(hand=False))).words


def test_epiphyses_are_drawn_on_request() -> None:
    square = np.array([[300.0, 600.0], [600.0, 600.0], [600.0, 900.0], [300.0, 900.0]])
    bone = BoneAge("mcp_3", ((0.0, 0.0),) * 4, outlines_xy=(square,))
    result, lines = assessment(bones=(bone,)), Lines(epiphyses=True)
    plain, drawn = (
        np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.int64)
        for data in (overlay_png(result), overlay_png(result, lines=lines))
    )
    rows, columns = np.nonzero(np.abs(drawn - plain).max(axis=2) > 30)
    assert (rows.min(), rows.max()) == pytest.approx((192, 288), abs=2)
    assert (columns.min(), columns.max()) == pytest.approx((96, 192), abs=2)
    assert "Violet lines" in Page(page(result, lines=lines)).words
    assert "Violet lines" not in Page(page(result)).words + Page(page(assessment(), lines=lines)).words


def test_page_names_regions_only_if_they_are_read() -> None:
    """The caption names the boxes of regions for networks that read regions of the hand."""
    read = replace(activation(np.ones((8, 8), np.float32)), spec=ViewSpec("A", 8, 8, "hand"))
    words = Page(page(assessment(hand=hand(), activations=(read,)))).words
    assert "Lines: outline, key points and regions of the hand" in words


def test_page_without_heat_map_shows_outline() -> None:
    empty = assessment(hand=hand(), activations=(activation(np.zeros((8, 8), np.float32)),))
    shown = Page(page(empty))
    assert [tag for tag, _ in shown.tags].count("img") == 2 and "Lines: outline" in shown.words
    assert [tag for tag, _ in Page(page(empty, lines=Lines(hand=False))).tags].count("img") == 1
