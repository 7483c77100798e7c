"""Why an entry has no result: one class and one sentence a failure."""

import errno
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from picscribe.errors import PicscribeError

FailureClass: TypeAlias = Literal[
    "missing",  # no such file, or the server has none
    "forbidden",  # this user may not read it
    "unreadable",  # damaged, cut short, or no photo
    "too-large",  # over a limit of bytes, pixels or memory
    "timed-out",  # over the time that one file may take
    "decoder-died",  # it ended its worker process, twice
    "network",  # it could not be fetched, after several tries
    "changed",  # its content is no longer what was captioned
    "not-fitting",  # the model cannot do what was asked of it
    "unwritable",  # its result could not be written
]
CLASSES: tuple[FailureClass, ...] = get_args(FailureClass)

DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an entry has no result, or why one output lacks it."""

    kind: FailureClass
    reason: str


class EntryError(PicscribeError):
    """A photo of a bulk job that failed, with its class of failure; the others continue."""

    def __init__(self, kind: FailureClass, reason: str) -> None:
        super().__init__(reason)
        self.kind: FailureClass = kind

    @property
    def failure(self) -> Failure:
        """What the journal records."""
        return Failure(self.kind, str(self))


class DiskFull(PicscribeError):
    """A disk without room for an output or the journal: the run stops, and no photo counts as failed."""


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that a disk, or the user's share of it, is full."""
    return isinstance(error, OSError) and error.errno in DISK_FULL
