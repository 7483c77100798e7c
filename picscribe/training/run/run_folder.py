"""A run's folder: recipe, versions, history, the state to continue from, the best checkpoint; never half-written."""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from picscribe.datasets import Example
from picscribe.errors import ConfigurationError
from picscribe.training.data.mixture import TrainingData
from picscribe.training.recipe import Recipe
from picscribe.training.recipe_file import dump_recipe
from picscribe.training.run.curves import draw_curves
from picscribe.versions import versions
from picscribe.whole_files import write_whole

SHOWN = 8
"""Images whose captions samples.jsonl holds."""


class RunFolder:
    """recipe.yaml, versions.json, history.csv, curves.png, samples.jsonl, states and best/ of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best, self.held_out = path / "best", path / "held_out"
        self._recipe = path / "recipe.yaml"
        # The operating system's, which ends with the process, however it ends; within one it may be held twice.
        self._lock = FileLock(path / ".lock", is_singleton=True)

    def open(self, recipe: Recipe, resume: bool) -> None:
        """Start a run here, or continue with one, until `close`. Raises ConfigurationError where that would lose or mix
        runs, and where another process is training here."""
        if resume:
            self.require(recipe, resume)
            self._hold()
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"{self.path} cannot be made ({error.strerror}): name another folder") from error
        self._hold()
        self.require_free()
        write_whole(self._recipe, dump_recipe(recipe))
        write_whole(self.path / "versions.json", json.dumps(versions(), indent=2) + "\n")

    def require(self, recipe: Recipe, resume: bool) -> None:
        """Raise ConfigurationError where a run cannot be started here, or gone on with."""
        if not resume:
            self.require_free()
            return
        if not (self._has_state() and self._recipe.exists()):
            if self._recipe.exists():  # perhaps of a run that is at work, and has saved nothing yet
                self._hold()
                self.close()
            raise ConfigurationError(f"{self.path}: there is no run to resume: leave out --resume to start one")
        before, given = self._recipe.read_text(encoding="utf-8"), dump_recipe(recipe)
        if before != given:
            raise ConfigurationError(
                f"{self._recipe} differs from the recipe given{_first_difference(before, given)}: resume with the same "
                f"settings, or start another run from {self.best} in another folder"
            )

    def require_apart(self, folders: Iterable[Path]) -> None:
        """Raise ConfigurationError where this folder is in one of those, which then could not be read again."""
        for folder in folders:
            if self.path.resolve().is_relative_to(folder.resolve()):
                raise ConfigurationError(
                    f"{self.path} is inside {folder}, the folder of the data: name another folder with --output"
                )

    def _hold(self) -> None:
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise ConfigurationError(
                f"{self.path}: another process is training here: wait until it ends, or name another folder"
            ) from error
        except (OSError, NotImplementedError):
            # A file system without locks is no reason not to train; the next write fails where it cannot be written.
            pass

    def close(self) -> None:
        """Let other processes train here."""
        self._lock.release()

    def require_free(self) -> None:
        """Raise ConfigurationError for a folder that holds a run, or what is left of one."""
        if self._has_state():
            raise ConfigurationError(
                f"{self.path} has a run already: continue it with --resume, or name another folder with --output"
            )
        if self.best.exists():
            raise ConfigurationError(f"{self.best} is the result of an earlier run: name another folder with --output")

    def _has_state(self) -> bool:
        return any((self.path / "states").glob("step-*.pt"))

    def write_held_out(self, data: TrainingData) -> None:
        """held_out/metadata.jsonl: what is validated on because nobody named other data, as a data set of its own."""
        if data.held_out is None:
            return
        rows = [_row(example, data) for example in data.validation]
        self.held_out.mkdir(exist_ok=True)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_whole(self.held_out / "metadata.jsonl", lines)

    def write_history(self, history: list[dict[str, float]]) -> None:
        """history.csv, a row a validation, with the columns of all rows; and curves.png."""
        columns = list(dict.fromkeys(key for row in history for key in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(history)
        write_whole(self.path / "history.csv", text.getvalue())
        write_whole(self.path / "curves.png", draw_curves(history))

    def write_skipped(self, problems: Mapping[str, str]) -> bool:
        """skipped.json: the photos that could not be used, and why; whether that is news."""
        file, text = self.path / "skipped.json", json.dumps(problems, indent=1, ensure_ascii=False)
        if file.exists() and file.read_text(encoding="utf-8") == text:
            return False
        write_whole(file, text)
        return True

    def add_samples(self, step: int, examples: Iterable[Example], said: Mapping[str, str]) -> None:
        """samples.jsonl: what is said of the first few images after every validation.

        A run that was killed and resumed may validate once more after the same step; the earlier figures are dropped.
        """
        shown = [example for example in examples if example.id in said][:SHOWN]
        rows = [
            {"step": step, "id": e.id, "question": e.question, "said": said[e.id], "people": e.texts[:1]} for e in shown
        ]
        file = self.path / "samples.jsonl"
        earlier = file.read_text(encoding="utf-8", errors="replace").split("\n") if file.exists() else []
        kept = [line + "\n" for line in earlier if _is_before(step, line)]
        write_whole(file, "".join([*kept, *(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)]))


def _is_before(step: int, line: str) -> bool:
    """Whether a line of samples.jsonl was said before a step; not one that is cut off, or empty."""
    try:
        return bool(json.loads(line)["step"] < step)
    except ValueError:
        return False


def _row(example: Example, data: TrainingData) -> dict[str, object]:
    """As Hugging Face's imagefolder has it, `file_name` below `data.held_out`."""
    row = {"id": example.id, "file_name": Path(os.path.relpath(str(example.source), data.held_out)).as_posix()}
    if data.task == "labels":
        return {**row, "label": example.texts[0]}
    if data.task == "questions":
        return {**row, "question": example.question, "answers": list(example.texts)}
    return {**row, "captions": list(example.texts)}


def _first_difference(before: str, given: str) -> str:
    """Where two recipes part, in parentheses; "" where one of them is no recipe."""
    try:
        sides = [dict(_settings(yaml.safe_load(text))) for text in (before, given)]
    except (yaml.YAMLError, AttributeError):
        return ""
    for name in dict.fromkeys(name for side in sides for name in side):
        was, now = (side.get(name, "not set") for side in sides)
        if was != now:
            return f" ({name} was {was}, now {now})"
    return ""


def _settings(section: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _settings(value, f"{where}{key}.")
        else:
            yield f"{where}{key}", value
