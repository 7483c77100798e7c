"""The engine: what clients ask becomes tickets, tickets become pixels, pixels batches, batches answers."""

import asyncio
import contextlib
import hashlib
import json
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from picscribe.errors import InputError, PicscribeError
from picscribe.serving.decoding.decoder_pool import DecoderPool
from picscribe.serving.engine.image_cache import ByteCache
from picscribe.serving.engine.model_pool import ModelPool
from picscribe.serving.engine.tickets import Ticket
from picscribe.serving.errors import BadRequest, Busy, NotFound, Overdue, Unavailable
from picscribe.serving.metrics import Metrics
from picscribe.serving.settings import ModelSpec, Settings
from picscribe.serving.tasks import Photo, Question

MARGIN = 0.5
"""The share of a deadline that the queue before a request may take: computing can get slower than measured."""
LONGEST_RETRY = 60


@dataclass(eq=False)
class Decoding:
    """A photo that is being decoded, and how many wait for it."""

    task: "asyncio.Task[NDArray[np.uint8]]"
    waiting: int = 0


class ServingEngine:
    """Takes questions about photos from many callers on one event loop, and answers each as soon as it can.

    A bounded queue, counted in images: what does not fit, or would not be done before its deadline, is refused at once.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        limits = settings.limits
        self.decoders = DecoderPool(settings.decoders, limits.decode_memory, limits.decode_time)
        self.pools: dict[str, ModelPool] = {}
        self.aliases = dict(settings.aliases)
        self.default = settings.models[0].name
        self.pixels: ByteCache[NDArray[np.uint8]] = ByteCache(limits.cache_bytes // 2)
        self._decoding: dict[bytes, Decoding] = {}
        self._tickets: set[Ticket] = set()
        self._retiring: set[asyncio.Task[None]] = set()
        self.draining = False

    async def start(self) -> None:
        """Start all processes. Raises CheckpointError and the like where a model cannot be loaded."""
        pools = [self._pool(spec) for spec in self.settings.models]
        try:
            await asyncio.gather(self.decoders.start(), *(pool.start() for pool in pools))
        except BaseException:
            await asyncio.gather(self.decoders.stop(), *(pool.stop() for pool in pools), return_exceptions=True)
            raise
        self.pools = {pool.spec.name: pool for pool in pools}

    async def load(self, spec: ModelSpec) -> None:
        """Load a model under its name; an earlier one of that name works until the new one is ready, then finishes.

        No request is lost or refused meanwhile. Raises CheckpointError where it cannot be loaded; the old one stays.
        """
        new = self._pool(spec)
        try:
            await new.start()
        except BaseException:
            await new.stop()
            raise
        old = self.pools.get(spec.name)
        self.pools[spec.name] = new
        if old is not None:
            task = asyncio.ensure_future(self._retire(old))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    async def unload(self, name: str) -> None:
        """Let go of a model once what it was asked is answered."""
        await self._retire(self.pools.pop(name))

    async def drain(self, patience: float) -> None:
        """Take nothing more, and wait until what was accepted is answered, at most so many seconds."""
        self.draining = True
        until = asyncio.get_running_loop().time() + patience
        while self._tickets and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """End all processes."""
        self.draining = True
        for ticket in list(self._tickets):
            ticket.fail(Unavailable("the service is stopping"))
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(self.decoders.stop(), *(pool.stop() for pool in self.pools.values()))

    # Asking

    def pool(self, model: str | None) -> ModelPool:
        """The pool of a name or alias, of the default model for None. Raises NotFound for one that is not served."""
        name = self.aliases.get(model, model) if model else self.default
        if name not in self.pools:
            known = ", ".join([*self.pools, *self.aliases])
            message = f"the model {str(model)[:100]!r} is not served here; there are {known}"
            raise NotFound(message, code="model_not_found", param="model")
        return self.pools[name]

    async def ask(
        self, model: str | None, questions: Sequence[Question], deadline: float | None = None
    ) -> list[Any | PicscribeError]:
        """Answers to questions, in order, each with its own error in its place; all or none of them are accepted.

        deadline: seconds from now. Raises Busy where the queue has no room, Overdue where the time is up.
        A caller that is cancelled gives its places in the queue back.
        """
        tickets = self._accept(model, questions, deadline)
        try:
            timeout = max(0.0, tickets[0].deadline - asyncio.get_running_loop().time())
            await asyncio.wait([ticket.answer for ticket in tickets], timeout=timeout)
            for ticket in tickets:
                ticket.fail(Overdue("the deadline passed before the answer was there", retry_after=1))
            found = [ticket.answer.exception() or ticket.answer.result() for ticket in tickets]
        finally:
            self._forget(tickets)
        return [self._told(one) for one in found]

    async def words(self, model: str | None, question: Question, deadline: float | None = None) -> AsyncIterator[str]:
        """The pieces of one caption, as they are written. Raises as `ask`, at once where there is no room."""
        (ticket,) = self._accept(model, [question], deadline, pieces=True)
        return self._pieces(ticket)

    async def _pieces(self, ticket: Ticket) -> AsyncIterator[str]:
        assert ticket.pieces is not None
        try:
            while True:
                left = ticket.deadline - asyncio.get_running_loop().time()
                try:
                    piece = await asyncio.wait_for(ticket.pieces.get(), max(0.0, left))
                except asyncio.TimeoutError:
                    raise Overdue("the deadline passed before the caption was complete", retry_after=1) from None
                if piece is None:
                    break
                yield piece
            error = ticket.answer.exception()
            if error is not None:
                raise error
            self._told(None)
        finally:
            self._forget([ticket])

    def _accept(
        self, model: str | None, questions: Sequence[Question], deadline: float | None, pieces: bool = False
    ) -> list[Ticket]:
        pool = self.pool(model)
        allowed = self.settings.limits.deadline if deadline is None else min(deadline, self.settings.limits.deadline)
        weights = [self._weight(pool, question) for question in questions]
        self.check_room(pool, sum(weights), allowed)
        loop = asyncio.get_running_loop()
        now = loop.time()
        tickets = [
            Ticket(question, pool, weight, now + allowed, now, loop.create_future(), stage_since=now)
            for question, weight in zip(questions, weights, strict=True)
        ]
        for ticket in tickets:
            if pieces:
                ticket.pieces = asyncio.Queue()
            self._tickets.add(ticket)
            preparing = asyncio.ensure_future(self._prepare(ticket))
            ticket.answer.add_done_callback(partial(_cancel, preparing))
        return tickets

    def check_room(self, pool: ModelPool, images: int, deadline: float) -> None:
        """Raise Busy, with the seconds after which to try again, where so many images more cannot be taken now."""
        if self.draining:
            raise Unavailable("the service is stopping", retry_after=5)
        waiting = self.waiting()
        expected = pool.wait_for(waiting + self.running())
        retry = max(1, min(LONGEST_RETRY, math.ceil(expected)))
        most = self.settings.limits.queue_images
        if waiting + images > most:
            raise Busy(f"{waiting} images are waiting, and the limit is {most}: try again later", retry_after=retry)
        if expected > MARGIN * deadline:
            message = f"the queue would take about {expected:.1f} s, too long for a deadline of {deadline:g} s"
            raise Busy(message, code="queue_too_slow", retry_after=retry)

    def _weight(self, pool: ModelPool, question: Question) -> int:
        frames = pool.facts["frames"]
        return max(1, min(question.photo.frames or frames, frames)) if frames else 1

    def _forget(self, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            self._tickets.discard(ticket)
            if ticket.wanted:
                ticket.drop()
                ticket.pool.withdraw(ticket)

    def _told(self, answer: Any) -> Any:
        if isinstance(answer, BaseException) and not isinstance(answer, PicscribeError):
            raise answer
        return answer

    # Pixels

    async def _prepare(self, ticket: Ticket) -> None:
        """Give a ticket its pixels and queue it."""
        try:
            ticket.pixels = await self._pixels(ticket.pool, ticket.question.photo)
        except InputError as error:
            ticket.fail(BadRequest(str(error), code="invalid_image", param="image"))
            return
        except Exception as error:
            ticket.fail(error)
            return
        now = asyncio.get_running_loop().time()
        self.metrics.stage.labels("decode").observe(now - ticket.since)
        ticket.stage_since = now
        if ticket.wanted:
            ticket.pool.put(ticket)

    async def _pixels(self, pool: ModelPool, photo: Photo) -> NDArray[np.uint8]:
        """Pixels as the model takes them; of the same content they are made once, for all who ask meanwhile and later.

        Where all who wait are cancelled, so is the decoding, if it has not begun.
        """
        facts = pool.facts
        shape = json.dumps([facts["preprocessing"], facts["frames"], photo.video], sort_keys=True).encode()
        key = hashlib.sha256(hashlib.sha256(shape).digest() + photo.content).digest()
        if (kept := self.pixels.get(key)) is not None:
            return kept
        decoding = self._decoding.get(key)
        if decoding is None or decoding.task.cancelled():
            decoding = self._decoding[key] = Decoding(asyncio.ensure_future(self._decode(pool, photo, key)))
            decoding.task.add_done_callback(lambda done: self._decoded(key, done))
        decoding.waiting += 1
        try:
            return await asyncio.shield(decoding.task)
        finally:
            decoding.waiting -= 1
            if not decoding.waiting and not decoding.task.done():
                self._decoding.pop(key, None)
                decoding.task.cancel()

    def _decoded(self, key: bytes, task: "asyncio.Task[NDArray[np.uint8]]") -> None:
        if (kept := self._decoding.get(key)) is not None and kept.task is task:
            del self._decoding[key]
        if not task.cancelled():
            task.exception()  # the caller has it too, if there is one

    async def _decode(self, pool: ModelPool, photo: Photo, key: bytes) -> NDArray[np.uint8]:
        limits, facts = self.settings.limits, pool.facts
        decoded = await self.decoders.run(
            "pixels",
            photo.content,
            name=photo.name,
            most_pixels=limits.image_pixels,
            hours=limits.video_hours,
            preprocessing=facts["preprocessing"],
            frames=facts["frames"],
            model=pool.spec.name,
            video=photo.video,
        )
        pixels = decoded.pixels()
        self.pixels.put(key, pixels, pixels.nbytes)
        return pixels

    async def look(self, do: str, photo: Photo, **arguments: Any) -> tuple[dict[str, Any], bytes]:
        """Have a decoder make a preview of a photo, or read the texts of its metadata."""
        limits = self.settings.limits
        if self.draining:
            raise Unavailable("the service is stopping", retry_after=5)
        if self.decoders.waiting >= limits.queue_images:
            raise Busy("too many photos are waiting to be opened: try again later", retry_after=1)
        with contextlib.suppress(asyncio.TimeoutError):
            try:
                found = await asyncio.wait_for(
                    self.decoders.run(do, photo.content, name=photo.name, most_pixels=limits.image_pixels, **arguments),
                    limits.deadline,
                )
            except InputError as error:
                raise BadRequest(str(error), code="invalid_image", param="image") from error
            return found.header, found.content
        raise Overdue("the deadline passed before the photo was opened", retry_after=1)

    # Watching

    def waiting(self) -> int:
        """Images that were accepted and are not yet being computed."""
        return sum(ticket.weight for ticket in self._tickets if ticket.stage in ("decoding", "queued"))

    def running(self) -> int:
        """Images that are being computed."""
        return sum(ticket.weight for ticket in self._tickets if ticket.stage == "running")

    def oldest(self) -> float:
        """Seconds that the oldest image has waited that is not being computed."""
        waiting = [ticket.since for ticket in self._tickets if ticket.stage in ("decoding", "queued")]
        return asyncio.get_running_loop().time() - min(waiting) if waiting else 0.0

    @property
    def ready(self) -> bool:
        """Whether every model has a worker."""
        return not self.draining and bool(self.pools) and all(pool.ready for pool in self.pools.values())

    def _pool(self, spec: ModelSpec) -> ModelPool:
        settings = self.settings
        return ModelPool(
            spec,
            workers=settings.workers,
            threads=settings.threads,
            batch_images=settings.batch_images,
            cache_bytes=settings.limits.cache_bytes // 2,
            patience=4 * settings.limits.deadline,
            metrics=self.metrics,
        )

    async def _retire(self, pool: ModelPool) -> None:
        """Let a pool finish what it has, then end it."""
        while any(ticket.pool is pool for ticket in self._tickets) or not pool.idle:
            await asyncio.sleep(0.02)
        await pool.stop()


def _cancel(preparing: "asyncio.Task[None]", _: object) -> None:
    """Once there is an answer of whatever kind, nothing needs preparing."""
    preparing.cancel()
