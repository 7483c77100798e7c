"""Reads Hugging Face's imagefolder: photos, or videos, and a metadata.jsonl or .csv that says what belongs to which."""

import csv
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from picscribe.datasets.columns import Columns, find_columns
from picscribe.datasets.dataset import Dataset, Medium
from picscribe.datasets.examples import Example
from picscribe.datasets.folder_tree import has_image_suffix, has_video_suffix, split_of_path, subfolders
from picscribe.datasets.formats.class_folders import class_names
from picscribe.datasets.formats.format import Format
from picscribe.datasets.json_files import as_object
from picscribe.datasets.media_folder import list_folder, stored_path
from picscribe.datasets.rows import Rows
from picscribe.datasets.values import inside, shown
from picscribe.errors import InputError
from picscribe.media.folders import is_hidden
from picscribe.text_files import parse_json, read_text, require_own_content, split_lines

METADATA = ("metadata.jsonl", "metadata.csv")

SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
"""What spreadsheets put between columns where it is not a comma."""

MOST_LINES_OF_ROW = 100
"""Lines over which a quoted text may continue."""

LONGEST_LINE = 1 << 20
"""Bytes of a line of metadata: one longer is a file put together wrongly."""

Record = tuple[str, dict[str, Any] | InputError]
"""Where a row is, and what it holds or why it cannot be used."""


def fits(path: Path) -> bool:
    """Whether it is a metadata.jsonl or metadata.csv, or a folder with one in it or in a folder within."""
    return bool(_metadata_files(path))


def read(path: Path, images: Path | None) -> Dataset:
    """All rows of all metadata files; `file_name` is relative to its metadata file, or to `images`.

    Columns are known by the names that `columns` lists. Rows of one photo with a caption each are one example. An id is
    the column question_id, image_id or id, else the photo's path, with a number behind it for a photo's further
    questions; a split is the column `split`, else the folder's.
    """
    root = path if path.is_dir() else path.parent
    rows, are_videos, named = Rows(), set[bool](), set[Path]()
    tables = [(file, list(_read_rows(file))) for file in _metadata_files(path)]
    columns = _columns([record for _, records in tables for record in records], path)
    for file, records in tables:
        classes = class_names(file.parent)
        for where, record in records:
            otherwise = split_of_path(file.parent.relative_to(root))
            split = otherwise if isinstance(record, InputError) else columns.split_of(record, otherwise)
            with rows.reading(where, split):
                if isinstance(record, InputError):
                    raise record
                name = inside(record.get("file_name"), "file_name")
                source = (images or file.parent) / name
                named.add(stored_path(source))
                texts, question = columns.texts_of(record, classes), columns.question_of(record)
                identity = columns.id_of(record, (file.parent.relative_to(root) / name).as_posix())
                split = split or split_of_path(name.parent)
                example = Example(identity, source, texts, question, split, where)
                _add(rows, example, columns)
                are_videos.add(has_video_suffix(name))
    if len(are_videos) > 1:
        raise InputError(
            f"{path}: its metadata names both photos and videos: put them into two folders, each with its metadata"
        )
    dataset = rows.dataset(path, IMAGE_FOLDER.name, columns.task, "videos" if True in are_videos else "images")
    return dataset if images else replace(dataset, notes=_not_named(named, dataset.medium))


def _not_named(named: set[Path], medium: Medium) -> tuple[str, ...]:
    """What to say about photos or videos that no row names, although others in the same folder are named."""
    belongs = has_video_suffix if medium == "videos" else has_image_suffix
    others = [
        path
        for folder in {source.parent for source in named}
        for name in list_folder(folder)
        if not is_hidden(name) and belongs(path := folder / name) and path not in named
    ]
    if not others:
        return ()
    return (f"{medium} that the metadata does not name, left out: {len(others):,}, such as {min(others)}",)


