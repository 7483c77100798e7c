"""One model's workers and the queue in front of them: a batch goes to a worker the moment it is idle, full or not.

While the workers compute, questions gather; so batches grow with the load, and nobody waits for others while there is
room. A worker that dies is started again, and what it was at is computed once more, each question alone, so that the
one that killed it takes no other along.
"""

import asyncio
import contextlib
import json
import logging
import os
import time
from collections import deque
from collections.abc import Coroutine
from typing import Any

from picscribe.errors import CheckpointError, ConfigurationError, InputError, PicscribeError
from picscribe.serving.child import Child, Gone
from picscribe.serving.engine.tickets import Ticket
from picscribe.serving.errors import Failed, Overdue, Unavailable
from picscribe.serving.metrics import Metrics
from picscribe.serving.settings import ModelSpec

log = logging.getLogger("picscribe.serving")

TRIES = 3
"""A question over which so many workers died is answered with an error."""
START = 600.0
"""Seconds that a model may take to load."""
PAUSES = (0.0, 0.5, 2.0, 10.0, 30.0)
LARGEST_ANSWER = 64 * 2**20
INHERITED = ("PATH", "HOME", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN", "HF_ENDPOINT", "XDG_CACHE_HOME",
             "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "LANG", "TMPDIR", "SYSTEMROOT", "MALLOC_ARENA_MAX",
             "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "OMP_NUM_THREADS", "OMP_WAIT_POLICY",
             "OPENBLAS_CORETYPE")  # fmt: skip
"""What a worker gets of this process's environment: enough to find models and devices, and no API key."""


TUNED = {
    # Threads that spin while they wait would take the cores from the decoders, and from whatever else runs here.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Memory that a batch frees is kept for the next one: half of a batch's time went to getting it from the system.
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
}
"""What a worker's environment holds where this process's says nothing else."""


class WorkerProcess:
    """A process that computes, and the tickets of the batch that it is at."""

    def __init__(self, child: Child, facts: dict[str, Any], batch: int) -> None:
        self.child, self.facts, self.batch = child, facts, batch
        self.at: dict[int, Ticket] = {}
        self.busy = False
        self.images = 0
        self.since = self.heard = 0.0


