"""The rounds with a tiny network, which learns nothing: what is kept, what is predicted, and what goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from boneage.errors import RecipeError, TableError
from boneage.tables.csv_table import read_rows
from boneage.tables.radiographs import read_radiographs
from boneage.train.data.annotations import load_mask
from boneage.train.mining import rounds
from boneage.train.mining.records import Round, read_rounds, round_folder, summary_rows
from boneage.train.mining.rounds import Copies, choose_radiographs, predict_round, train_round
from boneage.train.mining.state import RadiographMask, Status, decide, read_masks, read_settings
from boneage.train.run.engine import Engine
from tests.train.mining.minings import TINY, add_pending, begin_mining

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*isinstance\\(treespec, LeafSpec\\).*",  # Lightning's use of a torch function that torch will drop
)

Keep = Callable[[Path, int, Sequence[rounds._Prediction]], list[str]]


def train_tiny(folder: Path, *changes: str) -> Round:
    record = train_round(folder, (*TINY, *changes), engine=Engine("cpu", 1), quiet=True)
    assert record is not None
    return record


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, table: Path) -> Path:
    """A mining project with one round trained."""
    folder = begin_mining(tmp_path_factory.mktemp("trained"), table)
    train_tiny(folder)
    return folder


@pytest.fixture
def mining(trained: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(trained, tmp_path / "mining")


def test_train_round_measures_held_out(trained: Path) -> None:
    """A round trains on outlines and measures on those held out."""
    (record,) = read_rounds(trained)
    assert (record.number, record.outlines, record.accepted, record.held_out) == (1, 3, 0, 1)
    assert 0 <= record.iou_lowest <= record.iou <= 1
    assert 0 <= record.boundary <= 1
    held_out = [mask.id for mask in read_masks(trained).values() if mask.status is Status.HELD_OUT]
    facts = (round_folder(trained, 1) / "recipe.json").read_text()
    assert f'"validation": ["{held_out[0]}"]' in facts
    (row,) = read_rows(round_folder(trained, 1) / "held_out.csv", ("id", "iou", "boundary"))
    assert row.text("id") == held_out[0]
    assert row.number("iou") == pytest.approx(record.iou)


def test_predict_round_masks_pending_with_uncertainty(mining: Path) -> None:
    done = predict_round(mining, 3)
    masks = read_masks(mining)
    assert len(done) == 3
    assert {radiograph_id for radiograph_id, mask in masks.items() if mask.status is Status.PENDING} == set(done)
    for radiograph_id in done:
        mask = masks[radiograph_id]
        assert mask.round == 1
        assert mask.uncertainty is not None
        assert load_mask(mining / mask.mask).shape == (160, 120)


def test_predict_round_count_includes_existing(mining: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A count is of the round so that a killed command is given again."""
    monkeypatch.setattr(rounds, "_WRITTEN_AT_ONCE", 2)
    kept = rounds.write_predicted_masks
    monkeypatch.setattr(rounds, "write_predicted_masks", _failing_after(kept, 1))
    with pytest.raises(KeyboardInterrupt):
        predict_round(mining, 5)
    monkeypatch.setattr(rounds, "write_predicted_masks", kept)
    assert len(predict_round(mining, 5)) == 3
    assert predict_round(mining, 5) == []
    assert len(predict_round(mining)) == 3  # all others
    assert predict_round(mining) == []


def _failing_after(keep: Keep, times: int) -> Keep:
    calls: list[int] = []

    def keeping(folder: Path, number: int, predictions: Sequence[rounds._Prediction]) -> list[str]:
        if len(calls) == times:
            raise KeyboardInterrupt
        calls.append(number)
        return keep(folder, number, predictions)

    return keeping


