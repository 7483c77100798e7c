"""The registry of the forms that data sets come in: knows a file or folder for what it is, and reads it."""

import difflib
import os
from dataclasses import replace
from pathlib import Path, PurePath

from picscribe.datasets.dataset import Dataset, missing_files, require_none
from picscribe.datasets.examples import Example
from picscribe.datasets.folder_tree import has_image_suffix, has_video_suffix, subfolders
from picscribe.datasets.formats.annotation_lists import ANNOTATION_LIST
from picscribe.datasets.formats.arrow_folder import ARROW_FOLDER
from picscribe.datasets.formats.caption_files import CAPTION_FILES
from picscribe.datasets.formats.class_folders import CLASS_FOLDERS
from picscribe.datasets.formats.coco import COCO
from picscribe.datasets.formats.format import Format
from picscribe.datasets.formats.image_folder import IMAGE_FOLDER
from picscribe.datasets.formats.karpathy import KARPATHY
from picscribe.datasets.formats.parquet import PARQUET
from picscribe.datasets.formats.textvqa import TEXTCAPS, TEXTVQA
from picscribe.datasets.formats.token_files import TABLE, TOKENS
from picscribe.datasets.formats.tsv import TSV
from picscribe.datasets.formats.video_captions import VIDEO_CAPTIONS, VIDEO_QUESTIONS
from picscribe.datasets.formats.vqa import VQA
from picscribe.datasets.formats.webdataset import WEBDATASET
from picscribe.datasets.media_folder import list_folder, stored_path
from picscribe.datasets.values import kind_of, shown
from picscribe.errors import ConfigurationError, InputError
from picscribe.media.folders import is_hidden
from picscribe.text_files import LONGEST_POINTER, find_other_content, read_json, what_instead

ANNOTATION_FILES = (
    KARPATHY,
    COCO,
    VQA,
    TEXTVQA,
    TEXTCAPS,
    VIDEO_CAPTIONS,
    VIDEO_QUESTIONS,
    ANNOTATION_LIST,
    TOKENS,
    TABLE,
)
"""Forms that are one file; a folder that holds one such file, or else a folder in it, is read as that."""

SURE_FOLDERS = (TSV, WEBDATASET, PARQUET, ARROW_FOLDER, IMAGE_FOLDER)
"""Forms that a folder has for certain, by the files in it."""

LOOSE_FOLDERS = (CAPTION_FILES, CLASS_FOLDERS)
"""Forms that many folders seem to have: taken only where nothing else fits."""

FORMATS: tuple[Format, ...] = (*ANNOTATION_FILES, *SURE_FOLDERS, *LOOSE_FOLDERS)
"""Every form, the most specific first."""

SUFFIXES = (".json", ".txt", ".token", ".csv")
"""Of annotation files that are looked for in a folder."""


def read_dataset(path: Path, images: Path | None = None, *, format: str | None = None) -> Dataset:
    """Read a data set in the form that it is in, or in the `format` of that name.

    `path`: an annotation file, or a folder; `images`: the folder that file names are relative to, None for the usual
    places. Rows that cannot be used are the data set's oddities.
    Raises InputError where no form fits, where several annotation files of a folder do, or where the whole is broken;
    ConfigurationError for an unknown format.
    """
    if not (os.path.isfile(path) or os.path.isdir(path)):
        odd = "no such file or folder: check the path"
        if os.path.exists(path):
            odd = "is a pipe or a device: give a file or folder"
        raise InputError(f"{path}: {odd}")
    known = FORMATS if format is None else (_named(format),)
    chosen, file = _choose(path, known)
    return _with_stored_paths(chosen.read(file, images))


def _with_stored_paths(dataset: Dataset) -> Dataset:
    """The data set with the names that its files have on this disk, whose accents may be composed another way."""

    listings: dict[Path, dict[str, str]] = {}

    def stored(example: Example) -> Example:
        source = example.source
        if not isinstance(source, Path) or str(source).isascii():
            return example
        return replace(example, source=stored_path(source, listings))

    return replace(dataset, examples=tuple(map(stored, dataset.examples)))


def load_examples(
    path: Path, images: Path | None, split: str | None, *, format: str | None = None
) -> tuple[Dataset, tuple[Example, ...]]:
    """The data set and the examples of a split, or of several joined with "+", all of which can be used.

    Arguments and errors as `read_dataset` and `Dataset.select`; InputError also where a photo or video is not there.
    """
    dataset = read_dataset(path, images, format=format)
    examples = dataset.select(split)
    missing = missing_files(examples)
    if images is None and missing and not any(_folder_exists(example) for example in examples):
        raise InputError(
            f"{missing[0]}, nor is its folder: name the folder of the photos or videos with --images (images=)"
        )
    require_none(missing, path)
    return dataset, examples


