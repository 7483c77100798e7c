"""A table of an SQLite database, which says itself how far it is."""

import os
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from picscribe.bulk.entries import Entry, Row, printable
from picscribe.bulk.failures import DiskFull, Failure
from picscribe.bulk.sinks.files import make_folder
from picscribe.bulk.sinks.records import NUMBERS, cells_of, columns_of
from picscribe.bulk.sinks.sink import Context, Rows
from picscribe.errors import InputError

TABLE = "picscribe"


class Database:
    """The table `picscribe` of a database: a row an entry, and in another table the number of its last row.

    Both are of one transaction, so that the database alone says where it is, whatever the journal knows.
    """

    copies = False

    def __init__(self, context: Context, path: str) -> None:
        self.context, self.path = context, os.path.abspath(path)
        self.name = f"sqlite:{printable(self.path)}"
        self._base: sqlite3.Connection | None = None
        self._upto = 0

    def claims(self, entry: Entry) -> Sequence[bytes]:
        """Nothing: a row is found by the entry's number."""
        return ()

    def leaves(self, entry: Entry) -> bool:
        """Never: each entry has its own row."""
        return False

    def open(self, position: Mapping[str, Any] | None, rows: Rows) -> None:
        """Open the database, or make it. Raises InputError for a table that is of another job."""
        make_folder(os.path.dirname(self.path))
        try:
            self._base = base = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=60)
            base.execute("PRAGMA synchronous=FULL")
            columns = columns_of(self.context.work)
            is_there = base.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (f"{TABLE}_upto",)).fetchone()
            if is_there and position is None and base.execute(f"SELECT 1 FROM {TABLE}").fetchone():
                if self.context.existing not in ("overwrite", "machine"):
                    raise InputError(
                        f"{printable(self.path)} has the table {TABLE} of another job: name another file, or use"
                        " --existing overwrite to replace the table"
                    )
                base.execute(f"DROP TABLE {TABLE}")
                base.execute(f"DROP TABLE {TABLE}_upto")
            if not is_there and position is not None:
                raise InputError(f"{printable(self.path)} has no table {TABLE}: restore it, or use --new")
            kinds = ", ".join(f'"{name}" {"REAL" if name in NUMBERS else "TEXT"}' for name in columns)
            base.execute("BEGIN IMMEDIATE")
            base.execute(f"CREATE TABLE IF NOT EXISTS {TABLE} (entry INTEGER PRIMARY KEY, {kinds})")
            base.execute(f"CREATE TABLE IF NOT EXISTS {TABLE}_upto (row INTEGER)")
            base.execute("COMMIT")
            self._upto = base.execute(f"SELECT coalesce(max(row), 0) FROM {TABLE}_upto").fetchone()[0]
        except sqlite3.Error as error:
            raise self._problem(error) from error

    def prepare(self, rows: Sequence[Row]) -> None:
        """Nothing to note."""

    def write(self, rows: Sequence[Row]) -> Mapping[int, Failure]:
        """Add the rows that are not there yet."""
        assert self._base is not None
        marks = ",".join("?" * (1 + len(columns_of(self.context.work))))
        try:
            self._base.execute("BEGIN IMMEDIATE")
            for row in rows:
                if row.value is not None and row.number > self._upto:
                    cells = cells_of(row, self.context.work).values()
                    statement = f"INSERT OR REPLACE INTO {TABLE} VALUES ({marks})"
                    self._base.execute(statement, (row.entry.number, *cells))
            upto = max([self._upto, *(row.number for row in rows)])
            self._base.execute(f"DELETE FROM {TABLE}_upto")
            self._base.execute(f"INSERT INTO {TABLE}_upto VALUES (?)", (upto,))
            self._base.execute("COMMIT")
        except sqlite3.Error as error:
            if self._base.in_transaction:
                self._base.execute("ROLLBACK")
            raise self._problem(error) from error
        self._upto = upto
        return {}

    def _problem(self, error: sqlite3.Error) -> DiskFull | InputError:
        if "disk is full" in str(error):
            return DiskFull(f"{printable(self.path)}: no room on the disk: free some, then the same command continues")
        return InputError(f"{printable(self.path)} cannot be written ({error}): name another file")

    def position(self) -> Mapping[str, Any]:
        """The last row."""
        return {"upto": self._upto}

    def finish(self) -> None:
        """Every row is there already."""

    def close(self) -> None:
        """Let go of the file."""
        if self._base is not None:
            self._base.close()
