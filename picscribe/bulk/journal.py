"""The journal of a job: what there is to do, what was found and what is written, in one SQLite file.

An entry is pending until it has an outcome: a result or a failure. Outcomes are numbered 1, 2, 3 …, and every output
says up to which number it is safely on the disk, so that after a kill each continues from there by itself. SQLite's
rollback journal is used and never WAL, which breaks on network file systems.
"""

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from picscribe.bulk.entries import Entry, Outcome, Row, digest_of
from picscribe.bulk.failures import DiskFull, Failure
from picscribe.errors import InputError

FILE = "journal.sqlite"
LAYOUT = 1
PAGE = 500
"""Entries or rows read at a time."""

PENDING, DONE, FAILED, SKIPPED, HELD = range(5)
STATES = ("pending", "done", "failed", "skipped", "held")

TABLES = """
CREATE TABLE job (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE entries (
    number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, source BLOB NOT NULL, name BLOB NOT NULL, path BLOB NOT NULL,
    more TEXT NOT NULL, stem BLOB NOT NULL, full INTEGER NOT NULL, state INTEGER NOT NULL, result INTEGER
);
CREATE INDEX pending ON entries (number) WHERE state = 0;
CREATE INDEX unfinished ON entries (state, number) WHERE state > 1;
CREATE INDEX stems ON entries (stem);
CREATE TABLE paths (path BLOB PRIMARY KEY, entry INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE results (
    number INTEGER PRIMARY KEY, digest BLOB NOT NULL, asked BLOB NOT NULL, value TEXT NOT NULL, UNIQUE (digest, asked)
);
CREATE TABLE outcomes (
    number INTEGER PRIMARY KEY, entry INTEGER NOT NULL, result INTEGER, edited TEXT, kind TEXT, reason TEXT
);
CREATE INDEX outcome_of ON outcomes (entry);
CREATE TABLE written (
    path BLOB PRIMARY KEY, row INTEGER NOT NULL, before BLOB, after BLOB NOT NULL, whole INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE unwritten (
    output TEXT, outcome INTEGER, kind TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (output, outcome)
) WITHOUT ROWID;
CREATE TABLE positions (output TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

ENTRY = "e.number, e.source, e.name, e.path, e.more, e.full"


@dataclass(frozen=True, slots=True)
class Intent:
    """The content that a row planned for a file, as digests; `before` is None where there was no file.

    whole: nothing in it is anybody else's.
    """

    row: int
    before: bytes | None
    after: bytes
    whole: bool


class Journal:
    """An open journal; any thread may use it. Raises DiskFull where the disk has no room for a commit."""

    def __init__(self, path: Path, read_only: bool = False) -> None:
        """Opens `path`, or makes it. Raises InputError for a file that is no journal of this layout."""
        self.path = path
        self._lock = threading.RLock()
        where = f"file:{_quoted(path)}?mode=ro" if read_only else f"file:{_quoted(path)}"
        try:
            self._base = sqlite3.connect(where, uri=True, isolation_level=None, check_same_thread=False, timeout=60)
            if not read_only:
                self._base.execute("PRAGMA journal_mode=PERSIST")
                self._base.execute("PRAGMA synchronous=FULL")
            self._base.execute("PRAGMA cache_size=-8000")
            # A file without tables is what a kill leaves between its making and its first commit.
            if not read_only and not self._all("SELECT 1 FROM sqlite_master WHERE name = 'job'"):
                with self.transaction():
                    for statement in TABLES.split(";\n"):
                        self._base.execute(statement)
                    self.set("layout", LAYOUT)
            if self.get("layout") != LAYOUT:
                raise InputError(f"{path}: is a journal of another version of picscribe: finish it there, or use --new")
        except sqlite3.DatabaseError as error:
            if _is_full(error):
                raise DiskFull(f"{path}: no room for the journal ({error})") from error
            raise InputError(f"{path}: is not a readable journal ({error}): move it away, or use --new") from error

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._base.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything within is on the disk when the block ends, or nothing of it."""
        with self._lock:
            try:
                self._base.execute("BEGIN IMMEDIATE")
                yield
                self._base.execute("COMMIT")
            except BaseException as error:
                try:
                    if self._base.in_transaction:
                        self._base.execute("ROLLBACK")
                except sqlite3.Error:
                    pass
                if isinstance(error, sqlite3.Error) and _is_full(error):
                    raise DiskFull(f"{self.path}: no room for the journal ({error})") from error
                raise

    def _all(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            return self._base.execute(statement, values).fetchall()

    def _one(self, statement: str, values: Sequence[Any] = ()) -> Any:
        with self._lock:
            return self._base.execute(statement, values).fetchone()

    # What the job is

    def get(self, name: str) -> Any:
        """What was set under a name; None for nothing."""
        row = self._one("SELECT value FROM job WHERE name = ?", (name,))
        return None if row is None else json.loads(row[0])

    def set(self, name: str, value: Any) -> None:
        """Keep a value, as JSON."""
        self._base.execute("INSERT OR REPLACE INTO job VALUES (?, ?)", (name, json.dumps(value)))

    # What there is to do

    def add(self, entry: Entry) -> int:
        """The number of a new entry; 0 for one that is known."""
        more = {"part": dict(entry.part), "asked": list(entry.asked), "fields": dict(entry.fields)}
        row = self._base.execute(
            "INSERT OR IGNORE INTO entries (key, source, name, path, more, stem, full, state) VALUES (?,?,?,?,?,?,?,?)"
            " RETURNING number",
            (
                entry.key,
                os.fsencode(entry.source),
                os.fsencode(entry.name),
                os.fsencode(entry.path),
                json.dumps({name: value for name, value in more.items() if value}),
                entry.stem,
                entry.full,
                PENDING,
            ),
        ).fetchone()
        return row[0] if row else 0

    def last_entry(self) -> int:
        """The greatest number of an entry; 0 for none."""
        return self._one("SELECT coalesce(max(number), 0) FROM entries")[0]

    def name_fully(self, after: int, always: bool) -> None:
        """Have entries beyond `after` keep their suffix where another has their stem, or always."""
        self._base.execute(
            "UPDATE entries SET full = 1 WHERE number > ? AND (? OR EXISTS ("
            " SELECT 1 FROM entries AS o WHERE o.stem = entries.stem AND o.number <> entries.number))",
            (after, always),
        )

    def claim(self, path: bytes, entry: int) -> int:
        """Have an entry alone write to a path: 0, or the number of the entry that has it."""
        digest = digest_of(path)
        known = self._base.execute("SELECT entry FROM paths WHERE path = ?", (digest,)).fetchone()
        if known is None:
            self._base.execute("INSERT INTO paths VALUES (?, ?)", (digest, entry))
            return 0
        return known[0] if known[0] != entry else 0

    def has_stem(self, stem: bytes, other_than: int) -> bool:
        """Whether another entry would have the same name without its suffix."""
        found = self._one("SELECT 1 FROM entries WHERE stem = ? AND number <> ? LIMIT 1", (stem, other_than))
        return found is not None

    def entries(self, after: int = 0, full: bool | None = None) -> Iterator[Entry]:
        """Entries beyond a number, in order, a page at a time; only those that keep their suffix, or that do not."""
        return self._pages("" if full is None else f"AND e.full = {int(full)}", after)

    def keep_suffix(self, entry: Entry) -> Entry:
        """Have sidecars of an entry keep its suffix."""
        self._base.execute("UPDATE entries SET full = 1 WHERE number = ?", (entry.number,))
        return replace(entry, full=True)

    def pending(self) -> Iterator[Entry]:
        """Entries without an outcome, in order; those that come to be pending meanwhile behind the last are found."""
        return self._pages(f"AND e.state = {PENDING}", 0)

    def held(self) -> Iterator[Entry]:
        """Entries whose result waits for a person."""
        return self._pages(f"AND e.state = {HELD}", 0)

    def by_chance(self, size: int) -> list[Entry]:
        """So many entries without an outcome, by chance, the same at every call: keys are digests."""
        statement = f"SELECT {ENTRY} FROM entries AS e WHERE e.state = {PENDING} ORDER BY e.key LIMIT ?"
        return [_entry(row) for row in self._all(statement, (size,))]

    def _pages(self, which: str, after: int) -> Iterator[Entry]:
        statement = f"SELECT {ENTRY} FROM entries AS e WHERE e.number > ? {which} ORDER BY e.number LIMIT {PAGE}"
        while rows := self._all(statement, (after,)):
            for row in rows:
                yield _entry(row)
            after = rows[-1][0]

    def entry(self, number: int) -> Entry:
        """The entry of a number."""
        return _entry(self._one(f"SELECT {ENTRY} FROM entries AS e WHERE e.number = ?", (number,)))

    def known(self, entry: Entry) -> tuple[int, int] | None:
        """Number and state of an entry that is there already."""
        row = self._one("SELECT number, state FROM entries WHERE key = ?", (entry.key,))
        return None if row is None else (row[0], row[1])

    # What was found

    def value_of(self, digest: bytes, asked: bytes) -> Mapping[str, Any] | None:
        """The result of equal bytes and equal questions, if there is one."""
        row = self._one("SELECT value FROM results WHERE digest = ? AND asked = ?", (digest, asked))
        return None if row is None else json.loads(row[0])

    def keep(self, digest: bytes, asked: bytes, value: Mapping[str, Any]) -> int:
        """The number of a result, which is kept unless equal bytes have one."""
        self._base.execute(
            "INSERT OR IGNORE INTO results (digest, asked, value) VALUES (?, ?, ?)",
            (digest, asked, json.dumps(value)),
        )
        return self._one("SELECT number FROM results WHERE digest = ? AND asked = ?", (digest, asked))[0]

    def settle(self, outcome: Outcome, hold: bool = False) -> Row | None:
        """Give an entry its outcome; the row for the outputs, or None where its result is held for a person."""
        number, result = outcome.entry.number, None
        if outcome.value is not None:
            result = self.keep(outcome.digest, outcome.entry.asked_digest, outcome.value)
        state = FAILED if result is None else HELD if hold else DONE
        self._base.execute("UPDATE entries SET state = ?, result = ? WHERE number = ?", (state, result, number))
        if hold and result is not None:
            return None
        return self._number(outcome, result, None)

    def edit(self, entry: Entry, value: Mapping[str, Any]) -> Row:
        """Give an entry a person's result in place of the one that it has."""
        result, digest = self._one(
            "SELECT r.number, r.digest FROM entries AS e JOIN results AS r ON r.number = e.result WHERE e.number = ?",
            (entry.number,),
        )
        self._base.execute("UPDATE entries SET state = ? WHERE number = ?", (DONE, entry.number))
        return self._number(Outcome(entry, value, digest), result, json.dumps(value))

    def _number(self, outcome: Outcome, result: int | None, edited: str | None) -> Row:
        failure = outcome.failure
        row = self._base.execute(
            "INSERT INTO outcomes (entry, result, edited, kind, reason) VALUES (?,?,?,?,?) RETURNING number",
            (outcome.entry.number, result, edited, failure and failure.kind, failure and failure.reason),
        ).fetchone()
        return Row(row[0], outcome.entry, outcome.value, outcome.digest, failure, outcome.content)

    def skip(self, entry: Entry) -> None:
        """Leave an entry, as every output has a text for it."""
        self._base.execute("UPDATE entries SET state = ? WHERE number = ?", (SKIPPED, entry.number))

    def last_row(self) -> int:
        """The number of the last row; 0 for none."""
        return self._one("SELECT coalesce(max(number), 0) FROM outcomes")[0]

    def rows(self, after: int, upto: int | None = None) -> Iterator[Row]:
        """Rows beyond a number, in order, a page at a time."""
        while page := self._all(
            f"SELECT o.number, {ENTRY}, coalesce(o.edited, r.value), r.digest, o.kind, o.reason FROM outcomes AS o"
            " JOIN entries AS e ON e.number = o.entry LEFT JOIN results AS r ON r.number = o.result"
            f" WHERE o.number > ? AND o.number <= ? ORDER BY o.number LIMIT {PAGE}",
            (after, upto if upto is not None else 1 << 60),
        ):
            yield from map(_row, page)
            after = page[-1][0]

    def row(self, number: int) -> Row:
        """The row of a number."""
        return next(self.rows(number - 1, number))

    def result_of(self, entry: Entry) -> Mapping[str, Any] | None:
        """The result that an entry has, or that waits for a person."""
        row = self._one(
            "SELECT r.value FROM entries AS e JOIN results AS r ON r.number = e.result WHERE e.number = ?",
            (entry.number,),
        )
        return None if row is None else json.loads(row[0])

    def retry(self, kinds: Sequence[str]) -> int:
        """Make failed entries of these classes pending again; how many there are."""
        marks = ",".join("?" * len(kinds))
        return self._base.execute(
            f"UPDATE entries SET state = {PENDING} WHERE state = {FAILED} AND (SELECT kind FROM outcomes AS o"
            f" WHERE o.entry = entries.number ORDER BY o.number DESC LIMIT 1) IN ({marks})",
            kinds,
        ).rowcount

    def retry_entry(self, number: int) -> None:
        """Make one entry pending again if it failed."""
        self._base.execute(f"UPDATE entries SET state = {PENDING} WHERE number = ? AND state = {FAILED}", (number,))

    def unskip(self) -> None:
        """Make entries pending again that were left because of texts that were there."""
        self._base.execute(f"UPDATE entries SET state = {PENDING} WHERE state = {SKIPPED}")

    # What is written

    def position(self, output: str) -> dict[str, Any] | None:
        """How far an output is, as it said itself; None for a new one."""
        row = self._one("SELECT value FROM positions WHERE output = ?", (output,))
        return None if row is None else json.loads(row[0])

    def positions(self) -> dict[str, dict[str, Any]]:
        """How far every output is."""
        return {name: json.loads(value) for name, value in self._all("SELECT output, value FROM positions")}

    def place(self, output: str, position: Mapping[str, Any]) -> None:
        """Note how far an output is."""
        self._base.execute("INSERT OR REPLACE INTO positions VALUES (?, ?)", (output, json.dumps(position)))

    def intend(self, path: str, intent: "Intent") -> None:
        """Note what a file is about to be."""
        name = digest_of(os.fsencode(path))
        values = (name, intent.row, intent.before, intent.after, intent.whole)
        self._base.execute("INSERT OR REPLACE INTO written VALUES (?, ?, ?, ?, ?)", values)

    def intended(self, path: str) -> "Intent | None":
        """What `intend` noted of a path last."""
        row = self._one("SELECT row, before, after, whole FROM written WHERE path = ?", (digest_of(os.fsencode(path)),))
        return None if row is None else Intent(row[0], row[1], row[2], bool(row[3]))

    def text_before(self, row: Row) -> str | None:
        """What an earlier row of the same entry said."""
        found = self._one(
            "SELECT max(number) FROM outcomes WHERE entry = ? AND number < ? AND result IS NOT NULL",
            (row.entry.number, row.number),
        )
        return None if found[0] is None else self.row(found[0]).text

    def note_unwritten(self, output: str, row: int, failure: Failure) -> None:
        """Note that one output lacks a row, and why."""
        values = (output, row, failure.kind, failure.reason)
        self._base.execute("INSERT OR REPLACE INTO unwritten VALUES (?, ?, ?, ?)", values)

    def clear_unwritten(self, output: str, row: int) -> None:
        """Note that the row is written after all."""
        self._base.execute("DELETE FROM unwritten WHERE output = ? AND outcome = ?", (output, row))

    def unwritten(self, output: str, kinds: Sequence[str]) -> list[int]:
        """Rows that an output lacks, for reasons of these classes."""
        found = self._all("SELECT outcome, kind FROM unwritten WHERE output = ?", (output,))
        return [number for number, kind in found if kind in kinds]

    # Reports

    def counts(self) -> dict[str, int]:
        """How many entries are in each state."""
        found = dict(self._all("SELECT state, count(*) FROM entries GROUP BY state"))
        return {name: found.get(state, 0) for state, name in enumerate(STATES)}

    def failures(self) -> Iterator[tuple[str, str, str, str]]:
        """Path, output ("" for all), class and reason of everything that failed."""
        after = 0
        while page := self._all(
            "SELECT e.number, e.path, o.kind, o.reason FROM entries AS e JOIN outcomes AS o ON o.number ="
            " (SELECT max(number) FROM outcomes WHERE entry = e.number)"
            f" WHERE e.state = {FAILED} AND e.number > ? ORDER BY e.number LIMIT {PAGE}",
            (after,),
        ):
            for _, path, kind, reason in page:
                yield os.fsdecode(path), "", kind, reason
            after = page[-1][0]
        for path, output, kind, reason in self._all(
            "SELECT e.path, u.output, u.kind, u.reason FROM unwritten AS u"
            " JOIN outcomes AS o ON o.number = u.outcome JOIN entries AS e ON e.number = o.entry"
        ):
            yield os.fsdecode(path), output, kind, reason

    def failure_counts(self) -> dict[str, int]:
        """How many failures there are of each class."""
        counts: dict[str, int] = {}
        for _, _, kind, _ in self.failures():
            counts[kind] = counts.get(kind, 0) + 1
        return counts


def _entry(row: Sequence[Any]) -> Entry:
    number, source, name, path, more, full = row
    said = json.loads(more)
    return Entry(
        os.fsdecode(source),
        os.fsdecode(name),
        os.fsdecode(path),
        said.get("part", {}),
        tuple(said.get("asked", ())),
        said.get("fields", {}),
        number,
        bool(full),
    )


def _row(row: Sequence[Any]) -> Row:
    number, *entry, value, digest, kind, reason = row
    failure = Failure(kind, reason) if kind else None
    return Row(number, _entry(entry), json.loads(value) if value else None, digest or b"", failure)


def _quoted(path: Path) -> str:
    """A path within an address of SQLite's."""
    from urllib.parse import quote

    return quote(os.fsencode(os.path.abspath(path)))


def _is_full(error: sqlite3.Error) -> bool:
    return "disk is full" in str(error)
