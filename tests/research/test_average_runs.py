"""The mean of weights: what it is, and that networks of another shape are refused."""

import json
import sys
from pathlib import Path

import pytest
import torch

from picscribe import checkpoints
from research import average_runs


def test_the_mean_is_between_its_runs_and_keeps_their_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = checkpoints.load("nano")
    before = {name: weight.clone() for name, weight in base.model.state_dict().items()}
    for number in (0, 2):
        moved = {name: weight + number for name, weight in before.items()}
        base.model.load_state_dict(moved)
        checkpoints.save(base, tmp_path / str(number), torch.float32, {"recipe": {"seed": number}, "versions": {}})
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path / "0"), str(tmp_path / "2"), "--output", str(tmp_path / "mean")])
    average_runs.main()
    for name, weight in checkpoints.load(str(tmp_path / "mean")).model.state_dict().items():
        torch.testing.assert_close(weight, before[name] + 1)
    record = json.loads((tmp_path / "mean" / "training.json").read_text())
    assert [step["recipe"]["seed"] for step in record["mean_of"]] == [0, 2]


def test_networks_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="network 2 is of another shape"):
        average_runs.mean_of([{"a": torch.zeros(2)}, {"a": torch.zeros(3)}])


def test_what_all_have_stays_to_the_bit() -> None:
    mean = average_runs.mean_of([{"a": torch.tensor([-0.0, 0.1, 1.0])}, {"a": torch.tensor([-0.0, 0.1, 2.0])}])["a"]
    assert mean.tolist() == torch.tensor([-0.0, 0.1, 1.5]).tolist()
    assert mean[0].signbit()
