"""Reads Karpathy's dataset_*.json: the splits and captions of COCO, Flickr8k and Flickr30k that papers report on."""

from pathlib import Path, PurePosixPath
from typing import Any

from picscribe.datasets.dataset import Dataset
from picscribe.datasets.examples import Example
from picscribe.datasets.formats.coco import COCO_FOLDERS
from picscribe.datasets.formats.format import Format
from picscribe.datasets.json_files import (
    as_object,
    field,
    sample_json,
    split_of,
    top_list,
    usable,
    value_of,
)
from picscribe.datasets.media_folder import MediaFolder, find_folder, spellings
from picscribe.datasets.rows import Rows
from picscribe.datasets.values import caption, identity, inside
from picscribe.errors import InputError
from picscribe.text_files import read_json_object

FLICKR_FOLDERS = ("Images", "Flicker8k_Dataset", "Flickr8k_Dataset", "flickr30k_images", "flickr30k-images")
"""Folders in which Flickr8k and Flickr30k come."""


def fits(path: Path) -> bool:
    """Whether it looks like a dataset_*.json."""
    sample = sample_json(path)
    return (
        sample is not None
        and not sample.is_list
        and "images" in sample.keys
        and not {"sentences", "filename", "sentids"}.isdisjoint(sample.keys)
    )


def read(path: Path, images: Path | None) -> Dataset:
    """All splits of a dataset_*.json (https://cs.stanford.edu/people/karpathy/deepimagesent/), in its order.

    COCO's entries hold a folder, `filepath`, that is inside the folder of images unless all photos are in one. An
    image's id is its `cocoid` where it has one, else its file name. The images are looked for as `find_folder` says, in
    the folders of Flickr8k, Flickr30k and COCO too.
    """
    entries = top_list(read_json_object(path), "images", path)
    names = (name for names in usable(entries, _files) for name in names)
    folder = MediaFolder(find_folder(path, images, names, (*FLICKR_FOLDERS, *COCO_FOLDERS)))
    rows = Rows()
    for index, entry in enumerate(entries):
        where = f"{path}: images[{index}]"
        with rows.reading(where, split_of(entry)):
            rows.add(_example(as_object(entry), folder, where))
    return rows.dataset(path, KARPATHY.name, "captions")


def _files(entry: dict[str, Any]) -> list[PurePosixPath]:
    name = inside(value_of(entry, "filename"), "filename")
    return spellings(inside(entry["filepath"], "filepath") / name if "filepath" in entry else name)


def _example(entry: dict[str, Any], folder: MediaFolder, where: str) -> Example:
    split = caption(value_of(entry, "split"), "split")
    source = folder.find(_files(entry))
    name = identity(entry.get("cocoid", entry["filename"]), "cocoid")
    sentences = field(entry, "sentences", list)
    if not sentences:
        raise InputError(f"{name!r} has no captions (sentences is empty): add one, or remove the image")
    captions = tuple(_caption(sentence, f"sentences[{k}]") for k, sentence in enumerate(sentences))
    return Example(name, source, captions, split=split, where=where)


def _caption(sentence: object, name: str) -> str:
    return caption(value_of(as_object(sentence, name), "raw", name), f"{name}.raw")


KARPATHY = Format("karpathy", "Karpathy's dataset_*.json: COCO, Flickr8k, Flickr30k with their splits", fits, read)
