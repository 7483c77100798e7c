"""Photos are found under the names that disks give them: with their folder or without, accents composed either way."""

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from picscribe.datasets import missing_files, read_dataset
from picscribe.datasets.image_texts import read_image_texts
from picscribe.datasets.media_folder import stored_path

Write = Callable[..., Path]
NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def karpathy(*names: tuple[str, str]) -> dict[str, Any]:
    return {
        "images": [
            {"filename": name, "filepath": folder, "cocoid": k, "split": "val", "sentences": [{"raw": "a cat"}]}
            for k, (folder, name) in enumerate(names)
        ]
    }


def coco(*names: str) -> dict[str, Any]:
    images = [{"id": k, "file_name": name} for k, name in enumerate(names)]
    return {"images": images, "annotations": [{"image_id": k, "caption": "a cat"} for k in range(len(names))]}


@pytest.mark.parametrize("form", ["karpathy", "coco"])
@pytest.mark.parametrize("given", [False, True])
def test_photos_in_one_folder_though_the_file_names_several(form: str, given: bool, write: Write) -> None:
    for name in ("images/a.jpg", "images/b.jpg"):
        photo = write(name)
    names = [("train2014", "a.jpg"), ("val2014", "b.jpg")]
    content = karpathy(*names) if form == "karpathy" else coco(*map("/".join, names))
    dataset = read_dataset(write("data.json", content), photo.parent if given else None)
    assert [example.source for example in dataset.examples] == [photo.with_name("a.jpg"), photo]


def test_photos_in_their_folders_come_first(write: Write) -> None:
    write("images/a.jpg")
    photo = write("images/val2014/a.jpg")
    dataset = read_dataset(write("data.json", karpathy(("val2014", "a.jpg"))))
    assert dataset.examples[0].source == photo


def test_a_named_folder_may_hold_the_usual_one(write: Write) -> None:
    photo = write("coco/val2014/a.jpg")
    dataset = read_dataset(write("x/data.json", coco("a.jpg")), photo.parents[1])
    assert dataset.examples[0].source == photo


@pytest.mark.parametrize(("written", "stored"), [(NFC, NFD), (NFD, NFC), (NFC, NFC)])
def test_accents_are_composed_either_way(written: str, stored: str, write: Write, tmp_path: Path) -> None:
    """Folders, captions beside photos, metadata, annotations, tables and lists of questions."""
    photo = write(f"{stored}/{stored}.jpg", b"x")
    write(f"{stored}/other.jpg")
    assert stored_path(tmp_path / written / f"{written}.jpg").samefile(photo)
    write(f"{stored}/metadata.csv", f"file_name,text\n{written}.jpg,a cat\nother.jpg,a dog\n")
    found = read_dataset(photo.parent)
    assert not missing_files(found.examples) and found.notes == ()
    assert found.examples[0].source == photo and found.examples[0].image() == photo
    for number, content in enumerate((coco(f"{written}/{written}.jpg"), karpathy((written, f"{written}.jpg")))):
        found = read_dataset(write(f"{number}.json", content), tmp_path)
        assert not missing_files(found.examples) and found.examples[0].source == photo
    found = read_dataset(write("captions.txt", f"image,caption\n{written}.jpg,a cat\n"), photo.parent)
    assert not missing_files(found.examples)
    questions = write("questions.jsonl", f'{{"image": "{written}/{written}.jpg", "question": "what?"}}\n')
    assert Path(read_image_texts(questions, "question")[0].image).exists()
    write(f"beside/{stored}.jpg")
    beside = read_dataset(write(f"beside/{written}.txt", "a cat").parent)
    assert (beside.oddities, len(beside.examples)) == ((), 1)


def test_names_that_are_nowhere_stay_as_they_are(tmp_path: Path) -> None:
    for name in (f"{NFC}.jpg", f"no folder/{NFC}/a.jpg", "a.jpg"):
        assert stored_path(tmp_path / name) == tmp_path / name


