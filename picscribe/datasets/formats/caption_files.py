"""Reads photos or videos with captions in a text file of the same name: dog.jpg and dog.txt or dog.caption."""

from collections.abc import Container
from pathlib import Path

from picscribe.datasets.columns import captions_of
from picscribe.datasets.dataset import Dataset
from picscribe.datasets.examples import Example
from picscribe.datasets.folder_tree import (
    first_files,
    has_image_suffix,
    has_video_suffix,
    read_short_text,
    split_of_path,
)
from picscribe.datasets.formats.format import Format
from picscribe.datasets.json_files import as_object
from picscribe.datasets.media_folder import composed
from picscribe.datasets.rows import Rows
from picscribe.datasets.values import caption
from picscribe.errors import InputError
from picscribe.media.folders import files_below
from picscribe.text_files import parse_json, split_lines

TEXT_SUFFIXES = (".txt", ".caption")
SPELLINGS = (*TEXT_SUFFIXES, *map(str.upper, TEXT_SUFFIXES))


def fits(path: Path) -> bool:
    """Whether it is a folder in which a photo or video has a text file of the same name."""
    files = first_files(path) if path.is_dir() else []
    names = {composed(file.as_posix()) for file in files}
    return any((has_image_suffix(file) or has_video_suffix(file)) and _texts_of(file, names) for file in files)


def read(path: Path, images: Path | None) -> Dataset:
    """Every photo below a folder, by name; each line of its text file that is not blank is a caption.

    An id is the photo's path within the folder; a split is the folder's name that holds it, such as train/. A photo
    without captions and a text without a photo are oddities. Where the photos are in another folder, `images`, the
    text files have the same layout in `path`. If videos have texts and photos have none, the same holds for videos.
    """
    files = [file.relative_to(images or path) for file in files_below(images or path)]
    texts = [file.relative_to(path) for file in files_below(path) if file.suffix.lower() in TEXT_SUFFIXES]
    by_name = {composed(text.as_posix()): text for text in texts}
    photos, videos = ([file for file in files if is_kind(file)] for is_kind in (has_image_suffix, has_video_suffix))
    of_videos = any(_texts_of(v, by_name) for v in videos) and not any(_texts_of(p, by_name) for p in photos)
    if of_videos:
        photos = videos
    rows = Rows()
    for photo in photos:
        found = [by_name[name] for name in _texts_of(photo, by_name)]
        where = str(path / (found[0] if found else photo))
        with rows.reading(where, split_of_path(photo.parent)):
            if len(found) != 1:
                raise InputError(_problem(photo, found))
            lines = [line for line in split_lines(read_short_text(path / found[0])) if line.strip()]
            captions = _captions_beside(path / found[0]) if len(lines) > 1 else ()
            captions = captions or tuple(caption(line, "a line") for line in lines)
            if not captions:
                raise InputError("is empty: write at least one line of words, or remove the file")
            source = (images or path) / photo
            rows.add(Example(photo.as_posix(), source, captions, split=split_of_path(photo.parent), where=where))
    known = {composed(photo.with_suffix("").as_posix()) for photo in photos}
    for text in sorted(texts):
        with rows.reading(str(path / text), split_of_path(text.parent)):
            if composed(text.with_suffix("").as_posix()) not in known:
                raise InputError(
                    f"no {'video' if of_videos else 'photo'} has this name: add it, or remove the text file"
                )
    return rows.dataset(path, CAPTION_FILES.name, "captions", "videos" if of_videos else "images")


def _captions_beside(text: Path) -> tuple[str, ...]:
    """The captions of a .json of the same name, where img2dataset wrote one: there a caption of many lines is whole."""
    file = text.with_suffix(".json")
    if not file.is_file():
        return ()
    record = as_object(parse_json(read_short_text(file), file))
    return captions_of(record)


def _texts_of(photo: Path, names: Container[str]) -> list[str]:
    """The names, with composed accents, of the text files that belong to a photo."""
    return [name for suffix in SPELLINGS if (name := composed(photo.with_suffix(suffix).as_posix())) in names]


def _problem(photo: Path, found: list[Path]) -> str:
    if found:
        return f"{photo} has both {found[0].name} and {found[1].name}: keep one"
    names = " or ".join(photo.with_suffix(suffix).name for suffix in TEXT_SUFFIXES)
    return f"has no captions: no {names} next to it"


CAPTION_FILES = Format(
    "caption-files", "photos or videos, each with a .txt or .caption file of the same name", fits, read
)
