"""What is validated on, what is kept of it, and what a run says of its data."""

import json
import shlex
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from picscribe.cli.main import app
from picscribe.datasets import load_examples
from picscribe.training import Recipe, train
from picscribe.training.data.reading import read_data
from picscribe.training.loop import Trainer
from picscribe.training.recipe import (
    DataSettings,
    SavingSettings,
    Source,
)
from picscribe.training.run.run_folder import RunFolder
from tests.training.tiny_runs import (
    change,
    silent,
)

pytest.importorskip("accelerate")


def test_of_equal_scores_the_later_is_kept(recipe: Recipe, tmp_path: Path) -> None:
    """CIDEr of a single photo is 0 whatever is said: what learned longest is kept then."""
    alone = change(recipe, validation__images=1)
    history = train(alone, tmp_path / "run", report=silent)
    assert {row["CIDEr"] for row in history} == {0.0}
    assert json.loads((tmp_path / "run" / "best" / "training.json").read_text())["step"] == 9


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
    trainer.validation._warn(scores, {example.id: "a red square" for example in trainer.validation.examples})
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
