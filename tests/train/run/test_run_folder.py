"""State of a run."""

from __future__ import annotations

from boneage.train.run.run_folder import RunState


def test_run_state_best_needs_full_size() -> None:
    state = RunState()
    assert not state.add({"mad_months": 1.0}, "mad_months", full_size=False)
    assert state.add({"mad_months": 9.0}, "mad_months", full_size=True)
    assert not state.add({"mad_months": 10.0}, "mad_months", full_size=True)
    assert (state.best, state.stale_epochs, state.epoch) == (9.0, 1, 3)
