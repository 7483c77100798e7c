"""Reading dataset_*.json: what a good file gives, and that every broken one is refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from picscribe.datasets import CaptionedImage, read_karpathy
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
    train = read_karpathy(file, photos, "train")
    assert train == [
        CaptionedImage("b.jpg", photos / "b.jpg", ("A photo of b.jpg .", "Two")),
        CaptionedImage("a.jpg", photos / "a.jpg", ("A photo of a.jpg .", "Two")),
    ]


def test_coco_has_folders_ids_and_restval(tmp_path: Path, photos: Path) -> None:
    rest = image("d.jpg", "restval", filepath="val2014", cocoid=42)
    file = written(tmp_path, {"images": [image("a.jpg", cocoid=7), rest, image("c.jpg", "val", cocoid=8)]})
    both = read_karpathy(file, photos, "train+restval")
    assert [(example.id, example.path) for example in both] == [
        ("7", photos / "a.jpg"),
        ("42", photos / "val2014" / "d.jpg"),
    ]


def test_a_byte_order_mark_and_windows_lines_do_no_harm(tmp_path: Path, photos: Path) -> None:
    text = json.dumps({"images": [image("a.jpg")]}, indent=1).replace("\n", "\r\n")
    file = written(tmp_path, b"\xef\xbb\xbf" + text.encode())
    assert len(read_karpathy(file, photos, "train")) == 1


def without(key: str) -> dict[str, Any]:
    entry = image("a.jpg")
    del entry[key]
    return entry


BROKEN = {
    "empty": (b"", "not valid JSON"),
    "cut off": (b'{"images": [', "not valid JSON"),
    "not text": (b"\xff\xfe\x00", "UTF-8"),
    "too deep": (b"[" * 200_000, "dataset_test"),
    "a list": ([], "found a list"),
    "no images": ({"dataset": "x"}, "'images'"),
    "images an object": ({"images": {}}, "must be a list"),
    "image a number": ({"images": [3]}, r"images\[0\]"),
    "no split": ({"images": [without("split")]}, r"images\[0\] lacks the key 'split'"),
    "split a number": ({"images": [image("a.jpg") | {"split": 1}]}, r"images\[0\]\.split"),
    "no filename": ({"images": [image("b.jpg"), without("filename")]}, r"images\[1\] lacks the key 'filename'"),
    "filename null": ({"images": [image("a.jpg") | {"filename": None}]}, "found null"),
    "filename empty": ({"images": [image("")]}, "must name something"),
    "no sentences": ({"images": [without("sentences")]}, "lacks the key 'sentences'"),
    "no caption": ({"images": [image("a.jpg") | {"sentences": []}]}, "at least one caption"),
    "sentence a text": ({"images": [image("a.jpg") | {"sentences": ["x"]}]}, r"sentences\[0\]"),
    "sentence without raw": ({"images": [image("a.jpg") | {"sentences": [{"tokens": []}]}]}, "'raw'"),
    "caption empty": ({"images": [image("a.jpg") | {"sentences": [{"raw": " "}]}]}, "is empty"),
    "cocoid a list": ({"images": [image("a.jpg", cocoid=[])]}, "cocoid"),
    "same id twice": ({"images": [image("a.jpg"), image("a.jpg")]}, r"images\[1\].*'a.jpg'"),
    "image not there": ({"images": [image("a.jpg"), image("gone.jpg")]}, "1 of 2 images.*gone.jpg"),
    "folder not there": ({"images": [image("a.jpg", filepath="gone")]}, "gone/a.jpg"),
    "unknown split": (
        {"images": [image("a.jpg"), image("b.jpg", "val")]} | {"split": "tset"},
        "'tset'.*'train', 'val'",
    ),
    "half a split": ({"images": [image("a.jpg")], "split": "train+"}, "''"),
    "no image at all": ({"images": []}, "no images at all"),
}


@pytest.mark.parametrize("which", BROKEN)
def test_a_broken_file_is_named(which: str, tmp_path: Path, photos: Path) -> None:
    content, message = BROKEN[which]
    split = content.get("split", "train") if isinstance(content, dict) else "train"
    with pytest.raises(InputError, match=message) as caught:
        read_karpathy(written(tmp_path, content), photos, split)
    assert "dataset_test.json" in str(caught.value) or str(photos) in str(caught.value)


@pytest.mark.parametrize(
    "name", ["../a.jpg", "/etc/passwd", "val2014/../../x", "..", ".", "C:\\x.jpg", "C:x.jpg", "a\\b", "a\0b"]
)
@pytest.mark.parametrize("key", ["filename", "filepath"])
def test_names_do_not_leave_the_folder(name: str, key: str, tmp_path: Path, photos: Path) -> None:
    file = written(tmp_path, {"images": [image("a.jpg", filepath="val2014") | {key: name}]})
    with pytest.raises(InputError, match="inside the folder of images"):
        read_karpathy(file, photos, "train")


def test_what_is_not_there_is_named(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.json"):
        read_karpathy(tmp_path / "nowhere.json", photos, "train")
    with pytest.raises(InputError, match="no such folder of images"):
        read_karpathy(written(tmp_path, {"images": [image("a.jpg")]}), tmp_path / "elsewhere", "train")


def test_flickr8k(flickr8k: Path) -> None:
    val = read_karpathy(flickr8k / "dataset_flickr8k.json", flickr8k / "images", "val")
    assert len(val) == 1000
    assert all(len(example.captions) == 5 and example.path.is_file() for example in val)