BLIP = [
    {"image": "val2014/a.jpg", "caption": "a cat", "image_id": "coco_1"},
    {"image": "val2014/a.jpg", "caption": "one cat", "image_id": "coco_1"},
    {"image": "b.jpg", "caption": ["a dog", "one dog"], "image_id": "coco_2"},
]


def test_lists_of_blip_and_lavis(write: Write) -> None:
    photos = [write("images/a.jpg"), write("images/b.jpg")]
    dataset = read_dataset(write("coco_karpathy_val.json", BLIP))
    assert (dataset.format, dataset.task, dataset.oddities) == ("annotation-list", "captions", ())
    assert [(one.id, one.source, one.texts, one.split) for one in dataset.examples] == [
        ("coco_1", photos[0], ("a cat", "one cat"), "val"),
        ("coco_2", photos[1], ("a dog", "one dog"), "val"),
    ]
    nameless = [{key: value for key, value in one.items() if key != "image_id"} for one in BLIP]
    assert [one.id for one in read_dataset(write("nameless.json", nameless)).examples] == ["val2014/a.jpg", "b.jpg"]


def test_questions_of_blip_and_lavis(write: Write) -> None:
    photo = write("images/a.jpg")
    asked = [
        {"image": "val2014/a.jpg", "question": "what?", "question_id": 7, "answer": ["cat", "cat"], "dataset": "vqa"},
        {"image": "val2014/a.jpg", "question": "why?", "question_id": 8, "answer": "fun"},
        {"image": "../a.jpg", "question": "where?", "question_id": 9, "answer": "out"},
        17,
    ]
    dataset = read_dataset(write("vqa_val.json", asked))
    assert (dataset.format, dataset.task) == ("annotation-list", "questions")
    assert [(one.id, one.source, one.question, one.texts) for one in dataset.examples] == [
        ("7", photo, "what?", ("cat", "cat")),
        ("8", photo, "why?", ("fun",)),
    ]
    assert [odd.where.rpartition(" ")[2] for odd in dataset.oddities] == ["[2]", "[3]"]


def test_whole_numbers_are_one_id_however_they_are_written(write: Write) -> None:
    write("images/a.jpg")
    content = coco("a.jpg") | {"annotations": [{"image_id": 0.0, "caption": "a cat"}]}
    dataset = read_dataset(write("data.json", content))
    assert [(one.id, one.texts) for one in dataset.examples] == [("0", ("a cat",))]


@pytest.mark.parametrize(
    ("rows", "kept", "odd"),
    [
        ('a.jpg,a man\nb.jpg,"Tom" the cat\nc.jpg,a cup 5" high\nd.jpg,a rocket\n', "acd", [3]),
        ('a.jpg,"a man\nb.jpg,a cat\nc.jpg,"a, cup"\nd.jpg,a rocket\n', "bcd", [2]),
        ('a.jpg,a man\nb.jpg,a cat\nc.jpg,a cup\nd.jpg,"a rocket\n', "abc", [5]),
        ('a.jpg,"a man\nin ""two"" lines"\nb.jpg,"x"y"\nc.jpg,"x"\n\nd.jpg,a rocket', "acd", [4]),
    ],
)
def test_a_stray_quote_costs_its_own_row(rows: str, kept: str, odd: list[int], write: Write) -> None:
    for name in "abcd":
        write(f"{name}.jpg")
    dataset = read_dataset(write("metadata.csv", "file_name,text\n" + rows).parent)
    assert "".join(example.id[0] for example in dataset.examples) == kept
    assert [int(oddity.where.rpartition(" ")[2]) for oddity in dataset.oddities] == odd
    assert all("its quotes do not match" in oddity.problem for oddity in dataset.oddities)


def test_img2datasets_json_has_a_caption_of_many_lines_whole(write: Write) -> None:
    for name, content in (("0.jpg", b"x"), ("0.txt", "one\ncat\n"), ("0.json", {"caption": "one\ncat", "width": 4})):
        file = write(f"data/{name}", content)
    write("data/1.jpg")
    write("data/1.txt", "one\ntwo\n")
    assert [one.texts for one in read_dataset(file.parent).examples] == [("one\ncat",), ("one", "two")]
