"""Reading COCO's caption annotations: order, ids, and where the photos are looked for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from picscribe.datasets import load_examples, read_dataset
from picscribe.errors import InputError

Write = Callable[..., Path]


def coco(*ids: int) -> dict[str, Any]:
    """A photo and two captions an id, the captions in another order than the photos."""
    captions = [
        {"id": 9 - n, "image_id": n, "caption": f"{words} {n}\n"} for words in ("One", "Two") for n in sorted(ids)
    ]
    photos = [{"id": n, "file_name": f"COCO_val2014_{n:012}.jpg"} for n in ids]
    return {"info": {}, "licenses": [], "images": photos, "annotations": captions}


def test_images_in_their_order_with_their_captions(write: Write, tmp_path: Path) -> None:
    file = write("annotations/captions_val2014.json", coco(7, 3))
    for number in (3, 7):
        write(f"val2014/COCO_val2014_{number:012}.jpg")
    dataset, examples = load_examples(file, None, None)
    assert (dataset.format, dataset.task) == ("coco-captions", "captions")
    assert [(example.id, example.texts, example.split) for example in examples] == [
        ("7", ("One 7", "Two 7"), ""),
        ("3", ("One 3", "Two 3"), ""),
    ]
    assert examples[1].source == tmp_path / "val2014" / "COCO_val2014_000000000003.jpg"


@pytest.mark.parametrize(
    "folder", ["images", "annotations", "annotations/images", "annotations/val2014", "images/val2014", "train2017", "."]
)
def test_where_the_photos_are_looked_for(folder: str, write: Write, tmp_path: Path) -> None:
    file = write("annotations/captions.json", coco(3))
    photo = write(f"{folder}/COCO_val2014_000000000003.jpg")
    assert load_examples(file, None, None)[1][0].source == photo


def test_photos_nowhere(write: Write, tmp_path: Path) -> None:
    file = write("captions.json", coco(3))
    assert len(read_dataset(file).examples) == 1, "captions can be scored without photos"
    with pytest.raises(InputError, match=r"COCO_val2014_0+3\.jpg is not there, nor is its folder: name the folder"):
        load_examples(file, None, None)
    with pytest.raises(InputError, match="no such folder of images"):
        read_dataset(file, tmp_path / "elsewhere")


def test_text_ids_and_negative_ones_are_only_names(write: Write, tmp_path: Path) -> None:
    photos = [{"id": "x", "file_name": "a.jpg"}, {"id": -1, "file_name": "b.jpg"}]
    captions = [{"image_id": "x", "caption": "A"}, {"image_id": -1, "caption": "B"}]
    dataset = read_dataset(write("c.json", {"images": photos, "annotations": captions}), tmp_path)
    assert [(example.id, example.texts) for example in dataset.examples] == [("x", ("A",)), ("-1", ("B",))]


def test_boxes_are_no_captions(write: Write) -> None:
    document = coco(3)
    document["annotations"] = [{"image_id": 3, "bbox": [0, 0, 1, 1], "category_id": 1}]
    with pytest.raises(
        InputError, match=r"an object with the keys 'info', 'licenses', 'images', 'annotations'; .*known"
    ):
        read_dataset(write("instances_val2014.json", document))


def test_a_large_file_is_known_by_its_two_ends(write: Write, tmp_path: Path) -> None:
    document = coco(*range(1, 3000))
    file = write("captions.json", document)
    assert file.stat().st_size > 4 * (1 << 16)
    assert read_dataset(file, tmp_path).splits == {"": 2999}
