"""Two processes learn what one does, with all weights each or with shares of them."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import picscribe
from picscribe import checkpoints
from picscribe.training import Recipe, train
from picscribe.training.loop import Trainer
from picscribe.training.recipe import (
    SelfCriticalSettings,
    WeightSettings,
)
from tests.training.tiny_runs import (
    ENVIRONMENT,
    assert_same_state,
    read_state,
    silent,
    weights_step,
    write_recipe,
)

pytest.importorskip("accelerate")


def run_on_two(file: Path, run: Path, *more: str) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    result = subprocess.run(
        [*launch, "-m", "picscribe", "train", str(file), "--output", str(run), *more],
        env={**ENVIRONMENT, "ACCELERATE_USE_CPU": "true"}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]


def gentle(recipe: Recipe, **settings: Any) -> Recipe:
    """Without dropout, which every process draws for itself, and slow enough for rounding not to grow."""
    optimisation = replace(recipe.optimisation, learning_rate=1e-3, encoder_learning_rate=3e-4, ema_decay=0.9)
    return replace(recipe, weights=WeightSettings(dropout=0.0, **settings), optimisation=optimisation)


def assert_same_curve(one: Any, two: Any) -> None:
    assert [row["loss"] for row in two["history"]] == pytest.approx([row["loss"] for row in one["history"]], abs=1e-4)
    assert [row["CIDEr"] for row in two["history"]] == pytest.approx([row["CIDEr"] for row in one["history"]], abs=1e-2)
    for key in ("model", "ema"):
        assert {name: value.shape for name, value in two[key].items()} == {
            name: value.shape for name, value in one[key].items()
        }
    assert len(two["random"]) == 2


@pytest.mark.parametrize("sharded", [False, True])
def test_two_processes_learn_what_one_does(sharded: bool, recipe: Recipe, tmp_path: Path) -> None:
    """The same global batch over gloo, each process with all weights (DDP) or with its share of them (FSDP)."""
    two = gentle(recipe, sharded=sharded)
    run_on_two(write_recipe(two, tmp_path), tmp_path / "two")
    train(gentle(recipe), tmp_path / "one", report=silent)
    assert_same_curve(read_state(tmp_path / "one"), read_state(tmp_path / "two"))
    assert picscribe.load(tmp_path / "two" / "best").caption(Image.new("RGB", (40, 40), "red")).text is not None


def test_a_shared_out_run_goes_on(recipe: Recipe, tmp_path: Path) -> None:
    """Stopped after three of nine steps and resumed, by two processes that each keep half of the weights."""
    two = gentle(recipe, sharded=True)
    file = write_recipe(two, tmp_path)
    run_on_two(file, tmp_path / "whole")
    run_on_two(file, tmp_path / "parts")
    for state in sorted((tmp_path / "parts" / "states").iterdir())[1:]:
        state.unlink()
    run_on_two(file, tmp_path / "parts", "--resume")
    assert_same_state(read_state(tmp_path / "whole"), read_state(tmp_path / "parts"))


def test_two_processes_learn_from_samples(recipe: Recipe, whole_run: Path, tmp_path: Path) -> None:
    """With all weights each, learning over what was seen for sampling, as with shares, where it is seen anew."""
    states = []
    for sharded in (False, True):
        scst = replace(
            gentle(recipe, sharded=sharded), start=str(whole_run / "best"), objective="cider",
            self_critical=SelfCriticalSettings(samples=3),
        )  # fmt: skip
        run = tmp_path / str(sharded)
        run_on_two(write_recipe(scst, tmp_path), run)
        states.append(read_state(run))
    one, two = states
    assert [row["reward"] for row in one["history"]] == pytest.approx(
        [row["reward"] for row in two["history"]], abs=1e-4
    )
    assert [row["loss"] for row in one["history"]] == pytest.approx([row["loss"] for row in two["history"]], abs=1e-4)
    before = picscribe.load(whole_run / "best").model.state_dict()
    for name in before:
        if name.startswith("image_encoder.blocks.0."):
            assert not torch.equal(before[name], one["model"][f"model.{name}"]), name
        assert (one["model"][f"model.{name}"] - two["model"][f"model.{name}"]).abs().mean() < 1e-3, name


def test_a_process_without_a_photo_keeps_step(recipe: Recipe, tmp_path: Path) -> None:
    """Batches of a single image: whoever has none still takes part in gathering the weights."""
    alone = replace(
        gentle(recipe, sharded=True), objective="cider",
        self_critical=SelfCriticalSettings(samples=2),
        optimisation=replace(recipe.optimisation, batch_images=1, steps=2, warmup_steps=0),
    )  # fmt: skip
    run_on_two(write_recipe(alone, tmp_path), tmp_path / "run")
    assert weights_step(tmp_path / "run") == 2


def test_photos_on_a_video_checkpoint_by_two_processes(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    """What tells frames apart takes no part, and nobody waits for it; a run with shared weights goes on."""
    start = checkpoints.load(str(folder / "start"))
    start.model.config = replace(start.model.config, frames=2)
    start.model.temporal_embedding = torch.nn.Parameter(torch.randn(2, 32))
    checkpoints.save(replace(start, folder=tmp_path / "video"), tmp_path / "video")
    kept = start.model.temporal_embedding.detach().clone()
    for sharded in (False, True):
        run = tmp_path / str(sharded)
        two = replace(gentle(recipe, sharded=sharded), start=str(tmp_path / "video"))
        file = write_recipe(two, tmp_path)
        run_on_two(file, run)
        sorted((run / "states").iterdir())[-1].unlink()
        run_on_two(file, run, "--resume")
        assert weights_step(run) == 9
        assert torch.equal(read_state(run)["model"]["model.temporal_embedding"], kept)


def test_processes_wait_long_for_the_one_that_validates(recipe: Recipe, tmp_path: Path) -> None:
    assert Trainer(recipe, tmp_path, silent).accelerator.init_handler.timeout.total_seconds() > 3600
