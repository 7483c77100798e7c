"""Training from a recipe to a checkpoint, and a run that was killed against one that was not."""

import csv
import json
import math
import os
import re
import shutil
import signal
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import picscribe
from picscribe.checkpoints.imagenet import imagenet_file, load_imagenet
from picscribe.errors import CheckpointError, ConfigurationError, MissingPackageError, PicscribeError
from picscribe.evaluation.metric import Metric
from picscribe.model import EfficientNetLiteConfig, Git
from picscribe.model.efficientnet_lite import EfficientNetLite
from picscribe.training import loop, train
from picscribe.training.augmentation import Augmentation
from picscribe.training.loop import Trainer, learning_rate_factor
from picscribe.training.moving_average import move_average
from picscribe.training.preview import preview
from picscribe.training.recipe import (
    DataRecipe,
    EvaluationRecipe,
    ImageRecipe,
    OptimisationRecipe,
    Recipe,
    TextRecipe,
    load_recipe,
)

COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220), "green": (30, 200, 30), "white": (240, 240, 240)}
EPOCHS, FROZEN, STEPS_AN_EPOCH, EMA_DECAY = 3, 14, 3, 0.5
UNKNOWN = 1
KILLED_AT_STEP = 4  # the second step of the second epoch


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Six training and two validation images, 64 pixels, two captions each; three steps an epoch."""
    try:
        imagenet_file(0)
    except MissingPackageError as error:
        pytest.skip(str(error))
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
    return Recipe(
        name="tiny",
        data=DataRecipe(str(folder / "dataset_tiny.json"), str(folder)),
        image=ImageRecipe(0, 64, FROZEN, 2, str(folder / "features"), Augmentation(0.6, 1.2, mirror=True)),
        text=TextRecipe(vocabulary_size=300, min_frequency=1, width=32, layers=1, heads=2, mlp_width=64),
        optimisation=OptimisationRecipe(
            epochs=EPOCHS, batch_images=2, learning_rate=5e-3, encoder_learning_rate=1e-4, warmup_steps=2,
            ema_decay=EMA_DECAY,
        ),
        evaluation=EvaluationRecipe(beams=2, max_new_tokens=8),
    )  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, state, and the weight that was watched after every step."""

    folder: Path
    state: dict[str, Any]
    watched: list[torch.Tensor]
    lines: list[str]


WATCHED = "image_encoder.position_embedding"


