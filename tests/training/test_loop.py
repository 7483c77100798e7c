"""Training from a checkpoint: what is learned, and runs that were killed or shared out against one that was not."""

import csv
import json
import math
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import picscribe
from picscribe import checkpoints
from picscribe.cli.main import app
from picscribe.datasets import load_examples
from picscribe.errors import (
    CheckpointError,
    ConfigurationError,
    InputError,
    MissingPackageError,
    PicscribeError,
)
from picscribe.media.reading import READERS
from picscribe.metrics.document_frequencies import DocumentFrequencies
from picscribe.model import Git
from picscribe.text.tokenizer import Tokenizer
from picscribe.training import Recipe, load_recipe, train
from picscribe.training.data.annotated_images import Item, group_by_image
from picscribe.training.data.mixture import read_data
from picscribe.training.data.reader import Prepared, Reader
from picscribe.training.loop import Trainer
from picscribe.training.objectives.loss import smoothed_loss
from picscribe.training.objectives.packing import pack, predicted_logits
from picscribe.training.objectives.self_critical import END, Rewards
from picscribe.training.preview import preview
from picscribe.training.recipe import (
    DataSettings,
    ImageSettings,
    OptimisationSettings,
    SavingSettings,
    SelfCriticalSettings,
    Source,
    ValidationSettings,
    WeightSettings,
)
from picscribe.training.recipe_file import dump_recipe, recipe_from
from picscribe.training.run import states
from picscribe.training.run import validation as scores
from picscribe.training.run.progress import warnings_of
from picscribe.training.run.run_folder import RunFolder
from picscribe.training.run.states import States
from picscribe.training.run.stopping import on_signals
from picscribe.training.setup import precision
from picscribe.training.setup.low_rank import merged
from picscribe.training.setup.parameter_groups import depth_of, learning_rate_factor
from picscribe.training.setup.precision import NO_BFLOAT16
from picscribe.training.setup.start import load_start

pytest.importorskip("accelerate")

COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220), "green": (30, 200, 30), "white": (240, 240, 240)}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["a", *COLOURS, "square", "on", "ground", "what", "colour", "is", "it", "the"]


