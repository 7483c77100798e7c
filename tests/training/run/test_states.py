"""States by the clock, and signals that stop a run."""

import os
import signal
from pathlib import Path

import pytest

from picscribe.training import Recipe
from picscribe.training.loop import Trainer
from picscribe.training.run import states
from picscribe.training.run.states import States
from picscribe.training.run.stopping import on_signals
from tests.training.tiny_runs import (
    change,
    silent,
)

pytest.importorskip("accelerate")


def test_a_second_interrupt_ends_a_run_at_once() -> None:
    asked = []
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), on_signals(lambda: asked.append("stop")):
            os.kill(os.getpid(), signal.SIGINT)
            assert asked == ["stop"]
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("went on")
        assert asked == ["stop"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a shell's background job
        with on_signals(lambda: asked.append("again")):
            os.kill(os.getpid(), signal.SIGINT)
        assert asked == ["stop"]
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_state_is_saved_by_the_clock_too(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(states.time, "monotonic", lambda: clock[0])
    saved = States(tmp_path / "states")
    assert not saved.is_due(7)
    clock[0] = 601.0
    assert saved.is_due(7)
    saved.save(7, {})
    assert not saved.is_due(8)
    assert States(tmp_path, every_steps=3).is_due(9)
    monkeypatch.undo()
    monkeypatch.setattr(states, "EVERY_MINUTES", 1e-9)
    often = change(recipe, validation__every_steps=9)
    (tmp_path / "run").mkdir()
    trainer = Trainer(often, tmp_path / "run", silent)
    kept = []
    monkeypatch.setattr(trainer, "save", lambda: kept.append(trainer.step))
    trainer.run()
    assert sorted(set(kept)) == list(range(1, 10))
