"""Reads what `save_to_disk` of Hugging Face's datasets writes: Arrow files, which are mapped into memory."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from picscribe.datasets.dataset import Dataset, Task
from picscribe.datasets.folder_tree import split_of_path, subfolders
from picscribe.datasets.formats.format import Format
from picscribe.datasets.formats.tables import (
    TableLayout,
    find_table_layout,
    holds_paths,
    image_column,
    keep_rows,
    names_of_labels,
    read_image,
    rows_of,
)
from picscribe.datasets.rows import Rows
from picscribe.datasets.values import inside
from picscribe.errors import InputError, MissingPackageError
from picscribe.text_files import read_json_object, require_own_content

STATE, INFO, SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"


@dataclass(frozen=True, slots=True)
class ArrowCell:
    """One photo of an Arrow file: row `row` of a batch; `column` is the way to it, and files are in `images`."""

    path: Path
    batch: int
    row: int
    column: str
    images: Path | None = None

    def read(self) -> bytes:
        """The image file's bytes. Raises InputError where they are not there."""
        try:
            value = image_column(_batches(self.path)[self.batch], self.column)[self.row].as_py()
        except IndexError:
            raise InputError(f"{self}: the file was changed and no longer has this row: start again") from None
        return read_image(value, self.images or self.path.parent, str(self))

    def __str__(self) -> str:
        return f"{self.path}: batch {self.batch}, row {self.row}, {self.column}"


def fits(path: Path) -> bool:
    """Whether it is a folder that `save_to_disk` wrote, of one split or of several, or an Arrow file."""
    return path.suffix.lower() == ".arrow" or (path / SPLITS).is_file() or (path / STATE).is_file()


def read(path: Path, images: Path | None) -> Dataset:
    """All rows of a data set, or of all splits of one, in the order of its files.

    Columns, ids and paths are as in Parquet tables; a split is the name of its folder, or the one that the data set
    knows. Raises MissingPackageError without pyarrow.
    """
    rows, tasks = Rows(), set[Task]()
    if (path / SPLITS).is_file():
        folders = [folder for folder in subfolders(path) if (folder / STATE).is_file()]
    else:
        folders = [path]
    for folder in folders:
        files, split = _files(folder)
        for file in files:
            name = file.relative_to(path) if path.is_dir() else Path(file.name)
            layout = _layout(file)
            tasks.add(layout.columns.task)
            found = _rows(file, layout, images or file.parent)
            own = folder.name if folder != path else split or split_of_path(name)
            keep_rows(found, layout, images or file.parent, name, own, rows)
    if len(tasks) > 1:
        raise InputError(f"{path}: has tables of {' and of '.join(sorted(tasks))}: name the folder of one of them")
    return rows.dataset(path, ARROW_FOLDER.name, tasks.pop() if tasks else "captions")


def _files(folder: Path) -> tuple[list[Path], str]:
    """The Arrow files of a folder in their order, and the split that it knows, "" for none."""
    if folder.is_file():
        return [folder], ""
    state = read_json_object(folder / STATE)
    listed = state.get("_data_files")
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise InputError(
            f"{folder / STATE}: _data_files must be a list of objects with a filename: save the data set again"
        )
    files = [folder / inside(one.get("filename"), "filename") for one in listed]
    if missing := [file.name for file in files if not file.is_file()]:
        raise InputError(f"{folder}: lacks {', '.join(missing[:3])}, which {STATE} lists: copy the whole folder again")
    split = state.get("_split")
    return files, split if isinstance(split, str) else ""


def _layout(file: Path) -> TableLayout:
    batches = _batches(file)
    if not batches:
        raise InputError(f"{file}: has no rows: name another file")
    layout = find_table_layout(batches[0].schema, file)
    info = file.with_name(INFO)
    if layout.columns.task != "labels" or not info.is_file():
        return layout
    named = names_of_labels(read_json_object(info).get("features"), layout.columns)
    return replace(layout, classes={**layout.classes, **named})


def _rows(file: Path, layout: TableLayout, images: Path) -> Iterator[tuple[str, ArrowCell | None, Any, dict[str, Any]]]:
    """What `keep_rows` takes of each row; no photo is read."""
    number = 0
    for index, batch in enumerate(_batches(file)):
        paths = holds_paths(layout.kind) or _only_paths(image_column(batch, layout.way))
        for row, (cell, record) in enumerate(rows_of(batch, layout, with_image=paths)):
            packed = None if paths else ArrowCell(file, index, row, layout.way, images)
            yield f"{file}: row {number}", packed, cell, record
            number += 1


def _only_paths(column: Any) -> bool:
    from pyarrow import types

    if not types.is_struct(column.type) or "bytes" not in [field.name for field in column.type]:
        return False
    inner = column.field("bytes")
    return bool(inner.null_count == len(inner))


_newest = threading.local()
"""The file that this thread read last: one open file a thread."""


def _batches(file: Path) -> list[Any]:
    """The record batches of an Arrow stream or file, which stay on the disk until they are looked at."""
    known = getattr(_newest, "known", None)
    if known is None or known[0] != file:
        _newest.known = known = (file, _map(file))
    return list(known[1])


def _map(file: Path) -> list[Any]:
    try:
        from pyarrow import ArrowException, ipc, memory_map
    except ImportError as error:
        raise MissingPackageError('Arrow files need pyarrow: pip install "picscribe[data]"') from error
    require_own_content(file)
    try:
        source = memory_map(str(file))
        if source.read(6) == b"ARROW1":
            reader = ipc.open_file(source)
            return [reader.get_batch(number) for number in range(reader.num_record_batches)]
        source.seek(0)
        return list(ipc.open_stream(source))
    except (ArrowException, OSError) as error:
        raise InputError(f"{file}: is not an Arrow file that can be read ({error}): download it again") from error


ARROW_FOLDER = Format("arrow-folder", "what save_to_disk of Hugging Face's datasets writes: Arrow files", fits, read)
