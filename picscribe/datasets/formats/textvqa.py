"""Reads TextVQA and TextCaps, questions and captions about text in photos: JSON files with one list, `data`."""

from pathlib import Path, PurePosixPath
from typing import Any

from picscribe.datasets.dataset import Dataset
from picscribe.datasets.examples import Example
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
from picscribe.datasets.media_folder import find_folder
from picscribe.datasets.rows import Rows
from picscribe.datasets.values import caption, identity, inside, text
from picscribe.errors import InputError
from picscribe.text_files import read_json_object

FOLDERS = ("train_images", "test_images", "train_val_images")
"""Folders in which the photos come (https://textvqa.org/dataset/)."""


def fits_questions(path: Path) -> bool:
    """Whether it looks like TextVQA's JSON."""
    sample = sample_json(path)
    return sample is not None and not sample.is_list and {"data", "question", "question_id"} <= sample.keys


def fits_captions(path: Path) -> bool:
    """Whether it looks like TextCaps' JSON."""
    sample = sample_json(path)
    named = {"caption_id", "caption_str", "reference_strs"}
    return sample is not None and not sample.is_list and "data" in sample.keys and not named.isdisjoint(sample.keys)


def read_questions(path: Path, images: Path | None) -> Dataset:
    """TextVQA_0.5.1_*.json: a photo is `image_id`.jpg, a split `set_name`; ten answers each, none in the test split.

    The photos are looked for as `find_folder` says, in train_images/ and test_images/ too.
    """
    entries = top_list(read_json_object(path), "data", path)
    folder = find_folder(path, images, usable(entries, _file), FOLDERS)
    rows = Rows()
    for index, entry in enumerate(entries):
        where = f"{path}: data[{index}]"
        split = split_of(entry, "set_name")
        with rows.reading(where, split):
            name = identity(value_of(as_object(entry), "question_id"), "question_id")
            question = caption(value_of(entry, "question"), "question")
            rows.add(Example(name, folder / _file(entry), _answers(entry), question, split, where))
    rows.drop_empty_splits()
    return rows.dataset(path, TEXTVQA.name, "questions")


def read_captions(path: Path, images: Path | None) -> Dataset:
    """TextCaps_0.1_*.json: one row a caption, `caption_str`, which may hold all those of its photo, `reference_strs`.

    An example is a photo, its id `image_id`; the test split has no captions. The photos are looked for as
    `find_folder` says, in train_images/ and test_images/ too.
    """
    entries = top_list(read_json_object(path), "data", path)
    folder = find_folder(path, images, usable(entries, _file), FOLDERS)
    rows = Rows()
    for index, entry in enumerate(entries):
        where = f"{path}: data[{index}]"
        split = split_of(entry, "set_name")
        with rows.reading(where, split):
            name = identity(value_of(as_object(entry), "image_id"), "image_id")
            if "reference_strs" in entry and name in rows.examples:
                continue
            keep = rows.extend if "caption_str" in entry else rows.add
            keep(Example(name, folder / _file(entry), _captions(entry), split=split, where=where))
    return rows.dataset(path, TEXTCAPS.name, "captions")


def _file(entry: dict[str, Any]) -> PurePosixPath:
    return inside(f"{identity(value_of(entry, 'image_id'), 'image_id')}.jpg", "image_id")


def _answers(entry: dict[str, Any]) -> tuple[str, ...]:
    if "answers" not in entry:
        return ()
    answers = field(entry, "answers", list)
    if not answers:
        raise InputError("answers is empty: give at least one answer, or remove the question")
    return tuple(text(answer, f"answers[{k}]") for k, answer in enumerate(answers))


def _captions(entry: dict[str, Any]) -> tuple[str, ...]:
    if "reference_strs" not in entry:
        return (caption(entry["caption_str"], "caption_str"),) if "caption_str" in entry else ()
    references = field(entry, "reference_strs", list)
    if not references:
        raise InputError("reference_strs is empty: give at least one caption, or remove the photo")
    return tuple(caption(reference, f"reference_strs[{k}]") for k, reference in enumerate(references))


TEXTVQA = Format("textvqa", "TextVQA: a JSON of questions about text in photos", fits_questions, read_questions)
TEXTCAPS = Format("textcaps", "TextCaps: a JSON of captions of photos with text", fits_captions, read_captions)
