"""A run's folder: no run is overwritten or mixed with another, no file is ever half there."""

import csv
import json
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from picscribe.datasets import Example
from picscribe.errors import ConfigurationError, PicscribeError
from picscribe.training.recipe import Recipe
from picscribe.training.recipe_file import load_recipe
from picscribe.training.run.run_folder import RunFolder
from picscribe.training.run.states import States
from picscribe.versions import versions

STATE = "step-00000003.pt"


def save_state(run: Path) -> None:
    States(run / "states").save(3, {"step": 3})


def test_a_new_run_writes_down_what_it_is(tmp_path: Path) -> None:
    recipe = Recipe(name="mine", seed=7)
    RunFolder(tmp_path / "deep" / "run").open(recipe, resume=False)
    assert load_recipe(tmp_path / "deep" / "run" / "recipe.yaml") == recipe
    written = json.loads((tmp_path / "deep" / "run" / "versions.json").read_text())
    assert written == versions()
    assert written["torch"] == torch.__version__


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.open(Recipe(), resume=False)
    save_state(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ConfigurationError, match="has a run already: continue it with --resume"):
        folder.open(Recipe(seed=2), resume=False)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_run_that_died_in_its_first_epoch_may_be_started_anew(tmp_path: Path) -> None:
    RunFolder(tmp_path).open(Recipe(), resume=False)
    RunFolder(tmp_path).open(Recipe(seed=2), resume=False)
    assert load_recipe(tmp_path / "recipe.yaml").seed == 2


@pytest.mark.parametrize("resume", [False, True])
def test_only_one_process_at_a_time_trains_in_a_folder(resume: bool, tmp_path: Path) -> None:
    """Until it ends, even by kill -9, the other neither starts there nor goes on, and changes nothing."""
    code = (
        "import sys; from pathlib import Path; from picscribe.training import Recipe\n"
        "from picscribe.training.run.run_folder import RunFolder\n"
        "folder = RunFolder(Path(sys.argv[1]))\n"
        "folder.open(Recipe(), resume=False) or print('open', flush=True) or sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "open\n"
        folder, recipe = RunFolder(tmp_path), Recipe()
        if resume:
            save_state(tmp_path)
        if not resume:
            with pytest.raises(ConfigurationError, match="another process is training here: wait"):
                folder.require(recipe, resume=True)
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        with pytest.raises(ConfigurationError, match="another process is training here: wait"):
            folder.open(recipe, resume)
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
        other.kill()
    with closing(folder):
        folder.open(recipe, resume)


@pytest.mark.parametrize("error", [OSError(37, "No locks available"), NotImplementedError("no flock")])
def test_a_file_system_without_locks_can_be_trained_on(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: object, timeout: float) -> None:
        raise error

    monkeypatch.setattr(FileLock, "acquire", fails)
    with closing(RunFolder(tmp_path)) as folder:
        folder.open(Recipe(), resume=False)
    assert load_recipe(tmp_path / "recipe.yaml") == Recipe()


def test_only_the_same_recipe_resumes(tmp_path: Path) -> None:
    recipe = Recipe()
    folder = RunFolder(tmp_path)
    folder.open(recipe, resume=False)
    save_state(tmp_path)
    folder.open(recipe, resume=True)
    longer = replace(recipe, optimisation=replace(recipe.optimisation, epochs=99))
    with pytest.raises(ConfigurationError, match=r"recipe\.yaml differs"):
        folder.open(longer, resume=True)
    assert load_recipe(tmp_path / "recipe.yaml") == recipe


@pytest.mark.parametrize("lost", ["recipe.yaml", f"states/{STATE}"])
def test_where_there_is_nothing_to_resume_it_says_so(tmp_path: Path, lost: str) -> None:
    folder = RunFolder(tmp_path)
    folder.open(Recipe(), resume=False)
    save_state(tmp_path)
    (tmp_path / lost).unlink()
    with pytest.raises(ConfigurationError, match="no run to resume"):
        folder.open(Recipe(), resume=True)
    with pytest.raises(ConfigurationError, match="no run to resume"):
        RunFolder(tmp_path / "nowhere").open(Recipe(), resume=True)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in ("file", "file/run"):
        with pytest.raises(ConfigurationError, match="cannot be made"):
            RunFolder(tmp_path / name).open(Recipe(), resume=False)


def test_history_has_a_column_for_every_figure_of_any_epoch(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_history([{"step": 1, "loss": 2.5}, {"step": 2, "loss": 2.0, "CIDEr": 0.1}])
    with (tmp_path / "history.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert rows == [{"step": "1", "loss": "2.5", "CIDEr": ""}, {"step": "2", "loss": "2.0", "CIDEr": "0.1"}]
    assert {path.name for path in tmp_path.iterdir()} == {"history.csv", "curves.png"}


def test_samples_of_a_step_are_there_once_after_a_kill(tmp_path: Path) -> None:
    folder, file = RunFolder(tmp_path), tmp_path / "samples.jsonl"
    examples = [Example(str(number), Path(f"{number}.jpg"), ("a dog",)) for number in range(9)]
    for step in (10, 20):
        folder.add_samples(step, examples, {str(number): f"line\u2028{step}" for number in range(9)})
    file.write_bytes(file.read_bytes() + '{"step": 5, "said": "ä'.encode()[:-1])  # as a kill left it once
    folder.add_samples(20, examples, {"3": "again"})
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]
    assert [(row["step"], row["said"]) for row in rows] == [(10, "line\u202810")] * 8 + [(20, "again")]
    assert rows[-1] == {"step": 20, "id": "3", "question": "", "said": "again", "people": ["a dog"]}


def test_samples_that_cannot_be_written_are_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(PicscribeError, match=r"samples\.jsonl: cannot be written"):
        RunFolder(tmp_path / "gone").add_samples(1, [], {})
