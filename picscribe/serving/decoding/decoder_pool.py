"""The processes that open images, seen from the service: a queue in front of a few, restarted when they die."""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from picscribe.errors import ConfigurationError, InputError, PicscribeError
from picscribe.serving.child import Child, Gone
from picscribe.serving.errors import BadRequest, Failed, Unavailable

log = logging.getLogger("picscribe.serving")

TRIES = 2
"""A file over which so many decoders died is refused."""
PAUSES = (0.0, 0.2, 1.0, 5.0)
"""Seconds before a decoder that failed to start is started again."""
LARGEST_ANSWER = 512 * 2**20


@dataclass(frozen=True)
class Decoded:
    """What a decoder gave: its header and the bytes behind it."""

    header: dict[str, Any]
    content: bytes

    def pixels(self) -> NDArray[np.uint8]:
        """Levels from 0 to 255, in the shape that the header says. Raises InputError where they are not."""
        shape = self.header.get("shape")
        if not isinstance(shape, list) or len(shape) not in (3, 4) or shape[-3] != 3:
            raise InputError("the decoder's answer is not an image")
        if int(np.prod(shape)) != len(self.content):
            raise InputError("the decoder's answer is incomplete")
        return np.frombuffer(self.content, np.uint8).reshape(shape)


class DecoderPool:
    """`count` decoders that share one queue."""

    def __init__(self, count: int, memory: int, time: float) -> None:
        self.count, self.memory, self.time = count, memory, time
        self.restarts = 0
        self.confined: dict[str, str] = {}
        self._idle: deque[Child] = deque()
        self._waiting: deque[asyncio.Future[Child]] = deque()
        self._children: set[Child] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def start(self) -> None:
        """Start them all. Raises Failed where they do not come up."""
        for child in await asyncio.gather(*(self._new() for _ in range(self.count))):
            self._offer(child)

    async def run(self, do: str, content: bytes, **arguments: Any) -> Decoded:
        """Have one of them do something with a file's bytes; `name` among the arguments is how errors call it.

        Raises InputError for a file that cannot be used, BadRequest for one over which decoders die or take too long.
        A decoder whose caller goes away finishes, and is not lost.
        """
        took_too_long = False
        for _ in range(TRIES):
            child = await self._take()
            work = asyncio.ensure_future(self._ask(child, do, content, arguments))
            try:
                decoded = await asyncio.shield(work)
            except asyncio.CancelledError:
                work.add_done_callback(lambda done: done.cancelled() or done.exception())
                raise
            if isinstance(decoded, Decoded):
                return _checked(decoded)
            took_too_long = isinstance(decoded, asyncio.TimeoutError)
        message = f"{arguments['name']} cannot be decoded within the time and memory that a request may take"
        raise BadRequest(message, code="decoding_timed_out" if took_too_long else "decoder_died", param="image")

    async def stop(self) -> None:
        """End them all."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(Unavailable("the service is stopping"))
        await asyncio.gather(*(child.stop() for child in self._children))

    @property
    def waiting(self) -> int:
        """Files that wait for a decoder."""
        return len(self._waiting)

    @property
    def up(self) -> int:
        """Decoders that can take a file."""
        return sum(child.process.returncode is None for child in self._children)

    @property
    def pids(self) -> list[int]:
        """The processes' numbers."""
        return [child.pid for child in self._children]

    async def _ask(self, child: Child, do: str, content: bytes, arguments: dict[str, Any]) -> Decoded | Exception:
        """The child's answer, or how it ended over the question."""
        try:
            child.send({"do": do, "with": arguments, "time": self.time}, content)
            answer = Decoded(*await asyncio.wait_for(child.receive(LARGEST_ANSWER), self.time))
        except (Gone, asyncio.TimeoutError) as error:
            log.warning("a decoder ended while it was at work; another one is started", extra={"pid": child.pid})
            self._replace(child)
            return error
        self._offer(child)
        return answer

    async def _take(self) -> Child:
        while self._idle:
            child = self._idle.popleft()
            if child.process.returncode is None:
                return child
            self._replace(child)
        if self._closed:
            raise Unavailable("the service is stopping")
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                self._offer(waiting.result())
            raise
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    def _offer(self, child: Child) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(child)
                return
        self._idle.append(child)

    def _replace(self, child: Child) -> None:
        child.kill()
        self._children.discard(child)
        if not self._closed:
            self.restarts += 1
            self._keep(self._restart())

    async def _restart(self) -> None:
        tries = 0
        while not self._closed:
            await asyncio.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
            try:
                self._offer(await self._new())
                return
            except PicscribeError as error:
                tries += 1
                log.error("a decoder does not start: %s", error)

    async def _new(self) -> Child:
        child = await Child.start("picscribe.serving.decoding.decoder", [str(self.memory)])
        try:
            header, _ = await asyncio.wait_for(child.receive(0), 120)
        except (Gone, asyncio.TimeoutError) as error:
            child.kill()
            raise Failed("the process that opens images does not start") from error
        self.confined = header["ready"]
        self._children.add(child)
        self._keep(self._watch(child))
        return child

    async def _watch(self, child: Child) -> None:
        """Replace an idle decoder that ends; a busy one is replaced by the code that waits for it."""
        await child.process.wait()
        if child in self._idle:
            self._idle.remove(child)
            self._replace(child)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _checked(decoded: Decoded) -> Decoded:
    if "error" in decoded.header:
        message = str(decoded.header["error"])
        raise ConfigurationError(message) if decoded.header.get("option") else InputError(message)
    return decoded
