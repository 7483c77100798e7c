"""Tiny runs that tests make, change and compare: one builder of recipes, and what is read of a run's folder."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from picscribe.training import Recipe
from picscribe.training.recipe_file import dump_recipe

COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220), "green": (30, 200, 30), "white": (240, 240, 240)}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["a", *COLOURS, "square", "on", "ground", "what", "colour", "is", "it", "the"]
COMMAND = [sys.executable, "-m", "picscribe", "train"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def change(recipe: Recipe, **settings: Any) -> Recipe:
    """The recipe with other settings, at once: `seed=2`, or of a section `optimisation__steps=3`."""
    sections: dict[str, Any] = {}
    for name, value in settings.items():
        section, _, key = name.partition("__")
        sections[section] = replace(sections.get(section, getattr(recipe, section)), **{key: value}) if key else value
    return replace(recipe, **sections)


def write_recipe(recipe: Recipe, folder: Path) -> Path:
    """recipe.yaml in a folder."""
    file = folder / "recipe.yaml"
    file.write_text(dump_recipe(recipe))
    return file


def read_state(run: Path) -> dict[str, Any]:
    """The latest state of a run."""
    latest = sorted((run / "states").glob("step-*.pt"))[-1]
    state: dict[str, Any] = torch.load(latest, weights_only=True)
    return state


def weights_step(run: Path) -> int:
    """The step of a run's latest state; 0 without any."""
    steps = [int(file.stem[5:]) for file in (run / "states").glob("step-*.pt")]
    return max(steps, default=0)


def assert_same_state(one: Any, other: Any) -> None:
    """Two states of the same weights, to the bit, and the same scores."""
    for key in ("model", "ema"):
        assert one[key].keys() == other[key].keys()
        for name, value in one[key].items():
            assert torch.equal(value, other[key][name]), name
    assert [row.get("CIDEr") for row in one["history"]] == [row.get("CIDEr") for row in other["history"]]
    assert one["step"] == other["step"]


def silent(text: str) -> None:
    """Reports nothing."""
