"""How a job stands, read from its journal without disturbing a run that works on it."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from picscribe.bulk import journal as journals
from picscribe.bulk.entries import JOB, printable
from picscribe.bulk.journal import Journal
from picscribe.bulk.lease import is_held
from picscribe.errors import InputError


@dataclass(frozen=True)
class Status:
    """identity: what the job is. counts: entries by state. failures: by class. rows: results and failures so far;
    outputs: how many of them each output has."""

    folder: Path
    running: bool
    identity: Mapping[str, Any]
    counts: Mapping[str, int]
    failures: Mapping[str, int]
    rows: int
    outputs: Mapping[str, int]

    def list_failures(self) -> Iterator[tuple[str, str, str, str]]:
        """Path, output ("" for all), class and reason of everything that failed."""
        journal = Journal(self.folder / journals.FILE, read_only=True)
        try:
            yield from ((printable(path), *rest) for path, *rest in journal.failures())  # type: ignore[misc]
        finally:
            journal.close()


def find_job(said: str) -> Path:
    """The folder of a job by its own name, that of its output, or of its photos. Raises InputError."""
    for place in (said, said.rstrip("/") + JOB, os.path.join(said, JOB)):
        if os.path.isfile(os.path.join(place, journals.FILE)):
            return Path(place)
    raise InputError(f"{printable(said)} has no journal of `picscribe bulk`: name the job's folder or its output")


def status_of(said: str) -> Status:
    """The progress of the job that `find_job` finds."""
    folder = find_job(said)
    journal = Journal(folder / journals.FILE, read_only=True)
    try:
        return Status(
            folder,
            is_held(folder),
            journal.get("identity") or {},
            journal.counts(),
            journal.failure_counts(),
            journal.last_row(),
            {name: position["upto"] for name, position in journal.positions().items()},
        )
    finally:
        journal.close()
