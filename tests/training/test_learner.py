"""One update of the weights: parts add up, short runs warm up shortly, numbers that are not finite are explained."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from picscribe import checkpoints
from picscribe.errors import PicscribeError
from picscribe.training import Recipe, train
from picscribe.training.loop import Trainer
from picscribe.training.recipe import OptimisationSettings
from picscribe.training.setup import machine
from tests.training.tiny_runs import change, read_state, silent

pytest.importorskip("accelerate")


def test_parts_of_a_batch_add_up(recipe: Recipe, tmp_path: Path) -> None:
    """Four images at once, or in two or four parts, with and without computing activations again: the same weights."""
    found = []
    for accumulate, again in ((1, False), (2, False), (4, True)):
        parts = change(
            recipe, weights__dropout=0.0, weights__activation_checkpointing=again,
            optimisation__steps=3, optimisation__accumulate=accumulate,
        )  # fmt: skip
        trainer = Trainer(parts, tmp_path, silent)
        losses = [trainer.train_step(trainer.reader.read_batch(step)) for step in range(2)]
        found.append((losses, trainer.learner.model.state_dict()))
    for losses, state in found[1:]:
        assert losses == pytest.approx(found[0][0], rel=1e-4)
        for name, value in state.items():
            assert torch.allclose(value, found[0][1][name], atol=2e-4), name


def test_short_runs_warm_up_for_a_quarter(recipe: Recipe, tmp_path: Path) -> None:
    short = OptimisationSettings(steps=12, batch_images=4)  # and a warm-up of 500 by default
    trainer = Trainer(replace(recipe, optimisation=short), tmp_path, silent)
    rates = []
    for trainer.step in range(12):
        trainer.train_step(trainer.reader.read_batch(trainer.step))
        rates.append(trainer.learner.optimiser.param_groups[-1]["lr"])
    assert rates.index(max(rates)) in (2, 3)
    assert max(rates) == pytest.approx(short.learning_rate)


# Numbers that are not finite


def test_weights_that_diverge_end_a_run(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hot = change(recipe, optimisation__learning_rate=1e30, optimisation__warmup_steps=0, validation__every_steps=9)
    words = r"the loss became nan .* at step 2: the weights have diverged; .* a smaller optimisation.learning_rate.*; "
    with pytest.raises(PicscribeError, match=words + "nothing was saved yet"):
        train(hot, tmp_path / "run", report=silent)
    kept = change(recipe, saving__every_steps=1)
    trainer = Trainer(kept, tmp_path / "kept", silent)
    trainer.folder.open(kept, resume=False)
    monkeypatch.setattr(trainer.learner, "_sum", lambda value: torch.nan if trainer.step == 4 else value)
    with pytest.raises(PicscribeError, match=r"at step 5: .* have diverged.*; the state after step 4 is kept"):
        trainer.run()
    assert read_state(tmp_path / "kept")["step"] == 4


def test_weights_that_diverged_in_the_last_step_are_not_validated(recipe: Recipe, tmp_path: Path) -> None:
    trainer = Trainer(recipe, tmp_path / "run", silent)
    trainer.learner.model.projection.weight.data[0, 0] = torch.inf
    with pytest.raises(PicscribeError, match=r"weights are not finite after step 0: the weights have diverged"):
        trainer.validate()


def save_changed_start(recipe: Recipe, folder: Path, weight: str, value: float) -> Recipe:
    """The recipe from a checkpoint that differs in one weight."""
    start = checkpoints.load(recipe.start)
    weights = start.model.state_dict()
    weights[weight] = weights[weight].clone()
    weights[weight][0] = value
    start.model.load_state_dict(weights)
    checkpoints.save(replace(start, folder=folder), folder)
    return replace(recipe, start=str(folder))


def test_a_start_that_overflows_is_not_called_a_learning_rate(recipe: Recipe, tmp_path: Path) -> None:
    broken = save_changed_start(recipe, tmp_path / "start", "projection.weight", 3e38)
    with pytest.raises(
        PicscribeError, match=r"at step 1: .*start gives numbers that are not finite before anything is"
    ):
        train(broken, tmp_path / "run", report=silent)


def test_samples_of_numbers_that_are_not_finite_are_explained_too(recipe: Recipe, tmp_path: Path) -> None:
    broken = save_changed_start(recipe, tmp_path / "start", "projection.weight", 3e38)
    trainer = Trainer(replace(broken, objective="cider"), tmp_path / "run", silent)
    batch = trainer.reader.read_batch(0)
    with pytest.raises(PicscribeError, match=r"no caption could be sampled at step 1: .*start gives numbers that are"):
        trainer.train_step(batch)
    trainer.step = 5
    with pytest.raises(PicscribeError, match=r"no caption could be sampled at step 6: the weights have diverged"):
        trainer.train_step(batch)


def test_a_photo_whose_pixels_are_not_finite_is_named(recipe: Recipe, tmp_path: Path) -> None:
    trainer = Trainer(recipe, tmp_path / "run", silent)
    batch = trainer.reader.read_batch(0)
    batch.micro_batches[0].pixels[2, 0, 5, 5] = torch.inf
    with pytest.raises(PicscribeError, match=r"the pixels of .*\d\d.png hold numbers that are not finite; leave"):
        trainer.train_step(batch)


def test_a_precision_that_overflows_is_named(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the same batch is finite in float32."""
    monkeypatch.setattr(machine, "multiplies_bfloat16", lambda: True)
    trainer = Trainer(change(recipe, optimisation__precision="bfloat16"), tmp_path / "run", silent)
    objective = trainer.learner.wrapped
    monkeypatch.setattr(trainer.learner, "wrapped", lambda *inputs: objective(*inputs) * torch.inf)
    with pytest.raises(PicscribeError, match=r"numbers of bfloat16 overflow where float32 does not; train with .*32"):
        trainer.train_step(trainer.reader.read_batch(0))