@pytest.fixture(scope="module")
def whole(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    watched: list[torch.Tensor] = []
    lines: list[str] = []

    def watch(average: torch.nn.Module, model: torch.nn.Module, decay: float, number: int) -> None:
        assert number == len(watched)
        watched.append(model.state_dict()[WATCHED].clone())
        move_average(average, model, decay, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("picscribe.training.loop.move_average", watch)
        history = train(recipe, folder, report=lines.append)
    state = torch.load(folder / "state.pt", weights_only=True)
    assert history == state["history"]
    return Run(folder, state, watched, lines)


@pytest.fixture(scope="module")
def killed(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run that was killed in the middle of its second epoch."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    step = Trainer.step

    def die(trainer: Trainer, indices: list[int], view: int, number: int) -> float:
        if number == KILLED_AT_STEP:
            raise KeyboardInterrupt
        return step(trainer, indices, view, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", die)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, folder, report=lambda line: None)
    return folder


@pytest.fixture
def interrupted(killed: Path, tmp_path: Path) -> Path:
    """A copy of the killed run's folder, to do with as a test likes."""
    return Path(shutil.copytree(killed, tmp_path / "run"))


def without_time(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def read_history(folder: Path) -> list[dict[str, Any]]:
    with (folder / "history.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def flatten(value: Any, name: str = "") -> dict[str, Any]:
    """Every leaf of nested dictionaries and lists, by its path."""
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {path: leaf for key, part in items for path, leaf in flatten(part, f"{name}/{key}").items()}
    return {name: value}


def assert_same_state(found: dict[str, Any], expected: dict[str, Any]) -> None:
    ours, theirs = flatten(found), flatten(expected)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        if name.endswith("/seconds"):
            continue
        same = torch.equal(value, theirs[name]) if isinstance(value, torch.Tensor) else value == theirs[name]
        assert same, f"{name} differs"


# What a run leaves


def test_a_run_leaves_everything_that_was_promised(whole: Run, recipe: Recipe) -> None:
    files = {path.name for path in whole.folder.iterdir()} - {".lock"}  # which some versions of filelock leave
    assert files == {"best", "curves.png", "history.csv", "recipe.yaml", "samples.jsonl", "state.pt", "versions.json"}
    assert load_recipe(whole.folder / "recipe.yaml") == recipe
    assert json.loads((whole.folder / "versions.json").read_text())["torch"] == torch.__version__
    rows = read_history(whole.folder)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert {"loss", "seconds", "CIDEr", "BLEU-4", "ROUGE-L", "distinct"} <= rows[0].keys()


def test_the_run_says_what_it_does(whole: Run) -> None:
    assert "6 training and 2 validation images" in whole.lines[0]
    assert f"{STEPS_AN_EPOCH} steps an epoch" in whole.lines[0]
    assert [line.split()[:2] for line in whole.lines[1:]] == [["epoch", "1"], ["epoch", "2"], ["epoch", "3"]]


def test_a_long_epoch_says_how_fast_it_goes_and_how_long_it_takes(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "REPORT_EVERY", 2)
    lines: list[str] = []
    short = replace(recipe, optimisation=replace(recipe.optimisation, epochs=1))
    train(short, tmp_path / "run", report=lines.append)
    (line,) = [line for line in lines if "images a second" in line]
    shown = r"epoch 1  step 2/3  loss \d+\.\d{4}  learning rate 0\.0\d+  \d+\.\d images a second  \d+ min left"
    assert re.match(shown, line), line


def test_the_loss_falls(whole: Run) -> None:
    losses = [row["loss"] for row in whole.state["history"]]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.8 * losses[0]


def test_the_best_checkpoint_loads_and_captions(whole: Run, recipe: Recipe) -> None:
    scribe = picscribe.load(whole.folder / "best")
    caption = scribe.caption(Path(recipe.data.images) / "6.png", max_new_tokens=8)
    assert caption.tokens
    assert (scribe.preprocessing.size, scribe.preprocessing.mode) == (64, "square")


def test_the_best_checkpoint_holds_how_it_came_to_be(whole: Run, recipe: Recipe) -> None:
    record = json.loads((whole.folder / "best" / "training.json").read_text())
    assert record["recipe"] == json.loads(json.dumps(asdict(recipe)))
    assert record["versions"]["picscribe"] == picscribe.__version__
    best = max(whole.state["history"], key=lambda row: row["CIDEr"])
    assert record["epoch"] == best["epoch"]
    assert record["scores"]["CIDEr"] == best["CIDEr"]


# What is trained and what is not


def test_frozen_parts_are_imagenets_and_all_others_have_moved(whole: Run) -> None:
    original = EfficientNetLite(EfficientNetLiteConfig(0, 64))
    load_imagenet(original)
    start, end = original.state_dict(), whole.state["model"]
    lower = ("stem.", *(f"blocks.{number}." for number in range(FROZEN)))
    frozen = {name for name in start if name.startswith(lower)}
    assert 0 < len(frozen) < len(start)
    for name, weight in start.items():
        # as far as float16 files tell
        unchanged = torch.equal(end[f"image_encoder.{name}"], weight.half().float())
        assert unchanged == (name in frozen), name


def test_depthwise_filters_may_stay_too(recipe: Recipe, tmp_path: Path) -> None:
    for frozen in (False, True):
        trainer = Trainer(replace(recipe, image=replace(recipe.image, frozen_depthwise=frozen)), tmp_path, print)
        blocks = loop.lite_encoder(trainer.model).blocks
        learns = [all(p.requires_grad for p in block.depthwise.parameters()) for block in blocks]
        assert learns == [False] * FROZEN + [not frozen] * (len(blocks) - FROZEN)
        assert all(p.requires_grad for p in blocks[-1].project.parameters())


def test_parts_of_images_and_captions_are_hidden(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hiding = replace(recipe, image=replace(recipe.image, dropout=0.5), text=replace(recipe.text, word_dropout=0.5))
    seen: list[tuple[int, bool]] = []
    decode = Git.decode

    def watched(self: Git, tokens: Any, prefix: Any, *rest: Any, **more: Any) -> Any:
        seen.append((prefix.tokens, bool((tokens == UNKNOWN).any())))
        return decode(self, tokens, prefix, *rest, **more)

    monkeypatch.setattr(Git, "decode", watched)
    for chosen in (recipe, hiding):
        trainer = Trainer(chosen, tmp_path, print)
        assert trainer.tokenizer.unk_id == UNKNOWN
        trainer._prepare(trainer.train_features, 0)
        assert trainer.loss([0, 1, 2, 3], 0).isfinite()
    assert seen == [(4, False), (2, True)]


def test_the_average_follows_every_step(whole: Run) -> None:
    """The moving average written out, from what the weights were after each step."""
    assert len(whole.watched) == EPOCHS * STEPS_AN_EPOCH
    average = torch.zeros_like(whole.watched[0])  # positions start at 0
    for number, weight in enumerate(whole.watched):
        decay = min(EMA_DECAY, (number + 1) / (number + 10))
        average = decay * average + (1 - decay) * weight
    torch.testing.assert_close(whole.state["ema"][WATCHED], average)
    assert not torch.equal(whole.state["ema"][WATCHED], whole.state["model"][WATCHED])


def test_the_best_checkpoint_is_the_average(killed: Path) -> None:
    average = torch.load(killed / "state.pt", weights_only=True)["ema"]  # after the first epoch, the best so far
    saved = picscribe.load(killed / "best").model.state_dict()
    for name, weight in saved.items():
        assert torch.equal(weight, average[name].half().float()), name


def test_the_first_checkpoint_is_kept_whatever_its_score_and_then_only_better_ones(
    interrupted: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(interrupted / "best")
    trainer = Trainer(recipe, interrupted, report=lambda line: None)
    trainer.restore()
    trainer.history = []
    kept = []
    for cider in (0.0, 0.0, 0.3, 0.2, 0.4):
        monkeypatch.setattr(loop, "score_captions", lambda *_, cider=cider: {"CIDEr": Metric(cider, {})})
        trainer.history.append(trainer.validate())
        kept.append(json.loads((interrupted / "best" / "training.json").read_text())["scores"]["CIDEr"])
    assert kept == [0.0, 0.0, 0.3, 0.3, 0.4]


def test_validation_sees_the_image_as_the_checkpoint_will_in_use(whole: Run, recipe: Recipe) -> None:
    """The captions that training scored are those of the saved checkpoint, files to words."""
    from picscribe.datasets import load_examples
    from picscribe.evaluation.caption_scores import score_captions

    images = load_examples(Path(recipe.data.annotations), Path(recipe.data.images), "val")[1]
    scribe = picscribe.load(whole.folder / "best")
    captions = scribe.caption([image.image() for image in images], beams=2, length_penalty=0.6, max_new_tokens=8)
    texts = {image.id: caption.text for image, caption in zip(images, captions, strict=True)}
    scores = score_captions(texts, {image.id: image.texts for image in images})
    record = json.loads((whole.folder / "best" / "training.json").read_text())
    assert {name: metric.value for name, metric in scores.items()} == pytest.approx(record["scores"])


# Killed, and gone on


def test_a_killed_run_keeps_the_state_after_its_last_whole_epoch(interrupted: Path, whole: Run) -> None:
    state = torch.load(interrupted / "state.pt", weights_only=True)
    assert state["epoch"] == 1
    assert without_time(state["history"]) == without_time(whole.state["history"][:1]), "the same seed, the same epoch"
    assert picscribe.load(interrupted / "best").name


def test_a_killed_run_ends_as_if_nothing_had_happened(interrupted: Path, whole: Run, recipe: Recipe) -> None:
    """The central test: weights, average, optimiser and history are the same to the bit."""
    torch.manual_seed(999)  # what else ran in this process must not matter
    lines: list[str] = []
    train(recipe, interrupted, resume=True, report=lines.append)
    assert lines[0] == "resumed after epoch 1"
    assert_same_state(torch.load(interrupted / "state.pt", weights_only=True), whole.state)
    assert without_time(read_history(interrupted)) == without_time(read_history(whole.folder))
    for name in ("model.safetensors", "vocab.txt"):
        assert (interrupted / "best" / name).read_bytes() == (whole.folder / "best" / name).read_bytes(), name


def test_a_validation_that_fails_loses_no_epoch_and_is_made_up_for(
    whole: Run, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "validate", lambda trainer: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(recipe, run, report=lambda line: None)
    state = torch.load(run / "state.pt", weights_only=True)
    assert (state["epoch"], state["due"]) == (1, True)
    assert not (run / "best").exists()
    train(recipe, run, resume=True, report=lambda line: None)
    assert without_time(read_history(run)) == without_time(read_history(whole.folder))
    assert (run / "best" / "model.safetensors").read_bytes() == (
        whole.folder / "best" / "model.safetensors"
    ).read_bytes()


def test_a_run_that_is_asked_to_stop_goes_on_within_its_epoch(
    whole: Run, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM after the second of an epoch's three batches; then the same weights as if it had not come."""
    step = Trainer.step

    def stop(trainer: Trainer, indices: list[int], view: int, number: int) -> float:
        if number == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(trainer, indices, view, number)

    run, lines = tmp_path / "run", list[str]()
    monkeypatch.setattr(Trainer, "step", stop)
    train(recipe, run, report=lines.append)
    assert lines[-1] == "stopped in epoch 2 after step 2; go on with --resume"
    monkeypatch.undo()
    lines.clear()
    train(recipe, run, resume=True, report=lines.append)
    assert lines[0] == "resumed after epoch 1, step 2 of the next"
    assert_same_state(torch.load(run / "state.pt", weights_only=True), whole.state)


def test_a_photo_that_cannot_be_read_is_left_out(recipe: Recipe, tmp_path: Path) -> None:
    images = Path(shutil.copytree(recipe.data.images, tmp_path / "images"))
    (images / "2.png").write_bytes(b"no photo")
    data = replace(recipe.data, images=str(images), annotations=str(images / "dataset_tiny.json"))
    broken = replace(recipe, data=data, image=replace(recipe.image, features=str(tmp_path / "features")))
    lines: list[str] = []
    history = train(broken, tmp_path / "run", report=lines.append)
    assert len(history) == EPOCHS
    ((name, problem),) = json.loads((tmp_path / "run" / "skipped.json").read_text()).items()
    assert name == "2.png"
    assert str(images / "2.png") in problem
    assert any("1 photos could not be read" in line for line in lines)


def test_it_is_for_one_process(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigurationError, match="without torchrun"):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_finished_run_resumes_to_nothing(whole: Run, recipe: Recipe) -> None:
    before = (whole.folder / "state.pt").read_bytes()
    assert train(recipe, whole.folder, resume=True, report=lambda line: None) == whole.state["history"]
    assert (whole.folder / "state.pt").read_bytes() == before


def test_another_recipe_does_not_resume(interrupted: Path, recipe: Recipe) -> None:
    other = replace(recipe, optimisation=replace(recipe.optimisation, learning_rate=1e-3))
    with pytest.raises(ConfigurationError, match=r"recipe\.yaml differs"):
        train(other, interrupted, resume=True, report=lambda line: None)


def test_a_folder_that_holds_a_run_is_left_alone(interrupted: Path, recipe: Recipe) -> None:
    before = (interrupted / "state.pt").read_bytes()
    with pytest.raises(ConfigurationError, match="holds a run already"):
        train(recipe, interrupted, report=lambda line: None)
    assert (interrupted / "state.pt").read_bytes() == before


def test_a_damaged_state_is_a_clear_error(interrupted: Path, recipe: Recipe) -> None:
    path = interrupted / "state.pt"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"state\.pt: damaged"):
        train(recipe, interrupted, resume=True, report=lambda line: None)


@pytest.mark.parametrize("key", ["optimiser", "model"])
def test_a_state_that_does_not_fit_is_a_clear_error(interrupted: Path, recipe: Recipe, key: str) -> None:
    path = interrupted / "state.pt"
    state = torch.load(path, weights_only=True)
    if key == "model":  # as after a change of the captions, which changes the vocabulary
        state["model"]["text_decoder.position_embedding.weight"] = torch.zeros(3, 3)
    else:
        del state[key]
    torch.save(state, path)
    with pytest.raises(CheckpointError, match="does not fit this recipe and data"):
        train(recipe, interrupted, resume=True, report=lambda line: None)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_stops_the_run_and_spoils_nothing(
    interrupted: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """At the last step of the epoch, after which the state would be saved."""
    computed, steps = loop.smoothed_loss, iter(range(100))

    def spoil(logits: torch.Tensor, *rest: Any) -> torch.Tensor:
        if next(steps) == STEPS_AN_EPOCH - 1:
            if what == "loss":
                return computed(logits, *rest) * math.nan
            logits.register_hook(lambda gradient: gradient * math.inf)
        return computed(logits, *rest)

    monkeypatch.setattr(loop, "smoothed_loss", spoil)
    before = {path: path.read_bytes() for path in interrupted.rglob("*") if path.is_file()}
    with pytest.raises(PicscribeError, match=rf"the {what}.* became (nan|inf) at step 6; .* after epoch 1") as caught:
        train(recipe, interrupted, resume=True, report=lambda line: None)
    assert "smaller learning rate" in str(caught.value)
    assert {path: path.read_bytes() for path in interrupted.rglob("*") if path.is_file()} == before


# The learning rate


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


def test_a_dry_run_shows_what_a_run_comes_to_and_trains_nothing(recipe: Recipe, tmp_path: Path) -> None:
    fresh = replace(recipe, image=replace(recipe.image, features=str(tmp_path / "features")))
    lines = preview(fresh, tmp_path / "run").splitlines()
    assert "name: tiny" in lines
    assert "data: 6 images; 2 to validate on" in lines
    assert f"steps: {EPOCHS * STEPS_AN_EPOCH}, {STEPS_AN_EPOCH} an epoch" in lines
    captions = lines[lines.index("the first batch, what the loss counts in «marks»:") + 1 :]
    first = next(Trainer(fresh, tmp_path / "run", lambda text: None).batches())
    assert [line.split(":")[0].strip() for line in captions] == [f"{index}.png" for index in first for _ in range(2)]
    assert all("[CLS] «a» «" in line and line.endswith(" «square» «[SEP]»") != ("ground" in line) for line in captions)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_tells_the_room_that_views_then_take(recipe: Recipe, tmp_path: Path) -> None:
    fresh = replace(recipe, image=replace(recipe.image, features=str(tmp_path / "features")))
    trainer = Trainer(fresh, tmp_path / "run", lambda text: None)
    trainer.train_features.prepare(0)
    (file,) = (tmp_path / "features").iterdir()
    assert file.stat().st_size == trainer.train_features.bytes_a_view()
