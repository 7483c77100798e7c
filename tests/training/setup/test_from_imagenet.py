"""A run that starts from ImageNet: what the new model is, what of it learns, and how a run of it goes."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import picscribe
from picscribe.checkpoints.imagenet import imagenet_file, load_imagenet
from picscribe.errors import ConfigurationError, MissingPackageError
from picscribe.model import EfficientNetLiteConfig, Git, GitConfig
from picscribe.model.efficientnet_lite import EfficientNetLite
from picscribe.training import Recipe, learner, train
from picscribe.training.data.augmentation import Augmentation
from picscribe.training.loop import Trainer
from picscribe.training.objectives.objective import Objective
from picscribe.training.preview import preview
from picscribe.training.recipe import (
    DataSettings,
    ImageSettings,
    NetworkSettings,
    OptimisationSettings,
    Source,
    ValidationSettings,
    WeightSettings,
)
from picscribe.training.setup.optimiser import move_average
from picscribe.training.setup.start import choose_weights
from tests.training.tiny_runs import COLOURS, silent

pytest.importorskip("accelerate")

EPOCHS, FROZEN, STEPS_AN_EPOCH, EMA_DECAY = 3, 14, 3, 0.5
UNKNOWN = 1
WATCHED = "image_encoder.position_embedding"


def imagenet_or_skip(variant: int) -> None:
    try:
        imagenet_file(variant)
    except MissingPackageError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Six training and two validation images, 64 pixels, two captions each; three steps an epoch."""
    imagenet_or_skip(0)
    folder = tmp_path_factory.mktemp("data")
    entries = []
    for number in range(8):
        colour, ground = list(COLOURS)[number % 4], list(COLOURS)[(number + 1) % 4]
        image = Image.new("RGB", (64, 48 + number), COLOURS[ground])
        image.paste(COLOURS[colour], (16, 12, 48, 36))
        image.save(folder / f"{number}.png")
        captions = (f"a {colour} square on {ground} ground", f"a {colour} square")
        entries.append(
            {
                "filename": f"{number}.png",
                "split": "train" if number < 6 else "val",
                "sentences": [{"raw": caption} for caption in captions],
            }
        )
    (folder / "dataset_tiny.json").write_text(json.dumps({"images": entries}))
    learned, validated = (Source(str(folder / "dataset_tiny.json"), split, str(folder)) for split in ("train", "val"))
    return Recipe(
        start="imagenet",
        name="tiny",
        data=DataSettings((learned,), (validated,)),
        network=NetworkSettings(variant=0, image_size=64, vocabulary_size=300, min_frequency=1, width=64, layers=1),
        image=ImageSettings(
            views=2, features=str(folder / "features"), augmentation=Augmentation(0.6, 1.2, mirror=True)
        ),
        weights=WeightSettings(frozen_blocks=FROZEN),
        optimisation=OptimisationSettings(
            EPOCHS, batch_images=2, learning_rate=5e-3, encoder_learning_rate=1e-4, warmup_steps=2, ema_decay=EMA_DECAY
        ),
        validation=ValidationSettings(beams=2, max_new_tokens=8),
    )


@pytest.fixture(scope="module")
def whole(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[torch.Tensor]]:
    """A run to its end: its folder, and the weight that was watched after every step."""
    folder, watched = tmp_path_factory.mktemp("whole") / "run", list[torch.Tensor]()

    def watch(average: torch.nn.Module, model: torch.nn.Module, decay: float, number: int) -> None:
        assert number == len(watched)
        watched.append(model.state_dict()[f"model.{WATCHED}"].clone())
        move_average(average, model, decay, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learner, "move_average", watch)
        train(recipe, folder, report=silent)
    return folder, watched


