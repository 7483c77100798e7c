"""Reading dataset_*.json: all splits in the file's order, ids of COCO and Flickr, restval."""

import json
from pathlib import Path
from typing import Any

import pytest

from picscribe.datasets import Example, load_examples, read_dataset
from picscribe.errors import InputError


def image(name: str, split: str = "train", **more: Any) -> dict[str, Any]:
    return {"filename": name, "split": split, "sentences": [{"raw": f" A photo of {name} . "}, {"raw": "Two"}], **more}


def written(folder: Path, content: Any) -> Path:
    path = folder / "dataset_test.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of images with one folder in it; nobody opens them here."""
    folder = tmp_path / "images"
    (folder / "val2014").mkdir(parents=True)
    for name in ["a.jpg", "b.jpg", "c.jpg", "val2014/d.jpg"]:
        (folder / name).touch()
    return folder


def test_a_split_in_the_files_order(tmp_path: Path, photos: Path) -> None:
    file = written(
        tmp_path, {"images": [image("b.jpg"), image("c.jpg", "val"), image("a.jpg"), image("x.jpg", "test")]}
    )
    dataset, train = load_examples(file, photos, "train")
    captions = [("A photo of b.jpg .", "Two"), ("A photo of a.jpg .", "Two")]
    assert train == (
        Example("b.jpg", photos / "b.jpg", captions[0], split="train", where=f"{file}: images[0]"),
        Example("a.jpg", photos / "a.jpg", captions[1], split="train", where=f"{file}: images[2]"),
    )
    assert (dataset.format, dataset.task, dataset.medium) == ("karpathy", "captions", "images")
    assert dataset.splits == {"train": 2, "val": 1, "test": 1}


def test_coco_has_folders_ids_and_restval(tmp_path: Path, photos: Path) -> None:
    rest = image("d.jpg", "restval", filepath="val2014", cocoid=42)
    file = written(tmp_path, {"images": [image("a.jpg", cocoid=7), rest, image("c.jpg", "val", cocoid=8)]})
    _, both = load_examples(file, photos, "train+restval")
    assert [(example.id, example.source) for example in both] == [
        ("7", photos / "a.jpg"),
        ("42", photos / "val2014" / "d.jpg"),
    ]


def test_the_images_are_found_beside_the_file(tmp_path: Path, photos: Path) -> None:
    file = written(tmp_path, {"images": [image("gone.jpg"), image("a.jpg")]})
    assert [example.source for example in read_dataset(file).examples] == [photos / "gone.jpg", photos / "a.jpg"]
    photos.rename(tmp_path / "Flicker8k_Dataset")
    assert read_dataset(file).examples[1].source == tmp_path / "Flicker8k_Dataset" / "a.jpg"


def test_odd_rows_stop_their_own_split_only(tmp_path: Path, photos: Path) -> None:
    file = written(tmp_path, {"images": [image("a.jpg"), image("b.jpg", "val", sentences=[])]})
    assert len(load_examples(file, None, "train")[1]) == 1
    with pytest.raises(InputError, match=r"images\[1\].*sentences is empty"):
        load_examples(file, None, "val")


def test_a_missing_image_stops_its_own_split_only(tmp_path: Path, photos: Path) -> None:
    file = written(tmp_path, {"images": [image("a.jpg"), image("gone.jpg", "val"), image("lost.jpg", "val")]})
    assert len(load_examples(file, None, "train")[1]) == 1
    with pytest.raises(InputError, match=r"2 rows cannot be used: .*images\[1\]: .*gone\.jpg is not there"):
        load_examples(file, None, "val")


@pytest.mark.parametrize(
    ("split", "message"), [("tset", "'tset'.*'train', 'val'"), ("train+", "''"), (None, "name one")]
)
def test_a_split_that_is_not_there(split: str | None, message: str, tmp_path: Path, photos: Path) -> None:
    file = written(tmp_path, {"images": [image("a.jpg"), image("b.jpg", "val")]})
    with pytest.raises(InputError, match=message):
        load_examples(file, photos, split)


@pytest.mark.parametrize(
    "name", ["../a.jpg", "/etc/passwd", "val2014/../../x", "..", ".", "C:\\x.jpg", "C:x.jpg", "a\\b", "a\0b"]
)
@pytest.mark.parametrize("key", ["filename", "filepath"])
def test_names_do_not_leave_the_folder(name: str, key: str, tmp_path: Path, photos: Path) -> None:
    file = written(tmp_path, {"images": [image("a.jpg", filepath="val2014") | {key: name}]})
    with pytest.raises(InputError, match=r"images\[0\].*inside the folder of images"):
        load_examples(file, photos, "train")


def test_keys_of_other_languages_are_only_keys(tmp_path: Path, photos: Path) -> None:
    odd = image("a.jpg") | {"__proto__": {"split": "val"}, "constructor": None, "__class__": "x"}
    assert read_dataset(written(tmp_path, {"images": [odd], "__proto__": 1})).splits == {"train": 1}


def test_flickr8k(flickr8k: Path) -> None:
    dataset, val = load_examples(flickr8k, None, "val")
    assert dataset.path == flickr8k / "dataset_flickr8k.json"
    assert not dataset.oddities
    assert len(val) == 1000
    assert all(len(example.texts) == 5 for example in val)
