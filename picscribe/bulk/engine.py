"""The local engine: entries in, outcomes out, in the order in which they are done, by batches as full as can be.

Entries are decoded in worker processes while the model computes. Equal bytes with equal questions are computed once.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias

from picscribe.bulk.entries import Entry, Outcome
from picscribe.bulk.failures import EntryError
from picscribe.bulk.inputs.decode_worker import Settings
from picscribe.bulk.inputs.decoding import Decoded, Decoders
from picscribe.bulk.work import Work

if TYPE_CHECKING:
    from picscribe.scribe import Scribe

Known: TypeAlias = Callable[[bytes, bytes], Mapping[str, Any] | None]
"""The result of equal bytes and equal questions, if there is one."""

AHEAD = 2
"""How many batches are decoded, or being decoded, while one is computed."""

PATIENCE = 0.5
"""Seconds between two looks at whether the run is to stop, where nothing comes meanwhile."""


@dataclass(frozen=True)
class Limits:
    """What one file may take; see `Settings`. workers: processes that decode."""

    seconds: float = 60
    memory: int = 2 << 30
    max_pixels: int = 89_478_485
    max_bytes: int = 256 << 20
    workers: int = 2
    frames: int | None = None


class Engine:
    """A loaded model and workers that decode for it."""

    def __init__(
        self,
        scribe: "Scribe",
        work: Work,
        limits: Limits,
        batch_size: int | None = None,
        keep_content: bool = False,
    ) -> None:
        self.scribe, self.work, self.name = scribe, work, scribe.name
        self.fingerprint, self.precision = scribe.fingerprint(), scribe.precision
        self.batch_size = batch_size or scribe.fitting_batch_size(work.generation)
        self.decoders = Decoders(settings_of(scribe, limits), limits.workers, keep_content)

    def run(
        self, entries: Iterable[Entry], known: Known, stopping: Callable[[], bool] = lambda: False
    ) -> Iterator[list[Outcome]]:
        """Outcomes, some at a time; after `stopping()` the batch in hand is finished and no other begun.

        `entries` and `known` are called by this thread alone.
        """
        return _Pass(self, iter(entries), known, stopping).outcomes()

    def close(self) -> None:
        """End the workers."""
        self.decoders.close()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Pass:
    """One way through some entries: what is being decoded, what waits for a full batch, and for equal bytes."""

    def __init__(self, engine: Engine, entries: Iterator[Entry], known: Known, stopping: Callable[[], bool]) -> None:
        self.engine, self.entries, self.known, self.stopping = engine, entries, known, stopping
        self.results: SimpleQueue[tuple[Entry, Decoded | EntryError | BaseException]] = SimpleQueue()
        self.decoding: dict[int, Entry] = {}
        self.waiting: dict[tuple[int, ...], deque[Decoded]] = {}
        self.copies: dict[tuple[bytes, bytes], list[Decoded]] = {}
        self.ended = False

    def outcomes(self) -> Iterator[list[Outcome]]:
        size = self.engine.batch_size
        while True:
            self._draw(AHEAD * size + len(self.engine.decoders))
            if batch := self._batch(size):
                yield self._compute(batch)
            elif self.decoding:
                if self.stopping():
                    return
                yield self._received()
            elif batch := self._batch(1):
                yield self._compute(batch)
            else:
                return

    def _draw(self, most: int) -> None:
        """Have more entries decoded, so that there are at most so many in hand."""
        while not self.ended and len(self.decoding) + sum(map(len, self.copies.values())) + self._ready() < most:
            entry = None if self.stopping() else next(self.entries, None)
            if entry is None:
                self.ended = True
                return
            self.decoding[entry.number] = entry
            self.engine.decoders.submit(entry, self._done(entry))

    def _done(self, entry: Entry) -> Callable[[Decoded | EntryError | BaseException], None]:
        return lambda result: self.results.put((entry, result))

    def _ready(self) -> int:
        return sum(map(len, self.waiting.values()))

    def _received(self) -> list[Outcome]:
        """Take what was decoded, waiting for some; outcomes that need no model."""
        outcomes: list[Outcome] = []
        wait = True
        while True:
            try:
                entry, result = self.results.get(wait, PATIENCE if wait else None)
            except Empty:
                return outcomes
            wait = False
            del self.decoding[entry.number]
            if isinstance(result, EntryError):
                outcomes.append(Outcome(entry, None, failure=result.failure))
            elif isinstance(result, BaseException):
                raise result
            else:
                outcomes += self._take(result)

    def _take(self, decoded: Decoded) -> list[Outcome]:
        """Have pixels wait for a batch, unless equal bytes have a result or wait already."""
        entry, key = decoded.entry, (decoded.digest, decoded.entry.asked_digest)
        if (value := self.known(*key)) is not None:
            return [Outcome(entry, value, decoded.digest, content=decoded.content)]
        if key in self.copies:
            self.copies[key].append(replace(decoded, pixels=None))
        else:
            self.copies[key] = []
            self.waiting.setdefault(tuple(decoded.pixels.shape), deque()).append(decoded)
        return []

    def _batch(self, least: int) -> list[Decoded]:
        """Images of one shape, if there are at least so many; where few of many shapes wait, those of the commonest."""
        if not self.waiting:
            return []
        commonest = max(self.waiting, key=lambda shape: len(self.waiting[shape]))
        group = self.waiting[commonest]
        crowded = self._ready() >= AHEAD * self.engine.batch_size
        if len(group) < least and not crowded:
            return []
        batch = [group.popleft() for _ in range(min(len(group), self.engine.batch_size))]
        if not group:
            del self.waiting[commonest]
        return batch

    def _compute(self, batch: Sequence[Decoded]) -> list[Outcome]:
        pairs = [(one.entry, one.pixels) for one in batch]
        outcomes = []
        for one, result in zip(batch, self.engine.work.results(self.engine.scribe, pairs), strict=True):
            for same in (one, *self.copies.pop((one.digest, one.entry.asked_digest))):
                if isinstance(result, EntryError):
                    outcomes.append(Outcome(same.entry, None, same.digest, result.failure))
                else:
                    outcomes.append(Outcome(same.entry, result, same.digest, content=same.content))
        return outcomes


def settings_of(scribe: "Scribe", limits: Limits) -> Settings:
    """What workers need to know to decode for a model."""
    return Settings(
        asdict(scribe.preprocessing),
        scribe.name,
        scribe.config.frames,
        limits.frames,
        limits.seconds,
        limits.memory,
        limits.max_pixels,
        limits.max_bytes,
    )
