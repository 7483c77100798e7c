"""Batches: what is drawn for each step, how it is read ahead, and how often data sets come."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from picscribe.batches import READERS
from picscribe.training import Recipe
from picscribe.training.data.batches import BatchReader, TrainingBatch
from picscribe.training.loop import Trainer
from picscribe.training.recipe import (
    ImageSettings,
)
from tests.training.tiny_runs import (
    change,
    silent,
)

pytest.importorskip("accelerate")


def test_sizes_are_drawn_for_each_batch(recipe: Recipe, tmp_path: Path) -> None:
    trainer = Trainer(replace(recipe, image=ImageSettings((32, 48, 64))), tmp_path, silent)
    sizes = {trainer.reader.read_batch(step).micro_batches[0].pixels.shape[-1] for step in range(9)}
    assert sizes == {32, 48, 64}
    assert trainer.start.preprocessing.size == 32


def test_steps_are_read_ahead_in_parts(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    halves = change(recipe, optimisation__accumulate=2)
    reader = Trainer(halves, tmp_path / "run", silent).reader
    begun: list[tuple[int, int]] = []
    part = BatchReader._read_part

    def watched(self: BatchReader, step: int, number: int) -> TrainingBatch:
        begun.append((step, number))
        return part(self, step, number)

    monkeypatch.setattr(BatchReader, "_read_part", watched)
    read = reader.read_batches(0, 20, lambda: None)
    first = next(read)
    assert len(begun) / 2 <= reader.count_steps_in_memory() == 1 + (2 + READERS) / 2
    steps = [first, *read]
    assert sorted(begun) == [(step, number) for step in range(20) for number in range(2)]
    monkeypatch.undo()
    for step, prepared in enumerate(steps):
        again = reader.read_batch(step)
        for one, other in zip(prepared.micro_batches, again.micro_batches, strict=True):
            assert torch.equal(one.pixels, other.pixels)
            assert (one.images, one.texts, one.number) == (other.images, other.texts, other.number)


def test_what_comes_again_in_an_epoch_looks_another_way(recipe: Recipe, tmp_path: Path) -> None:
    source = replace(recipe.data.train[0], weight=3.0)
    thrice = replace(recipe, data=replace(recipe.data, train=(source,), texts_an_image=1))
    trainer = Trainer(thrice, tmp_path / "run", silent)
    views: dict[str, set[bytes]] = {}
    texts: dict[str, set[object]] = {}
    for step in range(trainer.schedule.steps_an_epoch):
        part = trainer.reader.read_batch(step).micro_batches[0]
        for pixels, item, said in zip(part.pixels, part.images, part.texts, strict=True):
            views.setdefault(item.id, set()).add(pixels.numpy().tobytes())
            texts.setdefault(item.id, set()).add(tuple(said))
    plain = {item.id for item in trainer.data.parts[0].images if int(Path(item.id).stem) >= 12}  # of one colour
    assert {len(seen) for name, seen in views.items() if name not in plain} == {3}
    assert {len(seen) for seen in texts.values()} == {1, 2}


def test_a_weight_says_how_often(recipe: Recipe, tmp_path: Path, folder: Path) -> None:
    from picscribe.training.data.mixture import MixturePart, TrainingData

    trainer = Trainer(recipe, tmp_path, silent)
    items = trainer.data.parts[0].images
    data = TrainingData((MixturePart(items[:8], 0.5), MixturePart(items[8:], 2.0)), (), "captions", "x", False)

    def of_epoch(epoch: int) -> list[str]:
        return [data.image(part, index).id for part, index, _ in data.draw_epoch(3, epoch).tolist()]

    epochs = [of_epoch(epoch) for epoch in range(4)]
    assert [len(epoch) for epoch in epochs] == [12] * 4
    halves = {item.id for item in items[:8]}
    first, second = ({name for name in epoch if name in halves} for epoch in epochs[:2])
    assert first | second == halves
    assert not first & second
    assert all(epoch.count(item.id) == 2 for epoch in epochs for item in items[8:])
    assert epochs[0] != epochs[2]
    assert epochs == [of_epoch(epoch) for epoch in range(4)]
