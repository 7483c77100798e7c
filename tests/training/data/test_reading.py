"""Data sets that a recipe names: how they stand together, and what is held out of them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from picscribe.errors import (
    ConfigurationError,
    InputError,
)
from picscribe.training import Recipe
from picscribe.training.data.annotated_images import group_by_image
from picscribe.training.data.reading import read_data
from picscribe.training.loop import Trainer
from picscribe.training.recipe import (
    DataSettings,
    Source,
)
from tests.training.tiny_runs import (
    silent,
)

pytest.importorskip("accelerate")


def test_nearly_all_may_be_held_out(folder: Path) -> None:
    data = read_data(DataSettings((Source(str(folder / "photos")),), held_out=0.97), 1)
    assert (data.epoch_size(), len(data.validation)) == (1, 15)


@pytest.mark.parametrize("count", [3, 8, 40])
def test_more_than_one_photo_is_held_out(count: int, tmp_path: Path) -> None:
    for number in range(count):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text("a red square\n")
    data = read_data(DataSettings((Source(str(tmp_path)),)), seed=1)
    assert len(data.validation) == max(2, count // 10)
    assert len(data.validation) + data.epoch_size() == count


def test_copies_of_held_out_photos_are_not_learned(folder: Path, tmp_path: Path) -> None:
    """Nor where they lie in another data set; other photos of the same size are learned."""
    for number in range(10):
        shutil.copy(folder / "photos" / f"{number:02}.png", tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text("a square\n")
    sources = Source(str(tmp_path)), Source(str(folder / "photos"), weight=2.0)
    data = read_data(DataSettings(sources), seed=1)
    held = {Path(str(example.source)).stem for example in data.validation}
    learned = [{Path(item.place).stem for item in part.images} for part in data.parts]
    assert len(held) == 2
    assert learned == [{str(n) for n in range(10)} - held, {f"{n:02}" for n in range(16)} - {f"0{n}" for n in held}]
    assert data.notes == (
        f"photos that are held out under another name too, left out: 2, such as {folder / 'photos'}/0{min(held)}.png",
    )


def test_nothing_is_left_to_learn_where_all_photos_are_one(folder: Path, tmp_path: Path) -> None:
    for number in range(4):
        shutil.copy(folder / "photos" / "00.png", tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text("a square\n")
    with pytest.raises(InputError, match=f"{tmp_path.name}: every photo is a copy of one that is held out"):
        read_data(DataSettings((Source(str(tmp_path)),)), seed=1)


def test_ids_of_two_data_sets_are_told_apart(folder: Path) -> None:
    photos = Source(str(folder / "photos"))
    data = read_data(DataSettings((photos,), (photos, photos)), seed=1)
    assert len({example.id for example in data.validation}) == 32


def test_questions_and_captions_of_an_image_stand_together(folder: Path) -> None:
    from picscribe.datasets import Example

    photo = folder / "photos" / "00.png"
    asked = [Example("1", photo, ("red",), "what colour is it"), Example("2", photo, ("a", "the"), "what is it")]
    (item,) = group_by_image(asked)
    assert item.texts == (("what colour is it", "red"), ("what is it", "a"), ("what is it", "the"))
    with pytest.raises(InputError, match="no text to train on"):
        group_by_image([Example("1", photo, (" ",))])


def test_data_sets_of_one_weight_stand_together(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    """What a second data set asks about the same photos is learned with their captions; of another weight, apart."""
    rows = [{"file_name": f"{n:02}.png", "question": "what is it", "answer": "square"} for n in range(16)]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    captions = Source(str(folder / "photos"))
    for weight, parts, texts in ((1.0, 1, 3), (2.0, 2, 2)):
        asked = Source(str(tmp_path), images=str(folder / "photos"), weight=weight)
        mixed = replace(recipe, data=replace(recipe.data, train=(captions, asked), validation=(captions,)))
        trainer = Trainer(mixed, tmp_path / "run", silent)
        assert [len(part.images) for part in trainer.data.parts] == [16] * parts
        assert {len(item.texts) for item in trainer.data.parts[0].images} == {texts}
    Trainer(replace(mixed, objective="cider"), tmp_path / "run", silent)
    rows = [{"file_name": "red.png", "question": "what is it", "answer": "a colour"}]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    data = replace(mixed.data, train=(captions, replace(asked, images="")))
    with pytest.raises(ConfigurationError, match=r"data\.train has only questions about .*red\.png"):
        Trainer(replace(mixed, objective="cider", data=data), tmp_path / "run", silent)


def test_all_questions_of_a_held_out_image_are_asked(folder: Path, tmp_path: Path) -> None:
    asked = [
        ("what is it", "square"),
        ("is it a square", "yes"),
        ("is it a square", "yes, it is"),
        ("is it blue", "no"),
    ]
    rows = [
        {"file_name": f"{n:02}.png", "question_id": f"{n}-{place}", "question": question, "answer": answer}
        for n in range(16)
        for place, (question, answer) in enumerate(asked)
    ]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = read_data(DataSettings((Source(str(tmp_path), images=str(folder / "photos")),), held_out=0.125), 1)
    assert len(data.parts[0].images) == 14
    assert len(data.validation) == len({example.id for example in data.validation}) == 2 * 3
    assert {(e.question, e.texts) for e in data.validation} == {
        ("what is it", ("square",)), ("is it a square", ("yes", "yes, it is")), ("is it blue", ("no",))
    }  # fmt: skip
    learned = {item.example.source for item in data.parts[0].images}
    assert not learned & {example.source for example in data.validation}


def test_photos_are_held_out_of_data_sets_of_every_weight(folder: Path, tmp_path: Path) -> None:
    rows = [{"file_name": f"{number:02}.png", "text": f"number {number}"} for number in range(16)]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    photos = str(folder / "photos")
    for weight in (1.0, 0.5, 2.0):
        data = read_data(DataSettings((Source(photos), Source(str(tmp_path), images=photos, weight=weight))), 1)
        learned = {item.example.source for part in data.parts for item in part.images}
        held = {example.source for example in data.validation}
        assert len(held) == 2
        assert len(learned) == 14
        assert not held & learned
        assert data.count_learned_and_validated() == 0
