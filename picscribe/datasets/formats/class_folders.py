"""Reads folders of photos by class for classification: dog/1.jpg, cat/2.jpg, with train/ and val/ above if need be."""

from pathlib import Path

from picscribe.datasets.dataset import Dataset
from picscribe.datasets.examples import Example
from picscribe.datasets.folder_tree import first_files, has_image_suffix, read_short_text, split_of_name, subfolders
from picscribe.datasets.formats.caption_files import CAPTION_FILES
from picscribe.datasets.formats.format import Format
from picscribe.datasets.rows import Rows
from picscribe.datasets.values import caption
from picscribe.errors import InputError
from picscribe.media.folders import files_below
from picscribe.text_files import read_json_object, split_lines

NAMES_JSON = "labels.json"
NAMES_TEXT = "classes.txt"


def fits(path: Path) -> bool:
    """Whether it is a folder that holds at least two folders of photos and none without."""
    for level in _levels(path):
        classes = subfolders(level)
        if len(classes) < 2 or any(file.parent == level and has_image_suffix(file) for file in first_files(level)):
            return False
        if not all(any(map(has_image_suffix, first_files(folder))) for folder in classes[:3]):
            return False
    return path.is_dir() and not CAPTION_FILES.fits(path)


def read(path: Path, images: Path | None) -> Dataset:
    """Every photo below each class's folder, by name. A class's name is its folder's, or the one that a table gives it.

    The table is next to the folders: labels.json, {"n01440764": "tench", …}, or classes.txt, lines such as
    "n01440764 tench". An id is the photo's path; a split is the folder above the classes. Files that are not photos
    are left out.
    """
    folder = images or path
    classes = class_names(path)
    rows = Rows()
    for level in _levels(folder):
        split = split_of_name(level.name) if level != folder else ""
        for class_folder in subfolders(level):
            with rows.reading(str(class_folder), split):
                if classes and class_folder.name not in classes:
                    raise InputError(f"has no name in {_table(path)}: add a line for it")
                photos = [file for file in files_below(class_folder) if has_image_suffix(file)]
                if not photos:
                    raise InputError("has no photos: add some, or remove the folder")
                name = classes.get(class_folder.name, class_folder.name)
                for photo in photos:
                    identity = photo.relative_to(folder).as_posix()
                    rows.add(Example(identity, photo, (name,), split=split, where=str(photo)))
    return rows.dataset(path, CLASS_FOLDERS.name, "labels")


def class_names(folder: Path) -> dict[str, str]:
    """The names of labels that labels.json or classes.txt in a folder gives, empty where there is neither.

    Raises InputError where the table is broken.
    """
    table = _table(folder)
    if table is None:
        return {}
    if table.name == NAMES_JSON:
        return {key: caption(name, f"{table}: {key!r}") for key, name in read_json_object(table).items()}
    names = {}
    for number, line in enumerate(split_lines(read_short_text(table)), 1):
        key, _, name = line.strip().partition("\t" if "\t" in line else " ")
        if key:
            names[key] = caption(name, f"{table}: line {number}: the name of {key}")
    return names


def _table(folder: Path) -> Path | None:
    return next((file for name in (NAMES_JSON, NAMES_TEXT) if (file := folder / name).is_file()), None)


def _levels(folder: Path) -> list[Path]:
    """The folders that hold the classes: those of the splits, where all within are splits, else the folder itself."""
    within = subfolders(folder)
    return within if within and all(split_of_name(one.name) for one in within) else [folder]


CLASS_FOLDERS = Format("class-folders", "a folder of photos for each class", fits, read)