def state_of(run: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(sorted((run / "states").iterdir())[-1], weights_only=True)
    return state


# The run


def test_it_learns_and_the_best_checkpoint_captions(whole: Any, recipe: Recipe) -> None:
    folder, _ = whole
    losses = [row["loss"] for row in state_of(folder)["history"]]
    assert len(losses) == EPOCHS
    assert losses[-1] < 0.8 * losses[0]
    scribe = picscribe.load(folder / "best")
    assert scribe.caption(Image.new("RGB", (64, 64), "red"), max_new_tokens=8).tokens
    assert (scribe.preprocessing.size, scribe.preprocessing.mode) == (64, "square")
    record = json.loads((folder / "best" / "training.json").read_text())
    assert record["recipe"] == json.loads(json.dumps(asdict(recipe)))


def test_it_goes_on_from_where_it_stopped(
    whole: Any, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vocabulary and the weights that it began from are made again, and are the same."""
    step = Trainer.train_step

    def stop(trainer: Trainer, prepared: Any) -> float:
        trainer._ask_to_stop()
        return step(trainer, prepared)

    monkeypatch.setattr(Trainer, "train_step", stop)
    train(recipe, tmp_path / "run", report=silent)
    monkeypatch.undo()
    assert state_of(tmp_path / "run")["step"] == 1
    train(recipe, tmp_path / "run", resume=True, report=silent)
    found, expected = (state_of(run)["model"] for run in (tmp_path / "run", whole[0]))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


# What is new and what learns


def test_frozen_parts_are_imagenets_and_all_others_have_moved(whole: Any) -> None:
    original = EfficientNetLite(EfficientNetLiteConfig(0, 64))
    load_imagenet(original)
    start, end = original.state_dict(), state_of(whole[0])["model"]
    lower = ("stem.", *(f"blocks.{number}." for number in range(FROZEN)))
    frozen = {name for name in start if name.startswith(lower)}
    assert 0 < len(frozen) < len(start)
    for name, weight in start.items():
        # as far as float16 files tell
        unchanged = torch.equal(end[f"model.image_encoder.{name}"], weight.half().float())
        assert unchanged == (name in frozen), name


def test_the_vocabulary_is_that_of_the_training_texts(recipe: Recipe, tmp_path: Path) -> None:
    tokenizer = Trainer(recipe, tmp_path, silent).start.tokenizer
    assert {"square", "ground", *COLOURS} <= set(tokenizer.vocabulary)
    assert len(tokenizer.encode("the ground")) > 2, "nobody says 'the'"


def test_questions_are_words_too(recipe: Recipe, tmp_path: Path) -> None:
    for number in range(4):
        Image.new("RGB", (32, 32), (number, 0, 0)).save(tmp_path / f"{number}.png")
    rows = [{"file_name": f"{number}.png", "question": "which colour?", "answer": "black"} for number in range(4)]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = replace(recipe, data=DataSettings((Source(str(tmp_path)),)))
    assert {"which", "colour", "black"} <= set(Trainer(asked, tmp_path / "run", silent).start.tokenizer.vocabulary)


def test_depthwise_filters_may_stay_too(recipe: Recipe, tmp_path: Path) -> None:
    for frozen in (False, True):
        weights = replace(recipe.weights, frozen_depthwise=frozen)
        blocks = Trainer(replace(recipe, weights=weights), tmp_path, silent).learner.model.image_encoder.blocks
        learns = [all(p.requires_grad for p in block.depthwise.parameters()) for block in blocks]
        assert learns == [False] * FROZEN + [not frozen] * (len(blocks) - FROZEN)
        assert all(p.requires_grad for p in blocks[-1].project.parameters())


def test_a_vit_has_no_depthwise_filters(recipe: Recipe, save_start: Callable[..., Path], tmp_path: Path) -> None:
    start = str(save_start(tmp_path / "vit", ["a"]))
    weights = WeightSettings(frozen_depthwise=True)
    with pytest.raises(ConfigurationError, match="frozen_depthwise has no effect on a ViT"):
        other = replace(recipe, start=start, network=NetworkSettings(), image=ImageSettings(), weights=weights)
        Trainer(other, tmp_path / "run", silent)


def test_parts_of_images_and_texts_are_hidden(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hiding = replace(recipe, weights=replace(recipe.weights, image_dropout=0.5, word_dropout=0.5))
    seen: list[tuple[int, bool]] = []
    decode = Git.decode

    def watched(self: Git, tokens: Any, prefix: Any, *rest: Any, **more: Any) -> Any:
        seen.append((prefix.tokens, bool((tokens == UNKNOWN).any())))
        return decode(self, tokens, prefix, *rest, **more)

    monkeypatch.setattr(Git, "decode", watched)
    for chosen in (recipe, hiding):
        trainer = Trainer(chosen, tmp_path, silent)
        assert trainer.start.tokenizer.unk_id == UNKNOWN
        (step,) = trainer.reader.prepare_steps(0, 1, lambda: None)
        (part,) = trainer.reader.read_batch(step).micro_batches
        for learns in (True, False):
            trainer.learner.model.train(learns)
            inputs = trainer.learner._make_inputs(part, step)
            assert trainer.learner.objective(inputs.pixels, inputs.texts).isfinite()
    assert seen == [(4, False), (4, False), (2, True), (4, False)], "while it learns, and then alone"


def test_the_average_follows_every_step(whole: Any) -> None:
    """The moving average written out, from what the weights were after each step."""
    folder, watched = whole
    assert len(watched) == EPOCHS * STEPS_AN_EPOCH
    average = torch.zeros_like(watched[0])  # positions start at 0
    for number, weight in enumerate(watched):
        decay = min(EMA_DECAY, (number + 1) / (number + 10))
        average = decay * average + (1 - decay) * weight
    state = state_of(folder)
    torch.testing.assert_close(state["ema"][f"model.{WATCHED}"], average)
    assert not torch.equal(average, state["model"][f"model.{WATCHED}"])


# What cannot be meant


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"start": "nano"}, "network works with start=imagenet only, and nano has its own"),
        (
            {"weights": WeightSettings(train="lora"), "optimisation": OptimisationSettings(), "image": ImageSettings()},
            "LoRA adapts a trained decoder",
        ),
        ({"image": ImageSettings(sizes=(64,))}, "leave out image.sizes"),
        ({"objective": "cider", "weights": WeightSettings(frozen_blocks=1, word_dropout=0.1)}, "has no effect with"),
    ],
)
def test_contradictions_are_named(changes: dict[str, Any], words: str, recipe: Recipe) -> None:
    with pytest.raises(ConfigurationError, match=words):
        replace(recipe, **changes)


def test_what_does_not_fit_stops_a_run(recipe: Recipe, tmp_path: Path) -> None:
    long = replace(recipe, data=replace(recipe.data, max_tokens=70))
    with pytest.raises(ConfigurationError, match="more than the 64 positions"):
        train(long, tmp_path / "run", report=silent)
    few = replace(recipe, network=replace(recipe.network, vocabulary_size=10))
    with pytest.raises(ConfigurationError, match="vocabulary"):
        train(few, tmp_path / "run", report=silent)
    assert not (tmp_path / "run").exists()


def test_a_dry_run_tells_of_the_vocabulary(recipe: Recipe, tmp_path: Path) -> None:
    lines = preview(recipe, tmp_path / "run").splitlines()
    assert any(line.startswith("vocabulary: ") and line.endswith("of the training texts") for line in lines)
    assert f"steps: {EPOCHS * STEPS_AN_EPOCH}, {STEPS_AN_EPOCH} an epoch" in lines


def test_blocks_are_frozen_and_computed_again_by_their_numbers() -> None:
    decoder = NetworkSettings().text_decoder(vocabulary_size=40, cls_id=2, sep_id=3)
    model = Git(GitConfig(NetworkSettings(image_size=64).image_encoder(), decoder))
    choose_weights(model, WeightSettings(frozen_blocks=16, frozen_depthwise=True))
    for name, parameter in model.image_encoder.named_parameters():
        part, number, *_ = [*name.split("."), ""]
        below = part == "stem" or (part == "blocks" and (int(number) < 16 or ".depthwise." in name))
        assert parameter.requires_grad is not below, name
    Objective(model, activation_checkpointing=True)
    again = [name for name, module in model.named_modules() if isinstance(module.__dict__.get("forward"), partial)]
    blocks = [f"image_encoder.blocks.{block}" for block in range(21)]
    assert again == [*blocks, *(f"text_decoder.layers.{layer}" for layer in range(3))]
