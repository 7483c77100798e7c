"""The data that the proofs make: what is said is what is drawn, and nothing to be tested on was learned."""

import random
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from picscribe.datasets import load_examples
from picscribe.media.video import read_frames
from picscribe.training import load_recipe

RECIPES = Path(__file__).resolve().parents[2] / "recipes" / "proofs"


@pytest.mark.parametrize("file", sorted(RECIPES.glob("*.yaml")), ids=lambda file: file.stem)
def test_recipes_name_the_data_that_is_made(file: Path) -> None:
    recipe = load_recipe(file)
    assert recipe.name == file.stem
    made = [Path(source.path).parts for source in recipe.data.train if source.path.startswith("runs/")]
    assert made
    for runs, proofs, name, data, *_ in made:
        assert (runs, proofs, data) == ("runs", "proofs", "data")
        assert file.stem.startswith(name), "of its own, or of the proof that it goes on from"


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


@pytest.mark.parametrize(
    ("kind", "captions", "pairs"),
    [
        ("colour", ["a brown dog runs", "the brown dog", "a dog"], {("what color is the dog?", "brown")}),
        ("colour", ["a brown dog runs", "the black dog"], set()),
        ("colour", ["a black and white dog runs"], set()),
        ("colour", ["a man in a gray shirt and a red hat"], {("what color is the shirt?", "grey"),
                                                             ("what color is the hat?", "red")}),
        ("number", ["two dogs play", "2 dogs in snow", "dogs"], {("how many dogs are there?", "two")}),
        ("number", ["two dogs play", "three dogs play", "dogs"], set()),
        ("number", ["a dog", "the dog", "one dog runs", "dog in snow"], {("how many dogs are there?", "one")}),
        ("number", ["a dog", "the dog", "one dog runs", "dogs in snow"], set()),
        ("animal", ["a puppy", "a dog", "a dog runs"], {("what animal is it?", "dog")}),
        ("animal", ["a dog and a cat", "a dog", "a dog runs"], set()),
        ("doing", ["a man is running", "the man is running fast"], {("what is the man doing?", "running")}),
        ("doing", ["a man is running", "the man is jumping"], set()),
        ("where", ["a dog in the snow", "snow and a dog"], {("where was the photo taken?", "in the snow")}),
        ("where", ["a dog in the snow", "a dog on the beach in snow"], set()),
    ],
)  # fmt: skip
def test_questions_are_what_the_captions_agree_on(kind: str, captions: list[str], pairs: set[tuple[str, str]]) -> None:
    from proofs.photo_questions import FLICKR8K, KINDS, words_of

    assert set(KINDS[kind](FLICKR8K, [words_of(text) for text in captions], random.Random(0))) == pairs


def test_photos_of_the_everyday_world_need_fewer_captions_that_agree() -> None:
    from proofs.photo_questions import FLICKR8K, KINDS, WIDE, words_of

    captions = [words_of(text) for text in ("a cat in a kitchen", "a kitten sits in a white kitchen")]
    asked = {kind: [*KINDS[kind](WIDE, captions, random.Random(0))] for kind in ("animal", "where", "number")}
    assert asked["animal"] == [("what animal is it?", "cat")]
    assert asked["where"] == [("where was the photo taken?", "in a kitchen")]
    assert asked["number"] == []
    assert [*KINDS["animal"](FLICKR8K, captions, random.Random(0))] == []


def test_there_is_what_most_name_and_not_what_nobody_names() -> None:
    from proofs.photo_questions import FLICKR8K, KINDS, words_of

    captions = [words_of(text) for text in ("a dog in the snow", "the dog and a ball", "a puppy with snow on it")]
    for seed in range(50):
        (_, yes), (question, no) = KINDS["whether"](FLICKR8K, captions, random.Random(seed))
        assert (yes, no) == ("yes", "no")
        assert not any(word in question for word in ("dog", "snow", "ball"))
    assert next(iter(KINDS["whether"](FLICKR8K, captions, random.Random(1)))) == ("is there a dog?", "yes")