def test_train_round_continues_from_last_round(mining: Path) -> None:
    """The next round trains on what was accepted and starts from the last."""
    first, second, third = predict_round(mining, 3)
    decide(mining, {first: True, second: False})
    record = train_tiny(mining)
    assert (record.number, record.outlines, record.accepted) == (2, 3, 1)
    facts = (round_folder(mining, 2) / "recipe.json").read_text()
    assert str(round_folder(mining, 1).resolve()) in facts
    # Discarded and undecided radiographs are predicted again, accepted ones keep their mask.
    predicted = predict_round(mining)
    assert {second, third} <= set(predicted)
    assert first not in predicted
    masks = read_masks(mining)
    assert (masks[second].round, masks[second].discarded_in, masks[first].round) == (2, (1,), 1)
    columns, rows = summary_rows(mining)
    records = [dict(zip(columns, row, strict=True)) for row in rows]
    assert [(one["accepted"], one["discarded"], one["pending"]) for one in records] == [(1, 1, 0), (0, 0, 7)]
    assert records[0]["coverage"] == records[1]["coverage"] == round(5 / 12, 4)


def test_train_round_continues_with_its_masks(mining: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_pending(mining, {"5": 0.1, "6": 0.1})
    decide(mining, {"5": True})

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rounds, "_measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(mining)
    assert len(read_rounds(mining)) == 1
    monkeypatch.undo()
    decide(mining, {"6": True})
    assert train_tiny(mining).accepted == 1


def test_round_masks_before_start_are_current(mining: Path) -> None:
    add_pending(mining, {"5": 0.1, "6": 0.1})
    decide(mining, {"5": True})
    with pytest.raises(RecipeError):
        train_tiny(mining, "train.initial_weights='nowhere'")
    decide(mining, {"6": True})
    assert train_tiny(mining).accepted == 2


def test_train_round_leaves_out_validation_masks(mining: Path) -> None:
    """Accepted masks of validation radiographs train nothing."""
    add_pending(mining, {"5": 0.1, "6": 0.1})
    decide(mining, {"5": True, "6": True})
    radiographs = {radiograph.id: radiograph for radiograph in read_radiographs(read_settings(mining).radiographs)}
    parted = {**radiographs, "5": replace(radiographs["5"], split="validation")}
    chosen = rounds.round_masks(mining, round_folder(mining, 2), parted)
    assert "6" in chosen
    assert "5" not in chosen


def test_predict_round_needs_a_round(tmp_path: Path, table: Path) -> None:
    folder = begin_mining(tmp_path, table)
    with pytest.raises(RecipeError) as raised:
        predict_round(folder, 1)
    assert raised.value.code == "recipe_invalid"
    with pytest.raises(RecipeError) as raised:
        predict_round(tmp_path / "none", 1)
    assert raised.value.code == "recipe_invalid"


def test_predict_round_reports_missing_radiographs(mining: Path, tmp_path: Path, table: Path) -> None:
    header, *rows = table.read_text().splitlines()
    (tmp_path / "radiographs.csv").write_text("\n".join([header, *rows[:-1]]))
    settings = (mining / "mining.json").read_text().replace('"images": null', f'"images": "{table.with_suffix("")}"')
    (mining / "mining.json").write_text(settings.replace(str(table), str(tmp_path / "radiographs.csv")))
    with pytest.raises(TableError, match="'11'"):
        predict_round(mining, 1)


def test_read_rounds_damaged_record(mining: Path) -> None:
    (round_folder(mining, 1) / "round.json").write_text('{"number": 1}')
    with pytest.raises(RecipeError) as raised:
        read_rounds(mining)
    assert raised.value.code == "recipe_invalid"


class Marking(nn.Module):
    """A network that finds a hand where the view is bright; given a corner, it also finds one there wherever it
    looks."""

    def __init__(self, corner: int = 0) -> None:
        super().__init__()
        self.corner = corner

    def forward(self, view: Tensor) -> Tensor:
        logits = view.clone()
        logits[..., : self.corner, : self.corner] = 9.0
        return logits


def test_copies_transform_back() -> None:
    view = torch.randn(2, 1, 32, 32)
    answers = Copies(Marking(), [Marking()])(view).reshape(2, 4, 32, 32)
    assert all(torch.equal(answers[:, [place]], view) for place in range(4))
    oblong = torch.randn(1, 1, 32, 64)
    answers = Copies(Marking())(oblong).reshape(1, 3, 32, 64)
    assert all(torch.equal(answers[:, [place]], oblong) for place in range(3))


def _prediction(network: nn.Module, others: list[nn.Module], view: Tensor) -> rounds._Prediction:
    from boneage.hand.views import ViewSpec

    logits = Copies(network, others)(view)[0, 0]
    probabilities = torch.sigmoid(logits).reshape(-1, 32, 32).numpy()
    return rounds._Prediction("a", (320, 320), ViewSpec("radiograph", 32, 32), probabilities)


def test_prediction_uncertainty_is_worst_difference() -> None:
    view = torch.full((1, 1, 32, 32), -9.0)
    view[..., 8:24, 8:24] = 9.0
    assert _prediction(Marking(), [], view).uncertainty() == 0.0
    # Joined to the square, the corner changes with the copy: 16 x 16 of hand, 10 x 10 - 2 x 2 more at one corner.
    corner = _prediction(Marking(10), [], view)
    assert corner.uncertainty() == pytest.approx(1 - 256 / (256 + 2 * 96))
    assert _prediction(Marking(), [Marking(10)], view).uncertainty() == pytest.approx(1 - 256 / 352)
    assert (
        _prediction(Marking(), [], torch.full((1, 1, 32, 32), -9.0)).uncertainty() == 1.0
    )  # nothing found, nothing certain


def test_prediction_mask_lies_on_radiograph() -> None:
    from boneage.hand.views import ViewSpec

    probabilities = np.zeros((1, 64, 64), np.float32)
    probabilities[0, 16:48, 28:36] = 1.0  # of a radiograph of 64 x 32 view pixels, which lies at columns 16 to 48
    prediction = rounds._Prediction("a", (400, 200), ViewSpec("radiograph", 64, 64), probabilities)
    mask = prediction.mask((400, 200))
    rows, columns = np.nonzero(mask)
    bounds = [rows.min(), rows.max() + 1, columns.min(), columns.max() + 1]
    # A view's pixel is 6.25 of the radiograph's; a threshold other than 0.5 may move a border by a fifth of it.
    assert np.abs(np.array(bounds) - [100, 300, 75, 125]).max() <= 1


@pytest.mark.parametrize("shape", [(400, 200), (128, 64), (97, 49)])
def test_prediction_mask_finer_than_view(shape: tuple[int, int]) -> None:
    """Whatever the threshold: else masks would shrink or grow with each round."""
    from boneage.hand.views import ViewSpec

    probabilities = np.full((1, 64, 64), 1e-6, np.float32)
    probabilities[0, 16:48, 24:40] = 1 - 1e-6
    mask = rounds._Prediction("a", (400, 200), ViewSpec("radiograph", 64, 64), probabilities).mask(shape)
    # Of the view's 64 x 32 pixels with radiograph, 32 x 16 show the hand. Interpolated probabilities made it 31 at
    # most.
    side = np.sqrt(mask.mean() * 64 * 32 * 2)
    assert abs(side - 32) < 0.6


def test_choose_radiographs_by_uncertainty_or_random() -> None:
    """Radiographs are chosen by uncertainty or at random among those still open."""
    masks = {
        "new": RadiographMask("new"),
        "uncertain": RadiographMask("uncertain", Status.DISCARDED, 1, 0.9, "m", (1,)),
        "waiting": RadiographMask("waiting", Status.PENDING, 1, 0.2, "m"),
        "kept": RadiographMask("kept", Status.ACCEPTED, 1, 0.9, "m"),
        "drawn": RadiographMask("drawn", Status.OUTLINE, 0, None, "m"),
        "held": RadiographMask("held", Status.HELD_OUT, 0, None, "m"),
        "done": RadiographMask("done", Status.PENDING, 2, 0.9, "m"),
    }
    assert choose_radiographs(masks, 2, 0, "uncertainty", seed=0) == ["uncertain", "waiting", "new"]
    assert choose_radiographs(masks, 2, 3, "uncertainty", seed=0) == [
        "uncertain",
        "waiting",
    ]  # one of the round is done
    drawn = {tuple(choose_radiographs(masks, 2, 0, "random", seed=seed)) for seed in range(20)}
    assert {frozenset(order) for order in drawn} == {frozenset({"uncertain", "waiting", "new"})}
    assert len(drawn) > 1
