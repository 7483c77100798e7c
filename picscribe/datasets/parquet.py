"""Reads Parquet tables of photos, as Hugging Face's datasets writes them: texts at once, a photo when asked for."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from picscribe.datasets.class_folders import class_names
from picscribe.datasets.columns import Columns, find_columns
from picscribe.datasets.dataset import Dataset
from picscribe.datasets.examples import Example, Source
from picscribe.datasets.folder_tree import files_below, first_files, split_of_path
from picscribe.datasets.format import Format
from picscribe.datasets.rows import Rows
from picscribe.datasets.values import inside
from picscribe.errors import InputError, MissingPackageError
from picscribe.text_files import require_own_content

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

IMAGES = ("image", "img", "photo", "picture", "jpg", "jpeg", "png", "webp", "image_bytes", "image_path", "file_name")

BATCH = 16
"""Photos decoded at a time: a row group may hold all photos of a data set."""


@dataclass(frozen=True, slots=True)
class TableCell:
    """One photo of a Parquet table: row `row` of a row group, in a column of bytes or of {bytes, path}."""

    path: Path
    group: int
    row: int
    column: str

    def read(self) -> bytes:
        """The image file's bytes; going through a row group in its order decodes it once.

        Raises InputError where the table is gone or damaged, or the cell is empty.
        """
        value = _column(self.path, self.group, self.column).value(self.row)
        if isinstance(value, dict):
            value = value.get("bytes")
        if not isinstance(value, bytes) or not value:
            raise InputError(f"{self}: holds no image")
        return value

    def __str__(self) -> str:
        return f"{self.path}: row group {self.group}, row {self.row}, {self.column}"


class _Column:
    """A column of a row group, read forwards in small batches; going back starts it again."""

    def __init__(self, path: Path, group: int, column: str) -> None:
        self.key = (path, group, column)
        self._first = 0
        self._values: Sequence[Any] = ()
        self._begin()

    def _begin(self) -> None:
        path, group, column = self.key
        self._file = _open(path)
        self._batches = self._file.iter_batches(BATCH, row_groups=[group], columns=[column], use_threads=False)
        self._first, self._values = 0, ()

    def value(self, row: int) -> Any:
        """The cell as Python has it. Raises InputError where the file ends before it or is damaged."""
        from pyarrow import ArrowException

        if row < self._first:
            self._begin()
        try:
            while row >= self._first + len(self._values):
                self._first += len(self._values)
                self._values = next(self._batches).column(0)
        except (ArrowException, OSError, StopIteration) as error:
            raise InputError(
                f"{self.key[0]}: row group {self.key[1]} cannot be read ({error}): download it again"
            ) from error
        return self._values[row - self._first].as_py()


_newest = threading.local()
"""The column that this thread read last: one open file a thread, however many tables there are."""


def _column(path: Path, group: int, column: str) -> _Column:
    known = getattr(_newest, "column", None)
    if known is None or known.key != (path, group, column):
        _newest.column = known = _Column(path, group, column)
    return known


def fits(path: Path) -> bool:
    """Whether it is a .parquet file, or a folder that holds some."""
    files = first_files(path) if path.is_dir() else [path]
    return any(map(_is_parquet, files))


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def read(path: Path, images: Path | None) -> Dataset:
    """All rows of all tables below a folder, by name.

    The image is a column of bytes, of {bytes, path} or of paths, which are relative to `images` or the table's folder;
    further columns are known by the names that `columns` lists. Numbers of labels get the names that Hugging Face's
    metadata or labels.json beside the table has. An id is the column question_id, image_id or id, else the table's name
    and the row: train-00000-of-00001/17. A split is the column `split`, else a word in the name of table or folder.
    Raises MissingPackageError without pyarrow.
    """
    files = [file for file in files_below(path) if _is_parquet(file)] if path.is_dir() else [path]
    rows = Rows()
    tasks = set()
    for file in files:
        name = file.relative_to(path) if path.is_dir() else Path(file.name)
        tasks.add(_read_table(file, name, images or file.parent, rows))
    if len(tasks) > 1:
        raise InputError(f"{path}: holds tables of {' and of '.join(sorted(tasks))}: name one file")
    return rows.dataset(path, PARQUET.name, tasks.pop() if tasks else "captions")


def _read_table(file: Path, name: Path, images: Path, rows: Rows) -> Any:
    table = _open(file)
    from pyarrow import types  # after `_open`, which says what to install

    schema = table.schema_arrow
    columns = find_columns(set(schema.names), str(file))
    image = next((wanted for wanted in IMAGES if wanted in schema.names), "")
    if not image:
        listed = ", ".join(map(repr, schema.names[:12]))
        raise InputError(f"{file}: has no column of images ({', '.join(IMAGES)}); it has {listed}")
    kind = schema.field(image).type
    packed = types.is_struct(kind) or types.is_binary(kind) or types.is_large_binary(kind)
    classes = {**class_names(file.parent), **_label_names(schema, columns)}
    otherwise = split_of_path(name)
    for group, row, number, record in _records(table, columns.used if packed else [*columns.used, image], file):
        where = f"{file}: row {number}"
        split = columns.split_of(record, otherwise)
        with rows.reading(where, split):
            source: Source = TableCell(file, group, row, image) if packed else images / inside(record[image], image)
            identity = columns.id_of(record, f"{name.with_suffix('').as_posix()}/{number}")
            texts, question = columns.texts_of(record, classes), columns.question_of(record)
            rows.add(Example(identity, source, texts, question, split, where))
    return columns.task


def _records(table: "ParquetFile", columns: list[str], file: Path) -> Iterator[tuple[int, int, int, Mapping[str, Any]]]:
    """Row group, row in it, row of the table and the wanted columns, a small batch in memory at a time."""
    from pyarrow import ArrowException

    number = 0
    try:
        for group in range(table.num_row_groups):
            row = 0
            for batch in table.iter_batches(4096, row_groups=[group], columns=columns, use_threads=False):
                for record in batch.to_pylist():
                    yield group, row, number, record
                    row += 1
                    number += 1
    except (ArrowException, OSError) as error:
        raise InputError(f"{file}: cannot be read after row {number} ({error}): download it again") from error


def _label_names(schema: Any, columns: Columns) -> dict[str, str]:
    """The names of a column of numbered classes, by number, as Hugging Face's datasets stores them in the schema."""
    if columns.task != "labels":
        return {}
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[columns.texts]["names"]
    except (KeyError, TypeError, ValueError):
        return {}
    return {str(number): str(name) for number, name in enumerate(names)}


def _open(file: Path) -> "ParquetFile":
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise MissingPackageError('Parquet needs pyarrow: pip install "picscribe[data]"') from error
    require_own_content(file)
    try:
        return ParquetFile(file, memory_map=True, pre_buffer=False, buffer_size=1 << 20)
    except (ArrowException, OSError) as error:
        raise InputError(f"{file}: is not a Parquet table that can be read ({error}): download it again") from error


PARQUET = Format("parquet", "Parquet tables with an image column, as Hugging Face's datasets writes them", fits, read)
