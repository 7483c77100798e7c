"""Precision that the processor has, memory that is kept, trackers that are installed."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from picscribe.errors import (
    MissingPackageError,
)
from picscribe.training import Recipe, train
from picscribe.training.loop import Trainer
from picscribe.training.setup import machine
from picscribe.training.setup.machine import NO_BFLOAT16
from tests.training.tiny_runs import (
    change,
    silent,
)

pytest.importorskip("accelerate")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU has bfloat16")
@pytest.mark.parametrize("can", [True, False])
def test_bfloat16_where_the_processor_has_it(
    can: bool, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "multiplies_bfloat16", lambda: can)
    wanted = change(recipe, optimisation__precision="bfloat16")
    said: list[str] = []
    trainer = Trainer(wanted, tmp_path / "run", said.append)
    with trainer.accelerator.autocast():
        computed = trainer.learner.model.visual_features(torch.zeros(1, 3, 32, 32)) @ torch.zeros(32, 1)
    assert computed.dtype == (torch.bfloat16 if can else torch.float32)
    assert (NO_BFLOAT16 in said) is not can


def test_memory_that_is_freed_is_kept() -> None:
    """Where the C library is glibc: a block of 64 MiB, freed and asked for again, costs no new page."""
    program = (
        "import resource, sys, torch\n"
        "from picscribe.training.setup.machine import keep_freed_memory\n"
        "kept = keep_freed_memory() if sys.argv[1] == 'keep' else True\n"
        "faults = []\n"
        "for _ in range(9):\n"
        "    torch.zeros(2 ** 24).fill_(1)\n"
        "    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)\n"
        "print(kept, faults[-1] - faults[2])\n"
    )
    said = [
        subprocess.run([sys.executable, "-c", program, word], capture_output=True, text=True, check=True).stdout.split()
        for word in ("keep", "leave")
    ]
    if said[0][0] == "False":
        pytest.skip("the C library is not glibc")
    assert int(said[0][1]) < int(said[1][1]) / 10


def test_a_tracker_that_is_not_there(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import accelerate.tracking

    monkeypatch.setattr(accelerate.tracking, "get_available_trackers", lambda: [])
    with pytest.raises(MissingPackageError, match="tensorboard is not installed"):
        train(replace(recipe, trackers=("tensorboard",)), tmp_path / "run", report=silent)
