"""WebDataset shards: tars of the photos with their results, each with a file of statistics."""

import contextlib
import io
import json
import os
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, BinaryIO, cast

from picscribe.bulk.entries import Entry, Row, printable
from picscribe.bulk.failures import DiskFull, EntryError, Failure, is_disk_full
from picscribe.bulk.inputs.fetching import part_of, same_content_of
from picscribe.bulk.sinks.files import make_folder, partial_of, sync_folders, write_durably
from picscribe.bulk.sinks.parquet import refuse_shards
from picscribe.bulk.sinks.records import ORIGINAL, line_of, record_of
from picscribe.bulk.sinks.sink import Context, Rows
from picscribe.errors import InputError

END = bytes(1024)
"""Two blocks of zeros end a tar."""


class WebDatasetShards:
    """A folder of 00000.tar, 00001.tar … with 00000_stats.json …, numbered without gaps.

    A sample is the photo, `.txt` and `.json`, and the other members of its sample in the input tar, under a key of
    digits that is unique over all shards; the photo's own path is in the `.json`. A shard grows under a hidden name, of
    which the journal knows the committed bytes; when it is full that is noted first, then it is renamed, its statistics
    last.
    """

    copies = True

    def __init__(self, context: Context, folder: str) -> None:
        self.context, self.folder = context, os.path.abspath(folder)
        self.name = f"webdataset:{printable(self.folder)}"
        self._upto = self._shard = self._offset = 0
        self._closing = False
        self._stats: dict[str, int] = {}
        self._start = time.time()
        self._stream: BinaryIO | None = None

    def claims(self, entry: Entry) -> Sequence[bytes]:
        """Nothing: keys are numbers."""
        return ()

    def leaves(self, entry: Entry) -> bool:
        """Never."""
        return False

    def open(self, position: Mapping[str, Any] | None, rows: Rows) -> None:
        """Go on with the shard that was begun; one that was being finished is finished."""
        self._attempt(lambda: make_folder(self.folder))
        if position is None:
            refuse_shards(self.context, self.folder, ".tar")
            return
        self._upto, self._shard, self._offset = position["upto"], position["shard"], position["offset"]
        self._stats, self._start, self._closing = position["stats"], position["start"], position["closing"]
        if self._shard and not self._is_whole(self._shard - 1):
            raise InputError(f"{printable(self._tar(self._shard - 1))} is missing or changed: restore it, or use --new")
        if self._closing and not os.path.exists(self._partial):
            self._check_size(self._tar(self._shard), self._offset + len(END))
            self._publish_statistics()
        elif self._offset:
            self._check_size(self._partial, self._offset)
            self._begin()
            if self._closing:
                self._close_shard()

    def prepare(self, rows: Sequence[Row]) -> None:
        """Nothing to note."""

    def write(self, rows: Sequence[Row]) -> Mapping[int, Failure]:
        """Add samples to the shard in hand; a full one is finished first, which the journal knows by then."""
        if self._closing:
            self._close_shard()
        self._begin()
        failures: dict[int, Failure] = {}
        offset, stats = self._offset, dict(self._stats)

        def add() -> None:
            nonlocal offset
            assert self._stream is not None
            self._stream.seek(offset)
            for row in rows:
                status = row.failure.kind if row.failure is not None else "success"
                if row.value is not None:
                    try:
                        offset += self._stream.write(self._sample(row))
                    except EntryError as error:
                        failures[row.number], status = error.failure, error.kind
                stats[status] = stats.get(status, 0) + 1
            self._stream.truncate(offset)
            self._stream.flush()
            os.fsync(self._stream.fileno())

        self._attempt(lambda: self._or_cut_back(add))
        self._offset, self._stats = offset, stats
        self._upto = max([self._upto, *(row.number for row in rows)])
        self._closing = stats.get("success", 0) >= self.context.shard
        return failures

    def _or_cut_back(self, act: Callable[[], None]) -> None:
        """Do something to the shard in hand; where it fails, give back the room that it took."""
        try:
            act()
        except OSError:
            stream, self._stream = self._stream, None
            with contextlib.suppress(OSError):  # it would try once more to write what there was no room for
                if stream is not None:
                    stream.close()
            with contextlib.suppress(OSError):
                os.truncate(self._partial, self._offset)
            raise

    def _sample(self, row: Row) -> bytes:
        """The blocks of a sample's members. Raises EntryError where the photo is not there as it was."""
        assert row.value is not None
        entry, key = row.entry, f"{row.number:09}"
        content = row.content
        if content is None:
            # Another output may have written into the photo: then it has two digests that are right.
            intent = self.context.journal.intended(entry.source)
            digests = (row.digest, intent.after) if intent is not None else (row.digest,)
            content = same_content_of(entry, digests, self.context.most)
        others = {_ending(name): (offset, size) for name, offset, size in entry.part.get("members", ())}
        members = {(entry.suffix.lstrip(".") or "bin").lower(): content}
        for ending, (offset, size) in others.items():
            if size > self.context.most:
                raise EntryError("too-large", f"{printable(entry.path)}: .{ending} next to it is {size} bytes long")
            members.setdefault(ending, part_of(entry.source, offset, size, printable(entry.path)))
        record = record_of(row)
        if "json" in members:
            theirs = _object(members["json"])
            record |= {(ORIGINAL + name if name in record else name): value for name, value in theirs.items()}
        members["json"] = line_of(record)
        members["txt"] = self._text(row, members.get("txt"))
        return b"".join(_member(f"{key}.{ending}", data) for ending, data in members.items())

    def _text(self, row: Row, there: bytes | None) -> bytes:
        """The sample's `.txt`; one of the input's tar counts as a text that was there already."""
        ours, existing = row.text.encode("utf-8", "backslashreplace"), self.context.existing
        if there is None or not there.strip() or existing == "overwrite":
            return ours + b"\n"
        between = self.context.separator.encode()
        if existing in ("append", "prepend"):
            parts = (there.rstrip(b"\r\n"), ours) if existing == "append" else (ours, there.rstrip(b"\r\n"))
            return between.join(parts) + b"\n"
        return there

    def _begin(self) -> None:
        if self._stream is not None:
            return
        if not self._offset:
            self._start = time.time()
        mode = "r+b" if self._offset else "w+b"
        self._stream = self._attempt(lambda: self._opened(mode))

    def _opened(self, mode: str) -> BinaryIO:
        return cast(BinaryIO, open(self._partial, mode))

    def _close_shard(self) -> None:
        """Finish a shard; done again after a kill it comes to the same."""

        def end() -> None:
            assert self._stream is not None
            self._stream.seek(self._offset)
            self._stream.write(END)
            self._stream.truncate()
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()
            os.replace(self._partial, self._tar(self._shard))
            sync_folders([self.folder])

        self._attempt(lambda: self._or_cut_back(end))
        self._publish_statistics()

    def _publish_statistics(self) -> None:
        """Write the statistics of a shard, in img2dataset's fields; then the next shard can begin."""
        now, tar = time.time(), self._tar(self._shard)
        told = {
            "count": sum(self._stats.values()),
            "successes": self._stats.get("success", 0),
            "failed_to_download": sum(n for kind, n in self._stats.items() if kind in ("network", "missing")),
            "status_dict": self._stats,
            "start_time": self._start,
            "end_time": now,
            "duration": now - self._start,
            "start": datetime.fromtimestamp(self._start, timezone.utc).isoformat(timespec="seconds"),
            "bytes": self._offset + len(END),
        }
        self._attempt(
            lambda: write_durably(tar.removesuffix(".tar") + "_stats.json", json.dumps(told).encode() + b"\n")
        )
        self._stream, self._closing = None, False
        self._shard, self._offset, self._stats = self._shard + 1, 0, {}

    def _is_whole(self, number: int) -> bool:
        """Whether a finished shard is as its statistics say."""
        tar = self._tar(number)
        try:
            with open(tar.removesuffix(".tar") + "_stats.json", "rb") as stream:
                return bool(json.load(stream)["bytes"] == os.path.getsize(tar))
        except (OSError, ValueError, LookupError, TypeError):
            return False

    def _check_size(self, path: str, least: int) -> None:
        if not os.path.exists(path) or os.path.getsize(path) < least:
            raise InputError(f"{printable(path)} is missing or cut short: restore it, or use --new")

    def _tar(self, number: int) -> str:
        return os.path.join(self.folder, f"{number:05}.tar")

    @property
    def _partial(self) -> str:
        return partial_of(self._tar(self._shard))

    def _attempt(self, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except OSError as error:
            if is_disk_full(error):
                raise DiskFull(
                    f"{printable(self.folder)}: no room on the disk: free some space and run the same command again"
                ) from error
            raise InputError(f"{printable(self.folder)} cannot be written ({error.strerror or error})") from error

    def position(self) -> Mapping[str, Any]:
        """The last row, the shard in hand and how much of it counts, and whether it is to be finished."""
        return {
            "upto": self._upto,
            "shard": self._shard,
            "offset": self._offset,
            "stats": self._stats,
            "start": self._start,
            "closing": self._closing,
        }

    def finish(self) -> None:
        """Finish the shard in hand, if it holds anything."""
        if self._offset:
            self._begin()
            self._closing = True
            with self.context.journal.transaction():
                self.context.journal.place(self.name, self.position())
            self._close_shard()

    def close(self) -> None:
        """Let go of the file."""
        if self._stream is not None:
            self._stream.close()


def _member(name: str, content: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    stream = io.BytesIO(info.tobuf(tarfile.USTAR_FORMAT))
    stream.seek(0, io.SEEK_END)
    stream.write(content)
    stream.write(bytes(-len(content) % tarfile.BLOCKSIZE))
    return stream.getvalue()


def _ending(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[2].lower()


def _object(content: bytes) -> dict[str, Any]:
    """The sample's own record, under names that ours do not take; what is no object is kept as it is."""
    try:
        record = json.loads(content)
    except ValueError:
        return {"original_json": content.decode("utf-8", "backslashreplace")}
    return record if isinstance(record, dict) else {"original_json": record}
