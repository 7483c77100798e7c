"""Training from a checkpoint: what a run learns, what it leaves, and what ends it."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

import picscribe
from picscribe.errors import (
    CheckpointError,
    ConfigurationError,
    InputError,
)
from picscribe.model import Git
from picscribe.training import Recipe, load_recipe, train
from picscribe.training.loop import Trainer
from picscribe.training.recipe import (
    DataSettings,
    ImageSettings,
    Source,
    WeightSettings,
)
from picscribe.training.run import validation
from picscribe.training.setup.low_rank import merge_low_rank
from tests.training.tiny_runs import (
    change,
    silent,
)

pytest.importorskip("accelerate")


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
    before = {name: value.clone() for name, value in trainer.learner.model.state_dict().items()}
    history = trainer.run()
    # LoRA begins at nothing and has few weights here: what it must show is that it learns at all.
    assert history[-1]["loss"] < history[0]["loss"] * (0.95 if part == "lora" else 0.5)
    after = trainer.learner.model.state_dict()
    for name in before:
        if (part == "decoder" and name.startswith("image_encoder.")) or (part == "lora" and "lora_" not in name):
            assert torch.equal(before[name], after[name]), name
    if part == "lora":
        whole = merge_low_rank(trainer.learner.model).eval()
        trainer.learner.model.eval()
        pixels, tokens = torch.randn(2, 3, 32, 32), torch.tensor([[[2, 5, 6, 10]]] * 2)
        with torch.no_grad():
            assert torch.allclose(whole(pixels, tokens), trainer.learner.model(pixels, tokens), atol=1e-4)
            plain = Git(whole.config).eval()
            plain.load_state_dict(whole.state_dict())
            assert torch.allclose(plain(pixels, tokens), whole(pixels, tokens), atol=1e-5)
            assert not torch.allclose(
                picscribe.load(folder / "start").model(pixels, tokens), whole(pixels, tokens), atol=1e-2
            )


def test_a_single_size_is_the_models_own(recipe: Recipe, tmp_path: Path) -> None:
    small = replace(recipe, image=ImageSettings((48,)), optimisation=replace(recipe.optimisation, steps=3))
    train(small, tmp_path / "run", report=silent)
    assert picscribe.load(tmp_path / "run" / "best").pixels(Image.new("RGB", (90, 70))).shape[-1] == 48


def test_a_photo_that_cannot_be_read_is_left_out_and_listed(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(folder / "photos", photos)
    for number in (3, 4, 11):
        (photos / f"{number:02}.png").write_bytes(b"no image")
    broken = replace(recipe, data=replace(recipe.data, train=(Source(str(photos)),)))
    broken = change(broken, optimisation__batch_images=1, optimisation__accumulate=1, optimisation__steps=12)
    train(broken, tmp_path / "run", report=silent)
    listed = json.loads((tmp_path / "run" / "skipped.json").read_text())
    assert listed
    assert {Path(name).stem for name in listed} <= {"03", "04", "11"}


def test_photos_of_one_name_in_two_data_sets_are_both_listed(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(folder / "photos", tmp_path / name)
        (tmp_path / name / "03.png").write_bytes(b"no image")
    data = DataSettings((Source(str(tmp_path / "one")), Source(str(tmp_path / "two"))), recipe.data.train)
    short = replace(recipe, data=data, optimisation=replace(recipe.optimisation, steps=8))
    train(short, tmp_path / "run", report=silent)
    listed = json.loads((tmp_path / "run" / "skipped.json").read_text())
    assert set(listed) == {str(tmp_path / name / "03.png") for name in ("one", "two")}


def test_no_photo_at_all_ends_the_run(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    photos = Path(shutil.copytree(folder / "photos", tmp_path / "photos"))
    for file in photos.glob("*.png"):
        file.write_bytes(b"no photo")
    data = DataSettings((Source(str(photos)),), (Source(str(folder / "photos")),))
    before = replace(recipe, data=data)
    with pytest.raises(InputError, match=r"no photo of a whole epoch could be read .*such as .*png"):
        train(before, tmp_path / "run", report=silent)


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


def test_patience_ends_a_run(recipe: Recipe, tmp_path: Path) -> None:
    settings = replace(recipe.optimisation, steps=200, learning_rate=0.0, encoder_learning_rate=0.0)
    stuck = replace(recipe, optimisation=settings, validation=replace(recipe.validation, patience=2))
    history = train(stuck, tmp_path / "run", report=silent)
    assert [row["step"] for row in history] == [3, 6, 9]


def test_the_start_may_be_the_best(
    recipe: Recipe, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is scored before anything is learned, and kept where that was in vain."""
    falling = iter([1.0, 0.5, 0.7, 0.9])
    monkeypatch.setattr(validation, "score", lambda *_: {"CIDEr": SimpleNamespace(value=next(falling))})
    before = change(recipe, validation__before=True)
    history = train(before, tmp_path / "run", report=silent)
    assert [(row["step"], row["CIDEr"]) for row in history] == [(0, 1.0), (3, 0.5), (6, 0.7), (9, 0.9)]
    start = picscribe.load(folder / "start").model.state_dict()
    best = picscribe.load(tmp_path / "run" / "best").model.state_dict()
    assert all(torch.equal(start[name], best[name]) for name in start)
    assert train(before, tmp_path / "run", resume=True, report=silent) == history, "and only once"


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
    run(InputError, "one image is too few", data=DataSettings((Source(str(bare)),)))
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
    run(ConfigurationError, "has videos, but data.train has images", data=DataSettings((Source(photos),), (videos,)))


def test_a_run_among_its_data_is_refused(recipe: Recipe, folder: Path) -> None:
    for run in (folder / "photos", folder / "photos" / "deep" / "run"):
        with pytest.raises(ConfigurationError, match="the folder of the data: name another folder"):
            train(recipe, run, report=silent)
        assert not (run / "recipe.yaml").exists()


def test_photos_that_are_learned_and_validated_on_are_told_of(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    same = (Source(str(folder / "photos")),)
    lines: list[str] = []
    short = replace(recipe, data=DataSettings(same, same), optimisation=replace(recipe.optimisation, steps=1))
    train(short, tmp_path / "run", report=lines.append)
    assert lines[0].startswith("16 images an epoch, 16 examples to validate on, ")
    assert lines[1] == "warning: 16 of the examples to validate on are about photos that are learned from too"
