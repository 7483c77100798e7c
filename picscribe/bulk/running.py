"""A job from its beginning, or from where it was left, to its end: one writer, and all that it does in the journal."""

import contextlib
import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from picscribe.bulk import journal as journals
from picscribe.bulk.engine import Known, Limits
from picscribe.bulk.entries import Entry, Outcome, Row, digest_of, is_address, printable, texts_of
from picscribe.bulk.failures import CLASSES, DiskFull, is_disk_full
from picscribe.bulk.inputs.selection import Selection, find_entries
from picscribe.bulk.inputs.watching import arrivals, watched
from picscribe.bulk.journal import Journal
from picscribe.bulk.lease import Lease
from picscribe.bulk.naming import Names
from picscribe.bulk.outputs import files_of, job_folder, make_sinks, parse_output
from picscribe.bulk.pages import first_held, read_edits, review_page, sample_page
from picscribe.bulk.planning import claim, plan
from picscribe.bulk.sinks.sink import Context, Existing, Sink
from picscribe.bulk.work import Work, confidence_of, with_text
from picscribe.errors import ConfigurationError, InputError
from picscribe.whole_files import write_whole

ROWS = 64
"""Rows that are written out together, unless SECONDS pass first."""

SECONDS = 3.0
FAILURES = "failures.jsonl"
REVIEW = "review.html"


