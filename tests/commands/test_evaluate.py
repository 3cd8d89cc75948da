from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from boneage.bundle.estimate import AgeEstimate
from boneage.commands.evaluate import evaluate
from boneage.commands.maps import maps
from boneage.composition import assess
from boneage.errors import BoneageError, BundleError, Rejection, RejectionCode, TableError
from boneage.evaluate.predictions import read_predictions, write_predictions
from boneage.explain import HeatMap
from boneage.phantom import draw_hand
from boneage.sex import Sex
from tests.bundles import tiny_bundle
from tests.evaluate.drawn_predictions import drawn_predictions

Fake = Callable[[Path, Sex, object], SimpleNamespace]


def _radiographs(folder: Path, count: int = 60, column: str = "split") -> Path:
    table = folder / "radiographs.csv"
    rows = []
    for number in range(count):
        split = "train" if number % 2 else "validation"
        rows.append(f"{number},{60 + number},{number % 4 < 2},{split},{'half' if number % 8 else 'mid'},{number}.png")
        (folder / f"{number}.png").touch()
    table.write_text(f"id,boneage,male,{column},resolution,image\n" + "\n".join(rows) + "\n")
    return table


def _drawn_assessment(image: Path, sex: Sex, bundle: object) -> SimpleNamespace:
    """Half a year too old; radiograph 4 is rejected."""
    number = int(image.stem)
    if number == 4:
        raise Rejection(RejectionCode.NO_CONTRAST, "Even grey.")
    heat = np.zeros((30, 20), dtype=np.float32)
    heat[5 : 5 + number // 8] = 1.0
    age = 66.0 + number
    return SimpleNamespace(
        age_months=age,
        estimate=AgeEstimate(age, {"network": age}, 6.0, (age - 9.0, age + 9.0), (age - 5.0, age + 5.0)),
        warnings=[SimpleNamespace(code=RejectionCode.TOO_SMALL)],
        picture=np.arange(600, dtype=np.uint8).reshape(30, 20),
        heat_map=lambda evidence: HeatMap(heat if evidence == "both" else 0 * heat, 1.0),
    )


@pytest.fixture
def bundle(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fake], None]:
    """Puts a function in the place of `assess`, and a bundle that is only a name."""

    def answer(fake: Fake) -> None:
        opened = SimpleNamespace(manifest=SimpleNamespace(name="drawn", version="7"))
        for module in ("evaluate", "maps"):
            monkeypatch.setattr(f"boneage.commands.{module}.open_for_many", lambda name: opened)
        monkeypatch.setattr("boneage.composition.assess", fake)

    answer(_drawn_assessment)
    return answer


def _run(*arguments: object) -> Result:
    command = maps if "--sheet" in arguments else evaluate
    given = [str(argument) for argument in arguments if argument != "--sheet"]
    return CliRunner().invoke(command, given)


def test_predictions_become_tables_and_plots(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.csv", drawn_predictions(80))
    result = _run(tmp_path / "p.csv", "--out", tmp_path / "out", "--by", "resolution")
    assert result.exit_code == 0, result.output
    assert "| MAD, months |" in result.stdout
    assert "## By resolution" in (tmp_path / "out" / "tables.md").read_text()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"tables.md", "tables.csv", "plots"}
    assert len(list((tmp_path / "out" / "plots").glob("*.png"))) == 3


def test_radiographs_are_assessed_first(tmp_path: Path, bundle: Callable[[Fake], None]) -> None:
    out = tmp_path / "out"
    result = _run(
        "--radiographs",
        _radiographs(tmp_path),
        "--split",
        "validation",
        "--out",
        out,
        "--by",
        "resolution",
        "--no-plots",
    )
    assert result.exit_code == Rejection.exit_status, result.output
    predictions = read_predictions(out / "predictions.csv")
    assert predictions.ids == tuple(str(number) for number in range(0, 60, 2) if number != 4)
    np.testing.assert_allclose(predictions.error_months, 6.0)
    (rejected,) = csv.DictReader((out / "rejected.csv").read_text().splitlines())
    assert (rejected["id"], rejected["error"]) == ("4", "no_contrast")
    text = (out / "tables.md").read_text()
    assert "30, of which 29 assessed, 1 rejected (no_contrast 1)" in text
    assert "Bundle: drawn 7" in text
    assert "Warnings raised: too_small 29" in text
    assert not (out / "plots").exists()
    np.testing.assert_allclose(predictions.intervals[80].T, [predictions.age_months - 5, predictions.age_months + 5])
    assert "| All radiographs | 29 | 0.0 % [0.0, 0.0] | 10.00 | 100.0 % [100.0, 100.0] | 18.00 |" in text


