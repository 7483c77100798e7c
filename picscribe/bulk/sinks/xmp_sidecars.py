"""XMP sidecars next to photos, or in a tree of the same shape: new ones, and existing ones with our texts added."""

import os
from collections.abc import Sequence

from picscribe.bulk.entries import Entry, Row, digest_of, printable
from picscribe.bulk.failures import EntryError
from picscribe.bulk.naming import path_for
from picscribe.bulk.sinks.sidecars import Sidecars
from picscribe.bulk.sinks.sink import Context
from picscribe.bulk.sinks.xmp import LONGEST_ALT, Mark, leaves, merge
from picscribe.errors import ConfigurationError, InputError


class XmpSidecars(Sidecars):
    """`photo.jpg.xmp`, or with `full` false Adobe's `photo.xmp`; one of the other name that is there already is used.

    Adobe's name is for all photos of a stem together: where several have it, only the full name is looked for.
    """

    def __init__(self, context: Context, folder: str | None, full: bool) -> None:
        super().__init__(context, ".xmp", folder)
        self.full = full
        if context.work.kind == "score":
            raise ConfigurationError("scores of texts are not a description: write them to jsonl or csv")

    def path_of(self, entry: Entry) -> str:
        """The existing sidecar, or the one to be written."""
        wanted, other = (path_for(entry, self.suffix, self.folder, full) for full in (self.full, not self.full))
        if self.full and self.context.journal.has_stem(entry.stem, entry.number):
            return wanted
        return other if not os.path.exists(wanted) and os.path.exists(other) else wanted

    def claims(self, entry: Entry) -> Sequence[bytes]:
        """The path of its file."""
        return (os.fsencode(self.path_of(entry)),)

    def leaves(self, entry: Entry) -> bool:
        """Whether description and alt text are there and stay."""
        if self.context.existing not in ("skip", "machine"):
            return False
        try:
            there = self.read(self.path_of(entry))
            return there is not None and leaves(there, self.context.existing)
        except (EntryError, InputError):
            return False

    def _content(self, row: Row, path: str, there: bytes | None) -> tuple[bytes | None, bool]:
        intent = self.context.journal.intended(path)
        if there is not None and intent is not None and intent.row == row.number and intent.after == digest_of(there):
            return None, intent.whole  # written before the run was killed
        try:
            return merge_row(self.context, row, there), there is None
        except InputError as error:
            raise EntryError("unwritable", f"{printable(path)} cannot be added to: {error}") from error


def merge_row(context: Context, row: Row, there: bytes | None, described: str = "") -> bytes | None:
    """A packet with the text of a row in it, None where it stays as it is; long alt texts are warned about."""
    text = description_of(row)
    if len(text) > LONGEST_ALT:
        context.warn(
            f"{printable(row.entry.path)}: its alt text has {len(text)} letters, over the {LONGEST_ALT} that readers"
            " aloud take well: ask for fewer words"
        )
    existing = context.existing
    if existing in ("append", "prepend") and there is not None and text.encode() in there:
        return None  # written before the run was killed, and edited since
    return merge(there, text, existing, context.separator, Mark(context.model, context.options), described)


def description_of(row: Row) -> str:
    """What describes a photo: the best caption, the answers, the label."""
    assert row.value is not None
    return str(row.value["caption"]) if "caption" in row.value else row.text
