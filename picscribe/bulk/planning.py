"""The plan: every entry in the journal, under names that no two share, before the first caption is written."""

import os
from collections.abc import Iterable, Sequence

from picscribe.bulk.entries import Entry, printable
from picscribe.bulk.journal import Journal
from picscribe.bulk.naming import Names
from picscribe.bulk.sinks.sink import Sink
from picscribe.errors import ConfigurationError


def plan(journal: Journal, entries: Iterable[Entry], sinks: Sequence[Sink], names: Names) -> int:
    """Add the entries that are new; how many there are. All are added, or none.

    Raises ConfigurationError where two entries would write to one place, with both.
    """
    before = journal.last_entry()
    with journal.transaction():
        new = sum(bool(journal.add(entry)) for entry in entries)
        if names != "stem":
            journal.name_fully(before, always=names == "full")
        claim(journal, sinks, before, names)
    return new


def claim(journal: Journal, sinks: Sequence[Sink], after: int, names: Names) -> None:
    """Have entries beyond a number write to where these outputs put them, and no others; errors as of `plan`.

    Those that keep their suffix come first: where another's shorter name is the same, that one keeps its own as well.
    """
    for full in (True, False):
        for entry in journal.entries(after, full):
            taken = _taken(journal, sinks, entry)
            if taken and names == "auto" and not full:
                entry = journal.keep_suffix(entry)
                taken = _taken(journal, sinks, entry)
            if taken:
                raise _collision(journal.entry(taken[0]), entry, taken[1])


def _taken(journal: Journal, sinks: Sequence[Sink], entry: Entry) -> tuple[int, bytes] | None:
    """Claim every place of an entry; who has one already, and which."""
    for sink in sinks:
        for place in sink.claims(entry):
            if holder := journal.claim(place, entry.number):
                return holder, place
    return None


def _collision(first: Entry, second: Entry, place: bytes) -> ConfigurationError:
    one, other = printable(first.path), printable(second.path)
    where = printable(os.fsdecode(place))
    if first.source == second.source and not first.part:
        return ConfigurationError(f"{one} is there twice, with different questions or texts, for {where}: use jsonl")
    if first.name == second.name:
        return ConfigurationError(
            f"{one} and {other} would both be written to {where}: give the folder that holds both as the one input"
        )
    return ConfigurationError(
        f"{one} and {other} would both be written to {where}: --names full keeps the suffixes of photos"
    )
