"""A job from its beginning, or from where it was left, to its end: one writer, and all that it does in the journal."""

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from picscribe.bulk import journal as journals
from picscribe.bulk.engine import Known, Limits
from picscribe.bulk.entries import Entry, Outcome, Row, printable
from picscribe.bulk.failures import CLASSES, DiskFull, is_disk_full
from picscribe.bulk.inputs import Selection, find_entries
from picscribe.bulk.journal import Journal
from picscribe.bulk.lease import Lease
from picscribe.bulk.naming import Names
from picscribe.bulk.outputs import files_of, job_folder, make_sinks, parse_output
from picscribe.bulk.planning import claim, plan
from picscribe.bulk.sinks.sink import Context, Existing, Sink
from picscribe.bulk.work import Work, confidence_of
from picscribe.errors import ConfigurationError, InputError

ROWS = 64
"""Rows that are written out together, unless SECONDS pass first."""

SECONDS = 3.0
FAILURES = "failures.jsonl"


@dataclass(frozen=True)
class Options:
    """What a run is to do. The journal knows the work and the model; everything else may differ from run to run.

    inputs: folders, lists, tars, tables, files, addresses. outputs: as `--to` takes them. job: the journal's folder.
    retry: classes of failures that are tried again. new: begin again, without what the journal has. limit: entries that
    are begun at most. min_confidence: results below it wait for a person. shard: samples of a shard. full_xmp: new XMP
    sidecars are called photo.jpg.xmp, else photo.xmp.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    work: Work = field(default_factory=Work)
    job: str | None = None
    selection: Selection = field(default_factory=Selection)
    names: Names = "auto"
    existing: Existing = "skip"
    separator: str = "\n"
    limits: Limits = field(default_factory=Limits)
    batch_size: int | None = None
    retry: tuple[str, ...] = ()
    new: bool = False
    limit: int | None = None
    min_confidence: float = 0.0
    shard: int = 10_000
    full_xmp: bool = True

    def __post_init__(self) -> None:
        if not self.inputs or not self.outputs:
            raise ConfigurationError("name at least one input, and at least one output with --to")
        unknown = [kind for kind in self.retry if kind not in CLASSES]
        if unknown:
            raise ConfigurationError(f"{unknown[0]!r} is no class of failures: {', '.join(CLASSES)}")

    @property
    def folder(self) -> Path:
        """Where the journal is."""
        outputs = [parse_output(text) for text in self.outputs]
        return Path(self.job if self.job is not None else job_folder(outputs, self.inputs))


class Computing(Protocol):
    """What turns entries into outcomes: `engine.Engine` on this machine, `ray.Cluster` on many."""

    name: str
    fingerprint: str

    def run(self, entries: Iterable[Entry], known: Known, stopping: Callable[[], bool]) -> Iterator[list[Outcome]]: ...

    def close(self) -> None: ...


class Listener(Protocol):
    """What is told of a run as it goes."""

    def planned(self, counts: Mapping[str, int]) -> None:
        """How many entries are in each state, before the first is begun and after more were found."""

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """What was found just now."""

    def note(self, text: str) -> None:
        """What a person should know."""


class Silence:
    """A listener that says nothing."""

    def planned(self, counts: Mapping[str, int]) -> None:
        """Nothing."""

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Summary:
    """What a run did, and how the job stands.

    settled: entries that got a result or failed in this run; skipped: that were left in this run. counts: all entries
    of the job by state. failures: by class, all of the job. interrupted: whether it was told to stop.
    """

    folder: Path
    settled: int
    skipped: int
    seconds: float
    counts: Mapping[str, int]
    failures: Mapping[str, int]
    interrupted: bool
    notes: int

    @property
    def complete(self) -> bool:
        """Whether nothing failed, nothing was left out and nothing is left to do."""
        return not (self.failures or self.interrupted or self.notes)


class Run:
    """One run of a job; `Run(...).go()` once."""

    def __init__(self, options: Options, load: Callable[[bool], Computing], listener: Listener | None = None) -> None:
        """`load` makes what computes, when the plan's inputs and outputs have been found to be possible; it is told
        whether an output copies photos."""
        self.options, self.load, self.listener = options, load, listener or Silence()
        self.stopping = False
        self.settled = self.skipped = self.notes = 0
        self._rows: list[Row] = []
        self._skips: list[Entry] = []
        self._written = time.monotonic()

    def go(self) -> Summary:
        """Do it. Raises ConfigurationError for what cannot be, InputError where another run has the job, DiskFull."""
        began = time.monotonic()
        for given in self.options.inputs:
            _require(given)
        folder = self.options.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder} cannot be made ({error.strerror or error}): name another with --job") from error
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(Lease(folder))
            except OSError as error:
                raise InputError(f"{folder} cannot be written ({error.strerror}): name another with --job") from error
            if self.options.new:
                put_aside(folder)
            self.journal = Journal(folder / journals.FILE)
            stack.callback(self.journal.close)
            older = [stack.enter_context(contextlib.closing(one)) for one in older_journals(folder)]
            self._stop_on_interrupt(stack)
            self._work(folder, older, stack)
            counts, failures = self.journal.counts(), self.journal.failure_counts()
            self._list_failures(folder)
            seconds = time.monotonic() - began
            return Summary(folder, self.settled, self.skipped, seconds, counts, failures, self.stopping, self.notes)

    def _work(self, folder: Path, older: Sequence[Journal], stack: contextlib.ExitStack) -> None:
        options = self.options
        outputs = [parse_output(text) for text in options.outputs]
        context = Context(
            self.journal, folder, options.work, options.existing, options.separator, "", options.work.summary(), older,
            self._note, options.limits.max_bytes, options.shard,
        )  # fmt: skip
        self.sinks = make_sinks(outputs, context, options.full_xmp)
        computing = self.load(any(sink.copies for sink in self.sinks))
        stack.callback(computing.close)
        context.model = computing.name
        require_same(self.journal, options.work, computing.name, computing.fingerprint, folder)
        self._selection = self._selecting(files_of(outputs))
        planned = bool(self.journal.get("planned"))
        if not planned:
            self._plan()
        self._open_sinks(stack, claimed=not planned)
        self._try_again()
        self.listener.planned(self.journal.counts())
        self._pass(computing)
        if planned and not self.stopping and not self._is_enough() and self._plan():
            self.listener.planned(self.journal.counts())
            self._pass(computing)
        if not self.stopping:
            for sink in self.sinks:
                sink.finish()
            self._place()

    def _selecting(self, outputs: frozenset[str]) -> Selection:
        from dataclasses import replace

        column = self.options.work.column
        return replace(self.options.selection, outputs=outputs, column=column, note=self._problem)

    def _plan(self) -> int:
        entries = find_entries(self.options.inputs, self._selection)
        if self.options.work.column:
            entries = (entry for entry in entries if entry.asked)
        new = plan(self.journal, entries, self.sinks, self.options.names)
        with self.journal.transaction():
            self.journal.set("planned", True)
        return new

    def _open_sinks(self, stack: contextlib.ExitStack, claimed: bool) -> None:
        """Have every output stand at the last row that the journal has."""
        known = self.journal.positions()
        for sink in self.sinks:
            position = known.get(sink.name)
            upto = position["upto"] if position else 0
            if position is None and not claimed:  # an output that came later
                with self.journal.transaction():
                    claim(self.journal, [sink], 0, "stem")
            sink.open(position, lambda upto=upto: self.journal.rows(upto))  # type: ignore[misc]
            stack.callback(sink.close)
            with self.journal.transaction():
                self.journal.place(sink.name, sink.position())
            rows: list[Row] = []
            for row in self.journal.rows(upto):
                rows.append(row)
                if len(rows) == ROWS:
                    self._write([sink], rows)
                    rows = []
            if rows:
                self._write([sink], rows)

    def _try_again(self) -> None:
        """Make what failed pending again, as far as asked for, and what an earlier run left because of --existing."""
        with self.journal.transaction():
            if self.journal.get("existing") not in (None, self.options.existing):
                self.journal.unskip()
            self.journal.set("existing", self.options.existing)
            if self.options.retry:
                self.journal.retry(self.options.retry)
        if not self.options.retry:
            return
        for sink in self.sinks:
            for number in self.journal.unwritten(sink.name, self.options.retry):
                self._write([sink], [self.journal.row(number)])

    def _pass(self, computing: Computing) -> None:
        """Settle what is pending."""
        for outcomes in computing.run(self._entries(), self.journal.value_of, lambda: self.stopping):
            if outcomes:
                self._settle(outcomes)
            if len(self._rows) >= ROWS or (self._rows and time.monotonic() - self._written > SECONDS):
                self._flush()
        self._flush()

    def _entries(self) -> Iterator[Entry]:
        """What is to be begun; entries that every output leaves as they are are noted instead."""
        for entry in self.journal.pending():
            if self._is_enough():
                return
            if all(sink.leaves(entry) for sink in self.sinks):
                self._skips.append(entry)
                self.skipped += 1
                if len(self._skips) >= journals.PAGE:
                    self._note_skips()
            else:
                self._begun += 1
                yield entry
        self._note_skips()

    _begun = 0

    def _is_enough(self) -> bool:
        return self.options.limit is not None and self._begun >= self.options.limit

    def _note_skips(self) -> None:
        if self._skips:
            with self.journal.transaction():
                for entry in self._skips:
                    self.journal.skip(entry)
            self._skips = []

    def _settle(self, outcomes: Sequence[Outcome]) -> None:
        """What is in the journal is never computed again."""
        with self.journal.transaction():
            for outcome in outcomes:
                row = self.journal.settle(outcome, self._is_unsure(outcome))
                if row is not None:
                    self._rows.append(row)
        self.settled += len(outcomes)
        self.listener.settled(outcomes)

    def _is_unsure(self, outcome: Outcome) -> bool:
        if outcome.value is None or not self.options.min_confidence:
            return False
        confidence = confidence_of(outcome.value)
        return confidence is not None and confidence < self.options.min_confidence

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        if rows:
            self._write(self.sinks, rows)
        self._written = time.monotonic()

    def _write(self, sinks: Sequence[Sink], rows: Sequence[Row]) -> None:
        """Write rows to outputs: what is about to be is noted first, how far each is after it."""
        with self.journal.transaction():
            for sink in sinks:
                sink.prepare(rows)
        failures = {sink.name: sink.write(rows) for sink in sinks}
        with self.journal.transaction():
            for sink in sinks:
                for row in rows:
                    problem = failures[sink.name].get(row.number)
                    if problem is not None:
                        self.journal.note_unwritten(sink.name, row.number, problem)
                    elif self.options.retry:
                        self.journal.clear_unwritten(sink.name, row.number)
                self.journal.place(sink.name, sink.position())

    def _place(self) -> None:
        with self.journal.transaction():
            for sink in self.sinks:
                self.journal.place(sink.name, sink.position())

    def _note(self, text: str) -> None:
        self.listener.note(text)

    def _problem(self, text: str) -> None:
        self.notes += 1
        self.listener.note(text)

    def _list_failures(self, folder: Path) -> None:
        """Write every failure, by name, beside the journal."""
        path = folder / FAILURES
        try:
            with path.open("wb") as stream:
                for name, output, kind, reason in self.journal.failures():
                    said = {"path": printable(name), "class": kind, "reason": reason}
                    stream.write(json.dumps({**said, **({"output": output} if output else {})}).encode() + b"\n")
        except OSError as error:
            if not is_disk_full(error):
                raise InputError(f"{path} cannot be written ({error.strerror or error})") from error
            raise DiskFull(f"{path}: no room on the disk") from error

    def _stop_on_interrupt(self, stack: contextlib.ExitStack) -> None:
        """The first Ctrl-C has the run finish what is in hand; a second one ends it at once."""
        if threading.current_thread() is not threading.main_thread():
            return

        def stop(number: int, frame: FrameType | None) -> None:
            if self.stopping:
                raise KeyboardInterrupt
            self.stopping = True

        before = {name: signal.signal(name, stop) for name in (signal.SIGINT, signal.SIGTERM)}
        for name, handler in before.items():
            stack.callback(signal.signal, name, handler)


def _require(given: str) -> None:
    from picscribe.bulk.entries import is_address

    if not is_address(given) and not os.path.lexists(given):
        raise InputError(f"{printable(given)} does not exist: check the name")


def require_same(journal: Journal, work: Work, model: str, fingerprint: str, folder: Path) -> None:
    """Note what the job is, or see that it is the same. Raises ConfigurationError that names what differs."""
    now = json.loads(json.dumps({"model": model, **work.identity(), "weights": fingerprint}))
    before = journal.get("identity")
    if before is None or not journal.get("planned"):
        with journal.transaction():
            journal.set("identity", now)
        return
    if before["weights"] == now["weights"]:
        now["model"] = before["model"]  # the same model under another name
    differ = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if differ:
        parts = "; ".join(f"{name} was {_short(before.get(name))}, is {_short(now.get(name))}" for name in differ)
        raise ConfigurationError(
            f"{folder} is the journal of another job ({parts}): give the options that it has, name another folder with"
            " --job, or begin again with --new"
        )


def _short(value: Any) -> str:
    said = json.dumps(value, ensure_ascii=False)
    return said if len(said) <= 60 else said[:57] + "…"


def put_aside(folder: Path) -> None:
    """Keep the journal of a job under another name: what it wrote is still known as picscribe's."""
    current = folder / journals.FILE
    if current.exists():
        number = 1 + len(_aside(folder))
        os.replace(current, folder / f"journal-{number}.sqlite")
        rollback = folder / f"{journals.FILE}-journal"
        if rollback.exists():
            os.replace(rollback, folder / f"journal-{number}.sqlite-journal")


def _aside(folder: Path) -> list[Path]:
    return sorted(folder.glob("journal-*.sqlite"), key=lambda path: int(path.stem.partition("-")[2] or 0))


def older_journals(folder: Path) -> list[Journal]:
    """The journals of jobs before this one, newest first."""
    found = []
    for path in reversed(_aside(folder)):
        with contextlib.suppress(InputError):  # one that cannot be read knows of nothing
            found.append(Journal(path, read_only=True))
    return found