def _folder_exists(example: Example) -> bool:
    return not isinstance(example.source, Path) or os.path.isdir(example.source.parent)


def _named(name: str) -> Format:
    names = [form.name for form in FORMATS]
    if name in names:
        return FORMATS[names.index(name)]
    near = difflib.get_close_matches(name, names, 1, 0.4)
    guess = f"; did you mean {near[0]!r}?" if near else ";"
    raise ConfigurationError(f"unknown format {shown(name)}{guess} There are: {', '.join(names)}")


def _choose(path: Path, known: tuple[Format, ...]) -> tuple[Format, Path]:
    """The form to read and the file or folder to read it from, which may be a file in the folder `path`."""
    if path.is_file():
        if fitting := known if len(known) == 1 else [form for form in known if form.fits(path)]:
            return fitting[0], path
        raise _unknown(path)
    found = _fitting(_annotation_files(path), known)
    found += [(form, path) for form in known if form in SURE_FOLDERS and form.fits(path)]
    if not found:
        found = _fitting([file for folder in subfolders(path) for file in _annotation_files(folder)], known)
    if len(found) > 1:
        listed = ", ".join(f"{_below(path, file)} ({form.name})" for form, file in found[:6])
        remedy = "give the path of a file" + (", or the format" if len({form.name for form, _ in found}) > 1 else "")
        raise InputError(f"{path}: can be read as several data sets: {listed}; {remedy}")
    found += [(form, path) for form in known if form in LOOSE_FOLDERS and form.fits(path)]
    if not found and len(known) == 1 and known[0] not in ANNOTATION_FILES:
        return known[0], path
    if not found:
        raise _unknown(path)
    return found[0]


def _fitting(files: list[Path], known: tuple[Format, ...]) -> list[tuple[Format, Path]]:
    return [(form, file) for file in files for form in known if form in ANNOTATION_FILES and form.fits(file)]


def _below(folder: Path, file: Path) -> str:
    return file.name if file == folder else file.relative_to(folder).as_posix()


def _annotation_files(folder: Path) -> list[Path]:
    """The files that may be annotations; a text that has a photo's name is its caption and not looked into."""
    names = sorted(name for name in list_folder(folder) if not is_hidden(name))
    files = [folder / name for name in names if name.lower().endswith(SUFFIXES)]
    photos = {name.stem for name in map(PurePath, names) if has_image_suffix(name)} if files else set()
    return [file for file in files if file.stem not in photos and file.is_file()]


def _unknown(path: Path) -> InputError:
    known = ", ".join(form.name for form in FORMATS)
    bare = sorted(name for name in map(PurePath, list_folder(path)) if has_image_suffix(name) or has_video_suffix(name))
    remedy = ""
    if bare:
        remedy = (
            f": put texts next to them, such as {bare[0].stem}.txt next to {bare[0]}, or a metadata.csv with the "
            "columns file_name and text, or file_name, question and answer"
        )
    return InputError(f"{path}: {_describe(path)}; this is not a known form of data set ({known}){remedy}")


def _describe(path: Path) -> str:
    """What was seen instead of a known form. Raises InputError for a JSON file that is broken as such."""
    if path.is_dir():
        for file in _annotation_files(path):
            if problem := find_other_content(file):
                raise InputError(f"{file}: {problem}")
        names = sorted(list_folder(path))
        listed = ", ".join(map(shown, names[:8])) or "nothing"
        return f"a folder that holds {listed}" + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    if path.suffix.lower() != ".json":
        try:
            with path.open("rb") as stream:
                start = stream.read(LONGEST_POINTER)
            if problem := what_instead(start):
                return f"a file that {problem}"
            return f"a file that begins with {start[:40]!r}" if start else "an empty file"
        except OSError as error:
            return f"cannot be read ({error.strerror or error})"
    document = read_json(path)
    if isinstance(document, list) and document:
        return f"a JSON list of which the first is {_describe_entry(document[0])}"
    return f"JSON that is {_describe_entry(document)}"


def _describe_entry(entry: object) -> str:
    if not isinstance(entry, dict) or not entry:
        return kind_of(entry)
    return f"an object with the keys {', '.join(map(shown, list(entry)[:8]))}"
