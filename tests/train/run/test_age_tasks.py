"""Units of ages, and the radiographs that validate an epoch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from boneage.sex import Sex
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.data.cache import build_cache
from boneage.train.recipe import load_recipe
from boneage.train.run.age_tasks import AgeTask, AgeUnit, radiograph_labels
from boneage.train.run.weights import new_network


@pytest.mark.parametrize("unit", [AgeUnit(127.0, 41.0), AgeUnit.of_range()])
def test_age_unit_round_trip(unit: AgeUnit) -> None:
    months = torch.tensor([0.0, 100.0, 228.0])
    assert torch.allclose(unit.to_months(unit.from_months(months)), months, atol=1e-4)


def test_age_unit_of_range() -> None:
    """Iglovikov et al., section 4.1."""
    assert AgeUnit.of_range().from_months(torch.tensor([0.0, 120.0, 240.0])).tolist() == [-1.0, 0.0, 1.0]


def test_age_unit_of_radiographs() -> None:
    radiographs = [LabelledRadiograph(str(age), Path("x"), Sex.MALE, age) for age in (90.0, 110.0)]
    assert AgeUnit.of(radiographs) == AgeUnit(100.0, 10.0)
    assert AgeUnit.of(radiographs[:1]) == AgeUnit(90.0, 1.0)  # one age has no spread to divide by
    assert radiograph_labels(radiographs) == {"90.0": [90.0, "M"], "110.0": [110.0, "M"]}


def test_validate_watched_radiographs_until_last_epoch(
    radiographs: list[LabelledRadiograph], tiny: Path, tmp_path: Path
) -> None:
    """Few radiographs are watched until the last epoch which all measure."""
    recipe = load_recipe(tiny, ("train.epochs=3", "train.watched_radiographs=2"))
    cache = build_cache(radiographs, tmp_path, longest_side=2048)
    task = AgeTask(recipe, radiographs[:4], radiographs[4:], cache)
    network = new_network(recipe).eval()

    def seen(epoch: int) -> int:
        counts: list[int] = []

        def watched(batches: Iterable[Any]) -> Iterable[Any]:
            for batch in batches:
                counts.append(len(batch[0]))
                yield batch

        task.validate(network, epoch, torch.device("cpu"), watched)
        return sum(counts)

    assert [seen(epoch) for epoch in range(3)] == [2, 2, 6]