def test_only_questions_are_made_where_no_more_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No model is needed for them, and what a model says is made when it is missed."""
    from proofs import photo_questions, proving

    lines = [f'{{"file_name": "{n}.jpg", "captions": ["a dog runs", "the dog", "a dog"], "split": "{split}"}}\n'
             for n, split in enumerate(("train", "val"))]  # fmt: skip
    (tmp_path / "metadata.jsonl").write_text("".join(lines))
    for number in range(2):
        Image.new("RGB", (32, 32)).save(tmp_path / f"{number}.jpg")
    world = replace(photo_questions.FLICKR8K, captions=tmp_path, photos=tmp_path)
    monkeypatch.setattr(photo_questions, "FLICKR8K", world)
    monkeypatch.setitem(photo_questions.WORLDS, "flickr8k", world)
    monkeypatch.setattr(photo_questions, "START", "nano")
    monkeypatch.setattr(proving, "RUNS", tmp_path / "runs")
    photo_questions.main(["--questions"])
    made = tmp_path / "runs" / "photo-questions" / "data"
    assert {folder.name for folder in made.iterdir()} == set(photo_questions.KINDS)
    _, asked = load_examples(made / "animal", tmp_path, "test")
    assert [(example.question, example.texts) for example in asked] == [("what animal is it?", ("dog",))]
    proving.make_folder(made / "said", partial(photo_questions.write_said, world))
    _, said = load_examples(made / "said", tmp_path, "train")
    assert [Path(str(example.source)).name for example in said] == ["0.jpg"]


def test_what_is_spoilt_is_found() -> None:
    """Every way of spoiling a caption breaks a rule of curation, but for the one text under many photos."""
    pytest.importorskip("glin_profanity")
    from picscribe.curation.rules import Rules, TextRules
    from proofs.curated_captions import spoil

    draw, rules = random.Random(0), TextRules(Rules())
    found = set()
    for _ in range(400):
        text = spoil("a brown dog runs through the green grass", draw)
        fault = rules.fault(text)
        found.add("" if fault is None else fault.rule)
        assert fault is not None or text == "a photo that was taken on a sunny day"
    assert found == {"", "tag", "boilerplate", "length", "offensive", "language"}


def test_own_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Products to learn and others to score, as many of each class, captions that say what is there."""
    import gzip

    from proofs import own_photos
    from proofs.fashion_mnist import CLASSES

    for part, stem in enumerate(("train", "t10k")):
        labels = np.arange(40, dtype=np.uint8) % 10
        products = np.full((40, 28, 28), 90 + 10 * part, np.uint8)
        products[:, :14] = 0
        for kind, header, values in (("images-idx3", 16, products), ("labels-idx1", 8, labels)):
            content = gzip.compress(bytes(header) + values.tobytes())
            (tmp_path / f"{stem}-{kind}-ubyte.gz").write_bytes(content)
    monkeypatch.setattr(own_photos, "SOURCE", tmp_path)
    monkeypatch.setattr(own_photos, "EACH", 3)
    (tmp_path / "data").mkdir()
    own_photos.write(tmp_path / "data")
    _, learned = load_examples(tmp_path / "data" / "photos", None, None)
    _, scored = load_examples(tmp_path / "data" / "others", None, "test")
    assert (len(learned), len(scored)) == (30, 30)
    assert {text for example in learned for text in example.texts} >= {"a dark gray coat with long sleeves"}
    assert {example.texts[0] for example in scored} >= {"a gray pair of trousers", "a gray bag"}
    for example in scored:
        name = example.id.partition("/")[0]
        assert name in CLASSES
        assert all(own_photos.is_named(name, text) for text in example.texts)
        assert not any(own_photos.is_named(other, example.texts[0]) for other in CLASSES if other != name)
    assert own_photos.is_named("t-shirt", "a gray t - shirt")
    assert not own_photos.is_named("shirt", "a gray t - shirt")
