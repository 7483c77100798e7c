"""The start of a run: which weights learn, and what does not fit it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from picscribe import checkpoints
from picscribe.errors import (
    CheckpointError,
    ConfigurationError,
)
from picscribe.training import Recipe
from picscribe.training.data.reading import read_data
from picscribe.training.loop import Trainer
from picscribe.training.recipe import (
    DataSettings,
    ImageSettings,
    Source,
    WeightSettings,
)
from picscribe.training.setup.start import load_start
from tests.training.tiny_runs import (
    WORDS,
    change,
    silent,
)

pytest.importorskip("accelerate")


def test_blocks_near_the_pixels_stay(recipe: Recipe, tmp_path: Path) -> None:
    """One of two blocks frozen, with all before it; the rest learns."""
    frozen = replace(recipe, weights=WeightSettings(frozen_blocks=1, dropout=0.0))
    trainer = Trainer(frozen, tmp_path, silent)
    before = {name: value.clone() for name, value in trainer.learner.model.state_dict().items()}
    trainer.train_step(trainer.reader.read_batch(0))
    same = {name for name, value in trainer.learner.model.state_dict().items() if torch.equal(value, before[name])}
    lowest = ("blocks.0.", "patch_embedding", "class_embedding", "position_embedding", "pre_norm")
    assert {name for name in before if name.startswith(tuple(f"image_encoder.{part}" for part in lowest))} == {
        name for name in same if name.startswith("image_encoder.")
    }
    every = replace(recipe, weights=WeightSettings(frozen_blocks=2))
    learns = {name for name, p in Trainer(every, tmp_path, silent).learner.model.named_parameters() if p.requires_grad}
    assert {name for name in learns if name.startswith("image_encoder.")} == {
        "image_encoder.post_norm.weight",
        "image_encoder.post_norm.bias",
    }
    assert {name for name in before if not name.startswith("image_encoder.")} - {"text_decoder.output.weight"} <= learns
    with pytest.raises(ConfigurationError, match="image encoder has 2"):
        Trainer(replace(recipe, weights=WeightSettings(frozen_blocks=3)), tmp_path, silent)


def test_low_rank_needs_linear_layers_and_learns_the_order_of_frames(
    recipe: Recipe, save_start: Callable[..., Path], tmp_path: Path
) -> None:
    lite = save_start(tmp_path / "lite", WORDS, "lite")
    everywhere = WeightSettings(train="lora", lora_in="all")
    with pytest.raises(ConfigurationError, match="set it to decoder"):
        Trainer(replace(recipe, start=str(lite), weights=everywhere), tmp_path / "run", silent)
    data = replace(read_data(recipe.data, recipe.seed), has_videos=True)
    start = load_start(replace(recipe, weights=everywhere, image=ImageSettings(frames=3)), data)
    assert start.model.temporal_embedding is not None
    assert start.model.temporal_embedding.requires_grad
    assert start.model.config.frames == 3
    assert load_start(recipe, data).model.config.frames == 6, "the paper's, where nothing says how many"


def test_int8_weights_are_not_trained(recipe: Recipe, tmp_path: Path) -> None:
    checkpoints.save_int8(checkpoints.load(recipe.start, quantize="int8"), tmp_path / "small")
    with pytest.raises(CheckpointError, match="small has int8 weights, which cannot be trained: use the model before"):
        Trainer(replace(recipe, start=str(tmp_path / "small")), tmp_path / "run", silent)


def test_texts_longer_than_the_positions_are_named(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    """Before the first step: questions and answers together."""
    asked = tmp_path / "asked"
    asked.mkdir()
    rows = []
    for number in range(4):
        shutil.copy(folder / "photos" / f"{number:02}.png", asked)
        rows.append({"file_name": f"{number:02}.png", "question": "what colour is it " * 10, "answer": "red"})
    (asked / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    questions = replace(recipe, data=DataSettings((Source(str(asked)),)))
    long = change(questions, validation__max_new_tokens=30)
    with pytest.raises(ConfigurationError, match=r"69 tokens .* lower validation\.max_new_tokens"):
        Trainer(long, tmp_path / "run", silent)
    Trainer(change(questions, validation__max_new_tokens=25), tmp_path / "run", silent)
