"""Reads COCO's caption annotations, such as captions_val2014.json: a list of images and a list of captions of them."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from picscribe.datasets.dataset import Dataset
from picscribe.datasets.examples import Example
from picscribe.datasets.formats.format import Format
from picscribe.datasets.json_files import as_object, sample_json, top_list, usable, value_of
from picscribe.datasets.media_folder import MediaFolder, find_folder, spellings
from picscribe.datasets.rows import Rows
from picscribe.datasets.values import caption, identity, inside, shown
from picscribe.errors import InputError
from picscribe.text_files import read_json_object

COCO_FOLDERS = ("val2014", "train2014", "val2017", "train2017", "test2014", "test2015", "test2017")
"""Folders in which COCO's photos come."""


def fits(path: Path) -> bool:
    """Whether it looks like caption annotations; COCO's boxes and key points have the same shape but no captions."""
    sample = sample_json(path)
    if sample is None or sample.is_list or "bbox" in sample.keys:
        return False
    return {"image_id", "caption"} <= sample.keys or (
        {"images", "annotations"} <= sample.keys and {"question_id", "sentences"}.isdisjoint(sample.keys)
    )


def read(path: Path, images: Path | None) -> Dataset:
    """The images in the order of `images`, each with its captions in the order of `annotations` (https://cocodataset.org).

    The form has no splits: a file is one. An id is the image's `id`. An image without captions is an oddity, and so is
    a caption of an image that is not listed. The images are looked for as `find_folder` says, in val2014/ and the like
    too.
    """
    document = read_json_object(path)
    entries = top_list(document, "images", path)
    rows = Rows()
    splits = dict.fromkeys(usable(entries, _id), "")
    captions = captions_by_id(top_list(document, "annotations", path), "image_id", splits, f"{path}: annotations", rows)
    names = (name for names in usable(entries, _files) for name in names)
    folder = MediaFolder(find_folder(path, images, names, COCO_FOLDERS))
    for index, entry in enumerate(entries):
        where = f"{path}: images[{index}]"
        with rows.reading(where):
            name, files = _id(as_object(entry)), _files(entry)
            if name not in captions:
                raise InputError(
                    f"the image {name} ({shown(str(files[0]))}) has no captions: add one, or remove the image"
                )
            rows.add(Example(name, folder.find(files), tuple(captions[name]), where=where))
    return rows.dataset(path, COCO.name, "captions")


def captions_by_id(
    entries: list[Any], key: str, splits: Mapping[str, str], where: str, rows: Rows
) -> dict[str, list[str]]:
    """The captions of each photo or video, from objects that name it under `key` and have a `caption`.

    `splits` has the split of each id that there is; a caption of another id is an oddity, as is a broken one. `where`
    is the list's name, for messages.
    """
    captions: dict[str, list[str]] = {}
    for index, entry in enumerate(entries):
        owner = entry.get(key) if isinstance(entry, dict) else None
        with rows.reading(f"{where}[{index}]", splits.get(str(owner), "")):
            name = identity(value_of(as_object(entry), key), key)
            if name not in splits:
                raise InputError(f"{key} is {shown(name)}, which this file does not list: add it, or remove the row")
            words = caption(value_of(entry, "caption"), "caption")
            captions.setdefault(name, []).append(words)
    return captions


def _id(entry: dict[str, Any]) -> str:
    return identity(value_of(entry, "id"), "id")


def _files(entry: dict[str, Any]) -> list[PurePosixPath]:
    return spellings(inside(value_of(entry, "file_name"), "file_name"))


COCO = Format("coco-captions", "COCO caption annotations, such as captions_val2014.json", fits, read)
