"""A run's folder: recipe, versions, history, the state to go on from, the best checkpoint; never half-written."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from picscribe.errors import CheckpointError, ConfigurationError
from picscribe.training.fine_tuning_recipe import FineTuningRecipe
from picscribe.training.recipe import Recipe, dump_recipe
from picscribe.versions import versions
from picscribe.whole_files import whole_file, write_whole


class RunFolder:
    """recipe.yaml, versions.json, history.csv, state.pt and best/ of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best = path / "best"
        self._state = path / "state.pt"
        self._recipe = path / "recipe.yaml"

    def open(self, recipe: Recipe | FineTuningRecipe, resume: bool) -> None:
        """Start a run here, or go on with one. Raises ConfigurationError where that would lose or mix runs."""
        if resume:
            if not (self._has_state() and self._recipe.exists()):
                raise ConfigurationError(f"{self.path}: nothing to resume; run without --resume to start")
            if self._recipe.read_text(encoding="utf-8") != dump_recipe(recipe):
                raise ConfigurationError(
                    f"{self._recipe} differs from the recipe given: resume with the same settings, "
                    "or name another folder"
                )
            return
        if self._has_state():
            raise ConfigurationError(
                f"{self.path} holds a run already: --resume goes on with it, --output names another folder"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"{self.path} cannot be made ({error.strerror}): name another folder") from error
        write_whole(self._recipe, dump_recipe(recipe))
        write_whole(self.path / "versions.json", json.dumps(versions(), indent=2) + "\n")

    def _has_state(self) -> bool:
        return self._state.exists() or any((self.path / "states").glob("step-*.pt"))

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Everything a resumed run needs, tensors and plain values only."""
        with whole_file(self._state) as stream:
            torch.save(dict(state), stream)

    def load_state(self) -> dict[str, Any]:
        """The saved state. Raises CheckpointError where the file is damaged."""
        try:
            state: dict[str, Any] = torch.load(self._state, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many types for a damaged file
            raise CheckpointError(f"{self._state}: damaged ({type(error).__name__}); start the run anew") from error
        return state

    def write_history(self, history: list[dict[str, float]]) -> None:
        """history.csv, a row an epoch; the columns are the union of all rows'."""
        columns = list(dict.fromkeys(key for row in history for key in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(history)
        write_whole(self.path / "history.csv", text.getvalue())
