"""What a run says of its data before it begins."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from picscribe.training import Recipe
from picscribe.training.data.reading import read_data
from picscribe.training.preview import preview
from picscribe.training.recipe import (
    DataSettings,
    Source,
)
from picscribe.training.run.progress import list_warnings
from picscribe.training.setup.start import load_start

pytest.importorskip("accelerate")


def test_photos_that_nobody_named_are_told_of(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(folder / "photos", photos, ignore=shutil.ignore_patterns("*.txt"))
    rows = [{"file_name": f"{number:02}.png", "text": f"number {number}"} for number in range(14)]
    (photos / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = read_data(DataSettings((Source(str(photos)),)), 1)
    start = load_start(recipe, data)
    told = f"warning: images that the metadata does not name, left out: 2, such as {photos / '14.png'}"
    assert next(list_warnings(data, start.tokenizer, recipe)) == told


def test_words_that_are_lost_are_told_of(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "photos", tmp_path / "photos")
    (tmp_path / "photos" / "03.txt").write_text("ein rotes Quadrat auf weissem Grund\n")
    (tmp_path / "photos" / "04.txt").write_text("a red square " * 14)
    data = DataSettings((Source(str(tmp_path / "photos")),), recipe.data.train)
    lines = preview(replace(recipe, data=data), tmp_path / "run").splitlines()
    said = [line for line in lines if line.startswith("warning")]
    assert len(said) == 2, said
    assert "% of the words to learn are not in the vocabulary" in said[0]
    assert "1 of 30 texts are longer than data.max_tokens, 40, and are cut" in said[1]
    lines = preview(recipe, tmp_path / "run").splitlines()
    assert not [line for line in lines if line.startswith("warning")]
