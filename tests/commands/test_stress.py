from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import click
import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from boneage.commands.evaluate import evaluate
from boneage.commands.stress import chosen_changes, drawn_radiographs
from boneage.composition import assess
from boneage.errors import BundleError, Rejection, RejectionCode, TableError
from boneage.evaluate.disturbances import DISTURBING_CHANGES
from boneage.evaluate.perturbations import CHANGES, to_png
from boneage.phantom import draw_hand
from boneage.reading.radiograph import read_radiograph
from boneage.tables.radiographs import read_radiographs
from tests.bundles import tiny_bundle

Fake = Callable[..., SimpleNamespace]


def _radiographs(folder: Path, count: int = 8) -> Path:
    rows = ["id,boneage,male,split,resolution,image"]
    for number in range(count):
        pixels = draw_hand(5.0 + number / 2, height=96, width=72, seed=number)
        cv2.imwrite(str(folder / f"{number}.png"), np.rint(255 * pixels).astype(np.uint8))
        rows.append(f"{number},{60 + 6 * number},True,validation,{'mid' if number % 2 else 'half'},{number}.png")
    (folder / "radiographs.csv").write_text("\n".join(rows) + "\n")
    return folder / "radiographs.csv"


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(evaluate, [str(argument) for argument in arguments])


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fake], None]:
    """Puts a function in the place of `assess`, and a bundle that is only a name."""

    def answer(fake: Fake) -> None:
        opened = SimpleNamespace(manifest=SimpleNamespace(name="drawn", version="7"))
        monkeypatch.setattr("boneage.commands.stress.open_for_many", lambda name: opened)
        monkeypatch.setattr("boneage.composition.assess", fake)

    return answer


def test_stress_assesses_changed_radiographs(tmp_path: Path) -> None:
    table, bundle = _radiographs(tmp_path), tiny_bundle(tmp_path / "bundle")
    out = tmp_path / "out"
    result = _run(
        "--radiographs", table, "--split", "all", "--bundle", bundle, "--stress", "mirror,invert", "--out", out
    )
    assert result.exit_code == 0, result.output
    assert {path.name for path in out.iterdir()} == {"stress.md", "stress.csv", "stress_radiographs.csv"}
    answers = {(row["id"], row["change"]): row for row in _rows(out / "stress_radiographs.csv")}
    assert len(answers) == 8 * 3
    pixels = read_radiograph(tmp_path / "3.png").pixels
    served = {
        "unchanged": assess(tmp_path / "3.png", "M", bundle),
        "mirror": assess(to_png(np.ascontiguousarray(pixels[:, ::-1])), "M", bundle),
        "invert": assess(to_png(1 - pixels), "M", bundle),
    }
    for change, assessment in served.items():
        assert float(answers["3", change]["age_months"]) == pytest.approx(assessment.age_months, abs=0.001)
    moved = float(answers["3", "mirror"]["moved_months"])
    assert moved == pytest.approx(served["mirror"].age_months - served["unchanged"].age_months, abs=0.001)
    assert "| mirrored | mild | 0 of 8 |" in result.stdout
    assert result.stdout.split("\n\n")[1] in (out / "stress.md").read_text()


def test_stress_makes_all_changes_by_default(tmp_path: Path) -> None:
    table, bundle = _radiographs(tmp_path, 2), tiny_bundle(tmp_path / "bundle")
    out = tmp_path / "out"
    result = _run("--stress", "--radiographs", table, "--split", "all", "--bundle", bundle, "--out", out)
    assert result.exit_code == 0, result.output
    changes = [row["change"] for row in _rows(out / "stress_radiographs.csv") if row["id"] == "0"]
    assert changes == ["unchanged", *CHANGES]
    quarter = next(row for row in _rows(out / "stress_radiographs.csv") if row["change"] == "quarter_size")
    assert quarter["error"] == "too_small"  # a rejection is a figure here, and no failure


def test_stress_selects_radiographs_by_column_and_count(tmp_path: Path) -> None:
    radiographs = read_radiographs(_radiographs(tmp_path, 8))
    chosen = drawn_radiographs(radiographs, 3, seed=1)
    assert len(chosen) == 3
    assert chosen == drawn_radiographs(radiographs, 3, seed=1)
    assert {radiograph.id for radiograph in drawn_radiographs(radiographs[::-1], 3, seed=1)} == {
        radiograph.id for radiograph in chosen
    }
    assert (
        len({tuple(radiograph.id for radiograph in drawn_radiographs(radiographs, 3, seed=seed)) for seed in range(8)})
        > 1
    )
    assert drawn_radiographs(radiographs, 9, seed=1) == drawn_radiographs(radiographs, None, seed=1) == radiographs
    bundle, out = tiny_bundle(tmp_path / "bundle"), tmp_path / "out"
    given = ("--radiographs", tmp_path / "radiographs.csv", "--split", "all", "--bundle", bundle, "--out", out)
    result = _run(*given, "--stress", "mirror", "--where", "resolution=half", "--count", 3, "--seed", 4)
    assert result.exit_code == 0, result.output
    ids = {int(row["id"]) for row in _rows(out / "stress_radiographs.csv")}
    assert len(ids) == 3
    assert all(number % 2 == 0 for number in ids)
    assert "split all, resolution=half, at most 3 drawn with seed 4" in (out / "stress.md").read_text()
    plain = _run(*given, "--where", "resolution=mid", "--no-plots")
    assert plain.exit_code == 0, plain.output
    assert {row["resolution"] for row in _rows(out / "predictions.csv")} == {"mid"}


