"""The data that the proofs make: what is said is what is drawn, and nothing to be tested on was learned."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from picscribe.datasets import load_examples
from picscribe.media.video import read_frames
from picscribe.training import FineTuningRecipe, load_recipe

RECIPES = Path(__file__).resolve().parents[2] / "recipes" / "proofs"


@pytest.mark.parametrize("file", sorted(RECIPES.glob("*.yaml")), ids=lambda file: file.stem)
def test_recipes_name_the_data_that_is_made(file: Path) -> None:
    recipe = load_recipe(file)
    assert isinstance(recipe, FineTuningRecipe)
    assert recipe.name == file.stem
    sources = [*recipe.data.train, *recipe.data.validation]
    assert all(Path(source.path).parts[:4] == ("runs", "proofs", file.stem, "data") for source in sources)


def test_easy_vqa(tmp_path: Path) -> None:
    easy_vqa = pytest.importorskip("easy_vqa")
    from proofs.easy_vqa import write

    write(tmp_path)
    _, learned = load_examples(tmp_path, None, "train")
    _, asked = load_examples(tmp_path, None, "test")
    assert (len(learned), len(asked)) == (38575, 9673)
    assert {text for example in asked for text in example.texts} == set(easy_vqa.get_answers())
    assert not {example.source for example in learned} & {example.source for example in asked}


def test_moving_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Videos hold what they are said to hold: where the coloured pixels are, and how many, over the frames."""
    pytest.importorskip("av")
    from proofs import moving_shapes

    monkeypatch.setattr(moving_shapes, "COUNTS", {"train": 40, "test": 4})
    moving_shapes.write(tmp_path)
    _, captions = load_examples(tmp_path / "captions.json", tmp_path / "videos", "train")
    _, questions = load_examples(tmp_path / "questions.json", tmp_path / "videos", "train")
    assert (len(captions), len(questions)) == (40, 120)
    seen = set()
    for example in captions:
        _, colour, _, *motion = example.texts[0].split()
        frames = [np.asarray(frame, np.int32) for frame in read_frames(example.image(), 6)]
        assert len(frames) == 6
        near = [np.abs(frame - moving_shapes.COLOURS[colour]).sum(-1) < 100 for frame in frames]
        counts = [int(mask.sum()) for mask in near]
        middles = [np.argwhere(mask).mean(0) if mask.any() else np.zeros(2) for mask in near]
        down, right = middles[-1] - middles[0]
        seen.add(" ".join(motion))
        checks: dict[str, Any] = {
            "moves left": right < -10, "moves right": right > 10, "moves up": down < -10, "moves down": down > 10,
            "grows": counts[-1] > 1.5 * counts[0], "shrinks": counts[0] > 1.5 * counts[-1],
            "blinks": counts[1] < counts[0] / 10,
        }  # fmt: skip
        assert checks[" ".join(motion)], example
    assert seen == set(moving_shapes.MOTIONS)


def test_opposite_motions_hold_the_same_frames() -> None:
    from dataclasses import replace

    from proofs.moving_shapes import draw_scene, frames_of

    for seed in range(5):
        scene = draw_scene(random.Random(seed))
        for one, other in (("moves left", "moves right"), ("moves up", "moves down"), ("grows", "shrinks")):
            forth = [np.asarray(f, np.int32) for f in frames_of(replace(scene, motion=one))]
            back = [np.asarray(f, np.int32) for f in frames_of(replace(scene, motion=other))][::-1]
            assert all(np.abs(a - b).mean() < 1.0 for a, b in zip(forth, back, strict=True))


def test_words_to_read_were_not_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from proofs import scene_text

    if not scene_text.FONTS.is_dir():
        pytest.skip(f"{scene_text.FONTS} is not there")
    monkeypatch.setattr(scene_text, "COUNTS", {"train": 200, "val": 20, "test": 60})
    scene_text.write(tmp_path)
    _, learned = load_examples(tmp_path, None, "train")
    _, read = load_examples(tmp_path, None, "test")
    assert not {example.texts for example in learned} & {example.texts for example in read}
    splits = [set(scene_text.words_of(split)) for split in ("train", "val", "test")]
    assert not splits[0] & splits[1] | splits[0] & splits[2] | splits[1] & splits[2]
    scene_text.make_start(tmp_path / "start")
    tokenizer = __import__("picscribe").load(tmp_path / "start").tokenizer
    assert all(tokenizer.decode(tokenizer.encode(word)) == word for word in splits[2])
