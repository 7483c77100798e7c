"""docs/training.md names every setting of a recipe, with its default, and none that is not there."""

import dataclasses
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from picscribe.training.recipe import Recipe, Source

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
IN_WORDS = {
    "start": "", "trackers": "none", "data.train": "", "data.validation": "held out", "image.sizes": "the start's",
    "image.features": "in the run's folder", "self_critical.document_frequencies": "the training captions'",
}  # fmt: skip


def settings(kind: Any, section: str = "") -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(kind):
        inner = typing.get_type_hints(kind)[field.name]
        if dataclasses.is_dataclass(inner):
            yield from settings(inner, f"{section}{field.name}.")
        else:
            yield f"{section}{field.name}", field.default


def test_every_setting_is_told_of_with_its_default() -> None:
    of_recipes = PAGE.partition("## What a run leaves")[0]
    told = dict(re.findall(r"^\| `([a-z_.]+)` \| (.*?) ?\|", of_recipes, re.MULTILINE))
    known = dict(settings(Recipe))
    assert set(told) == set(known)
    for name, default in known.items():
        if name in IN_WORDS:
            assert told[name] == IN_WORDS[name], name
        elif isinstance(default, float):
            assert float(told[name]) == default, name
        else:
            assert yaml.safe_load(told[name]) == (list(default) if isinstance(default, tuple) else default), name


def test_what_a_data_set_may_say_is_told() -> None:
    assert all(f"{field.name}: …" in PAGE for field in dataclasses.fields(Source))
