"""Learning rates and the average of weights over a run."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from boneage.train.recipe import Schedule
from boneage.train.run.schedule import learning_rate_at, update_average


def test_learning_rate_at_one_cycle() -> None:
    schedule = Schedule(learning_rate=1.0, learning_rate_curve="one-cycle", warm_up=0.2)
    rates = [learning_rate_at(schedule, progress) for progress in np.linspace(0, 1, 101)]
    assert max(rates) == pytest.approx(1.0)
    assert np.argmax(rates) == 20
    assert rates[-1] < 0.002
    assert all(rate > 0 for rate in rates)
    assert learning_rate_at(Schedule(learning_rate=0.5), 0.7) == 0.5


def test_update_average_follows_network() -> None:
    network, average = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    with torch.no_grad():
        network.weight.fill_(3.0)
    network.state_dict()["num_batches_tracked"].fill_(7)
    update_average(average, network, 0.9, step=1000)
    assert torch.allclose(average.weight, torch.full((2,), 1.2))
    assert int(average.state_dict()["num_batches_tracked"]) == 7
