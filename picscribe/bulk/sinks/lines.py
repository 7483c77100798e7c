"""One file that grows by a piece for each row: JSON Lines, CSV, an image folder's metadata.jsonl, COCO's results."""

import contextlib
import csv
import io
import os
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from picscribe.bulk.entries import Entry, Row, printable
from picscribe.bulk.failures import DiskFull, Failure, is_disk_full
from picscribe.bulk.sinks.files import make_folder, sync_folders, write_durably
from picscribe.bulk.sinks.records import cells_of, columns_of, line_of, record_of
from picscribe.bulk.sinks.sink import Context, Rows
from picscribe.errors import ConfigurationError, InputError

TAIL = 64 << 20
"""Bytes behind the last committed row that are looked at, and kept if they are not ours."""


class Growing:
    """A file that only grows, and that is cut back to its last committed byte after a kill.

    Its last `end` bytes, such as a closing bracket, follow every row that is the last at that time.
    """

    def __init__(self, path: str, context: Context, start: bytes = b"", end: bytes = b"") -> None:
        self.path, self.context, self.start, self.end = os.path.abspath(path), context, start, end
        self._stream: BinaryIO | None = None
        self._offset = 0
        self._last = (0, 0)
        """Where the last piece began, and its checksum."""

    def begin(self) -> None:
        """Make the file. Raises InputError where there is one that is not ours and nobody said what to do with it."""
        existing = self.context.existing
        old = 0 if self._is_fresh() else os.path.getsize(self.path)
        self._attempt(lambda: make_folder(os.path.dirname(self.path)))
        if old and existing not in ("overwrite", "append") and not (existing == "machine" and self._is_of_job_before()):
            raise InputError(
                f"{printable(self.path)} exists already, but is not from this job: name another file, or use --existing"
                " append to add to it, --existing overwrite to replace it"
            )
        if old and existing == "append":
            if self.end:
                raise ConfigurationError(f"{printable(self.path)}: a JSON array cannot be appended to: use jsonl")
            self._stream = self._opened("r+b")
            self._check_start()
            assert self._stream
            self._stream.seek(-1, os.SEEK_END)
            self._offset = old
            self._last = (old, 0)
            if self._stream.read(1) != b"\n":
                self.append(b"\n")
            return
        # A file that is replaced goes as a whole; what links to it keeps it.
        if os.path.lexists(self.path):
            self._attempt(lambda: os.unlink(self.path))
        self._stream = self._opened("x+b")
        self._attempt(lambda: sync_folders([os.path.dirname(self.path)]))
        self.append(self.start)

    def _is_fresh(self) -> bool:
        """Whether it is not there, or as a run leaves it that was killed before its first row."""
        try:
            with open(self.path, "rb") as stream:
                return stream.read(len(self.start) + len(self.end) + 1) in (b"", self.start, self.start + self.end)
        except FileNotFoundError:
            return True
        except OSError as error:
            raise InputError(f"{printable(self.path)} cannot be read ({error.strerror or error})") from error

    def go_on(self, position: Mapping[str, Any], expected: Callable[[], bytes]) -> None:
        """Cut the file back to a position. What is cut off and is not `expected`, the next rows, is kept next to the
        journal. Raises InputError where the file is not what it was."""
        self._offset, self._last = position["offset"], (position["from"], position["checksum"])
        where = printable(self.path)
        try:
            self._stream = open(self.path, "r+b")  # noqa: SIM115 - it stays open
        except FileNotFoundError as error:
            raise InputError(f"{where} is missing, but the journal lists its rows: restore it, or use --new") from error
        except OSError as error:
            raise InputError(f"{where} cannot be opened ({error.strerror}): restore its permissions") from error
        begin = self._last[0]
        self._stream.seek(begin)
        if zlib.crc32(self._stream.read(self._offset - begin)) != self._last[1] or self._stream.tell() < self._offset:
            raise InputError(
                f"{where} has changed since this job wrote it: restore it, name another file, or use --new"
            )
        tail = self._stream.read(TAIL)
        if tail.strip(b"\0") and tail != self.end and not (expected() + self.end).startswith(tail):
            kept = str(self.context.folder / f"{os.path.basename(self.path)}.from-{self._offset}")
            self._attempt(lambda: write_durably(kept, tail))
            self.context.warn(
                f"{where}: {len(tail)} bytes after the last row of this job were moved to {printable(kept)}"
            )
        if tail != self.end:
            self._attempt(lambda: self._put(b""))

    def _opened(self, mode: str) -> BinaryIO:
        return self._attempt(lambda: open(self.path, mode))

    def append(self, piece: bytes) -> None:
        """Add a piece, durably. Raises DiskFull, with the file as it was."""
        self._attempt(lambda: self._put(piece))
        self._last = (self._offset, zlib.crc32(piece))
        self._offset += len(piece)

    def _put(self, piece: bytes) -> None:
        assert self._stream is not None
        try:
            self._stream.seek(self._offset)
            self._stream.write(piece + self.end)
            self._stream.truncate()
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError:
            stream, self._stream = self._stream, None
            with contextlib.suppress(OSError):  # it would try once more to write what there was no room for
                stream.close()
            with contextlib.suppress(OSError):
                os.truncate(self.path, self._offset)
            raise

    def position(self) -> dict[str, Any]:
        """Where it ends without `end`, and how its last piece can be known again."""
        return {"offset": self._offset, "from": self._last[0], "checksum": self._last[1]}

    def _is_of_job_before(self) -> bool:
        """Whether an earlier job here left the file as it is."""
        for journal in self.context.older:
            for name, position in journal.positions().items():
                if name.partition(":")[2] == printable(self.path) and "offset" in position:
                    with open(self.path, "rb") as stream:
                        stream.seek(position["from"])
                        last = stream.read(position["offset"] - position["from"])
                        return zlib.crc32(last) == position["checksum"] and stream.read() == self.end
        return False

    def _check_start(self) -> None:
        assert self._stream
        if self.start and self._stream.read(len(self.start)) != self.start:
            raise InputError(f"{printable(self.path)} has other columns than this job: name another file")

    def _attempt(self, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except OSError as error:
            where = printable(self.path)
            if is_disk_full(error):
                raise DiskFull(f"{where}: no room on the disk: free some, then the same command continues") from error
            raise InputError(f"{where} cannot be written ({error.strerror or error})") from error

    def close(self) -> None:
        """Let go of the file."""
        if self._stream is not None:
            self._stream.close()


class Lines:
    """An output of one file; the kinds differ in how they write a row."""

    copies = False

    def __init__(self, context: Context, kind: str, path: str) -> None:
        """`kind`: jsonl, csv, metadata or coco."""
        self.context, self.kind, self.path = context, kind, os.path.abspath(path)
        self.name = f"{kind}:{printable(self.path)}"
        start, end = {"csv": (_csv([columns_of(context.work)]), b""), "coco": (b"[", b"\n]\n")}.get(kind, (b"", b""))
        self._file = Growing(self.path, context, start, end)
        self._upto, self._count = 0, 0
        if kind == "coco" and context.work.kind != "caption":
            raise ConfigurationError("COCO's results are for captions: use jsonl for answers and classes")

    def claims(self, entry: Entry) -> Sequence[bytes]:
        """COCO's number of the image, which must be no other's."""
        if self.kind == "coco":
            return (f"{self.name}#{image_id(entry)}".encode(),)
        if self.kind == "metadata":
            self._relative(entry)
        return ()

    def leaves(self, entry: Entry) -> bool:
        """Never: each entry has its own row."""
        return False

    def open(self, position: Mapping[str, Any] | None, rows: Rows) -> None:
        """Make the file, or cut it back to its last committed row."""
        if position is None:
            self._file.begin()
            return
        self._upto, self._count = position["upto"], position["count"]
        self._file.go_on(position, lambda: self._following(rows))

    def _following(self, rows: Rows) -> bytes:
        """What the next rows come to, as far as they might have been written."""
        pieces, count, size = [], self._count, 0
        for row in rows():
            if row.value is not None:
                pieces.append(self._piece(row, count))
                count += 1
                size += len(pieces[-1])
            if size > TAIL:
                break
        return b"".join(pieces)

    def prepare(self, rows: Sequence[Row]) -> None:
        """Nothing to note: the position says it all."""

    def write(self, rows: Sequence[Row]) -> Mapping[int, Failure]:
        """Append the rows that have a result."""
        pieces, count = [], self._count
        for row in rows:
            if row.value is not None:
                pieces.append(self._piece(row, count))
                count += 1
        if pieces:
            self._file.append(b"".join(pieces))
        self._count = count
        self._upto = max([self._upto, *(row.number for row in rows)])
        return {}

    def _piece(self, row: Row, count: int) -> bytes:
        if self.kind == "csv":
            return _csv([cells_of(row, self.context.work).values()])
        if self.kind == "coco":
            result = {"image_id": image_id(row.entry), "caption": row.text.partition("\n")[0]}
            return (b",\n" if count else b"\n") + line_of(result).rstrip(b"\n")
        if self.kind == "metadata":
            return line_of(record_of(row, self._relative(row.entry), "file_name"))
        return line_of(record_of(row))

    def _relative(self, entry: Entry) -> str:
        """A photo's path as an image folder's metadata names it."""
        folder = os.path.dirname(self.path)
        path = os.path.relpath(entry.source, folder) if not (entry.part or entry.remote) else ".."
        if path.split(os.sep)[0] == "..":
            raise ConfigurationError(
                f"{printable(entry.path)} is not within {printable(folder)}, as metadata.jsonl needs"
            )
        return Path(path).as_posix()

    def position(self) -> Mapping[str, Any]:
        """The last row, how many there are, and where the file ends."""
        return {"upto": self._upto, "count": self._count, **self._file.position()}

    def finish(self) -> None:
        """The file is whole after every row."""

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def image_id(entry: Entry) -> int | str:
    """COCO's number of an image: the column image_id or id of its list, else the last number of its name.

    Raises ConfigurationError for a name without one.
    """
    for column in ("image_id", "id"):
        value = entry.fields.get(column)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, str) and value:
            return int(value) if value.isdecimal() else value
    numbers = re.findall(r"\d+", os.path.splitext(os.path.basename(entry.name))[0])
    if not numbers:
        raise ConfigurationError(
            f"{printable(entry.path)} has no number in its name for COCO's image_id: list it with the column image_id"
        )
    return int(numbers[-1])


def _csv(rows: Any) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue().encode("utf-8", "backslashreplace")
