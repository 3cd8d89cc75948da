"""The curve of training shows every run, however bad it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from boneage.cli import cli
from boneage.errors import RecipeError, TableError
from boneage.train.run.curve import (
    MEASURES,
    EndOfRun,
    PowerLaw,
    draw_curve,
    draw_learning_curve,
    end_of_run,
    extrapolate,
    fit_power_law,
    measure_of,
    read_history,
)


def _history(*errors_months: float) -> list[dict[str, float]]:
    return [{"epoch": float(epoch), "mad_months": error} for epoch, error in enumerate(errors_months, start=1)]


def _seen(path: Path, run: int) -> int:
    """Pixels of the line of the first (blue) or second (orange) run, left of the legend."""
    blue, _, red = np.moveaxis(np.asarray(cv2.imread(str(path))).astype(int), 2, 0)
    line = (blue - red > 60) if run == 0 else (red - blue > 60)
    return int(np.count_nonzero(line[:, : line.shape[1] * 3 // 5]))


@pytest.mark.parametrize(
    "errors_months",
    [(20.0, 12.0, 9.0), (130.0, 30.0, 12.0), (130.0, 90.0, 80.0), (800.0, 700.0, 650.0), (0.0, 0.0)],
    ids=["good", "bad at first", "bad", "very bad", "perfect"],
)
def test_draw_curve_shows_run_with_any_errors(tmp_path: Path, errors_months: tuple[float, ...]) -> None:
    draw_curve({"run": _history(*errors_months)}, tmp_path / "curve.png")
    assert _seen(tmp_path / "curve.png", 0) > 50


def test_draw_curve_shows_worst_of_several(tmp_path: Path) -> None:
    draw_curve({"good": _history(9.0, 8.0), "bad": _history(200.0, 150.0)}, tmp_path / "two.png")
    assert min(_seen(tmp_path / "two.png", run) for run in (0, 1)) > 50


@pytest.mark.parametrize("measure", MEASURES)
def test_read_history_of_any_task(tmp_path: Path, measure: str) -> None:
    (tmp_path / "metrics.csv").write_text(f"epoch,loss,{measure}\n1,3,20\n2,1,10\n", encoding="utf-8")
    rows = read_history(tmp_path)
    assert measure_of(rows) == measure
    assert [row[measure] for row in rows] == [20.0, 10.0]
    draw_curve({"run": rows}, tmp_path / "curve.png")
    assert _seen(tmp_path / "curve.png", 0) > 50


def test_draw_curve_rejects_different_tasks(tmp_path: Path) -> None:
    histories = {"ages": _history(9.0, 8.0), "masks": [{"epoch": 1.0, "jaccard_distance": 0.1}]}
    with pytest.raises(TableError, match="share no axis") as caught:
        draw_curve(histories, tmp_path / "both.png")
    assert caught.value.code == "table_columns"
    assert not (tmp_path / "both.png").exists()


@pytest.mark.parametrize("text", ["epoch,loss\n1,2\n", "loss,mad_months\n1,2\n", "epoch,mad_months\n"])
def test_read_history_without_measure(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.csv").write_text(text, encoding="utf-8")
    with pytest.raises(TableError) as caught:
        read_history(tmp_path)
    assert caught.value.code == "table_columns"


# --- learning curves ---


def _ends(*points: tuple[float, float]) -> list[EndOfRun]:
    return [EndOfRun(place, error, "mad_months") for place, error in points]


def _facts(radiographs: int, *, height: int = 64, epochs: int = 2) -> dict[str, Any]:
    recipe = {"train": {"epochs": epochs, "patience": 0}, "view": {"height": height}}
    return {"recipe": recipe, "train": [str(number) for number in range(radiographs)]}


@given(
    floor=st.floats(0.0, 10.0),
    scale=st.floats(1.0, 200.0),
    exponent=st.floats(0.1, 1.5),
    seed=st.integers(0, 2**32 - 1),
)
def test_fit_power_law_recovers_law(floor: float, scale: float, exponent: float, seed: int) -> None:
    radiographs = np.random.default_rng(seed).permutation(np.geomspace(100, 10_000, 6).round())
    law = PowerLaw(floor, scale, exponent)
    errors = law(radiographs)
    law_fitted = fit_power_law(radiographs, errors)
    assert law_fitted is not None
    assert min(law_fitted.floor, law_fitted.scale, law_fitted.exponent) >= 0
    # Constants trade against each other, what is drawn does not.
    np.testing.assert_allclose(law_fitted(radiographs), errors, atol=0.02 * np.ptp(errors) + 1e-6)
    extrapolated = extrapolate(radiographs, errors, 4 * radiographs.max())
    assert extrapolated is not None
    assert extrapolated[0] == pytest.approx(float(law(4 * radiographs.max())), abs=0.1 * np.ptp(errors) + 1e-6)
    assert extrapolated[1] <= extrapolated[2]


def test_fit_power_law_rising_errors_give_flat_law() -> None:
    """Errors that rise with the radiographs give a flat law."""
    law = fit_power_law([100, 200, 400, 800], [5.0, 6.0, 7.0, 8.0])
    assert law is not None
    assert law.scale == 0
    assert law.floor == pytest.approx(6.5)


def test_fit_power_law_of_three_sizes_is_none(tmp_path: Path) -> None:
    """Three numbers of radiographs say nothing of three constants."""
    radiographs, errors = [100, 200, 200, 400], [9.0, 8.0, 8.2, 7.5]
    assert fit_power_law(radiographs, errors) is None
    assert extrapolate(radiographs, errors, 800) is None
    table = draw_learning_curve(
        _ends(*zip(radiographs, errors, strict=True)), "radiographs", tmp_path / "radiographs.png"
    )
    assert "Power law" not in table.read_text(encoding="utf-8")
    assert _seen(tmp_path / "radiographs.png", 0) > 50
    assert _seen(tmp_path / "radiographs.png", 1) == 0


def test_draw_learning_curve_runs_law_and_extrapolation(tmp_path: Path) -> None:
    radiographs = [500, 1000, 2000, 4000, 4000]
    errors = [*PowerLaw(5, 100, 0.5)(radiographs[:-1]), 7.0]
    table = draw_learning_curve(
        _ends(*zip(radiographs, errors, strict=True)), "radiographs", tmp_path / "radiographs.png"
    )
    assert _seen(tmp_path / "radiographs.png", 0) > 50
    assert _seen(tmp_path / "radiographs.png", 1) > 50
    text = table.read_text(encoding="utf-8")
    assert table == tmp_path / "radiographs.md"
    assert "| 4,000 | 2 | 6.79 | 6.58 | 7 |" in text
    assert "at 4 times the radiographs, 16,000" in text


def test_draw_learning_curve_orders_by_height(tmp_path: Path) -> None:
    table = draw_learning_curve(_ends((256, 8.0), (128, 9.0), (64, 11.0)), "resolution", tmp_path / "sizes.png")
    rows = table.read_text(encoding="utf-8").splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == ["64", "128", "256"]
    assert _seen(tmp_path / "sizes.png", 0) > 50


def test_end_of_run_is_last_epoch() -> None:
    rows = _history(9.0, 8.5)
    assert end_of_run(rows, _facts(30), "radiographs", "run") == EndOfRun(30.0, 8.5, "mad_months")
    assert end_of_run(rows, _facts(30, height=128), "resolution", "run") == EndOfRun(128.0, 8.5, "mad_months")


@pytest.mark.parametrize("facts", [_facts(30, epochs=3), {}, {"recipe": {}}])
def test_end_of_run_rejects_unfinished(facts: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="run there") as caught:
        end_of_run(_history(9.0, 8.5), facts, "radiographs", "there")
    assert caught.value.code == "recipe_invalid"


def test_draw_learning_curve_rejects_different_tasks(tmp_path: Path) -> None:
    ends = [EndOfRun(1.0, 2.0, measure) for measure in MEASURES]
    with pytest.raises(TableError, match="share no axis"):
        draw_learning_curve(ends, "radiographs", tmp_path / "no.png")
    assert list(tmp_path.iterdir()) == []


def test_curve_command_draws_learning_curve(tmp_path: Path) -> None:
    for radiographs, error in ((10, 9.0), (20, 8.0), (40, 7.5), (80, 7.2)):
        run = tmp_path / f"radiographs-{radiographs}"
        run.mkdir()
        (run / "recipe.json").write_text(json.dumps(_facts(radiographs)), encoding="utf-8")
        (run / "metrics.csv").write_text(f"epoch,mad_months\n1,20\n2,{error}\n", encoding="utf-8")
    runs = sorted(str(run) for run in tmp_path.iterdir())
    result = CliRunner().invoke(
        cli, ["curve", "--against", "radiographs", *runs, "--out", str(tmp_path / "radiographs.png")]
    )
    assert result.exit_code == 0, result.stderr
    assert "| 80 | 1 | 7.2 | 7.2 | 7.2 |" in result.stdout
    assert result.stdout.splitlines()[-1] == str(tmp_path / "radiographs.png")
    assert (tmp_path / "radiographs.md").read_text(encoding="utf-8") in result.stdout