def _add(rows: Rows, example: Example, columns: Columns) -> None:
    """Keep a row: a further caption of a photo that has an example joins it."""
    earlier = rows.examples.get(example.id)
    if earlier and columns.task == "captions" and (earlier.source, earlier.split) == (example.source, example.split):
        texts = earlier.texts + example.texts
        rows.examples[example.id] = Example(example.id, example.source, texts, "", example.split, earlier.where)
        return
    identity, number = example.id, 1
    while columns.task == "questions" and not columns.id and identity in rows.examples:
        number += 1
        identity = f"{example.id}/{number}"
    rows.add(replace(example, id=identity))


def _metadata_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.name in METADATA else []
    places = [path, *subfolders(path)] if path.is_dir() else []
    return [file for place in places for name in METADATA if (file := place / name).is_file()]


def _columns(records: list[Record], path: Path) -> Columns:
    names: dict[str, None] = {}
    for _, record in records:
        if isinstance(record, dict):
            names.update(dict.fromkeys(record))
    if not names and records:  # no row can be used: the first says why
        raise InputError(f"{records[0][0]}: {records[0][1]}")
    if "file_name" not in names:
        listed = ", ".join(map(shown, names)) or "no columns at all"
        first = next(iter(names), "")
        between = next((mark for mark in SEPARATORS if mark in first), "")
        remedy = f"; it is separated by {SEPARATORS[between]}: save it with commas" if between else ""
        raise InputError(
            f"{path}: its metadata has no column 'file_name': add it, or rename one; it has {listed}{remedy}"
        )
    return find_columns(names, str(path))


def _read_rows(file: Path) -> Iterator[Record]:
    try:
        if file.suffix == ".csv":
            yield from _read_csv(file)
        else:
            yield from _read_jsonl(file)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error})") from error


def _read_jsonl(file: Path) -> Iterator[Record]:
    require_own_content(file)
    with file.open("rb") as stream:
        number = 0
        while line := stream.readline(LONGEST_LINE + 1):
            number += 1
            where = f"{file}: line {number}"
            if len(line) > LONGEST_LINE:
                raise InputError(
                    f"{where} is over {LONGEST_LINE >> 20} MiB long, too long for a row: put each row on its own line"
                )
            if not line.strip():
                continue
            try:
                yield where, as_object(parse_json(line, where))
            except InputError as error:
                yield where, error


def _read_csv(file: Path) -> Iterator[Record]:
    header: list[str] | None = None
    for number, cells in _csv_rows(read_text(file)):
        where = f"{file}: line {number}"
        if header is None:
            if isinstance(cells, InputError):
                raise InputError(f"{where}: {cells}")
            header = [name.strip().lower().replace(" ", "_") for name in cells]
        elif isinstance(cells, InputError):
            yield where, cells
        elif len(cells) == len(header):
            yield where, dict(zip(header, cells, strict=True))
        else:
            yield (
                where,
                InputError(
                    f"has {len(cells)} cells, but the header has {len(header)}: put texts with commas in quotes"
                ),
            )


def _csv_rows(text: str) -> Iterator[tuple[int, list[str] | InputError]]:
    """The cells of each row that is not blank, and the number of its first line.

    A quote that does not match costs its own line alone: reading continues behind it, though a quote that is not closed
    seems to hold all that follows.
    """
    lines = [line + "\n" for line in split_lines(text)]
    at = 0
    while at < len(lines):
        rows = csv.reader(itertools.islice(lines, at, at + MOST_LINES_OF_ROW), strict=True)
        try:
            cells = next(rows)
        except csv.Error as error:
            problem = f'its quotes do not match ({error}): put " around the text and double those inside'
            yield at + 1, InputError(problem)
            at += 1
            continue
        if cells:
            yield at + 1, cells
        at += rows.line_num


IMAGE_FOLDER = Format(
    "imagefolder", "Hugging Face's imagefolder: photos or videos and a metadata.jsonl or .csv", fits, read
)
