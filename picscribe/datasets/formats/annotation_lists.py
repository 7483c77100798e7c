"""Reads the annotation lists of BLIP and LAVIS: a JSON list with an object for each caption, photo or question."""

from pathlib import Path, PurePosixPath
from typing import Any

from picscribe.datasets.columns import QUESTION_IDS, find_columns
from picscribe.datasets.dataset import Dataset
from picscribe.datasets.examples import Example
from picscribe.datasets.folder_tree import split_of_name
from picscribe.datasets.formats.coco import COCO_FOLDERS
from picscribe.datasets.formats.format import Format
from picscribe.datasets.formats.karpathy import FLICKR_FOLDERS
from picscribe.datasets.json_files import as_object, sample_json, split_of, usable, value_of
from picscribe.datasets.media_folder import MediaFolder, find_folder, spellings
from picscribe.datasets.rows import Rows
from picscribe.datasets.values import identity, inside, kind_of
from picscribe.errors import InputError
from picscribe.text_files import read_json

TEXT_KEYS = frozenset(("caption", "captions", "text", "question"))


def fits(path: Path) -> bool:
    """Whether it looks like a list of images with captions or questions."""
    sample = sample_json(path)
    return sample is not None and sample.is_list and "image" in sample.keys and not TEXT_KEYS.isdisjoint(sample.keys)


def read(path: Path, images: Path | None) -> Dataset:
    """Objects with `image`, a path, and `caption`, one or a list, or `question` and `answer`.

    Objects of one photo are one example, whose id is `image_id`, or the path where there is none; a question's id is
    `question_id`, or its place in the list. A split is the key `split`, else a word in the file's name, as in
    coco_karpathy_train.json. The photos are looked for as `find_folder` says, with their folders and without.
    """
    entries = read_json(path)
    if not isinstance(entries, list):
        raise InputError(f"{path}: must be a JSON list, found {kind_of(entries)}")
    objects = [entry for entry in entries if isinstance(entry, dict)]
    columns = find_columns({key for entry in objects for key in entry}, str(path))
    names = (name for names in usable(entries, _files) for name in names)
    folder = MediaFolder(find_folder(path, images, names, (*COCO_FOLDERS, *FLICKR_FOLDERS)))
    otherwise = split_of_name(path.name)
    rows = Rows()
    for index, entry in enumerate(entries):
        where, split = f"{path}: [{index}]", split_of(entry) or otherwise
        with rows.reading(where, split):
            files = _files(as_object(entry))
            texts, question = columns.texts_of(entry, {}), columns.question_of(entry)
            if columns.task == "questions":
                key = next((key for key in QUESTION_IDS if key in entry), None)
                name = str(index) if key is None else identity(entry[key], key)
            else:
                name = identity(entry.get("image_id", str(files[0])), "image_id")
            keep = rows.extend if columns.task == "captions" else rows.add
            keep(Example(name, folder.find(files), texts, question, split, where))
    return rows.dataset(path, ANNOTATION_LIST.name, columns.task)


def _files(entry: dict[str, Any]) -> list[PurePosixPath]:
    return spellings(inside(value_of(entry, "image"), "image"))


ANNOTATION_LIST = Format(
    "annotation-list", "BLIP's and LAVIS's JSON list of images with captions or questions", fits, read
)