def test_stress_selects_changes_by_name_or_kind() -> None:
    assert list(chosen_changes(" noise, mirror")) == ["mirror", "noise"]
    assert set(chosen_changes("mild")) == {name for name, change in CHANGES.items() if change.kind == "mild"}
    assert list(chosen_changes("all")) == list(CHANGES)
    assert list(chosen_changes("mild,strong")) == list(CHANGES)


def test_stress_names_all_valid_changes() -> None:
    with pytest.raises(
        click.UsageError, match="no change nonsense; give some of all, mild, strong, disturbing, "
    ) as error:
        chosen_changes("noise,nonsense")
    assert all(name in error.value.message for name in [*CHANGES, *DISTURBING_CHANGES])


@pytest.mark.parametrize(
    "arguments",
    [
        ("--stress", "nonsense"),
        ("--stress", ","),
        ("--stress", "all", "--by", "resolution"),
        ("--stress", "all", "--where", "resolution"),
        ("--stress", "all", "--count", "0"),
    ],
)
def test_contradictory_arguments_are_rejected(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    table = _radiographs(tmp_path, 2)
    assert _run("--radiographs", table, "--split", "all", *arguments, "--out", tmp_path / "out").exit_code == 2
    assert not (tmp_path / "out").exists()


def test_conditions_that_no_radiograph_meets_are_named(tmp_path: Path) -> None:
    given = (
        "--radiographs",
        _radiographs(tmp_path, 2),
        "--split",
        "all",
        "--out",
        tmp_path / "out",
        "--no-plots",
        "--where",
    )
    for condition, code in (("reader=1", "table_columns"), ("resolution=full", "table_empty")):
        result = _run(*given, condition)
        assert isinstance(result.exception, TableError)
        assert result.exception.code == code


def test_stress_belongs_to_radiographs(tmp_path: Path) -> None:
    assert _run("p.csv", "--stress", "--out", tmp_path / "out").exit_code == 2


def test_stress_counts_rejections_and_reports_failures(tmp_path: Path, answering: Callable[[Fake], None]) -> None:
    def fake(source: Path | bytes, sex: object, bundle: object, *, name: str = "") -> SimpleNamespace:
        if isinstance(source, bytes) and name == "0.png":
            raise Rejection(RejectionCode.NO_HAND, "No hand.")
        if isinstance(source, bytes) and name == "1.png":
            raise RuntimeError("boom")
        estimate = SimpleNamespace(interval_months=(60.0, 100.0))
        return SimpleNamespace(age_months=80.0, warnings=[], severity=None, estimate=estimate)

    answering(fake)
    out = tmp_path / "out"
    result = _run("--radiographs", _radiographs(tmp_path), "--split", "all", "--stress", "noise", "--out", out)
    assert result.exit_code == 1, result.output  # of the failure, not of the rejection
    errors = {row["id"]: row["error"] for row in _rows(out / "stress_radiographs.csv") if row["change"] == "noise"}
    assert (errors["0"], errors["1"], errors["2"]) == ("no_hand", "internal_error", "")
    assert "2 of 8 (internal_error 1, no_hand 1)" in (out / "stress.md").read_text()


def test_stress_rejects_unreadable_radiograph_each_time(tmp_path: Path) -> None:
    table, bundle = _radiographs(tmp_path, 3), tiny_bundle(tmp_path / "bundle")
    (tmp_path / "1.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    result = _run("--radiographs", table, "--split", "all", "--bundle", bundle, "--stress", "mirror", "--out", out)
    assert result.exit_code == 0, result.output
    errors = {(row["id"], row["change"]): row["error"] for row in _rows(out / "stress_radiographs.csv")}
    assert errors["1", "unchanged"] == errors["1", "mirror"] == "unreadable"
    assert errors["0", "mirror"] == ""


def test_stress_all_rejected_is_an_error(tmp_path: Path, answering: Callable[[Fake], None]) -> None:
    def fake(*_: object, **__: object) -> SimpleNamespace:
        raise Rejection(RejectionCode.NO_HAND, "No hand.")

    answering(fake)
    out = tmp_path / "out"
    result = _run("--radiographs", _radiographs(tmp_path, 2), "--split", "all", "--stress", "noise", "--out", out)
    assert isinstance(result.exception, Rejection)
    assert result.exception.code == "all_rejected"
    assert len(_rows(out / "stress_radiographs.csv")) == 4
    assert not (out / "stress.md").exists()


def test_stress_stops_at_failing_bundle(tmp_path: Path, answering: Callable[[Fake], None]) -> None:
    def fake(*_: object, **__: object) -> SimpleNamespace:
        raise BundleError("bundle_output", "No number.")

    answering(fake)
    result = _run(
        "--radiographs", _radiographs(tmp_path), "--split", "all", "--stress", "noise", "--out", tmp_path / "out"
    )
    assert isinstance(result.exception, BundleError)
    assert not (tmp_path / "out").exists()
