"""Parquet shards: each is written when its rows are complete, and appears by rename."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from picscribe.bulk.entries import Entry, Row, printable
from picscribe.bulk.failures import DiskFull, Failure, is_disk_full
from picscribe.bulk.sinks.files import make_folder, partial_of, sync_folders
from picscribe.bulk.sinks.records import NUMBERS, cells_of, columns_of
from picscribe.bulk.sinks.sink import Context, Rows
from picscribe.errors import InputError, MissingPackageError


class ParquetShards:
    """A folder of 00000.parquet, 00001.parquet …, each of `shard` rows, the last of a run of fewer.

    Rows wait in the journal until their shard is written: a kill loses nothing, and no shard is ever changed.
    """

    copies = False

    def __init__(self, context: Context, folder: str) -> None:
        """Raises MissingPackageError without pyarrow."""
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise MissingPackageError('Parquet needs pyarrow: pip install "picscribe[bulk]"') from error
        self.context, self.folder = context, os.path.abspath(folder)
        self.name = f"parquet:{printable(self.folder)}"
        fields = [(n, pyarrow.float64() if n in NUMBERS else pyarrow.string()) for n in columns_of(context.work)]
        self._schema = pyarrow.schema(fields)
        self._upto = self._shard = 0
        self._seen = 0
        self._waiting: list[Row] = []

    def claims(self, entry: Entry) -> Sequence[bytes]:
        """Nothing: each entry has its own row."""
        return ()

    def leaves(self, entry: Entry) -> bool:
        """Never."""
        return False

    def open(self, position: Mapping[str, Any] | None, rows: Rows) -> None:
        """Raises InputError for a folder that has shards of another job, or lacks one of this."""
        _attempt(self.folder, lambda: make_folder(self.folder))
        if position is not None:
            self._upto = self._seen = position["upto"]
            self._shard = position["shards"]
            for number in range(max(0, self._shard - 1), self._shard):
                if not os.path.exists(self._path(number)):
                    raise InputError(f"{printable(self._path(number))} is missing: restore it, or use --new")
            return
        refuse_shards(self.context, self.folder, ".parquet")

    def prepare(self, rows: Sequence[Row]) -> None:
        """Nothing to note."""

    def write(self, rows: Sequence[Row]) -> Mapping[int, Failure]:
        """Keep rows until there are enough of them for a shard."""
        for row in rows:
            self._seen = max(self._seen, row.number)
            if row.value is not None:
                self._waiting.append(row)
            elif not self._waiting:
                self._upto = self._seen
            if len(self._waiting) >= self.context.shard:
                self._write_shard()
        return {}

    def _write_shard(self) -> None:
        """One that a kill left whole but not committed is written over, with the same rows."""
        import pyarrow
        import pyarrow.parquet

        cells = [cells_of(row, self.context.work) for row in self._waiting]
        table = pyarrow.Table.from_pylist(cells, self._schema)
        path = self._path(self._shard)
        partial = partial_of(path)

        def write() -> None:
            pyarrow.parquet.write_table(table, partial)
            with open(partial, "rb+") as stream:
                os.fsync(stream.fileno())
            os.replace(partial, path)
            sync_folders([self.folder])

        try:
            _attempt(path, write)
        except DiskFull:
            if os.path.exists(partial):
                os.unlink(partial)
            raise
        self._shard += 1
        self._waiting = []
        self._upto = self._seen

    def _path(self, number: int) -> str:
        return os.path.join(self.folder, f"{number:05}.parquet")

    def position(self) -> Mapping[str, Any]:
        """The last row of the last shard, and how many shards there are."""
        return {"upto": self._upto, "shards": self._shard}

    def finish(self) -> None:
        """Write the rows that are left."""
        if self._waiting:
            self._write_shard()
        self._upto = max(self._upto, self._seen)

    def close(self) -> None:
        """Nothing is open."""


def refuse_shards(context: Context, folder: str, suffix: str) -> None:
    """Raise InputError for a folder with shards that are not of this job; with `--existing overwrite` they go."""
    old = sorted(name for name in os.listdir(folder) if name.endswith((suffix, "_stats.json")) and name[:1].isdigit())
    if old and context.existing != "overwrite":
        raise InputError(
            f"{printable(folder)} has shards already that are not of this job ({old[0]}): name another folder, or use"
            " --existing overwrite to replace them"
        )
    for name in old:
        os.unlink(os.path.join(folder, name))


def _attempt(path: str, act: Any) -> None:
    try:
        act()
    except OSError as error:
        if is_disk_full(error):
            raise DiskFull(
                f"{printable(path)}: no room on the disk: free some, then the same command continues"
            ) from error
        raise InputError(f"{printable(path)} cannot be written ({error.strerror or error})") from error
