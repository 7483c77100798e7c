"""Many machines through Ray: actors that hold the model and settle entries; this process alone writes.

Plain actors, not Ray Data: a row's failure is an outcome like any other, work of an actor that died is given to another
by us, and results come as they are done. Ray Data's only limit for failures drops whole blocks (`max_errored_blocks`),
and its rows come through its object store; `python -m benchmarks.bulk ray` measures both.
"""

import os
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from picscribe.bulk.engine import Engine, Known, Limits
from picscribe.bulk.entries import Entry, Outcome, printable
from picscribe.bulk.failures import Failure
from picscribe.bulk.work import Work
from picscribe.errors import MissingPackageError, PicscribeError
from picscribe.text_files import split_lines

LOCAL = "local"
"""The address that has Ray start on this machine alone."""

BATCHES = 2
"""Batches that an actor is given at a time: few, so that all actors end at about the same time."""

QUEUED = 2
"""Pieces of work that an actor has in hand or waiting: while it does one, the next one is there."""

DEATHS = 2
"""An entry by itself that ends so many actors is left."""

REMEMBERED = 100_000
"""Results that an actor knows equal bytes of."""

PATIENCE = 0.5


@dataclass(frozen=True)
class Cluster:
    """How to use Ray. address: of a running cluster ("auto" to find it), or "local". actors: how many; by default one a
    GPU, or where there are none one a CPU, of which each takes `cpus`."""

    address: str = LOCAL
    actors: int | None = None
    cpus: float = 1


@dataclass
class Piece:
    """Entries that an actor is given together, and how many actors ended while they had them."""

    entries: list[Entry]
    deaths: int = 0


@dataclass
class Seat:
    """A place for an actor: the one that is there now, and what it has in hand."""

    actor: Any
    pieces: dict[Any, Piece] = field(default_factory=dict)


class Settler:
    """What an actor is: an engine, and the results of the bytes that it saw lately."""

    def __init__(
        self, model: str, loading: Mapping[str, Any], work: Work, limits: Limits, batch_size: int | None, keep: bool
    ) -> None:
        import torch

        from picscribe.scribe import load

        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or torch.get_num_threads()))
        chosen = {**loading, "device": "cuda"} if os.environ.get("CUDA_VISIBLE_DEVICES") else dict(loading)
        self.engine = Engine(load(model, **chosen), work, limits, batch_size, keep)
        self.remembered: OrderedDict[tuple[bytes, bytes], Mapping[str, Any]] = OrderedDict()

    def identity(self) -> tuple[str, str, int, str, Mapping[str, Any]]:
        """Name, fingerprint, batch size, precision, and how to load a model that computes as this one does."""
        engine = self.engine
        return engine.name, engine.fingerprint, engine.batch_size, engine.precision, engine.scribe.loading

    def settle(self, entries: list[Entry]) -> list[Outcome]:
        """An outcome for each entry, whatever is wrong with it."""
        outcomes = [o for some in self.engine.run(entries, self._known) for o in some]
        for outcome in outcomes:
            if outcome.value is not None:
                self.remembered[outcome.digest, outcome.entry.asked_digest] = outcome.value
        while len(self.remembered) > REMEMBERED:
            self.remembered.popitem(last=False)
        return outcomes

    def _known(self, digest: bytes, asked: bytes) -> Mapping[str, Any] | None:
        return self.remembered.get((digest, asked))