class ModelPool:
    """The workers of a model."""

    def __init__(
        self,
        spec: ModelSpec,
        workers: int,
        threads: int,
        batch_images: int,
        cache_bytes: int,
        patience: float,
        metrics: Metrics,
    ) -> None:
        """`patience`: seconds after which a worker that gives no answer is taken for hung and killed."""
        self.spec, self.count, self.patience, self.metrics = spec, workers, patience, metrics
        self._loading = {
            "source": spec.source, "device": spec.device, "dtype": spec.dtype, "quantize": spec.quantize,
            "precision": spec.precision, "threads": threads, "batch": batch_images, "cache": cache_bytes,
        }  # fmt: skip
        self.queue: deque[Ticket] = deque()
        self.workers: list[WorkerProcess] = []
        self.facts: dict[str, Any] = {}
        self.batch = 1
        self.loaded = 0
        self.restarts = 0
        self.rate = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._batches = 0

    async def start(self) -> None:
        """Start all workers. Raises CheckpointError and the like where the model cannot be loaded."""
        chosen = [] if self.spec.precision == "exact" else [await self._choose_precision()]
        others = (self._new() for _ in range(self.count - len(chosen)))
        found = [*chosen, *await asyncio.gather(*others, return_exceptions=True)]
        errors = [one for one in found if isinstance(one, BaseException)]
        workers = [one for one in found if isinstance(one, WorkerProcess)]
        if errors:
            await asyncio.gather(*(worker.child.stop(0.1) for worker in workers))
            raise errors[0]
        self.facts, self.batch = workers[0].facts, workers[0].batch
        self.loaded = int(time.time())
        for worker in workers:
            self._engage(worker)

    async def _choose_precision(self) -> WorkerProcess:
        """A worker that chose the precision, which all that are started from now on compute in."""
        worker = await self._new()
        log.info("%s computes in %s", self.spec.name, worker.facts["precision"])
        self._loading |= {**worker.facts["loading"], "precision": "exact"}
        return worker

    def put(self, ticket: Ticket) -> None:
        """Take a ticket whose pixels are there."""
        ticket.stage = "queued"
        self.queue.append(ticket)
        self._dispatch()

    def withdraw(self, ticket: Ticket) -> None:
        """Let go of a ticket that nobody waits for any more."""
        if ticket in self.queue:
            self.queue.remove(ticket)
        for worker in self.workers:
            if worker.at.pop(ticket.number, None) is not None:
                with contextlib.suppress(Gone):
                    worker.child.send({"gone": ticket.number})

    @property
    def idle(self) -> bool:
        """Whether nothing is queued or being computed."""
        return not self.queue and not any(worker.busy for worker in self.workers)

    @property
    def ready(self) -> bool:
        """Whether there is a worker."""
        return bool(self.workers)

    def wait_for(self, images: int) -> float:
        """Seconds to finish `images` queued images at the measured rate."""
        return images / self.rate if self.rate else 0.0

    async def stop(self) -> None:
        """End all workers; what is left is answered with an error."""
        self._closing = True
        for worker in self.workers:
            for ticket in worker.at.values():
                ticket.fail(Unavailable("the service is stopping"))
        while self.queue:
            self.queue.popleft().fail(Unavailable("the service is stopping"))
        await asyncio.gather(*(worker.child.stop() for worker in self.workers))
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _dispatch(self) -> None:
        """Give every idle worker a batch, as long as there is something to compute."""
        for worker in [one for one in self.workers if not one.busy]:
            batch, reason = self._next_batch(worker.batch)
            if batch:
                self._begin(worker, batch, reason)

    def _next_batch(self, most: int) -> tuple[list[Ticket], str]:
        """The next tickets, in the order that they came, of at most `most` images; overdue ones are answered so."""
        now = asyncio.get_running_loop().time()
        batch: list[Ticket] = []
        images = 0
        while self.queue:
            ticket = self.queue[0]
            if not ticket.wanted:
                self.queue.popleft()
            elif ticket.deadline <= now:
                self.queue.popleft()
                ticket.fail(Overdue("the deadline passed while the request was queued", retry_after=1))
            elif batch and (images + ticket.weight > most or ticket.tries or batch[0].tries):
                return batch, "retry" if batch[0].tries else "full"
            else:
                batch.append(self.queue.popleft())
                images += ticket.weight
        if batch and batch[0].tries:
            return batch, "retry"
        return batch, "full" if images >= most else "idle"

    def _begin(self, worker: WorkerProcess, batch: list[Ticket], reason: str) -> None:
        loop = asyncio.get_running_loop()
        worker.since, worker.busy = loop.time(), True
        images = 0
        for ticket in batch:
            ticket.stage, ticket.spoken = "running", ""
            worker.at[ticket.number] = ticket
            images += ticket.weight
            self.metrics.stage.labels("queue").observe(worker.since - ticket.stage_since)
            ticket.stage_since = worker.since
        self.metrics.batches.labels(self.spec.name, reason).inc()
        self.metrics.batch_images.labels(self.spec.name).observe(images)
        worker.images = images
        self._send(worker, batch)

    def _send(self, worker: WorkerProcess, batch: list[Ticket]) -> None:
        self._batches += 1
        questions: list[dict[str, Any]] = []
        parts: dict[int, int] = {}
        arrays: list[memoryview] = []
        for ticket in batch:
            assert ticket.pixels is not None or not ticket.wanted
            if ticket.pixels is None:
                continue
            place = parts.setdefault(id(ticket.pixels), len(parts))
            if place == len(arrays):
                arrays.append(ticket.pixels.data)
            questions.append(
                ticket.question.as_message()
                | {"number": ticket.number, "image": place, "shape": list(ticket.pixels.shape)}
            )
        try:  # at once: answers to clients, which are due now as well, can wait for the moment that this takes
            worker.child.send({"batch": self._batches, "questions": questions}, *arrays)
        except Gone:
            worker.child.kill()  # its listener finds that it ended

    async def _listen(self, worker: WorkerProcess) -> None:
        """Deliver what a worker says, for as long as it lives."""
        watching = self._spawn(self._watch(worker))
        while True:
            try:
                said, _ = await worker.child.receive(LARGEST_ANSWER)
            except Gone:
                break
            worker.heard = asyncio.get_running_loop().time()
            if "done" in said:
                self._done(worker, said)
            elif "piece" in said:
                if (ticket := worker.at.get(said["number"])) is not None:
                    ticket.hear(said["piece"])
            elif (ticket := worker.at.get(said["number"])) is not None:
                self._deliver(ticket, said)
        watching.cancel()
        worker.child.kill()
        self._lost(worker)

    async def _watch(self, worker: WorkerProcess) -> None:
        """End a worker that hangs, in a task of its own: a cancelled read would leave half a message."""
        while True:
            await asyncio.sleep(min(self.patience, 5.0))
            silent = asyncio.get_running_loop().time() - max(worker.since, worker.heard)
            if worker.busy and silent > self.patience:
                log.error("a worker of %s gave no answer for %g s; it is ended", self.spec.name, self.patience)
                worker.child.kill()
                return

    def _deliver(self, ticket: Ticket, said: dict[str, Any]) -> None:
        now = asyncio.get_running_loop().time()
        self.metrics.stage.labels("compute").observe(now - ticket.stage_since)
        if "answer" in said:
            ticket.question.notes.extend(said.get("notes", ()))
            ticket.give(said["answer"])
        elif said["fault"] == "server":
            log.error("a question of kind %s failed in the worker: %s", ticket.question.kind, said["error"])
            ticket.fail(Failed("the model failed on this request: the server's log has the details"))
        else:
            ticket.fail((ConfigurationError if said["fault"] == "option" else InputError)(said["error"]))

    def _done(self, worker: WorkerProcess, said: dict[str, Any]) -> None:
        now = asyncio.get_running_loop().time()
        newest = worker.images / max(1e-6, now - worker.since) * max(1, len(self.workers))
        self.rate = newest if not self.rate else 0.8 * self.rate + 0.2 * newest
        for ticket in worker.at.values():
            if ticket.wanted:
                ticket.fail(Failed("the model gave no answer"))
        for name, seconds in said["seconds"].items():
            self.metrics.stage.labels(name).observe(seconds)
        self.metrics.encoded.labels(self.spec.name).inc(said["encoded"])
        worker.at, worker.busy = {}, False
        self._dispatch()

    def _lost(self, worker: WorkerProcess) -> None:
        """A worker ended: what it was at comes first in the queue, and another one is started."""
        if worker in self.workers:
            self.workers.remove(worker)
        if self._closing:
            return
        left = [ticket for ticket in worker.at.values() if ticket.wanted]
        worker.at = {}
        log.error("a worker of %s ended with %d images at it; it is started again", self.spec.name, len(left))
        for ticket in reversed(left):
            ticket.tries += 1
            if ticket.tries >= TRIES:
                message = "the process that computes ended again and again over this request"
                ticket.fail(Failed(message, code="worker_died"))
            else:
                ticket.stage = "queued"
                self.queue.appendleft(ticket)
        self.restarts += 1
        self.metrics.restarts.labels("model").inc()
        self._spawn(self._restart())
        self._dispatch()

    async def _restart(self) -> None:
        tries = 0
        while not self._closing:
            await asyncio.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
            try:
                self._engage(await self._new())
                return
            except PicscribeError as error:
                tries += 1
                log.error("a worker of %s does not start: %s", self.spec.name, error)

    def _engage(self, worker: WorkerProcess) -> None:
        self.workers.append(worker)
        self._spawn(self._listen(worker))
        self._dispatch()

    async def _new(self) -> WorkerProcess:
        environment = dict(TUNED)
        environment |= {name: os.environ[name] for name in INHERITED if name in os.environ}
        child = await Child.start("picscribe.serving.engine.model_worker", [json.dumps(self._loading)], environment)
        try:
            said, _ = await asyncio.wait_for(child.receive(0), START)
        except (Gone, asyncio.TimeoutError) as error:
            child.kill()
            raise Failed(f"the process that computes {self.spec.name} does not start") from error
        except asyncio.CancelledError:
            child.kill()
            raise
        if "failed" in said:
            await child.stop()
            raise CheckpointError(f"{self.spec.name}: {said['failed']}")
        return WorkerProcess(child, said["ready"], said["batch"])

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
