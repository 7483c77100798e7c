"""What every output is to the run: something that says how far it is, and continues from there after a kill."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from picscribe.bulk.entries import Entry, Row
from picscribe.bulk.failures import Failure
from picscribe.bulk.journal import Journal
from picscribe.bulk.work import Work

Existing: TypeAlias = Literal["skip", "overwrite", "append", "prepend", "machine"]
Rows: TypeAlias = Callable[[], Iterator[Row]]
"""The rows that an output lacks, read from the journal again at each call."""


@dataclass
class Context:
    """What outputs know of the job that they are for.

    existing: what to do where there is a text already. separator: between it and ours. model: what was loaded, for the
    marks of XMP, known once it is; options: of the job, in a few words. older: the journals of jobs before this one,
    newest first. warn: called with what a person should know. most: bytes of a photo. shard: samples of a shard.
    """

    journal: Journal
    folder: Path
    work: Work
    existing: Existing
    separator: str
    model: str
    options: str
    older: Sequence[Journal]
    warn: Callable[[str], None]
    most: int
    shard: int = 10_000


class Sink(Protocol):
    """An output. Rows come in order, each once, unless the run was killed: then those beyond its position come again.

    name: what the journal knows it by. copies: whether it copies photos, so that fetched bytes are worth keeping.
    """

    name: str
    copies: bool

    def claims(self, entry: Entry) -> Sequence[bytes]:
        """What this entry alone may write to. Raises ConfigurationError where it cannot be written at all."""

    def leaves(self, entry: Entry) -> bool:
        """Whether there is a text for the entry already, which is left as it is."""

    def open(self, position: Mapping[str, Any] | None, rows: Rows) -> None:
        """Begin (None), or continue from a position, with what a kill left behind it taken away."""

    def prepare(self, rows: Sequence[Row]) -> None:
        """Note in the journal, whose transaction is open, what is about to be written."""

    def write(self, rows: Sequence[Row]) -> Mapping[int, Failure]:
        """Write rows; for those that could not be, by their number, why. Raises DiskFull."""

    def position(self) -> Mapping[str, Any]:
        """How far it is, durably: "upto", the number of its last row, and what it needs to continue from there."""

    def finish(self) -> None:
        """No more rows come in this run."""

    def close(self) -> None:
        """Let go of files."""