class Actors:
    """What computes on a cluster; see `running.Computing`."""

    def __init__(
        self,
        cluster: Cluster,
        model: str,
        loading: Mapping[str, Any],
        work: Work,
        limits: Limits,
        batch_size: int | None = None,
        keep_content: bool = False,
    ) -> None:
        """Raises MissingPackageError without Ray, PicscribeError where the model does not load there."""
        try:
            import ray
        except ImportError as error:
            raise MissingPackageError('many machines need Ray: pip install "picscribe[ray]"') from error
        self.ray: Any = ray
        self._own = not ray.is_initialized()
        if self._own:
            address = None if cluster.address == LOCAL else cluster.address
            here: dict[str, Any] = {} if address else {"include_dashboard": False}
            try:
                ray.init(address=address, log_to_driver=False, configure_logging=False, **here)
            except Exception as error:  # Ray says with plain exceptions that it does not start, or finds no cluster
                raise PicscribeError(f"Ray at {cluster.address} cannot be used: {_last_line(error)}") from error
        there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpus = int(there.get("GPU", 0))
        count = cluster.actors or gpus or max(1, int(there.get("CPU", 1) // cluster.cpus))
        options: dict[str, Any] = {"num_cpus": cluster.cpus, "num_gpus": 1 if gpus else 0, "max_restarts": 0}
        remote: Any = ray.remote(Settler).options(**options)
        rest = (work, replace(limits, workers=1), batch_size, keep_content)
        self._loading = dict(loading)
        self._make: Callable[[], Any] = lambda: remote.remote(model, self._loading, *rest)
        # One actor chooses the precision, the others compute as it does.
        chooses = loading.get("precision", "exact") != "exact"
        self.seats = [Seat(self._make()) for _ in range(1 if chooses else count)]
        try:
            found = ray.get(self.seats[0].actor.identity.remote())
            self.name, self.fingerprint, self.batch_size, self.precision, as_chosen = found
            self._loading |= {**as_chosen, "precision": "exact"}
            self.seats += [Seat(self._make()) for _ in range(count - len(self.seats))]
        except ray.exceptions.RayError as error:
            self.close()
            raise PicscribeError(f"the model does not load in Ray: {_last_line(error)}") from error

    def run(
        self, entries: Iterable[Entry], known: Known, stopping: Callable[[], bool] = lambda: False
    ) -> Iterator[list[Outcome]]:
        """Outcomes as they come. `known` is not asked: each actor knows what it saw itself."""
        rest, again = iter(entries), deque[Piece]()
        while True:
            for seat in self.seats:
                while len(seat.pieces) < QUEUED and (piece := self._next(rest, again, stopping)) is not None:
                    seat.pieces[seat.actor.settle.remote(piece.entries)] = piece
            waiting = [ref for seat in self.seats for ref in seat.pieces]
            if not waiting:
                return
            ready, _ = self.ray.wait(waiting, timeout=PATIENCE)
            yield []  # time passes, and somebody may want to write
            for ref in ready:
                holder = next((one for one in self.seats if ref in one.pieces), None)
                if holder is not None:  # else its actor died with another piece, and this one is given to another
                    yield from self._collect(holder, ref, again)

    def _next(self, rest: Iterator[Entry], again: deque[Piece], stopping: Callable[[], bool]) -> Piece | None:
        if again:
            return again.popleft()
        some = [] if stopping() else list(islice(rest, BATCHES * self.batch_size))
        return Piece(some) if some else None

    def _collect(self, seat: Seat, ref: Any, again: deque[Piece]) -> Iterator[list[Outcome]]:
        """What became of a piece; where its actor died another takes its place, and its pieces are done again."""
        exceptions = self.ray.exceptions
        try:
            outcomes = self.ray.get(ref)
        except exceptions.RayTaskError as error:  # of our own code, which no other actor would do better
            raise PicscribeError(f"an actor failed: {_last_line(error)}") from error
        except exceptions.RayError:
            pieces, seat.pieces = list(seat.pieces.values()), {}
            seat.actor = self._make()
            at_fault, *others = pieces  # it was doing the first
            again.extend(others)
            yield from self._after_death(at_fault, again)
        else:
            del seat.pieces[ref]
            yield outcomes

    def _after_death(self, piece: Piece, again: deque[Piece]) -> Iterator[list[Outcome]]:
        """A piece that ended several actors is halved, until the entry at fault is alone."""
        piece.deaths += 1
        if piece.deaths < DEATHS:
            again.append(piece)
        elif len(piece.entries) > 1:
            half = len(piece.entries) // 2
            again.extend((Piece(piece.entries[:half]), Piece(piece.entries[half:])))
        else:
            (entry,) = piece.entries
            reason = f"{printable(entry.path)} ended the process that computes it, {DEATHS} times"
            yield [Outcome(entry, None, failure=Failure("decoder-died", reason))]

    def close(self) -> None:
        """End the actors, and Ray where it was started for them."""
        for seat in self.seats:
            self.ray.kill(seat.actor)
        if self._own:
            self.ray.shutdown()


def _last_line(error: BaseException) -> str:
    lines = split_lines(str(error).strip())
    return lines[-1] if lines else type(error).__name__
