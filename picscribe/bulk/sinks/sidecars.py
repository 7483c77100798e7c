"""A text or JSON file for each photo, which respects what a person wrote there."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from picscribe.bulk.entries import Entry, Row, digest_of, printable
from picscribe.bulk.failures import EntryError, Failure
from picscribe.bulk.journal import Intent
from picscribe.bulk.naming import path_for
from picscribe.bulk.sinks.files import NewFile, signature, write_all
from picscribe.bulk.sinks.records import line_of, record_of
from picscribe.bulk.sinks.sink import Context, Rows
from picscribe.errors import ConfigurationError

LONGEST = 16 << 20
"""Bytes of a sidecar that is there already."""


class Sidecars:
    """Files named after the photos: `.txt` and `.caption` with the texts, a line each, `.json` with all of a result."""

    copies = False

    def __init__(self, context: Context, suffix: str, folder: str | None) -> None:
        """Raises ConfigurationError for JSON that is to be appended to."""
        self.context, self.suffix = context, suffix
        self.folder = None if folder is None else os.path.abspath(folder)
        self.name = suffix.lstrip(".") + (f":{printable(self.folder)}" if self.folder else "")
        if suffix == ".json" and context.existing in ("append", "prepend"):
            raise ConfigurationError(f"--existing {context.existing} is for texts: JSON files have none")
        self._upto = 0
        self._files: list[NewFile] = []
        self._problems: dict[int, Failure] = {}

    def path_of(self, entry: Entry) -> str:
        """Where an entry's file is."""
        return path_for(entry, self.suffix, self.folder, entry.full)

    def claims(self, entry: Entry) -> Sequence[bytes]:
        """The path of its file."""
        return (os.fsencode(self.path_of(entry)),)

    def leaves(self, entry: Entry) -> bool:
        """Whether a file that is not ours stays as it is."""
        if self.context.existing not in ("skip", "machine"):
            return False
        path = self.path_of(entry)
        try:
            there = self.read(path)
        except EntryError:
            return False
        if not self.holds_text(there):
            return False
        assert there is not None
        return self.context.existing == "skip" or not self._is_ours(path, there)

    def holds_text(self, content: bytes | None) -> bool:
        """Whether a file says anything."""
        return content is not None and bool(content.strip())

    def open(self, position: Mapping[str, Any] | None, rows: Rows) -> None:
        """Nothing to repair: files are whole or not there."""
        self._upto = position["upto"] if position else 0

    def prepare(self, rows: Sequence[Row]) -> None:
        """Read what is there, decide what it becomes, and note that."""
        self._files, self._problems = [], {}
        for row in rows:
            if row.value is None:
                continue
            path = self.path_of(row.entry)
            try:
                seen, there = signature(path), self.read(path)
                content, whole = self._content(row, path, there)
            except EntryError as error:
                self._problems[row.number] = error.failure
                continue
            if content is not None:
                before = None if there is None else digest_of(there)
                self.context.journal.intend(path, Intent(row.number, before, digest_of(content), whole))
                self._files.append(NewFile(path, content, seen, row.number))

    def write(self, rows: Sequence[Row]) -> Mapping[int, Failure]:
        """Write what `prepare` decided."""
        failures = {**self._problems, **write_all(self._files)}
        self._upto = max([self._upto, *(row.number for row in rows)])
        return failures

    def position(self) -> Mapping[str, Any]:
        """The last row."""
        return {"upto": self._upto}

    def finish(self) -> None:
        """Every file is written already."""

    def close(self) -> None:
        """Nothing is open."""

    def read(self, path: str) -> bytes | None:
        """What a file holds; None where it is not there. Raises EntryError for one that cannot be read."""
        try:
            with open(path, "rb") as stream:
                content = stream.read(LONGEST + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise EntryError("unwritable", f"{printable(path)} cannot be read ({error.strerror or error})") from error
        if len(content) > LONGEST:
            raise EntryError("unwritable", f"{printable(path)} is not a sidecar: it is over {LONGEST >> 20} MiB long")
        return content

    def _content(self, row: Row, path: str, there: bytes | None) -> tuple[bytes | None, bool]:
        """What a file is to hold, None to leave it; and whether nothing in it is anybody else's."""
        ours = self.render(row)
        if there is None or not self.holds_text(there):
            return ours, True
        intent = self.context.journal.intended(path)
        written = intent is not None and intent.after == digest_of(there)
        existing = self.context.existing
        if written and intent is not None:
            if intent.row == row.number:  # written before the run was killed
                return None, intent.whole
            if intent.whole:
                return ours, True
            if existing in ("append", "prepend"):
                return self._replaced(row, there, ours), False
        elif intent is not None and intent.row == row.number and ours.strip() in there:
            return None, False  # written before the run was killed, and edited since
        if existing == "overwrite" or (existing == "machine" and self._is_ours(path, there)):
            return ours, True
        if existing in ("append", "prepend"):
            return self._joined(there, ours), False
        return None, False

    def _joined(self, there: bytes, ours: bytes) -> bytes:
        between = self.context.separator.encode()
        theirs, new = there.rstrip(b"\r\n"), ours.rstrip(b"\n")
        parts = (theirs, new) if self.context.existing == "append" else (new, theirs)
        return between.join(parts) + b"\n"

    def _replaced(self, row: Row, there: bytes, ours: bytes) -> bytes:
        """A file that has a person's text and ours, with ours as it is now."""
        before = (self.context.journal.text_before(row) or "").encode("utf-8", "backslashreplace")
        if before and before in there:
            return there.replace(before, ours.rstrip(b"\n"), 1)
        return self._joined(there, ours)

    def _is_ours(self, path: str, there: bytes) -> bool:
        """Whether a file is, to the last byte, what this job or one before it here wrote, and nothing else is in it."""
        digest = digest_of(there)
        for journal in (self.context.journal, *self.context.older):
            intent = journal.intended(path)
            if intent is not None:
                return intent.whole and intent.after == digest
        return False

    def render(self, row: Row) -> bytes:
        """What a file of ours holds."""
        if self.suffix == ".json":
            return line_of(record_of(row))
        return (row.text + "\n").encode("utf-8", "backslashreplace")