@pytest.fixture(scope="module")
def folder(save_start: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen photos with two captions each in text files beside them, and a tiny model to start from."""
    folder = tmp_path_factory.mktemp("fine tuning")
    (folder / "photos").mkdir()
    names = list(COLOURS)
    for number in range(16):
        colour, ground = names[number % 4], names[(number // 4 + number + 1) % 4]
        image = Image.new("RGB", (48, 40), COLOURS[ground])
        image.paste(COLOURS[colour], (12, 8, 36, 32))
        image.save(folder / "photos" / f"{number:02}.png")
        (folder / "photos" / f"{number:02}.txt").write_text(
            f"a {colour} square on {ground} ground\na {colour} square\n"
        )
    save_start(folder / "start", WORDS)
    return folder


@pytest.fixture(scope="module")
def recipe(folder: Path) -> Recipe:
    """Twelve images to learn from, four a step."""
    return Recipe(
        start=str(folder / "start"),
        data=DataSettings((Source(str(folder / "photos")),), held_out=0.25),
        optimisation=OptimisationSettings(
            steps=9, batch_images=4, learning_rate=3e-3, encoder_learning_rate=1e-3, warmup_steps=2
        ),
        validation=ValidationSettings(every_steps=3, beams=2, max_new_tokens=8),
        saving=SavingSettings(keep=2),
    )


def weights(run: Path) -> dict[str, Any]:
    latest = sorted((run / "states").glob("step-*.pt"))[-1]
    state: dict[str, Any] = torch.load(latest, weights_only=True)
    return state


def assert_same_state(one: Any, other: Any) -> None:
    for key in ("model", "ema"):
        assert one[key].keys() == other[key].keys()
        for name, value in one[key].items():
            assert torch.equal(value, other[key][name]), name
    assert [row.get("CIDEr") for row in one["history"]] == [row.get("CIDEr") for row in other["history"]]
    assert one["step"] == other["step"]


def silent(text: str) -> None:
    pass


@pytest.fixture(scope="module")
def whole_run(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run to its end, dropout and all."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(recipe, run, report=silent)
    return run


# What a run leaves, and that it learns


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU has bfloat16")
@pytest.mark.parametrize("can", [True, False])
def test_bfloat16_where_the_processor_has_it(
    can: bool, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: can)
    wanted = replace(recipe, optimisation=replace(recipe.optimisation, precision="bfloat16"))
    said: list[str] = []
    trainer = Trainer(wanted, tmp_path / "run", said.append)
    with trainer.accelerator.autocast():
        computed = trainer.model.visual_features(torch.zeros(1, 3, 32, 32)) @ torch.zeros(32, 1)
    assert computed.dtype == (torch.bfloat16 if can else torch.float32)
    assert (NO_BFLOAT16 in said) is not can


def test_a_run_leaves_what_is_needed(whole_run: Path, recipe: Recipe) -> None:
    files = {file.name for file in whole_run.iterdir()} - {".lock"}  # which some versions of filelock leave
    assert files == {
        "best", "curves.png", "held_out", "history.csv", "recipe.yaml", "samples.jsonl", "states", "versions.json"
    }  # fmt: skip
    assert [file.name for file in sorted((whole_run / "states").iterdir())] == ["step-00000006.pt", "step-00000009.pt"]
    rows = list(csv.DictReader((whole_run / "history.csv").open()))
    assert [float(row["step"]) for row in rows] == [3, 6, 9]
    assert load_recipe(whole_run / "recipe.yaml") == recipe
    with Image.open(whole_run / "curves.png") as curves:
        curves.load()
    said = [json.loads(line) for line in (whole_run / "samples.jsonl").read_text().splitlines()]
    assert {line["step"] for line in said} == {3, 6, 9}
    assert picscribe.load(whole_run / "best").caption(Image.new("RGB", (40, 40), "red")).text is not None


@pytest.mark.parametrize("part", ["all", "decoder", "lora"])
def test_it_learns_its_images(part: Any, recipe: Recipe, tmp_path: Path, folder: Path) -> None:
    """The loss falls far; frozen weights stay; LoRA's additions are merged into what is saved."""
    weights_settings = WeightSettings(train=part, lora_rank=8, lora_alpha=32, lora_in="all", dropout=0.0)
    optimisation = replace(recipe.optimisation, steps=60, learning_rate=1e-2, label_smoothing=0.0)
    validation = replace(recipe.validation, every_steps=20)
    longer = replace(recipe, weights=weights_settings, optimisation=optimisation, validation=validation)
    trainer = Trainer(longer, tmp_path / "run", silent)
    trainer.folder.open(longer, resume=False)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    history = trainer.run()
    # LoRA begins at nothing and has few weights here: what it must show is that it learns at all.
    assert history[-1]["loss"] < history[0]["loss"] * (0.95 if part == "lora" else 0.5)
    after = trainer.model.state_dict()
    for name in before:
        if (part == "decoder" and name.startswith("image_encoder.")) or (part == "lora" and "lora_" not in name):
            assert torch.equal(before[name], after[name]), name
    if part == "lora":
        whole = merged(trainer.model).eval()
        trainer.model.eval()
        pixels, tokens = torch.randn(2, 3, 32, 32), torch.tensor([[[2, 5, 6, 10]]] * 2)
        with torch.no_grad():
            assert torch.allclose(whole(pixels, tokens), trainer.model(pixels, tokens), atol=1e-4)
            plain = Git(whole.config).eval()
            plain.load_state_dict(whole.state_dict())
            assert torch.allclose(plain(pixels, tokens), whole(pixels, tokens), atol=1e-5)
            assert not torch.allclose(
                picscribe.load(folder / "start").model(pixels, tokens), whole(pixels, tokens), atol=1e-2
            )


def test_parts_of_a_batch_add_up(recipe: Recipe, tmp_path: Path) -> None:
    """Four images at once, or in two or four parts, with and without computing activations again: the same weights."""
    found = []
    for accumulate, again in ((1, False), (2, False), (4, True)):
        settings = replace(recipe.weights, dropout=0.0, activation_checkpointing=again)
        optimisation = replace(recipe.optimisation, steps=3, accumulate=accumulate)
        trainer = Trainer(replace(recipe, optimisation=optimisation, weights=settings), tmp_path, silent)
        losses = [trainer.train_step(trainer.reader.prepare(step)) for step in range(2)]
        found.append((losses, trainer.model.state_dict()))
    for losses, state in found[1:]:
        assert losses == pytest.approx(found[0][0], rel=1e-4)
        for name, value in state.items():
            assert torch.allclose(value, found[0][1][name], atol=2e-4), name


def test_layers_slow_towards_the_pixels(recipe: Recipe, tmp_path: Path) -> None:
    trainer = Trainer(replace(recipe, weights=WeightSettings(layer_decay=0.5)), tmp_path, silent)
    rates = {id(p): group["peak_lr"] for group in trainer.optimiser.param_groups for p in group["params"]}
    for name, parameter in trainer.model.named_parameters():
        expected = 1e-3 * 0.5 ** depth_of(trainer.model, name) if name.startswith("image_encoder.") else 3e-3
        assert rates[id(parameter)] == pytest.approx(expected)
    assert depth_of(trainer.model, "image_encoder.patch_embedding.weight") == 2
    assert depth_of(trainer.model, "image_encoder.blocks.0.up.weight") == 1
    assert depth_of(trainer.model, "image_encoder.blocks.1.up.weight") == 0


def test_blocks_near_the_pixels_stay(recipe: Recipe, tmp_path: Path) -> None:
    """One of two blocks frozen, with all before it; the rest learns."""
    frozen = replace(recipe, weights=WeightSettings(frozen_blocks=1, dropout=0.0))
    trainer = Trainer(frozen, tmp_path, silent)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train_step(trainer.reader.prepare(0))
    same = {name for name, value in trainer.model.state_dict().items() if torch.equal(value, before[name])}
    lowest = ("blocks.0.", "patch_embedding", "class_embedding", "position_embedding", "pre_norm")
    assert {name for name in before if name.startswith(tuple(f"image_encoder.{part}" for part in lowest))} == {
        name for name in same if name.startswith("image_encoder.")
    }
    every = replace(recipe, weights=WeightSettings(frozen_blocks=2))
    learns = {name for name, p in Trainer(every, tmp_path, silent).model.named_parameters() if p.requires_grad}
    assert {name for name in learns if name.startswith("image_encoder.")} == {
        "image_encoder.post_norm.weight",
        "image_encoder.post_norm.bias",
    }
    assert {name for name in before if not name.startswith("image_encoder.")} - {"text_decoder.output.weight"} <= learns
    with pytest.raises(ConfigurationError, match="image encoder has 2"):
        Trainer(replace(recipe, weights=WeightSettings(frozen_blocks=3)), tmp_path, silent)


def test_a_part_of_each_image_is_hidden(recipe: Recipe, tmp_path: Path) -> None:
    """While it learns, the decoder sees some features of each image, others of another; all of them afterwards."""
    hiding = replace(recipe, weights=WeightSettings(image_dropout=0.4, dropout=0.0))
    trainer = Trainer(hiding, tmp_path, silent)
    pixels = torch.randn(3, 3, 32, 32)
    trainer.model.train()
    all_of_them, seen = trainer.model.visual_features(pixels), trainer.objective.see(pixels)
    assert (all_of_them.shape[1], seen.shape[1]) == (5, 3)
    places = [
        [all_of_them[image].isclose(one, atol=1e-5).all(-1).nonzero().item() for one in seen[image]]
        for image in range(3)
    ]
    assert all(one == sorted(set(one)) for one in places), "each once, in their order"
    drawn = {tuple(trainer.objective.see(pixels)[0, :, 0].tolist()) for _ in range(20)}
    assert len(drawn) > 3
    trainer.model.eval()
    assert torch.equal(trainer.objective.see(pixels), trainer.model.visual_features(pixels))
    assert math.isfinite(train(hiding, tmp_path / "run", report=silent)[-1]["loss"])


def test_an_efficientnet_has_depths_too() -> None:
    """The bundled model's: from the stem, its 21 blocks from it, to the head and the positions behind it."""
    model = picscribe.load("nano").model
    depths = {name: depth_of(model, name) for name, _ in model.named_parameters()}
    assert depths["image_encoder.stem.weight"] == 21
    assert depths["image_encoder.blocks.0.project.weight"] == 20
    assert depths["image_encoder.blocks.20.project.weight"] == 0
    assert depths["image_encoder.head.weight"] == depths["image_encoder.position_embedding"] == 0


def test_memory_that_is_freed_is_kept() -> None:
    """Where the C library is glibc: a block of 64 MiB, freed and asked for again, costs no new page."""
    program = (
        "import resource, sys, torch\n"
        "from picscribe.training.setup.allocator import keep_freed_memory\n"
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


def test_sizes_are_drawn_for_each_batch(recipe: Recipe, tmp_path: Path) -> None:
    trainer = Trainer(replace(recipe, image=ImageSettings((32, 48, 64))), tmp_path, silent)
    sizes = {trainer.reader.prepare(step).parts[0].pixels.shape[-1] for step in range(9)}
    assert sizes == {32, 48, 64}
    assert trainer.start.preprocessing.size == 32


def test_a_single_size_is_the_models_own(recipe: Recipe, tmp_path: Path) -> None:
    small = replace(recipe, image=ImageSettings((48,)), optimisation=replace(recipe.optimisation, steps=3))
    train(small, tmp_path / "run", report=silent)
    assert picscribe.load(tmp_path / "run" / "best").pixels(Image.new("RGB", (90, 70))).shape[-1] == 48


def test_sampled_captions_get_better(recipe: Recipe, whole_run: Path, tmp_path: Path) -> None:
    """CIDEr optimisation raises the mean reward of what is drawn, with either baseline."""
    for baseline in ("others", "greedy"):
        settings = SelfCriticalSettings(samples=6, baseline=baseline, max_new_tokens=8)  # type: ignore[arg-type]
        optimisation = replace(recipe.optimisation, steps=40, learning_rate=3e-3, warmup_steps=2)
        scst = replace(
            recipe, start=str(whole_run / "best"), objective="cider", self_critical=settings,
            optimisation=optimisation, weights=WeightSettings(dropout=0.0),
        )  # fmt: skip
        trainer = Trainer(scst, tmp_path / baseline, silent)
        rewards = trainer.rewards
        assert rewards is not None

        def mean_reward(trainer: Trainer = trainer) -> float:
            part = trainer.reader.prepare(0).parts[0]
            features = trainer.model.visual_features(part.pixels).detach()
            drawn = [trainer.rewards.draw(trainer.model, features, part.items, seed) for seed in range(8)]  # type: ignore[union-attr]
            return sum(one.reward for one in drawn) / len(drawn)

        before = mean_reward()
        for step in range(40):
            trainer.train_step(trainer.reader.prepare(step))
            trainer.step += 1
        assert mean_reward() > 1.2 * before


def test_samples_are_learned_as_they_were_drawn(recipe: Recipe, tmp_path: Path) -> None:
    """What a sample is worth is held against its probability at the temperature that it was drawn at."""
    settings = SelfCriticalSettings(samples=4, temperature=0.5, max_new_tokens=8)
    scst = replace(recipe, objective="cider", self_critical=settings, weights=WeightSettings(dropout=0.0))
    trainer = Trainer(scst, tmp_path, silent)
    part = trainer.reader.prepare(0).parts[0]
    work = trainer._work(part)
    assert work.advantage is not None
    logits = predicted_logits(
        trainer.model, trainer.model.prefix_of(trainer.model.visual_features(part.pixels)), work.texts
    )
    logits[:, list(trainer.start.tokenizer.never_written)] = -math.inf
    chosen = (logits / 0.5).log_softmax(-1)[torch.arange(len(logits)), work.texts.targets]
    loss = trainer.objective(work.pixels, work.texts, work.advantage, work.features)
    assert loss.item() == pytest.approx(-(work.advantage * chosen).sum().item(), abs=1e-4)
    loss.backward()
    output = trainer.model.text_decoder.output
    assert output.bias.grad is not None
    never = torch.tensor(trainer.start.tokenizer.never_written)
    assert len(never) >= 3
    assert not output.bias.grad[never].any(), "what is never drawn is not made likelier by bad samples"
    assert output.bias.grad.any()


def asking_beside(recipe: Recipe, folder: Path, asked: Path) -> Recipe:
    """The recipe with a question about each photo beside its captions, and CIDEr as what captions are learned for."""
    colours = [list(COLOURS)[number % 4] for number in range(16)]
    rows = [
        {"file_name": f"{n:02}.png", "question": "what colour is it", "answer": colour}
        for n, colour in enumerate(colours)
    ]
    (asked / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    train = (*recipe.data.train, Source(str(asked), images=str(folder / "photos")))
    settings = SelfCriticalSettings(samples=4, max_new_tokens=8)
    data = DataSettings(train, validation=recipe.data.train)
    return replace(recipe, objective="cider", self_critical=settings, data=data, weights=WeightSettings(dropout=0.0))


def test_questions_are_learned_beside_sampled_captions(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    """Captions by what samples are worth, for which answers are no reference; answers as people gave them."""
    trainer = Trainer(asking_beside(recipe, folder, tmp_path), tmp_path / "run", silent)
    assert trainer.rewards is not None
    part = trainer.reader.prepare(0).parts[0]
    work = trainer._work(part)
    assert work.advantage is not None
    asked = work.advantage.isnan()
    answers = [
        trainer.start.tokenizer.encode(text)[0] for item in part.items for question, text in item.texts if question
    ]
    sep = trainer.start.tokenizer.sep_id
    assert work.texts.targets[asked].tolist() == [token for answer in answers for token in (answer, sep)]
    logits = predicted_logits(
        trainer.model, trainer.model.prefix_of(trainer.model.visual_features(part.pixels)), work.texts
    )
    drawable = logits.index_fill(-1, torch.tensor(trainer.start.tokenizer.never_written), -math.inf)
    chosen = drawable.log_softmax(-1)[torch.arange(len(logits)), work.texts.targets]
    of_samples = -(work.advantage * chosen)[~asked].sum()
    of_answers = smoothed_loss(logits[asked], work.texts.targets[asked], 0.1) * asked.sum()
    loss = trainer.objective(work.pixels, work.texts, work.advantage, work.features)
    assert loss.item() == pytest.approx((of_samples + of_answers).item(), abs=1e-4)
    caption, _, answer = (text + END for _, text in part.items[0].texts)
    scores = trainer.rewards.scorer.score_captions(str(part.items[0].example.source), [caption, answer])
    assert scores[1] < scores[0] / 3, "an answer is no reference"


def test_captions_take_no_places_of_questions_beside_them(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    asking = asking_beside(recipe, folder, tmp_path)
    trainer = Trainer(replace(asking, data=replace(asking.data, texts_an_image=1)), tmp_path / "run", silent)
    for step in range(8):
        for texts in trainer.reader.prepare(step).parts[0].texts:
            assert [text.answers for text in texts] == [False, True]


def test_answers_get_better_beside_sampled_captions(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    trainer = Trainer(asking_beside(recipe, folder, tmp_path), tmp_path / "run", silent)
    first = trainer.reader.prepare(0).parts[0]
    answers = pack([[text for text in texts if text.answers] for texts in first.texts])

    def loss() -> float:
        with torch.no_grad():
            logits = predicted_logits(trainer.model, trainer.model.encode(first.pixels), answers)
        return smoothed_loss(logits, answers.targets, 0.1).item()

    before = loss()
    for step in range(60):
        trainer.train_step(trainer.reader.prepare(step))
    assert loss() < before / 2


@pytest.mark.parametrize("part", ["all", "decoder"])
def test_sampling_and_learning_look_once(
    part: Any, recipe: Recipe, whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images are encoded once a step, and the weights after it are those of encoding them anew for the gradient."""
    found = []
    for accumulate in (1, 2):  # in parts, what learns is encoded anew
        settings = SelfCriticalSettings(samples=3, max_new_tokens=8)
        optimisation = replace(recipe.optimisation, steps=8, warmup_steps=0, accumulate=accumulate)
        scst = replace(
            recipe, start=str(whole_run / "best"), objective="cider", self_critical=settings,
            optimisation=optimisation, weights=WeightSettings(train=part, dropout=0.0),
        )  # fmt: skip
        trainer = Trainer(scst, tmp_path / str(accumulate), silent)
        calls, encode = [], trainer.model.visual_features

        def counted(pixels: torch.Tensor, calls: list[int] = calls, encode: Any = encode) -> torch.Tensor:
            calls.append(len(pixels))
            return encode(pixels)  # type: ignore[no-any-return]

        monkeypatch.setattr(trainer.model, "visual_features", counted)
        prepared = trainer.reader.prepare(0)
        if accumulate == 2:  # the same images, as one part
            one, other = prepared.parts
            pixels = torch.stack([one.pixels, other.pixels], 1).flatten(0, 1)
            items = tuple(item for pair in zip(one.items, other.items, strict=True) for item in pair)
            texts = [text for pair in zip(one.texts, other.texts, strict=True) for text in pair]
            prepared = replace(prepared, parts=(replace(one, pixels=pixels, items=items, texts=texts),))
        trainer.train_step(prepared)
        found.append((calls, trainer.model.state_dict()))
    assert found[0][0] == [4]
    assert found[1][0] == ([4, 4] if part == "all" else [4])
    for name, value in found[0][1].items():
        assert torch.allclose(value, found[1][1][name], atol=1e-6), name


def test_a_caption_that_breaks_off_is_worth_less(recipe: Recipe, tmp_path: Path) -> None:
    trainer = Trainer(replace(recipe, objective="cider"), tmp_path, silent)
    assert trainer.rewards is not None
    item = trainer.data.parts[0].items[0]
    identity, whole = str(item.example.source), item.texts[0][1]
    score = trainer.rewards.scorer.score_captions
    ended, broken, cut = score(identity, [whole + END, whole + " a" + END, whole])
    assert ended > broken
    assert ended > cut


def test_document_frequencies_of_a_file_are_given_ends(recipe: Recipe, tmp_path: Path) -> None:
    """A file of the training captions' own frequencies rewards as none does; so does one of tenfold images."""
    own = Trainer(replace(recipe, objective="cider"), tmp_path, silent)
    items = own.data.parts[0].items
    counted = DocumentFrequencies.of_references({item.id: [text for _, text in item.texts] for item in items})
    counted.save(tmp_path / "own.json")
    tenfold = {text: 10 * count for text, count in counted.by_ngram().items()}
    DocumentFrequencies.of_counts(10 * counted.documents, tenfold).save(tmp_path / "tenfold.json")
    others = [
        Rewards(SelfCriticalSettings(document_frequencies=str(tmp_path / name)), items, own.start.tokenizer)
        for name in ("own.json", "tenfold.json")
    ]
    for item in items:
        texts = [item.texts[0][1] + END, "a red square" + END, "a red square on" + END, "it is" + END]
        one, same, tenfold_scores = (
            rewards.scorer.score_batch([str(item.example.source)] * len(texts), texts)
            for rewards in (own.rewards, *others)  # type: ignore[union-attr]
        )
        assert one == pytest.approx(same, abs=1e-12)
        assert one[:2] == pytest.approx(tenfold_scores[:2], abs=1e-9)  # the others hold what no caption does


def test_advantages_are_what_the_papers_say(recipe: Recipe, whole_run: Path, tmp_path: Path) -> None:
    for baseline in ("others", "greedy"):
        settings = SelfCriticalSettings(samples=4, baseline=baseline, max_new_tokens=8)  # type: ignore[arg-type]
        scst = replace(recipe, start=str(whole_run / "best"), objective="cider", self_critical=settings)
        trainer = Trainer(scst, tmp_path, silent)
        part = trainer.reader.prepare(0).parts[0]
        rewards = trainer.rewards
        assert rewards is not None
        drawn = rewards.draw(trainer.model, trainer.model.visual_features(part.pixels).detach(), part.items, 5)
        scribe = picscribe.Scribe(trainer.start)
        trainer.model.eval()
        greedy = scribe.caption(list(part.pixels), beams=1, max_new_tokens=8)
        for item, texts, advantages, caption in zip(part.items, drawn.texts, drawn.advantages, greedy, strict=True):
            # A caption's end counts as a word of it, where it was not cut at the limit.
            ends = [END if len(text.tokens) < 8 + 2 else "" for text in texts]
            ends.append(END if len(trainer.start.tokenizer.encode(caption.text)) < 8 else "")
            said = [*(trainer.start.tokenizer.decode(text.tokens) for text in texts), caption.text]
            texts_said = [text + end for text, end in zip(said, ends, strict=True)]
            scores = rewards.scorer.score_captions(str(item.example.source), texts_said)
            for place, advantage in enumerate(advantages):
                others = [score for other, score in enumerate(scores[:-1]) if other != place]
                expected = scores[place] - (scores[-1] if baseline == "greedy" else sum(others) / 3)
                assert advantage == pytest.approx(expected, abs=1e-6)


# Never lose a run


class Killed(Exception):
    """Stands for whatever ends a process between two steps."""


@pytest.mark.parametrize("at", [4, 6, 8])
def test_a_resumed_run_is_the_same_run(at: int, recipe: Recipe, whole_run: Path, tmp_path: Path) -> None:
    saving = replace(recipe, saving=SavingSettings(every_steps=2))
    trainer = Trainer(saving, tmp_path / "run", silent)
    trainer.folder.open(saving, resume=False)
    after = trainer._after_step

    def killed(*arguments: Any) -> bool:
        ended = after(*arguments)
        if trainer.step == at:
            raise Killed
        return ended

    trainer._after_step = killed  # type: ignore[method-assign]
    with pytest.raises(Killed):
        trainer.run()
    train(saving, tmp_path / "run", resume=True, report=silent)
    assert_same_state(weights(tmp_path / "run"), weights(whole_run))


COMMAND = [sys.executable, "-m", "picscribe", "train"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def write_recipe(recipe: Recipe, folder: Path) -> Path:
    file = folder / "recipe.yaml"
    file.write_text(dump_recipe(recipe))
    return file


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_saves_and_says_how_to_go_on(sent: signal.Signals, code: int, recipe: Recipe, tmp_path: Path) -> None:
    longer = replace(recipe, optimisation=replace(recipe.optimisation, steps=100_000))
    longer = replace(longer, validation=replace(longer.validation, every_steps=100_000))
    file, run = write_recipe(longer, tmp_path), tmp_path / "run"
    process = subprocess.Popen(
        [*COMMAND, str(file), "--output", str(run)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().startswith("12 images an epoch, 4 examples to validate on, ")
    assert process.stdout.readline().startswith("step 20/")
    process.send_signal(sent)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "go on with --resume" in said
    assert ("Ctrl-C once more" in errors) == (sent == signal.SIGINT)
    assert "Traceback" not in errors
    assert weights(run)["step"] >= 20


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
    saved = States(tmp_path / "states", SavingSettings(every_minutes=10.0))
    assert not saved.is_due(7)
    clock[0] = 601.0
    assert saved.is_due(7)
    saved.save(7, {})
    assert not saved.is_due(8)
    assert not States(tmp_path, SavingSettings(every_minutes=0)).is_due(9)
    assert States(tmp_path, SavingSettings(every_steps=3)).is_due(9)
    monkeypatch.undo()
    often = replace(recipe, saving=SavingSettings(every_minutes=1e-9))
    often = replace(often, validation=replace(recipe.validation, every_steps=9))
    (tmp_path / "run").mkdir()
    trainer = Trainer(often, tmp_path / "run", silent)
    kept = []
    monkeypatch.setattr(trainer, "save", lambda: kept.append(trainer.step))
    trainer.run()
    assert sorted(set(kept)) == list(range(1, 10))


@pytest.mark.slow
def test_twenty_kills_change_nothing(recipe: Recipe, tmp_path: Path) -> None:
    """kill -9 at 20 random moments of 300 steps, resumed each time: bit-identical, no state ever unreadable."""
    longer = replace(
        recipe,
        optimisation=replace(recipe.optimisation, steps=300),
        validation=replace(recipe.validation, every_steps=100),
        saving=SavingSettings(every_steps=5, keep=2),
    )
    file, draw = write_recipe(longer, tmp_path), random.Random(0)
    whole, run = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(
        [*COMMAND, str(file), "--output", str(whole)], check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL
    )
    kills = 0
    while kills < 20:
        begun = bool(list((run / "states").glob("step-*.pt"))) if run.exists() else False
        arguments = [*COMMAND, str(file), "--output", str(run), *(["--resume"] if begun else [])]
        process = subprocess.Popen(arguments, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        time.sleep(draw.uniform(3.0, 6.0))
        process.kill()
        process.wait()
        kills += 1
        for state in (run / "states").glob("step-*.pt"):
            torch.load(state, weights_only=True)
        if run.exists() and weights_step(run) == 300:
            break
    if weights_step(run) < 300:
        subprocess.run([*COMMAND, str(file), "--output", str(run), "--resume"], check=True, env=ENVIRONMENT)
    assert kills == 20, "the run was over before it was killed often enough"
    assert_same_state(weights(run), weights(whole))


def weights_step(run: Path) -> int:
    steps = [int(file.stem[5:]) for file in (run / "states").glob("step-*.pt")]
    return max(steps, default=0)


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
    assert_same_curve(weights(tmp_path / "one"), weights(tmp_path / "two"))
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
    assert_same_state(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_two_processes_learn_from_samples(recipe: Recipe, whole_run: Path, tmp_path: Path) -> None:
    """With all weights each, learning over what was seen for sampling, as with shares, where it is seen anew."""
    states = []
    for sharded in (False, True):
        scst = replace(
            gentle(recipe, sharded=sharded), start=str(whole_run / "best"), objective="cider",
            self_critical=SelfCriticalSettings(samples=3, max_new_tokens=8),
        )  # fmt: skip
        run = tmp_path / str(sharded)
        run_on_two(write_recipe(scst, tmp_path), run)
        states.append(weights(run))
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
        self_critical=SelfCriticalSettings(samples=2, max_new_tokens=4),
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
        assert torch.equal(weights(run)["model"]["model.temporal_embedding"], kept)


def test_processes_wait_long_for_the_one_that_validates(recipe: Recipe, tmp_path: Path) -> None:
    assert Trainer(recipe, tmp_path, silent).accelerator.init_handler.timeout.total_seconds() > 3600


def test_captions_of_every_weight_are_held_against_samples(folder: Path) -> None:
    """The same photo in two data sets of other weights: what either says of it counts."""
    example = read_data(DataSettings((Source(str(folder / "photos")),)), 1).parts[0].items[0].example
    items = [Item(example, (("", "a red square"),)), Item(example, (("", "a blue ground"),))]
    other = Item(replace(example, source=folder / "other.png"), (("", "a white one"),))
    rewards = Rewards(SelfCriticalSettings(), [*items, other], Tokenizer([*SPECIAL, *WORDS]))
    scores = rewards.scorer.score_batch([str(example.source)] * 2, [f"a red square{END}", f"a blue ground{END}"])
    assert (scores > 1).all()


def test_texts_longer_than_the_positions_are_named(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    """Before the first step: questions and answers together, and samples."""
    asked = tmp_path / "asked"
    asked.mkdir()
    rows = []
    for number in range(4):
        shutil.copy(folder / "photos" / f"{number:02}.png", asked)
        rows.append({"file_name": f"{number:02}.png", "question": "what colour is it " * 10, "answer": "red"})
    (asked / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    questions = replace(recipe, data=DataSettings((Source(str(asked)),)))
    long = replace(questions, validation=replace(recipe.validation, max_new_tokens=30))
    with pytest.raises(ConfigurationError, match=r"69 tokens .* lower validation\.max_new_tokens"):
        Trainer(long, tmp_path / "run", silent)
    Trainer(replace(questions, validation=replace(recipe.validation, max_new_tokens=25)), tmp_path / "run", silent)
    scst = replace(recipe, objective="cider", self_critical=SelfCriticalSettings(max_new_tokens=100))
    with pytest.raises(ConfigurationError, match=r"lower self_critical\.max_new_tokens"):
        Trainer(scst, tmp_path / "run", silent)


def test_photos_of_one_name_in_two_data_sets_are_both_listed(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(folder / "photos", tmp_path / name)
        (tmp_path / name / "03.png").write_bytes(b"no image")
    data = DataSettings((Source(str(tmp_path / "one")), Source(str(tmp_path / "two"))), recipe.data.train)
    short = replace(recipe, data=data, optimisation=replace(recipe.optimisation, steps=8))
    train(short, tmp_path / "run", report=silent)
    listed = json.loads((tmp_path / "run" / "skipped.json").read_text())
    assert set(listed) == {str(tmp_path / name / "03.png") for name in ("one", "two")}


def test_nearly_all_may_be_held_out(folder: Path) -> None:
    data = read_data(DataSettings((Source(str(folder / "photos")),), held_out=0.97), 1)
    assert (data.epoch_size(), len(data.validation)) == (1, 15)


def test_a_photo_that_cannot_be_read_is_left_out_and_listed(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(folder / "photos", photos)
    for number in (3, 4, 11):
        (photos / f"{number:02}.png").write_bytes(b"no image")
    broken = replace(recipe, data=replace(recipe.data, train=(Source(str(photos)),)))
    broken = replace(broken, optimisation=replace(recipe.optimisation, batch_images=1, accumulate=1, steps=12))
    train(broken, tmp_path / "run", report=silent)
    listed = json.loads((tmp_path / "run" / "skipped.json").read_text())
    assert listed
    assert {Path(name).stem for name in listed} <= {"03", "04", "11"}


def test_nonsense_stops_the_run(recipe: Recipe, tmp_path: Path) -> None:
    hot = replace(recipe, optimisation=replace(recipe.optimisation, learning_rate=1e30, clip_norm=1e30, warmup_steps=0))
    with pytest.raises(PicscribeError, match=r"the loss became .* smaller learning rate"):
        train(hot, tmp_path / "run", report=silent)


def test_a_full_disk_leaves_the_last_state(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved, real = [], torch.save

    def full(state: Any, stream: Any) -> None:
        saved.append(1)
        if len(saved) == 2:
            stream.write(b"half of it")
            raise OSError(28, "No space left on device")
        real(state, stream)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(PicscribeError, match=r"No space left.*the state after step 3 is kept"):
        train(recipe, tmp_path / "run", report=silent)
    monkeypatch.undo()
    assert weights(tmp_path / "run")["step"] == 3
    assert [file.suffix for file in (tmp_path / "run" / "states").iterdir()] == [".pt"]
    train(recipe, tmp_path / "run", resume=True, report=silent)
    assert weights(tmp_path / "run")["step"] == 9


def test_trackers_are_told(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate import Accelerator

    told: list[Any] = []
    monkeypatch.setattr(Accelerator, "log", lambda self, row, step: told.append((step, row["CIDEr"])))
    history = train(recipe, tmp_path / "run", report=silent)
    assert told == [(int(row["step"]), row["CIDEr"]) for row in history]


def test_a_tracker_writes_its_files(recipe: Recipe, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    train(replace(recipe, trackers=("tensorboard",)), tmp_path / "run", report=silent)
    assert list((tmp_path / "run").rglob("events.out.tfevents.*"))


def test_a_tracker_that_is_not_there(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import accelerate.tracking

    monkeypatch.setattr(accelerate.tracking, "get_available_trackers", lambda: [])
    with pytest.raises(MissingPackageError, match="tensorboard is not installed"):
        train(replace(recipe, trackers=("tensorboard",)), tmp_path / "run", report=silent)


def test_patience_ends_a_run(recipe: Recipe, tmp_path: Path) -> None:
    settings = replace(recipe.optimisation, steps=200, learning_rate=0.0, encoder_learning_rate=0.0)
    stuck = replace(recipe, optimisation=settings, validation=replace(recipe.validation, patience=2))
    history = train(stuck, tmp_path / "run", report=silent)
    assert [row["step"] for row in history] == [3, 6, 9]


# What goes wrong loses no step, and goes on where it was


def test_a_validation_that_fails_loses_no_step(
    recipe: Recipe, whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, made = tmp_path / "run", []

    def fail(trainer: Trainer) -> dict[str, float]:
        made.append(trainer.step)
        raise PicscribeError("no room for captions")

    monkeypatch.setattr(Trainer, "validate", fail)
    with pytest.raises(PicscribeError, match="no room for captions"):
        train(recipe, run, report=silent)
    assert weights(run)["step"] == 3
    monkeypatch.undo()
    train(recipe, run, resume=True, report=silent)
    assert_same_state(weights(run), weights(whole_run))
    assert [row["step"] for row in weights(run)["history"]] == [3, 6, 9]
    assert [row["loss"] for row in weights(run)["history"]] == [row["loss"] for row in weights(whole_run)["history"]]


def test_stopped_where_it_would_validate(
    recipe: Recipe, whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The validation that a SIGTERM came before is made first when the run goes on."""
    step, run = Trainer.train_step, tmp_path / "run"

    def stop(trainer: Trainer, prepared: Any) -> float:
        trainer.stop_asked = trainer.step == 5
        return step(trainer, prepared)

    monkeypatch.setattr(Trainer, "train_step", stop)
    train(recipe, run, report=silent)
    assert (weights(run)["step"], len(weights(run)["history"])) == (6, 1)
    monkeypatch.undo()
    train(recipe, run, resume=True, report=silent)
    assert_same_state(weights(run), weights(whole_run))


def test_other_data_do_not_go_on(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    photos = Path(shutil.copytree(folder / "photos", tmp_path / "photos"))
    own = replace(recipe, data=replace(recipe.data, train=(Source(str(photos)),)))
    short = replace(own, validation=replace(own.validation, images=1))
    train(short, tmp_path / "run", report=silent)
    Image.new("RGB", (40, 40), "red").save(photos / "99.png")
    (photos / "99.txt").write_text("a red square\n")
    with pytest.raises(CheckpointError, match="added, removed or changed"):
        train(short, tmp_path / "run", resume=True, report=silent)


def test_no_photo_at_all_ends_the_run(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    photos = Path(shutil.copytree(folder / "photos", tmp_path / "photos"))
    for file in photos.glob("*.png"):
        file.write_bytes(b"no photo")
    data = DataSettings((Source(str(photos)),), (Source(str(folder / "photos")),))
    before = replace(recipe, data=data)
    with pytest.raises(InputError, match=r"not one photo of a whole epoch could be read, such as .*png"):
        train(before, tmp_path / "run", report=silent)


def test_of_equal_scores_the_later_is_kept(recipe: Recipe, tmp_path: Path) -> None:
    """CIDEr of a single photo is 0 whatever is said: what learned longest is kept then."""
    alone = replace(recipe, validation=replace(recipe.validation, images=1))
    history = train(alone, tmp_path / "run", report=silent)
    assert {row["CIDEr"] for row in history} == {0.0}
    assert json.loads((tmp_path / "run" / "best" / "training.json").read_text())["step"] == 9


@pytest.mark.parametrize("count", [3, 8, 40])
def test_more_than_one_photo_is_held_out(count: int, tmp_path: Path) -> None:
    for number in range(count):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text("a red square\n")
    data = read_data(DataSettings((Source(str(tmp_path)),)), seed=1)
    assert len(data.validation) == max(2, count // 10)
    assert len(data.validation) + data.epoch_size() == count


def test_copies_of_held_out_photos_are_not_learned(folder: Path, tmp_path: Path) -> None:
    """Nor where they lie in another data set; other photos of the same size are learned."""
    for number in range(10):
        shutil.copy(folder / "photos" / f"{number:02}.png", tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text("a square\n")
    sources = Source(str(tmp_path)), Source(str(folder / "photos"), weight=2.0)
    data = read_data(DataSettings(sources), seed=1)
    held = {Path(str(example.source)).stem for example in data.validation}
    learned = [{Path(item.place).stem for item in part.items} for part in data.parts]
    assert len(held) == 2
    assert learned == [{str(n) for n in range(10)} - held, {f"{n:02}" for n in range(16)} - {f"0{n}" for n in held}]
    assert data.notes == (
        f"photos that are held out under another name too, left out: 2, such as {folder / 'photos'}/0{min(held)}.png",
    )


def test_nothing_is_left_to_learn_where_all_photos_are_one(folder: Path, tmp_path: Path) -> None:
    for number in range(4):
        shutil.copy(folder / "photos" / "00.png", tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text("a square\n")
    with pytest.raises(InputError, match=f"{tmp_path.name}: every photo is the same as one that is held out"):
        read_data(DataSettings((Source(str(tmp_path)),)), seed=1)


def test_ids_of_two_data_sets_are_told_apart(folder: Path) -> None:
    photos = Source(str(folder / "photos"))
    data = read_data(DataSettings((photos,), (photos, photos)), seed=1)
    assert len({example.id for example in data.validation}) == 32


def test_low_rank_needs_linear_layers_and_learns_the_order_of_frames(
    recipe: Recipe, save_start: Callable[..., Path], tmp_path: Path
) -> None:
    lite = save_start(tmp_path / "lite", WORDS, "lite")
    everywhere = WeightSettings(train="lora", lora_in="all")
    with pytest.raises(ConfigurationError, match="choose decoder"):
        Trainer(replace(recipe, start=str(lite), weights=everywhere), tmp_path / "run", silent)
    data = replace(read_data(recipe.data, recipe.seed), has_videos=True)
    start = load_start(replace(recipe, weights=everywhere, image=ImageSettings(frames=3)), data)
    assert start.model.temporal_embedding is not None
    assert start.model.temporal_embedding.requires_grad
    assert start.model.config.frames == 3
    assert load_start(recipe, data).model.config.frames == 6, "the paper's, where nothing says how many"


def test_scst_is_another_word_for_cider(recipe: Recipe) -> None:
    assert replace(recipe, objective="scst") == replace(recipe, objective="cider")


def test_the_learning_rate_rises_in_a_line_and_falls_in_a_cosine() -> None:
    factors = [learning_rate_factor(step, 10, 110) for step in range(110)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[10] == max(factors) == 1
    assert factors[60] == pytest.approx(0.5)
    falls = factors[10:]
    assert falls == sorted(falls, reverse=True)
    assert 0 < factors[-1] < 1e-3
    steepest = max(range(len(falls) - 1), key=lambda step: falls[step] - falls[step + 1])
    assert abs(steepest - 50) <= 1


@pytest.mark.parametrize(("warmup", "total"), [(0, 5), (5, 5), (9, 5), (0, 1)])
def test_the_learning_rate_is_sound_at_the_edges(warmup: int, total: int) -> None:
    factors = [learning_rate_factor(step, warmup, total) for step in range(total)]
    assert all(0 < factor <= 1 for factor in factors)


def test_short_runs_warm_up_for_a_quarter(recipe: Recipe, tmp_path: Path) -> None:
    short = OptimisationSettings(steps=12, batch_images=4)  # and a warm-up of 500 by default
    trainer = Trainer(replace(recipe, optimisation=short), tmp_path, silent)
    rates = []
    for trainer.step in range(12):
        trainer.train_step(trainer.reader.prepare(trainer.step))
        rates.append(trainer.optimiser.param_groups[-1]["lr"])
    assert rates.index(max(rates)) in (2, 3)
    assert max(rates) == pytest.approx(short.learning_rate)


def test_a_validation_split_is_used(folder: Path, tmp_path: Path) -> None:
    for split, count in (("train", 8), ("val", 4)):
        (tmp_path / "photos" / split).mkdir(parents=True)
        for number in range(count):
            for ending in ("png", "txt"):
                shutil.copy(folder / "photos" / f"{number:02}.{ending}", tmp_path / "photos" / split)
    chosen = ["--data", str(tmp_path / "photos"), "--from", str(folder / "start"), "--dry-run"]
    result = CliRunner().invoke(app, ["train", *chosen, "--output", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert "data: 8 images, 8 an epoch; 4 examples to validate on" in result.output


# Wrong recipes and broken data stop before the first step


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"data": {"train": []}}, "data.train is empty"),
        ({"data": {"train": [{"path": ""}]}}, "needs a path"),
        ({"data": {"train": [{"pth": "x"}]}}, "unknown setting 'data.train\\[0\\].pth'; did you mean 'path'"),
        ({"data": {"train": "photos"}}, "data.train must be a list"),
        ({"data": {"train": [{"path": "x", "weight": 0}]}}, "weight must be above 0"),
        ({"data": {"train": [{"path": "x", "weight": "nan"}]}}, "weight must be of type float"),
        ({"data": {"train": [{"path": "x"}], "held_out": 1}}, "held_out must be between 0 and 1"),
        ({"data": {"train": [{"path": "x"}], "texts_an_image": 0}}, "texts_an_image must be at least 1"),
        ({"image": {"sizes": [8]}}, "sizes must be from 16"),
        ({"image": {"sizes": ["big"]}}, "image.sizes\\[0\\] must be of type int"),
        ({"image": {"augmentation": {"min_area": 0}}}, "min_area"),
        ({"weights": {"train": "none"}}, "weights.train must be one of"),
        ({"weights": {"lora_rank": 0}}, "lora_rank must be at least 1"),
        ({"weights": {"layer_decay": 0}}, "layer_decay must be above 0"),
        ({"weights": {"dropout": 1}}, "dropout must be in"),
        ({"optimisation": {"learning_rate": "nan"}}, "learning_rate must be of type float"),
        ({"optimisation": {"learning_rate": -1}}, "learning_rate must be at least 0"),
        ({"optimisation": {"batch_images": 5, "accumulate": 2}}, "must be a multiple of accumulate"),
        ({"name": ".."}, "plain name"),
        ({"name": ""}, "plain name"),
        ({"seed": 10**29}, "seed must be"),
        ({"optimisation": {"label_smoothing": 1}}, "label_smoothing must be in"),
        ({"optimisation": {"precision": "int8"}}, "precision must be one of"),
        ({"optimisation": {"ema_decay": 0.9}, "weights": {"train": "lora"}}, "do not go together"),
        ({"image": {"views": -1}, "weights": {"train": "decoder"}}, "image.views must be at least 0"),
        ({"image": {"views": 2}}, "none are frozen"),
        ({"image": {"views": 2, "frames": 6}, "weights": {"train": "decoder"}}, "photos of one size"),
        ({"image": {"views": 2, "sizes": [64, 96]}, "weights": {"train": "decoder"}}, "photos of one size"),
        ({"image": {"views": 2}, "weights": {"train": "lora", "lora_in": "all"}}, "LoRA in the decoder alone"),
        ({"image": {"features": "kept"}}, "where the features of image.views go"),
        ({"self_critical": {"samples": 1}}, "samples must be at least 2"),
        ({"self_critical": {"temperature": 0}}, "temperature must be above 0"),
        ({"validation": {"beams": 0}}, "beams must be"),
        ({"saving": {"keep": 0}}, "keep must be at least 1"),
        ({"trackers": ["excel"]}, "none of tensorboard"),
        ({"objective": "beauty"}, "objective must be one of"),
        ({"name": "a/b"}, "plain name"),
        ({"sed": 1}, "did you mean 'seed'"),
    ],
)
def test_wrong_recipes_are_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        recipe_from({"start": "nano", **settings})


def test_data_that_cannot_be_used_stop_a_run(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    def run(error: type[Exception], words: str, **changes: Any) -> None:
        with pytest.raises(error, match=words):
            train(replace(recipe, **changes), tmp_path / "run", report=silent)
        assert not (tmp_path / "run" / "states").exists()

    photos = str(folder / "photos")
    run(InputError, "none", data=DataSettings((Source(str(tmp_path / "none")),)))
    run(InputError, "val", data=DataSettings((Source(photos, "val"),)))
    run(ConfigurationError, "positions of", data=replace(recipe.data, max_tokens=70))
    run(CheckpointError, "nowhere", start="nowhere")
    bare = tmp_path / "bare"
    bare.mkdir()
    Image.new("RGB", (20, 20)).save(bare / "1.png")
    run(InputError, "bare", data=DataSettings((Source(str(bare)),)))
    (bare / "1.txt").write_text("a square\n")
    run(InputError, "single image", data=DataSettings((Source(str(bare)),)))
    run(ConfigurationError, "image.frames is for videos", image=ImageSettings(frames=3))
    asked = tmp_path / "asked"
    asked.mkdir()
    shutil.copy(folder / "photos" / "00.png", asked)
    (asked / "metadata.jsonl").write_text('{"file_name": "00.png", "question": "what is it", "answer": "red"}\n')
    both = DataSettings((Source(photos),), (Source(photos), Source(str(asked))))
    run(ConfigurationError, "mixes captions and questions", data=both)
    moving = tmp_path / "vatex_training_v1.0.json"
    moving.write_text('[{"videoID": "x1_000001_000011", "enCap": ["a square"]}]')
    (tmp_path / "x1_000001_000011.mp4").touch()
    videos = Source(str(moving), images=str(tmp_path))
    run(ConfigurationError, "mixes photos and videos", data=DataSettings((Source(photos), videos)))
    run(ConfigurationError, "holds videos", data=DataSettings((Source(photos),), (videos,)))


def test_a_folder_that_holds_a_run_is_left_alone(recipe: Recipe, whole_run: Path) -> None:
    with pytest.raises(ConfigurationError, match="holds a run already"):
        train(recipe, whole_run, report=silent)
    with pytest.raises(ConfigurationError, match=r"differs from the recipe given \([a-z_.]+ was .*, now .*\)"):
        train(replace(recipe, seed=2), whole_run, resume=True, report=silent)


def test_damaged_states_are_named(recipe: Recipe, whole_run: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(whole_run, tmp_path / "run")
    latest = sorted((tmp_path / "run" / "states").iterdir())[-1]
    latest.write_bytes(latest.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"damaged.*go on from the one before"):
        train(recipe, tmp_path / "run", resume=True, report=silent)
    latest.unlink()
    train(recipe, tmp_path / "run", resume=True, report=silent)
    assert_same_state(weights(tmp_path / "run"), weights(whole_run))


# The mixture


def test_questions_and_captions_of_an_image_stand_together(folder: Path) -> None:
    from picscribe.datasets import Example

    photo = folder / "photos" / "00.png"
    asked = [Example("1", photo, ("red",), "what colour is it"), Example("2", photo, ("a", "the"), "what is it")]
    (item,) = group_by_image(asked)
    assert item.texts == (("what colour is it", "red"), ("what is it", "a"), ("what is it", "the"))
    with pytest.raises(InputError, match="no text to learn"):
        group_by_image([Example("1", photo, (" ",))])


def test_data_sets_of_one_weight_stand_together(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    """What a second data set asks about the same photos is learned with their captions; of another weight, apart."""
    rows = [{"file_name": f"{n:02}.png", "question": "what is it", "answer": "square"} for n in range(16)]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    captions = Source(str(folder / "photos"))
    for weight, parts, texts in ((1.0, 1, 3), (2.0, 2, 2)):
        asked = Source(str(tmp_path), images=str(folder / "photos"), weight=weight)
        mixed = replace(recipe, data=replace(recipe.data, train=(captions, asked), validation=(captions,)))
        trainer = Trainer(mixed, tmp_path / "run", silent)
        assert [len(part.items) for part in trainer.data.parts] == [16] * parts
        assert {len(item.texts) for item in trainer.data.parts[0].items} == {texts}
    Trainer(replace(mixed, objective="cider"), tmp_path / "run", silent)
    rows = [{"file_name": "red.png", "question": "what is it", "answer": "a colour"}]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    data = replace(mixed.data, train=(captions, replace(asked, images="")))
    with pytest.raises(ConfigurationError, match=r"data\.train only asks about .*red\.png"):
        Trainer(replace(mixed, objective="cider", data=data), tmp_path / "run", silent)


def test_all_questions_of_a_held_out_image_are_asked(folder: Path, tmp_path: Path) -> None:
    asked = [
        ("what is it", "square"),
        ("is it a square", "yes"),
        ("is it a square", "yes, it is"),
        ("is it blue", "no"),
    ]
    rows = [
        {"file_name": f"{n:02}.png", "question_id": f"{n}-{place}", "question": question, "answer": answer}
        for n in range(16)
        for place, (question, answer) in enumerate(asked)
    ]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = read_data(DataSettings((Source(str(tmp_path), images=str(folder / "photos")),), held_out=0.125), 1)
    assert len(data.parts[0].items) == 14
    assert len(data.validation) == len({example.id for example in data.validation}) == 2 * 3
    assert {(e.question, e.texts) for e in data.validation} == {
        ("what is it", ("square",)), ("is it a square", ("yes", "yes, it is")), ("is it blue", ("no",))
    }  # fmt: skip
    learned = {item.example.source for item in data.parts[0].items}
    assert not learned & {example.source for example in data.validation}


def test_steps_are_read_ahead_in_parts(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    halves = replace(recipe, optimisation=replace(recipe.optimisation, accumulate=2))
    reader = Trainer(halves, tmp_path / "run", silent).reader
    begun: list[tuple[int, int]] = []
    part = Reader._part

    def watched(self: Reader, step: int, number: int) -> Prepared:
        begun.append((step, number))
        return part(self, step, number)

    monkeypatch.setattr(Reader, "_part", watched)
    read = reader.steps(0, 20, lambda: False)
    first = next(read)
    assert len(begun) / 2 <= reader.steps_in_memory() == 1 + (2 + READERS) / 2
    steps = [first, *read]
    assert sorted(begun) == [(step, number) for step in range(20) for number in range(2)]
    monkeypatch.undo()
    for step, prepared in enumerate(steps):
        again = reader.prepare(step)
        for one, other in zip(prepared.parts, again.parts, strict=True):
            assert torch.equal(one.pixels, other.pixels)
            assert (one.items, one.texts, one.number) == (other.items, other.texts, other.number)


def test_photos_are_held_out_of_data_sets_of_every_weight(folder: Path, tmp_path: Path) -> None:
    rows = [{"file_name": f"{number:02}.png", "text": f"number {number}"} for number in range(16)]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    photos = str(folder / "photos")
    for weight in (1.0, 0.5, 2.0):
        data = read_data(DataSettings((Source(photos), Source(str(tmp_path), images=photos, weight=weight))), 1)
        learned = {item.example.source for part in data.parts for item in part.items}
        held = {example.source for example in data.validation}
        assert len(held) == 2
        assert len(learned) == 14
        assert not held & learned
        assert data.learned_and_validated() == 0


def test_photos_that_are_learned_and_validated_on_are_told_of(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    same = (Source(str(folder / "photos")),)
    lines: list[str] = []
    short = replace(recipe, data=DataSettings(same, same), optimisation=replace(recipe.optimisation, steps=1))
    train(short, tmp_path / "run", report=lines.append)
    assert lines[0].startswith("16 images an epoch, 16 examples to validate on, ")
    assert lines[1] == "warning: 16 of the examples to validate on are about photos that are learned from too"


def test_photos_that_nobody_named_are_told_of(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(folder / "photos", photos, ignore=shutil.ignore_patterns("*.txt"))
    rows = [{"file_name": f"{number:02}.png", "text": f"number {number}"} for number in range(14)]
    (photos / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = read_data(DataSettings((Source(str(photos)),)), 1)
    start = load_start(recipe, data)
    told = f"warning: images that the metadata does not name, left out: 2, such as {photos / '14.png'}"
    assert next(warnings_of(data, start.tokenizer, recipe)) == told


def test_what_comes_again_in_an_epoch_looks_another_way(recipe: Recipe, tmp_path: Path) -> None:
    source = replace(recipe.data.train[0], weight=3.0)
    thrice = replace(recipe, data=replace(recipe.data, train=(source,), texts_an_image=1))
    trainer = Trainer(thrice, tmp_path / "run", silent)
    views: dict[str, set[bytes]] = {}
    texts: dict[str, set[object]] = {}
    for step in range(trainer.reader.batches.steps_an_epoch):
        part = trainer.reader.prepare(step).parts[0]
        for pixels, item, said in zip(part.pixels, part.items, part.texts, strict=True):
            views.setdefault(item.id, set()).add(pixels.numpy().tobytes())
            texts.setdefault(item.id, set()).add(tuple(said))
    plain = {item.id for item in trainer.data.parts[0].items if int(Path(item.id).stem) >= 12}  # of one colour
    assert {len(seen) for name, seen in views.items() if name not in plain} == {3}
    assert {len(seen) for seen in texts.values()} == {1, 2}


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        ({"CIDEr": 0.5, "CIDEr shuffled": 0.1, "distinct": 1.0}, []),
        ({"CIDEr": 0.5, "CIDEr shuffled": 0.4, "distinct": 1.0}, ["handed to other images", "stop looking"]),
        ({"CIDEr": 0.5, "CIDEr shuffled": 0.1, "distinct": 0.05}, []),  # of four examples
    ],
)
def test_a_model_that_does_not_look_is_told_of(
    scores: dict[str, float], told: list[str], recipe: Recipe, tmp_path: Path
) -> None:
    lines: list[str] = []
    trainer = Trainer(recipe, tmp_path / "run", lines.append)
    trainer.scores._warn(scores, {example.id: "a red square" for example in trainer.scores.examples})
    assert len(lines) == len(told)
    assert all(part in line for part, line in zip(told, lines, strict=True))


def test_validation_photos_that_cannot_be_read_are_listed(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "photos", tmp_path / "val")
    (tmp_path / "val" / "03.png").write_bytes(b"no photo")
    data = DataSettings((Source(str(folder / "photos")),), (Source(str(tmp_path / "val")),))
    lines: list[str] = []
    short = replace(recipe, data=data, optimisation=replace(recipe.optimisation, steps=2))
    train(replace(short, saving=SavingSettings(every_steps=1)), tmp_path / "run", report=lines.append)
    ((name, problem),) = json.loads((tmp_path / "run" / "skipped.json").read_text()).items()
    assert "03" in name
    assert "03.png" in problem
    assert lines.count("1 photos could not be used so far: skipped.json lists them") == 1


def test_a_weight_says_how_often(recipe: Recipe, tmp_path: Path, folder: Path) -> None:
    from picscribe.training.data.mixture import Data, MixturePart

    trainer = Trainer(recipe, tmp_path, silent)
    items = trainer.data.parts[0].items
    data = Data((MixturePart(items[:8], 0.5), MixturePart(items[8:], 2.0)), (), "captions", "x", False)

    def of_epoch(epoch: int) -> list[str]:
        return [data.item(part, index).id for part, index, _ in data.epoch(3, epoch).tolist()]

    epochs = [of_epoch(epoch) for epoch in range(4)]
    assert [len(epoch) for epoch in epochs] == [12] * 4
    halves = {item.id for item in items[:8]}
    first, second = ({name for name in epoch if name in halves} for epoch in epochs[:2])
    assert first | second == halves
    assert not first & second
    assert all(epoch.count(item.id) == 2 for epoch in epochs for item in items[8:])
    assert epochs[0] != epochs[2]
    assert epochs == [of_epoch(epoch) for epoch in range(4)]


# The command line


def test_a_folder_of_photos_is_enough(folder: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    settings = ["optimisation.steps=2", "optimisation.warmup_steps=1", "optimisation.batch_images=4"]
    chosen = ["--data", str(folder / "photos"), "--from", str(folder / "start"), *settings]
    dry = runner.invoke(app, ["train", *chosen, "--dry-run", "--output", str(tmp_path / "run")])
    assert dry.exit_code == 0, dry.output
    assert "[CLS] «a»" in dry.output
    assert "14 images" in dry.output
    assert "steps: 2" in dry.output
    assert not (tmp_path / "run").exists()
    result = runner.invoke(app, ["train", *chosen, "--output", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert "the best checkpoint is in" in result.output
    rows = list(csv.DictReader((tmp_path / "run" / "history.csv").open()))
    assert [float(row["step"]) for row in rows] == [0, 2], "what the start was worth, and what came of it"
    assert (rows[0]["loss"], bool(rows[1]["loss"])) == ("", True)
    assert runner.invoke(app, ["train"]).exit_code == 2
    assert runner.invoke(app, ["train", "recipe.yaml", "--from", "nano"]).exit_code == 2


def test_what_was_held_out_is_a_data_set(folder: Path, tmp_path: Path) -> None:
    """The command that a run ends with scores its best checkpoint on it; captions, questions and classes alike."""
    photos, asked = folder / "photos", tmp_path / "asked"
    asked.mkdir()
    rows = [{"file_name": f"{n:02}.png", "question": "what is it?", "answer": a} for n in range(8) for a in ("a", "it")]
    (asked / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for number in range(8):
        place = tmp_path / "classes" / ("red" if number % 2 else "blue")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / f"{number:02}.png", place)
    sources = [Source(str(photos)), Source(str(asked), images=str(photos)), Source(str(tmp_path / "classes"))]
    for number, source in enumerate(sources):
        run = RunFolder(tmp_path / f"run {number}")
        run.path.mkdir()
        data = read_data(DataSettings((source,), held_out=0.3), 1)
        run.write_held_out(data)
        assert data.held_out is not None
        read, examples = load_examples(run.held_out, data.held_out, None)
        assert read.task == data.task
        alike = [(e.id, e.question, e.texts, e.source.resolve()) for e in data.validation]
        assert [(e.id, e.question, e.texts, e.source.resolve()) for e in examples] == alike
    begun = ["train", "--data", str(photos), "--from", str(folder / "start"), "optimisation.steps=1"]
    result = CliRunner().invoke(app, [*begun, "--output", str(tmp_path / "a run")])
    command = shlex.split(result.output.rpartition("did not learn from: picscribe ")[2])
    result = CliRunner().invoke(app, [*command[:-1], str(tmp_path / "scores")])
    assert result.exit_code == 0, result.output
    assert len(json.loads((tmp_path / "scores" / "items.json").read_text())) == 2


def test_named_and_packed_validation_photos_are_not_listed(folder: Path, tmp_path: Path) -> None:
    photos = Source(str(folder / "photos"))
    assert read_data(DataSettings((photos,), (photos,)), 1).held_out is None
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        for file in sorted((folder / "photos").iterdir()):
            tar.add(file, file.name)
    packed = read_data(DataSettings((Source(str(tmp_path / "photos.tar")),)), 1)
    assert packed.held_out is None
    RunFolder(tmp_path).write_held_out(packed)
    assert not (tmp_path / "held_out").exists()


def test_a_folder_of_videos_is_enough(folder: Path, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for number in range(6):
        frames = [Image.new("RGB", (32, 32), (40 * number, 30 * place, 99)) for place in range(8)]
        frames[0].save(clips / f"{number}.mp4", "WEBP", save_all=True, append_images=frames[1:], duration=100)
        (clips / f"{number}.txt").write_text("a red square\n")
    settings = ["optimisation.steps=1", "optimisation.batch_images=2", "--output", str(tmp_path / "run")]
    chosen = ["train", "--data", str(clips), "--from", str(folder / "start"), *settings]
    result = CliRunner().invoke(app, chosen)
    assert result.exit_code == 0, result.output
    assert "4 videos an epoch, 6 frames of each" in result.output
    trained = picscribe.load(tmp_path / "run" / "best").model
    assert trained.config.frames == 6
    assert trained.temporal_embedding is not None
    assert trained.temporal_embedding.any(), "the order of the frames is learned"


def test_a_run_goes_on_by_its_folder_alone(whole_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole_run, tmp_path / "a run"))
    (run / "states" / "step-00000009.pt").unlink()
    for said in ("resumed after step 6\n", "resumed after step 9, the last: there is nothing left to learn\n"):
        result = CliRunner().invoke(app, ["train", "--resume", "--output", str(run)])
        assert result.exit_code == 0, result.output
        assert said in result.output
        assert f"picscribe caption PHOTO --model '{run / 'best'}'" in result.output
    assert_same_state(weights(run), weights(whole_run))
    result = CliRunner().invoke(app, ["caption", "photo.jpg", "--model", str(run)])
    assert f"whose best checkpoint is {run / 'best'}" in result.output


def test_the_start_may_be_the_best(
    recipe: Recipe, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is scored before anything is learned, and kept where that was in vain."""
    falling = iter([1.0, 0.5, 0.7, 0.9])
    monkeypatch.setattr(scores, "score", lambda *_: {"CIDEr": SimpleNamespace(value=next(falling))})
    before = replace(recipe, validation=replace(recipe.validation, before=True))
    history = train(before, tmp_path / "run", report=silent)
    assert [(row["step"], row["CIDEr"]) for row in history] == [(0, 1.0), (3, 0.5), (6, 0.7), (9, 0.9)]
    start = picscribe.load(folder / "start").model.state_dict()
    best = picscribe.load(tmp_path / "run" / "best").model.state_dict()
    assert all(torch.equal(start[name], best[name]) for name in start)
    assert train(before, tmp_path / "run", resume=True, report=silent) == history, "and only once"


def test_a_home_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert Source("~/photos").path == "/home/somebody/photos"


def test_what_is_meant_as_a_setting(folder: Path) -> None:
    chosen = ["train", "--data", str(folder / "photos"), "optimisation.steps", "3"]
    result = CliRunner().invoke(app, chosen)
    assert result.exit_code == 2
    assert "'optimisation.steps': a setting has the form section.key=value" in result.output


def test_a_run_among_its_data_is_refused(recipe: Recipe, folder: Path) -> None:
    for run in (folder / "photos", folder / "photos" / "deep" / "run"):
        with pytest.raises(ConfigurationError, match="whose files are the data: name another folder"):
            train(recipe, run, report=silent)
        assert not (run / "recipe.yaml").exists()


def test_words_that_are_lost_are_told_of(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "photos", tmp_path / "photos")
    (tmp_path / "photos" / "03.txt").write_text("ein rotes Quadrat auf weissem Grund\n")
    (tmp_path / "photos" / "04.txt").write_text("a red square " * 14)
    data = DataSettings((Source(str(tmp_path / "photos")),), recipe.data.train)
    lines = preview(replace(recipe, data=data), tmp_path / "run").splitlines()
    said = [line for line in lines if line.startswith("warning")]
    assert len(said) == 2, said
    assert "% of the words to learn are not in the vocabulary" in said[0]
    assert "1 of 30 texts are longer than data.max_tokens, 40, and are cut" in said[1]
    lines = preview(recipe, tmp_path / "run").splitlines()
    assert not [line for line in lines if line.startswith("warning")]
