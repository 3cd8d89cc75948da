"""The figures of a bundle: those of the radiographs that it answers, and curves and limits that hold for others."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import boneage
from boneage.bundle.bundle import Bundle
from boneage.bundle.manifest import Manifest
from boneage.clinical.discordance import carpal_discordance
from boneage.sex import Sex
from boneage.tables.radiographs import LabelledRadiograph, read_radiographs
from boneage.train.bundle.measure import Answer, measure_bundle, measurement, unlimited_answers
from tests.bundles import CURVE, DISAGREEMENT, tiny_bundle
from tests.error_codes import code_of
from tests.train.drawn_radiographs import draw_folder


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> list[LabelledRadiograph]:
    table = draw_folder(tmp_path_factory.mktemp("phantoms"))
    return read_radiographs(table, table.parent / "radiographs")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle that needs no training."""
    return Bundle.open(tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny"), threads=1)


def test_measure_bundle_leaves_out_rejected(
    tiny: Bundle, radiographs: list[LabelledRadiograph], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Radiographs that are rejected are left out and named."""
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    broken = replace(radiographs[0], id="broken one", image=tmp_path / "broken.png")
    with caplog.at_level(logging.WARNING):
        measured = measure_bundle(tiny, [*radiographs[:4], broken])
    assert measured == measure_bundle(tiny, radiographs[:4])
    assert (measured.curve, measured.disagreement, measured.carpal_limits) == (None, None, None)
    assert measured.metrics["radiographs"] == 4
    assert "broken one" in caplog.text
    assert "unreadable" in caplog.text
    assert code_of(lambda: measure_bundle(tiny, [broken])) == "table_empty"


def test_measure_bundle_leaves_out_undefined_figures(tiny: Bundle, radiographs: list[LabelledRadiograph]) -> None:
    """Figures that the radiographs do not give are left out."""
    boys = [radiograph for radiograph in radiographs if radiograph.sex is Sex.MALE]
    by_sex = set(measure_bundle(tiny, radiographs[:8]).metrics) - set(measure_bundle(tiny, boys[:4]).metrics)
    assert by_sex == {"mad_months_by_sex"}
    estimate = boneage.assess(boys[0].image, boys[0].sex, tiny).age_months
    measured = measure_bundle(tiny, [replace(boys[0], boneage_months=estimate)])
    assert measured.metrics == {
        **{"mad_months": 0.0, "rmse_months": 0.0, "split": "validation", "radiographs": 1},
    }
    assert "interval_coverage" in measure_bundle(tiny, (radiographs * 20)[:20]).metrics
    assert "interval_coverage" not in measure_bundle(tiny, (radiographs * 20)[:19]).metrics


def test_measure_bundle_progress_wraps_all(tiny: Bundle, radiographs: list[LabelledRadiograph]) -> None:
    seen: list[str] = []

    def watched(items: Any) -> Any:
        for item in items:
            seen.append(item.id)
            yield item

    measure_bundle(tiny, radiographs[:3], progress=watched)
    assert seen == [radiograph.id for radiograph in radiographs[:3]]


def drawn_answers(bundle: Bundle, radiograph: LabelledRadiograph, count: int) -> list[Answer]:
    """Return answers with drawn labels, estimates, curves and ages by region."""
    rng, months = np.random.default_rng(0), np.arange(240)
    assessment = boneage.assess(radiograph.image, radiograph.sex, bundle)
    answers = []
    for number in range(count):
        sex, age, carpals = list(Sex)[number % 2], rng.uniform(60, 180), rng.normal(0, 6)
        curve = np.exp(-0.5 * ((months - age) / 16) ** 2)
        estimate = replace(assessment.estimate, age_months=age, age_distribution=curve / curve.sum())
        discordance = carpal_discordance({"B": age + carpals, "C": age, "D": age}, sex, age)
        answers.append(
            (
                replace(radiograph, sex=sex, boneage_months=age + 8 * rng.standard_normal()),
                replace(
                    assessment,
                    sex=sex,
                    estimate=estimate,
                    reading=replace(assessment.reading, carpal_discordance=discordance),
                    region_ages_months={"B": age + carpals, "C": age},
                ),
            )
        )
    return answers


def test_measurement_of_curve_and_limits(tiny: Bundle, radiographs: list[LabelledRadiograph]) -> None:
    """Curves that are twice too wide get a power of four, and the coverage is that of other radiographs."""
    answers = drawn_answers(tiny, radiographs[0], 500)
    measured = measurement(tiny.manifest, answers)
    assert measured.curve is not None and measured.disagreement is not None and measured.carpal_limits is not None
    for sex in Sex:
        assert np.mean([band.power for band in measured.curve.by_sex[sex].bands]) == pytest.approx(4, rel=0.2)
        (limit,) = measured.carpal_limits.by_sex[sex]
        assert limit.low_months < -9 and limit.high_months > 9
    assert measured.metrics["interval_coverage"] == pytest.approx(0.95, abs=0.03)
    manifest = measured.into(tiny.manifest, weights="last")
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert measurement(manifest, answers) == measured


def test_unlimited_answers_ignore_the_limits_of_the_manifest(
    tiny: Bundle, radiographs: list[LabelledRadiograph]
) -> None:
    limited = Bundle(tiny.directory, replace(tiny.manifest, curve=CURVE, disagreement=DISAGREEMENT), threads=1)
    ((_, one),), ((_, other),) = (unlimited_answers(bundle, radiographs[:1]) for bundle in (tiny, limited))
    assert one.estimate == other.estimate
