"""Runs that were stopped or killed go on as if they had not been, and lose nothing."""

import random
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from picscribe.cli.main import app
from picscribe.errors import (
    CheckpointError,
    ConfigurationError,
    PicscribeError,
)
from picscribe.training import Recipe, train
from picscribe.training.loop import Trainer
from picscribe.training.recipe import (
    SavingSettings,
    Source,
)
from tests.training.tiny_runs import (
    COMMAND,
    ENVIRONMENT,
    assert_same_state,
    change,
    read_state,
    silent,
    weights_step,
    write_recipe,
)

pytest.importorskip("accelerate")


class Killed(Exception):
    """Stands for whatever ends a process between two steps."""


@pytest.mark.parametrize("at", [4, 6, 8])
def test_a_resumed_run_is_the_same_run(at: int, recipe: Recipe, whole_run: Path, tmp_path: Path) -> None:
    saving = replace(recipe, saving=SavingSettings(every_steps=2))
    trainer = Trainer(saving, tmp_path / "run", silent)
    trainer.folder.open(saving, resume=False)
    after = trainer._finish_step

    def killed(*arguments: Any) -> bool:
        ended = after(*arguments)
        if trainer.step == at:
            raise Killed
        return ended

    trainer._finish_step = killed  # type: ignore[method-assign]
    with pytest.raises(Killed):
        trainer.run()
    train(saving, tmp_path / "run", resume=True, report=silent)
    assert_same_state(read_state(tmp_path / "run"), read_state(whole_run))


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_saves_and_says_how_to_go_on(sent: signal.Signals, code: int, recipe: Recipe, tmp_path: Path) -> None:
    longer = change(recipe, optimisation__steps=100_000)
    longer = change(longer, validation__every_steps=100_000)
    file, run = write_recipe(longer, tmp_path), tmp_path / "run"
    process = subprocess.Popen(
        [*COMMAND, str(file), "--output", str(run)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().startswith("12 images an epoch, 4 examples to validate on, ")
    assert process.stdout.readline().startswith("step 20/")
    process.send_signal(sent)
    said, errors = process.communicate(timeout=300)
    assert process.returncode == code
    assert "continue with --resume" in said
    assert ("Ctrl-C once more" in errors) == (sent == signal.SIGINT)
    assert "Traceback" not in errors
    assert read_state(run)["step"] >= 20


@pytest.mark.slow
def test_twenty_kills_change_nothing(recipe: Recipe, tmp_path: Path) -> None:
    """kill -9 at 20 random moments of 300 steps, resumed each time: bit-identical, no state ever unreadable."""
    longer = replace(
        recipe,
        optimisation=replace(recipe.optimisation, steps=300),
        validation=replace(recipe.validation, every_steps=100),
        saving=SavingSettings(every_steps=5),
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
    assert_same_state(read_state(run), read_state(whole))


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
    assert read_state(tmp_path / "run")["step"] == 3
    assert [file.suffix for file in (tmp_path / "run" / "states").iterdir()] == [".pt"]
    train(recipe, tmp_path / "run", resume=True, report=silent)
    assert read_state(tmp_path / "run")["step"] == 9


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
    assert read_state(run)["step"] == 3
    monkeypatch.undo()
    train(recipe, run, resume=True, report=silent)
    assert_same_state(read_state(run), read_state(whole_run))
    assert [row["step"] for row in read_state(run)["history"]] == [3, 6, 9]
    assert [row["loss"] for row in read_state(run)["history"]] == [
        row["loss"] for row in read_state(whole_run)["history"]
    ]


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
    assert (read_state(run)["step"], len(read_state(run)["history"])) == (6, 1)
    monkeypatch.undo()
    train(recipe, run, resume=True, report=silent)
    assert_same_state(read_state(run), read_state(whole_run))


def test_other_data_do_not_go_on(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    photos = Path(shutil.copytree(folder / "photos", tmp_path / "photos"))
    own = replace(recipe, data=replace(recipe.data, train=(Source(str(photos)),)))
    short = change(own, validation__images=1)
    train(short, tmp_path / "run", report=silent)
    Image.new("RGB", (40, 40), "red").save(photos / "99.png")
    (photos / "99.txt").write_text("a red square\n")
    with pytest.raises(CheckpointError, match="added, removed or changed"):
        train(short, tmp_path / "run", resume=True, report=silent)


def test_a_folder_that_holds_a_run_is_left_alone(recipe: Recipe, whole_run: Path) -> None:
    with pytest.raises(ConfigurationError, match="has a run already"):
        train(recipe, whole_run, report=silent)
    with pytest.raises(ConfigurationError, match=r"differs from the recipe given \([a-z_.]+ was .*, now .*\)"):
        train(replace(recipe, seed=2), whole_run, resume=True, report=silent)


def test_damaged_states_are_named(recipe: Recipe, whole_run: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(whole_run, tmp_path / "run")
    latest = sorted((tmp_path / "run" / "states").iterdir())[-1]
    latest.write_bytes(latest.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"damaged.*continue from the state before"):
        train(recipe, tmp_path / "run", resume=True, report=silent)
    latest.unlink()
    train(recipe, tmp_path / "run", resume=True, report=silent)
    assert_same_state(read_state(tmp_path / "run"), read_state(whole_run))


def test_a_run_goes_on_by_its_folder_alone(whole_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole_run, tmp_path / "a run"))
    (run / "states" / "step-00000009.pt").unlink()
    for said in ("resumed after step 6\n", "resumed after step 9, the last: there is nothing left to learn\n"):
        result = CliRunner().invoke(app, ["train", "--resume", "--output", str(run)])
        assert result.exit_code == 0, result.output
        assert said in result.output
        assert f"picscribe caption PHOTO --model '{run / 'best'}'" in result.output
    assert_same_state(read_state(run), read_state(whole_run))
    result = CliRunner().invoke(app, ["caption", "photo.jpg", "--model", str(run)])
    assert f"whose best checkpoint is {run / 'best'}" in result.output