@dataclass(frozen=True)
class Options:
    """What a run is to do. The journal knows the work and the model; everything else may differ from run to run.

    inputs: folders, lists, tars, tables, files, addresses. outputs: as `--to` takes them. job: the journal's folder.
    retry: classes of failures that are tried again. new: begin again, without what the journal has. limit: entries that
    are begun at most. min_confidence: results below it wait for a person. shard: samples of a shard. full_xmp: new XMP
    sidecars are called photo.jpg.xmp, else photo.xmp. watch: continue for as long as files come to the folders.
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
    watch: bool = False

    def __post_init__(self) -> None:
        if not self.inputs or not self.outputs:
            raise ConfigurationError("name at least one input, and at least one output with --to")
        unknown = [kind for kind in self.retry if kind not in CLASSES]
        if unknown:
            raise ConfigurationError(f"{unknown[0]!r} is not a class of failures: choose among {', '.join(CLASSES)}")

    @property
    def folder(self) -> Path:
        """Where the journal is."""
        outputs = [parse_output(text) for text in self.outputs]
        return Path(self.job if self.job is not None else job_folder(outputs, self.inputs))


class Computing(Protocol):
    """What turns entries into outcomes: `engine.Engine` on this machine, `ray.Cluster` on many."""

    name: str
    fingerprint: str

    @property
    def precision(self) -> str | None:
        """What it computes in: a type, and after a colon why; None where nobody says."""

    def run(self, entries: Iterable[Entry], known: Known, stopping: Callable[[], bool]) -> Iterator[list[Outcome]]: ...

    def close(self) -> None: ...


class Listener(Protocol):
    """The progress that a run reports."""

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
    of the job by state. failures: by class, all of the job. interrupted: whether it was asked to stop.
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
        """`load` makes what computes, once the plan's inputs and outputs have been checked; it is called with
        whether an output copies photos."""
        self.options, self.load, self.listener = options, load, listener or Silence()
        self.stopping = False
        self.settled = self.skipped = self.notes = 0
        self._rows: list[Row] = []
        self._skips: list[Entry] = []
        self._written = time.monotonic()

    def go(self) -> Summary:
        """Do it. Raises ConfigurationError for what cannot be, InputError where another run has the job, DiskFull."""
        began, since = time.monotonic(), time.time()
        if self.options.watch:
            watched(self.options.inputs)
        folder = self.options.folder
        self._make_folder(folder)
        with contextlib.ExitStack() as stack:
            older = self._take(folder, stack)
            self._stop_on_interrupt(stack)
            computing = self._begin(folder, older, stack)
            self._work(computing, stack)
            if self.options.watch and not self.stopping and not self._is_enough():
                self._watch(computing, since)
            self._write_review(folder)
            self._list_failures(folder)
            counts, failures = self.journal.counts(), self.journal.failure_counts()
            seconds = time.monotonic() - began
            return Summary(folder, self.settled, self.skipped, seconds, counts, failures, self.stopping, self.notes)

    def sample(self, size: int) -> str:
        """A page of so many entries by chance, with what is found of them; the run that follows computes none of them
        again, and no output is written. Raises as `go`."""
        folder = self.options.folder
        self._make_folder(folder)
        with contextlib.ExitStack() as stack:
            older = self._take(folder, stack)
            computing = self._begin(folder, older, stack)
            if not self.journal.get("planned"):
                self._plan()
            chosen = list(self.journal.by_chance(size))
            self.listener.planned({**self.journal.counts(), "pending": len(chosen)})
            found: dict[int, Outcome] = {}
            for outcomes in computing.run(chosen, self.journal.value_of, lambda: False):
                with self.journal.transaction():
                    for one in outcomes:
                        found[one.entry.number] = one
                        if one.value is not None:
                            self.journal.keep(one.digest, one.entry.asked_digest, one.value)
                self.listener.settled(outcomes)
            rows = [(one, found[one.number].value, found[one.number].failure) for one in chosen]
            return sample_page(f"{computing.name}: a sample", rows, self.options.limits.max_bytes)

    def apply(self, edits: Path) -> tuple[int, int]:
        """Write the edits of a review page to the outputs; how many there were, and how many were not waiting.

        Raises InputError for a file that holds none, or those of another job.
        """
        folder = self.options.folder
        with contextlib.ExitStack() as stack:
            older = self._take(folder, stack)
            self._make_sinks(folder, older, str(self.journal.get("identity")["model"]))
            self._open_sinks(stack, claimed=True)
            held = {entry.number: entry for entry in self.journal.held()}
            written = left = 0
            rows: list[Row] = []
            for number, text in read_edits(edits, self._job_name()):
                entry = held.pop(number, None)
                value = None if entry is None else self.journal.result_of(entry)
                if entry is None or value is None:
                    left += 1
                    continue
                if text.strip() != "\n".join(texts_of(value)).strip():
                    value = with_text(value, text)
                with self.journal.transaction():
                    rows.append(self.journal.edit(entry, value))
                written += 1
                if len(rows) >= ROWS:
                    self._write(self.sinks, rows)
                    rows = []
            if rows:
                self._write(self.sinks, rows)
            self._finish()
            self._write_review(folder)
            self._list_failures(folder)
            return written, left

    def look(self) -> dict[str, int]:
        """How many entries there are, and how many of them are new, done, failed or left as they are; nothing is kept,
        computed or written. Raises as `go`, for collisions too."""
        for given in self.options.inputs:
            _require(given)
        known = self.options.folder / journals.FILE
        counts = {"found": 0, "new": 0, **dict.fromkeys(journals.STATES, 0), "to leave": 0}
        with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
            self.journal = stack.enter_context(contextlib.closing(Journal(Path(scratch) / journals.FILE)))
            is_there = known.exists() and not self.options.new
            job = stack.enter_context(contextlib.closing(Journal(known, read_only=True))) if is_there else None
            self._make_sinks(Path(scratch), [job] if job else [], "")
            self._selection = self._selecting(files_of(self._outputs))
            self._plan()
            for entry in self.journal.entries():
                counts["found"] += 1
                state = job.known(entry) if job is not None else None
                if state is not None:
                    counts[journals.STATES[state[1]]] += 1
                elif all(sink.leaves(entry) for sink in self.sinks):
                    counts["to leave"] += 1
                else:
                    counts["new"] += 1
        return counts

    def _take(self, folder: Path, stack: contextlib.ExitStack) -> list[Journal]:
        """Hold the job alone, and open its journal; the journals of jobs before it."""
        try:
            stack.enter_context(Lease(folder))
        except OSError as error:
            raise InputError(f"{folder} cannot be written ({error.strerror}): name another with --job") from error
        if self.options.new:
            put_aside(folder)
        self.journal = Journal(folder / journals.FILE)
        stack.callback(self.journal.close)
        return [stack.enter_context(contextlib.closing(one)) for one in older_journals(folder)]

    def _make_folder(self, folder: Path) -> None:
        for given in self.options.inputs:
            _require(given)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if is_disk_full(error):
                raise DiskFull(f"{folder}: no room on the disk") from error
            raise InputError(f"{folder} cannot be made ({error.strerror or error}): name another with --job") from error

    def _make_sinks(self, folder: Path, older: Sequence[Journal], model: str) -> None:
        options = self.options
        self._outputs = [parse_output(text) for text in options.outputs]
        for given in options.inputs:
            if os.path.abspath(given) in files_of(self._outputs):
                raise ConfigurationError(f"{printable(given)} is an input and an output: name another file")
        self._context = Context(
            self.journal, folder, options.work, options.existing, options.separator, model, options.work.summary(),
            older, self._note, options.limits.max_bytes, options.shard,
        )  # fmt: skip
        self.sinks = make_sinks(self._outputs, self._context, options.full_xmp)

    def _begin(self, folder: Path, older: Sequence[Journal], stack: contextlib.ExitStack) -> Computing:
        """Load what computes, and see that the job is the same as before."""
        self._make_sinks(folder, older, "")
        computing = self.load(any(sink.copies for sink in self.sinks))
        stack.callback(computing.close)
        self._context.model = computing.name
        require_same(self.journal, self.options.work, computing, folder)
        with self.journal.transaction():
            self.journal.set("settings", settings_of(self.options))
        self._selection = self._selecting(files_of(self._outputs))
        return computing

    def _work(self, computing: Computing, stack: contextlib.ExitStack) -> None:
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
            self._finish()

    def _finish(self) -> None:
        for sink in self.sinks:
            sink.finish()
        with self.journal.transaction():
            for sink in self.sinks:
                self.journal.place(sink.name, sink.position())

    def _watch(self, computing: Computing, since: float) -> None:
        """Take in files that have arrived in the folders since a time, and those that will, until the run is asked to
        stop."""
        folders = watched(self.options.inputs)
        for entries in arrivals(folders, self._selection, since, lambda: self.stopping):
            with self.journal.transaction():
                for entry in entries:  # one that failed may have been written yet when it was looked at
                    known = self.journal.known(entry)
                    if known is not None:
                        self.journal.retry_entry(known[0])
            try:
                plan(self.journal, entries, self.sinks, self.options.names)
            except ConfigurationError as error:  # of two names that meet; the others wait for the next run
                self._problem(str(error))
            self.listener.planned(self.journal.counts())
            self._pass(computing)
            if self._is_enough():
                break
        self._finish()

    def _job_name(self) -> str:
        """What tells this job's review pages from another's."""
        return digest_of(json.dumps(self.journal.get("identity"), sort_keys=True).encode()).hex()

    def _write_review(self, folder: Path) -> None:
        """Have review.html show what waits for a person, if anything does."""
        held, path = self.journal.counts()["held"], folder / REVIEW
        if held:
            found = first_held(self.journal.held(), self.journal.result_of)
            page = review_page(self._job_name(), found, held, self.options.limits.max_bytes)
            write_whole(path, page)
        elif path.exists():
            path.unlink()

    def _selecting(self, outputs: frozenset[str]) -> Selection:
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
        """Bring every output up to the last row of the journal."""
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

    def _note(self, text: str) -> None:
        self.listener.note(text)

    def _problem(self, text: str) -> None:
        self.notes += 1
        self.listener.note(text)

    def _list_failures(self, folder: Path) -> None:
        """Write every failure, by name, next to the journal."""
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
    if not is_address(given) and not os.path.lexists(given):
        raise InputError(f"{printable(given)} does not exist: check the name")


def settings_of(options: Options) -> dict[str, Any]:
    """What `options_of` needs to have the same outputs again, wherever it is called."""
    outputs = [parse_output(text) for text in options.outputs]
    return {
        "inputs": [given if is_address(given) else os.path.abspath(given) for given in map(printable, options.inputs)],
        "outputs": [f"{one.kind}:{os.path.abspath(one.where)}" if one.where else one.kind for one in outputs],
        "work": asdict(options.work),
        "names": options.names,
        "existing": options.existing,
        "separator": options.separator,
        "shard": options.shard,
        "full_xmp": options.full_xmp,
    }


def options_of(folder: Path) -> Options:
    """The options of a job's last run, as far as its outputs need them. Raises InputError for a job without one."""
    with contextlib.closing(Journal(folder / journals.FILE, read_only=True)) as journal:
        said = journal.get("settings")
    if said is None:
        raise InputError(f"{folder}: no run of this job has begun")
    work: dict[str, Any] = _tuples(said.pop("work"))
    work["options"] = _tuples(work["options"])
    inputs, outputs = tuple(said.pop("inputs")), tuple(said.pop("outputs"))
    return Options(inputs, outputs, Work(**work), str(folder), **said)


def _tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a frozen object as JSON gives them back, with tuples where it has lists."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def require_same(journal: Journal, work: Work, computing: Computing, folder: Path) -> None:
    """Note what the job is, or see that it is the same. Raises ConfigurationError that names what differs."""
    what = {"model": computing.name}
    if computing.precision is not None:
        what["precision"] = computing.precision.partition(":")[0]
    now = json.loads(json.dumps({**what, **work.identity(), "weights": computing.fingerprint}))
    before = journal.get("identity")
    if before is None or not journal.get("planned"):
        with journal.transaction():
            journal.set("identity", now)
        return
    if before["weights"] == now["weights"]:
        now["model"] = before["model"]  # the same model under another name
    if not {"precision"} <= now.keys() & before.keys():  # then their weights alone say it
        now["precision"] = before["precision"] = None
    differ = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if differ:
        parts = "; ".join(f"{name} was {_short(before.get(name))}, is {_short(now.get(name))}" for name in differ)
        raise ConfigurationError(
            f"{folder} is the journal of another job ({parts}): use its options, name another folder with"
            " --job, or start again with --new"
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
