"""Folders of photos by class: names from folders or a table, splits above them."""

import json
from pathlib import Path

import pytest

from picscribe.datasets import read_dataset
from picscribe.datasets.formats.class_folders import CLASS_FOLDERS, class_names


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_a_class_is_its_folders_name(tmp_path: Path) -> None:
    touch(tmp_path, "dog/2.jpg", "dog/1.JPEG", "cat/more/3.png", "cat/notes.md", ".hidden/4.jpg")
    dataset = read_dataset(tmp_path)
    assert (dataset.format, dataset.task, dataset.oddities) == ("class-folders", "labels", ())
    assert [(one.id, one.texts, one.split) for one in dataset.examples] == [
        ("cat/more/3.png", ("cat",), ""),
        ("dog/1.JPEG", ("dog",), ""),
        ("dog/2.jpg", ("dog",), ""),
    ]


@pytest.mark.parametrize(
    ("table", "content"),
    [
        ("labels.json", json.dumps({"n01": "tench", "n02": "great white shark"})),
        ("classes.txt", "\ufeffn01 tench\r\nn02 great white shark\r\n\r\n"),
        ("classes.txt", "n01\ttench\nn02\tgreat white shark"),
    ],
)
def test_a_table_names_codes_and_splits_are_above(table: str, content: str, tmp_path: Path) -> None:
    touch(tmp_path, "train/n01/a.jpg", "train/n02/b.jpg", "val/n01/a.jpg", "val/n02/c.jpg")
    (tmp_path / table).write_bytes(content.encode())
    dataset = read_dataset(tmp_path)
    assert dataset.splits == {"train": 2, "val": 2}
    assert [one.texts for one in dataset.select("val")] == [("tench",), ("great white shark",)]


def test_a_class_without_photos_or_name_is_odd(tmp_path: Path) -> None:
    touch(tmp_path, "n01/a.jpg", "n02/b.jpg", "n03/readme.md")
    (tmp_path / "labels.json").write_text('{"n01": "tench", "n03": "shark"}')
    dataset = CLASS_FOLDERS.read(tmp_path, None)
    assert [str(oddity) for oddity in dataset.oddities] == [
        f"{tmp_path / 'n02'}: has no name in {tmp_path / 'labels.json'}: add a line for it",
        f"{tmp_path / 'n03'}: has no photos: add some, or remove the folder",
    ]


def test_what_is_not_a_folder_of_classes(tmp_path: Path) -> None:
    touch(tmp_path, "one/dog/1.jpg")  # one class
    touch(tmp_path, "coco/train2014/1.jpg", "coco/val2014/2.jpg", "coco/annotations/x.json")
    touch(tmp_path, "mixed/3.jpg", "mixed/dog/1.jpg", "mixed/cat/1.jpg")
    touch(tmp_path, "captions/a/1.jpg", "captions/a/1.txt", "captions/b/2.jpg")
    touch(tmp_path, "file.jpg")
    for name in ("one", "coco", "mixed", "captions", "file.jpg", "nowhere"):
        assert not CLASS_FOLDERS.fits(tmp_path / name), name


def test_no_table_is_no_names(tmp_path: Path) -> None:
    assert class_names(tmp_path) == {}
