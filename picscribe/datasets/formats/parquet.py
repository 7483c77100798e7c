"""Reads Parquet tables of photos, as Hugging Face's datasets writes them: texts at once, a photo when asked for."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from picscribe.datasets.dataset import Dataset, Task
from picscribe.datasets.folder_tree import first_files, split_of_path
from picscribe.datasets.formats.format import Format
from picscribe.datasets.formats.tables import (
    TableLayout,
    find_table_layout,
    holds_paths,
    image_column,
    keep_rows,
    read_image,
    rows_of,
)
from picscribe.datasets.rows import Rows
from picscribe.errors import InputError, MissingPackageError
from picscribe.media.folders import files_below
from picscribe.text_files import require_own_content

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

BATCH = 16
"""Photos decoded at a time: a row group may hold all photos of a data set."""


@dataclass(frozen=True, slots=True)
class TableCell:
    """One photo of a Parquet table: row `row` of a row group; `column` is the way to it, with dots between structs.

    A file that it names is in `images`, or otherwise next to the table.
    """

    path: Path
    group: int
    row: int
    column: str
    images: Path | None = None

    def read(self) -> bytes:
        """The image file's bytes; going through a row group in its order decodes it once.

        Raises InputError where the table is gone or damaged, or the cell is empty or names no file that is there.
        """
        return read_image(
            _column(self.path, self.group, self.column).value(self.row), self.images or self.path.parent, str(self)
        )

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
                self._values = image_column(next(self._batches), self.key[2])
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

    The image is a column of bytes, of {bytes, path} or of paths, which are relative to `images` or the table's folder:
    see `image_of`. Further columns are known by the names that `columns` lists. Numbers of labels get the names that
    Hugging Face's metadata or labels.json next to the table has. An id is the column question_id, image_id or id, else
    the table's name and the row: train-00000-of-00001/17. A split is the column `split`, else a word in the name of
    table or folder. Raises MissingPackageError without pyarrow.
    """
    files = [file for file in files_below(path) if _is_parquet(file)] if path.is_dir() else [path]
    rows = Rows()
    tasks = set[Task]()
    for file in files:
        name = file.relative_to(path) if path.is_dir() else Path(file.name)
        tasks.add(_read_table(file, name, images or file.parent, rows))
    if len(tasks) > 1:
        raise InputError(f"{path}: has tables of {' and of '.join(sorted(tasks))}: name one file")
    return rows.dataset(path, PARQUET.name, tasks.pop() if tasks else "captions")


def _read_table(file: Path, name: Path, images: Path, rows: Rows) -> Task:
    table = _open(file)
    layout = find_table_layout(table.schema_arrow, file)
    keep_rows(_rows(table, layout, file, images), layout, images, name, split_of_path(name), rows)
    return layout.columns.task


def _rows(
    table: "ParquetFile", layout: TableLayout, file: Path, images: Path
) -> Iterator[tuple[str, TableCell | None, Any, dict[str, Any]]]:
    """What `keep_rows` takes of each row, a small batch in memory at a time; no photo is read."""
    from pyarrow import ArrowException

    number = 0
    try:
        for group in range(table.num_row_groups):
            row, paths = 0, _column_of_paths(table, group, layout)
            columns = [*layout.used, paths] if paths else layout.used
            for batch in table.iter_batches(4096, row_groups=[group], columns=columns, use_threads=False):
                for cell, record in rows_of(batch, layout, with_image=bool(paths)):
                    packed = None if paths else TableCell(file, group, row, layout.way, images)
                    yield f"{file}: row {number}", packed, cell, record
                    row += 1
                    number += 1
    except (ArrowException, OSError) as error:
        raise InputError(f"{file}: cannot be read after row {number} ({error}): download it again") from error


def _column_of_paths(table: "ParquetFile", group: int, layout: TableLayout) -> str:
    """The column that names the files of a row group's photos; "" where the table may hold the photos themselves."""
    column = layout.way
    if holds_paths(layout.kind):
        return column
    chunks = table.metadata.row_group(group)
    for chunk in map(chunks.column, range(chunks.num_columns)):
        leaf = chunk.path_in_schema
        if leaf.startswith(f"{column}.") and leaf.endswith(".bytes"):
            known = chunk.statistics
            if known is not None and known.has_null_count and known.null_count == chunk.num_values:
                return str(leaf.removesuffix("bytes") + "path")
    return ""


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
