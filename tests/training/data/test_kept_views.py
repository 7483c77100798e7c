"""Training over what frozen blocks have made of the photos, against training over the photos."""

import os
import signal
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from picscribe.errors import ConfigurationError
from picscribe.training import Recipe, train
from picscribe.training.loop import Trainer
from picscribe.training.preview import preview
from picscribe.training.recipe import (
    Augmentation,
    DataSettings,
    ImageSettings,
    OptimisationSettings,
    Source,
    ValidationSettings,
    WeightSettings,
)
from tests.training.tiny_runs import silent

pytest.importorskip("accelerate")

AS_THEY_ARE = Augmentation(min_area=1.0, max_stretch=1.0, mirror=False)
FROZEN = {
    "decoder": WeightSettings(train="decoder", dropout=0.0),
    "lora": WeightSettings(train="lora", dropout=0.0),
    "blocks": WeightSettings(frozen_blocks=1, dropout=0.0),
}


@pytest.fixture(scope="module", params=["vit", "lite"])
def start(
    request: pytest.FixtureRequest, save_start: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A tiny model with random weights, of either image encoder."""
    return save_start(tmp_path_factory.mktemp("start"), ["a", "red", "blue", "square"], request.param)


@pytest.fixture
def recipe(start: Path, tmp_path: Path) -> Recipe:
    """Twelve photos to learn from, three steps an epoch, seen as they are."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(16):
        colour = ("red", "blue")[number % 2]
        Image.new("RGB", (32 + number, 40), colour).save(photos / f"{number:02}.png")
        (photos / f"{number:02}.txt").write_text(f"a {colour} square\na square\n")
    return Recipe(
        start=str(start),
        data=DataSettings((Source(str(photos)),), held_out=0.25),
        image=ImageSettings(augmentation=AS_THEY_ARE),
        weights=FROZEN["decoder"],
        optimisation=OptimisationSettings(steps=6, batch_images=4, learning_rate=3e-3, warmup_steps=1),
        validation=ValidationSettings(every_steps=3, beams=1, max_new_tokens=4),
    )


def keeping(recipe: Recipe, views: int = 1, **changes: Any) -> Recipe:
    return replace(recipe, image=replace(recipe.image, views=views, **changes))


def never() -> None:
    pass


def weights(run: Path) -> dict[str, Tensor]:
    """Those after the last step."""
    found: dict[str, Tensor] = torch.load(max((run / "states").glob("*.pt")), weights_only=True)["model"]
    return found


def losses(recipe: Recipe, run: Path) -> list[float]:
    trainer = Trainer(recipe, run, silent)
    trainer.learner.model.train()
    found = []
    for step in trainer.reader.prepare_steps(0, 6, never):
        trainer.step = step
        found.append(trainer.train_step(trainer.reader.read_batch(step)))
    return found


@pytest.mark.parametrize("frozen", FROZEN)
def test_what_is_learned_is_the_same(frozen: str, recipe: Recipe, tmp_path: Path) -> None:
    """To the precision that features are kept in."""
    recipe = replace(recipe, weights=FROZEN[frozen])
    kept, seen = losses(keeping(recipe), tmp_path / "kept"), losses(recipe, tmp_path / "seen")
    assert kept == pytest.approx(seen, rel=0.02)
    assert seen[-1] < seen[0]


def test_cider_is_optimised_over_kept_views(recipe: Recipe, tmp_path: Path) -> None:
    trainer = Trainer(keeping(replace(recipe, objective="cider")), tmp_path / "run", silent)
    before = trainer.learner.model.text_decoder.word_embedding.weight.clone()
    trainer.learner.model.train()
    for step in trainer.reader.prepare_steps(0, 3, never):
        trainer.step = step
        trainer.train_step(trainer.reader.read_batch(step))
    assert len(trainer.learner.rewards.drawn) == 3  # type: ignore[union-attr]
    assert not torch.equal(trainer.learner.model.text_decoder.word_embedding.weight, before)


def test_frozen_blocks_see_every_view_once(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four epochs of twelve photos in two views: 24 photos for the frozen blocks; none for the next run.

    They are computed by the thread that learns, not by those that read ahead, beside it.
    """
    recipe = keeping(recipe, views=2, features=str(tmp_path / "features"))
    recipe = replace(recipe, optimisation=replace(recipe.optimisation, steps=12))
    seen: list[int] = []

    def run(name: str) -> None:
        trainer = Trainer(recipe, tmp_path / name, silent)
        trainer.folder.open(recipe, resume=False)
        encoder = trainer.learner.model.image_encoder
        encode_until = type(encoder).encode_until

        def counted(self: Any, block: int, pixels: Tensor) -> Tensor:
            if block:
                assert threading.current_thread() is threading.main_thread()
                seen.append(len(pixels))
            return encode_until(self, block, pixels)

        monkeypatch.setattr(type(encoder), "encode_until", counted)
        trainer.run()
        monkeypatch.undo()

    run("one")
    assert sum(seen) == 24
    run("other")
    assert sum(seen) == 24


def test_a_stopped_run_goes_on_bit_identically(recipe: Recipe, tmp_path: Path) -> None:
    recipe = keeping(replace(recipe, weights=replace(recipe.weights, dropout=0.1)), views=2)
    recipe = replace(recipe, image=replace(recipe.image, augmentation=Augmentation()))
    train(recipe, tmp_path / "whole", report=silent)

    def stop(text: str) -> None:
        if text.startswith("step 3"):
            trainer.stop_asked = True

    trainer = Trainer(recipe, tmp_path / "stopped", stop)
    trainer.folder.open(recipe, resume=False)
    trainer.run()
    assert trainer.step < 6
    train(recipe, tmp_path / "stopped", resume=True, report=silent)
    one, other = (weights(tmp_path / run) for run in ("whole", "stopped"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("stopped", [0, 1])
def test_asked_to_stop_while_a_view_is_computed(stopped: int, recipe: Recipe, tmp_path: Path) -> None:
    """SIGTERM in the first view, and in the second, when some of the first's six steps are learned: those are saved,
    the view is begun again when the run goes on, and the weights are those of a run that nobody stopped.
    """
    optimisation = replace(recipe.optimisation, steps=8, batch_images=2)
    recipe = keeping(replace(recipe, optimisation=optimisation), views=2)
    train(recipe, tmp_path / "whole", report=silent)
    said: list[str] = []
    trainer = Trainer(recipe, tmp_path / "stopped", said.append)
    trainer.folder.open(recipe, resume=False)
    features = trainer.reader.kept.features  # type: ignore[union-attr]
    read_pixels = features.read_pixels

    def seen(index: int, view: int) -> Tensor:
        if view == stopped and index == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return read_pixels(index, view)

    features.read_pixels = seen  # type: ignore[method-assign]
    with closing(trainer.folder):
        trainer.run()
    assert 0 < trainer.step < 6 if stopped else trainer.step == 0
    assert said[-1] == f"stopped after step {trainer.step}; continue with --resume"
    assert len(list((tmp_path / "stopped" / "features").iterdir())) == stopped
    train(recipe, tmp_path / "stopped", resume=True, report=silent)
    one, other = (weights(tmp_path / run) for run in ("whole", "stopped"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_broken_photo_is_skipped_and_told_of_in_every_epoch(recipe: Recipe, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for file in photos.glob("*.png"):
        if file.stem not in ("00", "01", "02", "03"):
            file.unlink()
            file.with_suffix(".txt").unlink()
    recipe = replace(
        recipe,
        data=DataSettings((Source(str(photos)),), (Source(str(photos)),)),
        optimisation=replace(recipe.optimisation, steps=2),
        validation=replace(recipe.validation, every_steps=2),
    )
    (photos / "02.png").write_bytes(b"no picture")
    trainer = Trainer(keeping(recipe), tmp_path / "run", silent)
    for step in trainer.reader.prepare_steps(0, 2, never):
        prepared = trainer.reader.read_batch(step)
        assert [Path(name).stem for name, _ in prepared.skipped] == ["02"]
        assert len(prepared.micro_batches[0].pixels) == 3
        assert not prepared.micro_batches[0].pixels.isnan().any()
    Image.new("RGB", (40, 40)).save(photos / "02.png")
    ((_, problem),) = trainer.reader.read_batch(0).skipped
    assert "delete" in problem
    assert "features" in problem


def test_a_dry_run_says_what_is_kept_and_keeps_nothing(recipe: Recipe, tmp_path: Path) -> None:
    said = preview(keeping(recipe, views=3), tmp_path / "run")
    assert "features of 3 views: 0 MiB in" in said
    assert not (tmp_path / "run").exists()


def test_streams_cannot_be_kept(recipe: Recipe, tmp_path: Path) -> None:
    import tarfile

    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards" / "0.tar", "w") as tar:
        for suffix in (".png", ".txt"):
            tar.add(tmp_path / "photos" / f"00{suffix}", f"00{suffix}")
    source = Source(str(tmp_path / "shards"), stream=True)
    streamed = replace(recipe, data=DataSettings((source,), (Source(str(tmp_path / "photos")),)))
    with pytest.raises(ConfigurationError, match="not work with streamed photos"):
        Trainer(keeping(streamed), tmp_path / "run", silent)