def test_evaluate_written_predictions_gives_same_figures(tmp_path: Path, bundle: Callable[[Fake], None]) -> None:
    _run("--radiographs", _radiographs(tmp_path), "--split", "all", "--out", tmp_path / "a", "--no-plots")
    result = _run(tmp_path / "a" / "predictions.csv", "--out", tmp_path / "b", "--no-plots")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "a" / "tables.csv").read_bytes() == (tmp_path / "b" / "tables.csv").read_bytes()


def test_evaluate_excludes_training_radiographs_by_default(tmp_path: Path, bundle: Callable[[Fake], None]) -> None:
    result = _run("--radiographs", _radiographs(tmp_path), "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "--split" in result.output
    unsplit = _run("--radiographs", _radiographs(tmp_path, column="part"), "--out", tmp_path / "out", "--no-plots")
    assert unsplit.exit_code == Rejection.exit_status, unsplit.output
    assert (tmp_path / "out" / "tables.md").exists()


@pytest.mark.parametrize(
    "arguments",
    [(), ("p.csv", "--radiographs", "f.csv"), ("p.csv", "--split", "validation"), ("p.csv", "--bundle", "x")],
)
def test_contradictory_arguments_are_rejected(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert _run(*arguments, "--out", tmp_path / "out").exit_code == 2


@pytest.mark.parametrize(("table", "code"), [("none.csv", "table_not_found"), ("bad.csv", "table_columns")])
def test_bad_tables_are_named(tmp_path: Path, table: str, code: str) -> None:
    (tmp_path / "bad.csv").write_text("id,sex\n1,F\n")
    result = _run(tmp_path / table, "--out", tmp_path / "out")
    assert isinstance(result.exception, TableError)
    assert result.exception.code == code


def test_evaluate_rejects_unknown_group_first(tmp_path: Path, bundle: Callable[[Fake], None]) -> None:
    def never(image: Path, sex: Sex, opened: object) -> SimpleNamespace:
        raise AssertionError("a radiograph was read")

    bundle(never)
    result = _run(
        "--radiographs", _radiographs(tmp_path), "--split", "all", "--out", tmp_path / "out", "--by", "reader"
    )
    assert isinstance(result.exception, TableError)


def _with_columns(folder: Path, columns: str) -> Path:
    """Add columns, with the same text in all cells, to the table of radiographs."""
    table = _radiographs(folder)
    heads, *rows = table.read_text().splitlines()
    cells = ",".join("7" for _ in columns.split(","))
    table.write_text("\n".join([f"{heads},{columns}", *(f"{row},{cells}" for row in rows)]) + "\n")
    return table


def test_evaluate_columns_of_the_output_are_its_own(tmp_path: Path, bundle: Callable[[Fake], None]) -> None:
    """Columns that the table of predictions has itself are left out of it, so that it can be read."""
    table = _with_columns(tmp_path, "sex,Age_Months,low_95,high_80,scanner")
    given = ("--radiographs", table, "--split", "validation", "--no-plots")
    result = _run(*given, "--out", tmp_path / "out", "--by", "scanner", "--where", "sex=7")
    assert result.exit_code == Rejection.exit_status, result.output
    predictions = read_predictions(tmp_path / "out" / "predictions.csv")
    assert list(predictions.groups) == ["resolution", "scanner"]
    assert set(predictions.sexes) == set(Sex)
    np.testing.assert_allclose(predictions.error_months, 6.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--where", "boneage=12"), "cannot be selected by 'boneage'. They can be selected by these columns: resolut"),
        (("--where", "split=train"), "cannot be selected by 'split'. Choose it with --split."),
        (("--where", "reader=A"), "have no column 'reader'. They can be selected by these columns: resolution."),
        (("--by", "male"), "cannot be grouped by 'male'."),
        (("--by", "sex"), "cannot be grouped by 'sex'."),
        (("--by", "reader"), "have no column 'reader'. They can be grouped by these columns: resolution."),
    ],
)
def test_evaluate_messages_on_columns_are_true(
    tmp_path: Path, bundle: Callable[[Fake], None], arguments: tuple[str, ...], message: str
) -> None:
    result = _run("--radiographs", _radiographs(tmp_path), "--split", "all", "--out", tmp_path / "out", *arguments)
    assert isinstance(result.exception, TableError)
    assert result.exception.code == "table_columns"
    assert message in result.exception.message


def test_evaluate_rejects_negative_seed(tmp_path: Path) -> None:
    result = _run("--radiographs", _radiographs(tmp_path), "--count", 3, "--seed", -1, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "--seed" in result.output


def test_evaluate_all_rejected_writes_reasons(tmp_path: Path, bundle: Callable[[Fake], None]) -> None:
    def reject(image: Path, sex: Sex, opened: object) -> SimpleNamespace:
        raise Rejection(RejectionCode.UNREADABLE, "Not a radiograph.")

    bundle(reject)
    result = _run("--radiographs", _radiographs(tmp_path, 8), "--split", "all", "--out", tmp_path / "out")
    assert isinstance(result.exception, BoneageError)
    assert result.exception.code == "all_rejected"
    assert len((tmp_path / "out" / "rejected.csv").read_text().splitlines()) == 9


def test_evaluate_stops_at_failing_bundle(tmp_path: Path, bundle: Callable[[Fake], None]) -> None:
    seen = []

    def fail(image: Path, sex: Sex, opened: object) -> SimpleNamespace:
        seen.append(image)
        time.sleep(0.05)  # keeps some radiographs waiting when the first one fails
        raise BundleError("bundle_output", "No number.")

    bundle(fail)
    result = _run("--radiographs", _radiographs(tmp_path, 60), "--split", "all", "--out", tmp_path / "out")
    assert isinstance(result.exception, BundleError)
    assert len(seen) < 60
    assert not (tmp_path / "out" / "predictions.csv").exists()


def test_maps_draws_stages_and_reports_small_groups(tmp_path: Path, bundle: Callable[[Fake], None]) -> None:
    result = _run("--sheet", _radiographs(tmp_path, 120), "--split", "all", "--out", tmp_path / "sheet.png")
    assert result.exit_code == Rejection.exit_status, result.output
    assert "left out: fewer than 20" in result.stdout
    assert "119 assessed, 1 rejected (no_contrast 1)" in result.stderr
    picture = cv2.imread(str(tmp_path / "sheet.png"))
    assert picture is not None
    assert (np.ptp(picture.astype(int), axis=2) > 40).any()
    _run(
        "--sheet", _radiographs(tmp_path, 120), "--split", "all", "--evidence", "raising", "--out", tmp_path / "up.png"
    )
    assert (tmp_path / "up.png").read_bytes() != (tmp_path / "sheet.png").read_bytes()


def test_evaluate_continues_after_unexpected_failure(tmp_path: Path, bundle: Callable[[Fake], None]) -> None:
    def fail_one(image: Path, sex: Sex, opened: object) -> SimpleNamespace:
        if image.stem == "6":
            raise RuntimeError("boom\nboom")
        return _drawn_assessment(image, sex, opened)

    bundle(fail_one)
    table = _radiographs(tmp_path)
    result = _run("--radiographs", table, "--split", "all", "--out", tmp_path / "out", "--no-plots")
    assert result.exit_code == 1, result.output
    assert "60, of which 58 assessed, 1 rejected (no_contrast 1), 1 failed (internal_error)" in result.stdout
    rejected = list(csv.DictReader((tmp_path / "out" / "rejected.csv").read_text().splitlines()))
    assert [(row["id"], row["error"]) for row in rejected] == [("4", "no_contrast"), ("6", "internal_error")]
    assert "RuntimeError: boom boom" in rejected[1]["message"]
    assert _run("--sheet", table, "--split", "all", "--out", tmp_path / "sheet.png").exit_code == 1


@pytest.mark.parametrize(
    ("error", "code", "status"), [(Rejection, "all_rejected", 3), (RuntimeError, "internal_error", 1)]
)
def test_maps_all_rejected_writes_no_sheet(
    tmp_path: Path, bundle: Callable[[Fake], None], error: type[Exception], code: str, status: int
) -> None:
    def reject(image: Path, sex: Sex, opened: object) -> SimpleNamespace:
        raise Rejection(RejectionCode.UNREADABLE, "Not a radiograph.") if error is Rejection else error("boom")

    bundle(reject)
    for arguments in (("--sheet", _radiographs(tmp_path, 8)), ("--radiographs", _radiographs(tmp_path, 8))):
        result = _run(*arguments, "--split", "all", "--out", tmp_path / "out.png")
        assert isinstance(result.exception, BoneageError)
        assert (result.exception.code, result.exception.exit_status) == (code, status)
        assert "None of the 8 radiographs could be assessed" in result.exception.message
    assert not (tmp_path / "out.png").is_file()


def test_drawn_hands_go_through_a_whole_bundle(tmp_path: Path) -> None:
    rows = []
    for number in range(24):
        picture = np.rint(255 * draw_hand((110 + number) / 12, height=96, width=72)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
        rows.append(f"{number},{110 + number},True,{number}.png")
    (tmp_path / "radiographs.csv").write_text("id,boneage,male,image\n" + "\n".join(rows) + "\n")
    bundle = tiny_bundle(tmp_path / "bundle")
    result = _run(
        "--radiographs", tmp_path / "radiographs.csv", "--bundle", bundle, "--out", tmp_path / "out", "--no-plots"
    )
    assert result.exit_code == 0, result.output
    predictions = read_predictions(tmp_path / "out" / "predictions.csv")
    served = assess(tmp_path / "7.png", "M", bundle)
    assert predictions.age_months[7] == pytest.approx(served.age_months, abs=0.0006)
    sheet = _run("--sheet", tmp_path / "radiographs.csv", "--bundle", bundle, "--out", tmp_path / "sheet.png")
    assert sheet.exit_code == 0, sheet.output
    assert "24 radiographs" in sheet.stdout
