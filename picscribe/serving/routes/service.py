"""What routes of every dialect share: the engine, the request's images, and an end to work that nobody waits for."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import StreamingResponse

from picscribe.errors import ConfigurationError, PicscribeError
from picscribe.serving.engine.engine import ServingEngine
from picscribe.serving.engine.model_pool import ModelPool
from picscribe.serving.errors import BadRequest, ServingError, as_serving_error
from picscribe.serving.metrics import Metrics
from picscribe.serving.routes.payloads import Payload, photos_of, read_payload
from picscribe.serving.safety.fetching import Fetcher
from picscribe.serving.settings import Settings
from picscribe.serving.tasks import Photo, Question

Found = TypeVar("Found")
HIGHEST_SEED = 2**63 - 1


@dataclass
class Service:
    """One running service."""

    settings: Settings
    engine: ServingEngine
    fetcher: Fetcher
    started: float = 0.0

    @classmethod
    def of(cls, request: Request) -> "Service":
        """The service that a request came to."""
        service: Service = request.app.state.service
        return service

    @property
    def metrics(self) -> Metrics:
        """What is counted."""
        return self.engine.metrics

    async def start(self) -> None:
        """Start all processes. Raises CheckpointError and the like where a model cannot be loaded."""
        await asyncio.gather(self.engine.start(), asyncio.to_thread(_import_options))
        self.started = time.time()

    async def stop(self) -> None:
        """Answer what was accepted, then end all processes."""
        await self.engine.drain(self.settings.grace)
        await self.engine.stop()
        self.fetcher.close()

    async def payload(self, request: Request) -> Payload:
        """The request's body, read and taken apart."""
        return await read_payload(request, self.settings.limits)

    async def photos(
        self, payload: Payload, sources: Sequence[tuple[str, object]], video: Mapping[str, Any] | None = None
    ) -> list[Photo | ServingError]:
        """The request's images, of several with errors in their places. Raises BadRequest for none."""
        return await photos_of(payload, sources, self.settings.limits, self.fetcher, **(video or {}))

    async def photo(
        self, payload: Payload, sources: Sequence[tuple[str, object]], video: Mapping[str, Any] | None = None
    ) -> Photo:
        """The request's only image. Raises BadRequest for none, for several, and for what is no image."""
        found = await self.photos(payload, sources, video)
        if len(found) > 1:
            param = sources[0][0] if sources else "image"
            raise BadRequest(
                "this route takes one image: send one request for each", code="too_many_images", param=param
            )
        assert isinstance(found[0], Photo)
        return found[0]

    def options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Options of a search as GenerationOptions takes them, those that are None left out.

        Raises BadRequest, with the option at fault, for what cannot be, and what is more than the limits allow.
        """
        from picscribe.generation import GenerationOptions

        limits = self.settings.limits
        options = {name: value for name, value in given.items() if value is not None}
        most = {"beams": limits.beams, "num_captions": limits.captions, "max_new_tokens": limits.new_tokens}
        for name, highest in most.items():
            value = options.get(name)
            if isinstance(value, int) and value > highest:
                raise BadRequest(f"{name} must be at most {highest}, not {value}", code="invalid_value", param=name)
        for name in ("banned_words", "required_words"):
            self.check_texts(name, options.get(name) or ())
        if options.get("num_captions", 1) > 1 and "beams" not in options and not options.get("temperature"):
            options["beams"] = max(GenerationOptions.beams, options["num_captions"])
        try:
            GenerationOptions(**options)
        except ConfigurationError as error:
            raise as_serving_error(error) from error
        return options

    def check_texts(self, name: str, texts: Sequence[str], most: int | None = None) -> None:
        """Raise BadRequest for more texts, or longer ones, than the limits allow."""
        limits = self.settings.limits
        most = limits.texts if most is None else most
        if len(texts) > most:
            raise BadRequest(
                f"{name} has {len(texts)} texts, but the limit is {most}: send several requests",
                code="invalid_value",
                param=name,
            )
        for text in texts:
            if len(text) > limits.text_characters:
                message = f"a text of {name} has {len(text)} characters, at most {limits.text_characters} are taken"
                raise BadRequest(message, code="invalid_value", param=name)

    async def ask(
        self, request: Request, model: str | None, questions: Sequence[Question]
    ) -> list[Any | PicscribeError]:
        """Answers in order, each with its own error in its place; given up where the client goes away."""
        found = await unless_gone(request, self.engine.ask(model, questions, deadline_of(request)))
        pool = self.engine.pool(model)
        for question, answer in zip(questions, found, strict=True):
            if isinstance(answer, PicscribeError):
                self.metrics.failures.labels(as_serving_error(answer).code).inc()
            else:
                self.metrics.images.labels(pool.spec.name, question.kind).inc()
        return found

    async def ask_one(self, request: Request, model: str | None, question: Question) -> Any:
        """The answer to one question. Raises its error."""
        (found,) = await self.ask(request, model, [question])
        if isinstance(found, PicscribeError):
            raise as_serving_error(found)
        return found

    async def words(self, request: Request, model: str | None, question: Question) -> AsyncIterator[str]:
        """The pieces of a caption as they are written. Errors before the first piece are raised at once."""
        pieces = await self.engine.words(model, question, deadline_of(request))
        first = await unless_gone(request, anext(pieces, None))
        self.metrics.images.labels(self.engine.pool(model).spec.name, question.kind).inc()

        async def all_pieces() -> AsyncIterator[str]:
            try:
                if first is not None:
                    yield first
                    async for piece in pieces:
                        yield piece
            finally:
                await pieces.aclose()  # type: ignore[attr-defined]

        return all_pieces()

    async def look(self, request: Request, do: str, photo: Photo, **arguments: Any) -> tuple[dict[str, Any], bytes]:
        """A preview of a photo, or the texts of its metadata; given up where the client goes away."""
        try:
            return await unless_gone(request, self.engine.look(do, photo, **arguments))
        except PicscribeError as error:
            raise as_serving_error(error) from error

    def answering_pool(self, model: str | None) -> ModelPool | None:
        """The pool that questions to a model go to: its own, else another that answers questions, else none."""
        pool = self.engine.pool(model)
        if pool.facts["asks"]:
            return pool
        return next((other for other in self.engine.pools.values() if other.facts["asks"]), None)


def deadline_of(request: Request) -> float | None:
    """Seconds that the client gives, by its X-Deadline header. Raises BadRequest if it is not a number above 0."""
    given = request.headers.get("x-deadline")
    if given is None:
        return None
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise BadRequest("X-Deadline must be a number of seconds above 0", code="invalid_value", param="X-Deadline")
    return seconds


async def unless_gone(request: Request, work: Awaitable[Found]) -> Found:
    """What `work` gives; it is cancelled where the client hangs up first. Raises ConnectionError then."""
    task = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((task, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ConnectionError("the client went away")
        return task.result()
    finally:
        leaving.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def events(pieces: AsyncIterator[bytes], media_type: str = "text/event-stream", **headers: str) -> StreamingResponse:
    """An answer that comes piece by piece, past proxies that would hold it up."""
    return StreamingResponse(pieces, media_type=media_type, headers={"x-accel-buffering": "no", **headers})


def error_in_stream(error: BaseException) -> ServingError:
    """An error after the first piece, for a dialect to show inside its stream. Cancelling is passed on."""
    if not isinstance(error, Exception) or isinstance(error, ConnectionError):
        raise error
    return as_serving_error(error)


def _import_options() -> None:
    import picscribe.generation  # noqa: F401  # takes seconds, which the first request should not
