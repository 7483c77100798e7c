"""The service's own routes under /v1: caption, ask, classify, score, explain, and what a page about photos needs."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeAlias, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from picscribe.errors import PicscribeError
from picscribe.serving.decoding import descriptions
from picscribe.serving.errors import BadRequest, ServingError, as_serving_error
from picscribe.serving.routes.fields import (
    AskRequest,
    AskResponse,
    CaptionRequest,
    CaptionResponse,
    ClassifyRequest,
    ClassifyResponse,
    DescriptionRequest,
    ExplainRequest,
    ExplainResponse,
    Images,
    LimitsResponse,
    MetadataRequest,
    MetadataResponse,
    PreviewRequest,
    ScoreRequest,
    ScoreResponse,
    WriteRequest,
)
from picscribe.serving.routes.openapi import takes
from picscribe.serving.routes.payloads import Payload, sources_in
from picscribe.serving.routes.replies import request_id, sse
from picscribe.serving.routes.service import Service, error_in_stream, events
from picscribe.serving.tasks import Photo, Question
from picscribe.text_files import split_lines

router = APIRouter(tags=["picscribe"])
Body = TypeVar("Body", bound=BaseModel)
Fields = TypeVar("Fields", bound=BaseModel, covariant=True)
Route: TypeAlias = Callable[[Request], Awaitable[Response]]

LENGTHS: dict[str, dict[str, Any]] = {"short": {"max_new_tokens": 8}, "normal": {}, "long": {"min_new_tokens": 12}}
"""Moondream's words for how long a caption is to be, in tokens."""


@dataclass(frozen=True)
class Asked(Generic[Fields]):
    """A request that was read: its fields, and what every route does with them."""

    request: Request
    service: Service
    payload: Payload
    fields: Fields

    async def photos(self: "Asked[Images]") -> list[Photo | ServingError]:
        """Its images, of several with errors in their places."""
        return await self.service.photos(self.payload, sources_in(self.payload.fields), _video(self.fields))

    async def photo(self: "Asked[Images]") -> Photo:
        """Its only image. Raises BadRequest for several."""
        return await self.service.photo(self.payload, sources_in(self.payload.fields), _video(self.fields))

    async def answer(
        self,
        model: str | None,
        photos: Sequence[Photo | ServingError],
        question: Callable[[Photo], Question],
        shown: Callable[[Any], dict[str, Any]],
    ) -> Response:
        """Ask the model a question about each photo.

        The response has the result of one photo at the top, or its error as the answer; of several photos a list, with
        errors in their places. `shown` gives the fields of a result.
        """
        asked = [question(photo) for photo in photos if isinstance(photo, Photo)]
        answers = iter(await self.service.ask(self.request, model, asked) if asked else ())
        found = [next(answers) if isinstance(photo, Photo) else photo for photo in photos]
        notes = list(dict.fromkeys(note for one in asked for note in one.notes))
        pool = self.service.engine.pool(model)
        head: dict[str, Any] = {"request_id": request_id(self.request), "model": pool.spec.name}
        head |= {"fingerprint": pool.facts["fingerprint"], **({"notes": notes} if notes else {})}
        if len(found) > 1:
            return JSONResponse(head | {"results": [_shown_or_error(one, shown) for one in found]})
        if isinstance(found[0], PicscribeError):
            raise as_serving_error(found[0])
        return JSONResponse(head | shown(found[0]))


async def read(request: Request, model: type[Body]) -> Asked[Body]:
    """A request whose fields are those of `model`. Raises BadRequest where they are not."""
    service = Service.of(request)
    payload = await service.payload(request)
    return Asked(request, service, payload, payload.checked(model))


def _shown_or_error(one: Any, shown: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    if not isinstance(one, PicscribeError):
        return shown(one)
    error = as_serving_error(one)
    return {"error": {"code": error.code, "message": str(error)}}


def _file_route(path: str, model: type[BaseModel], media_type: str, description: str) -> Callable[[Route], Route]:
    """A route that answers with a file instead of JSON."""
    responses: dict[int | str, dict[str, Any]] = {200: {"content": {media_type: {}}, "description": description}}
    return router.post(path, response_class=Response, responses=responses, openapi_extra=takes(model))


@router.post("/v1/caption", response_model=CaptionResponse, openapi_extra=takes(CaptionRequest))
async def caption(request: Request) -> Response:
    """Describe images in words.

    Send JSON, a multipart form with files, or an image as the body. With `stream` the caption comes word by word, as
    events `{"chunk": "…", "completed": false}`; it is then searched greedily unless `beams` is given.
    """
    asked = await read(request, CaptionRequest)
    fields = asked.fields
    options = asked.service.options(_lengths(fields) | _of_settings(fields.settings) | fields.options())
    if fields.prefix is not None:
        asked.service.check_texts("prefix", [fields.prefix])
    photos = await asked.photos()
    if fields.stream:
        return await _caption_in_pieces(asked, photos, options)
    question = partial(Question, "caption", options=options, prompt=fields.prefix)
    return await asked.answer(fields.model, photos, question, partial(_caption_of, raw=fields.raw))


@router.post("/v1/ask", response_model=AskResponse, openapi_extra=takes(AskRequest))
async def ask(request: Request) -> Response:
    """Ask one question or several about images; each image is encoded once for all of them.

    Every question is answered by itself: models of this kind do not remember a conversation.
    """
    asked = await read(request, AskRequest)
    fields, texts = asked.fields, _questions(asked.fields)
    asked.service.check_texts("questions", texts)
    options = asked.service.options(fields.options())

    def answers(said: list[dict[str, Any]]) -> dict[str, Any]:
        rows = [_answer_of(text, one, fields.raw) for text, one in zip(texts, said, strict=True)]
        return {name: rows[0][name] for name in ("answer", "confidence", "error") if name in rows[0]} | {
            "answers": rows
        }

    question = partial(Question, "ask", options=options, texts=tuple(texts))
    return await asked.answer(fields.model, await asked.photos(), question, answers)


@router.post("/v1/classify", response_model=ClassifyResponse, openapi_extra=takes(ClassifyRequest))
async def classify(request: Request) -> Response:
    """The likeliest of given labels, with the probability of each among all of them."""
    asked = await read(request, ClassifyRequest)
    fields, labels = asked.fields, _lines(asked.fields.labels)
    asked.service.check_texts("labels", labels, asked.service.settings.limits.labels)

    def ranked(said: list[dict[str, Any]]) -> dict[str, Any]:
        return {"label": said[0]["label"], "probability": said[0]["probability"], "labels": said}

    question = partial(Question, "classify", texts=tuple(labels), prompt=fields.prefix, top_k=fields.top_k)
    return await asked.answer(fields.model, await asked.photos(), question, ranked)


@router.post("/v1/score", response_model=ScoreResponse, openapi_extra=takes(ScoreRequest))
async def score(request: Request) -> Response:
    """How likely given texts are for an image, in the order of the texts."""
    asked = await read(request, ScoreRequest)
    fields, texts = asked.fields, _lines(asked.fields.texts)
    asked.service.check_texts("texts", texts)

    def scores(said: list[dict[str, Any]]) -> dict[str, Any]:
        shown = [one if fields.raw else {k: v for k, v in one.items() if k != "raw"} for one in said]
        return {"scores": [{"text": text} | one for text, one in zip(texts, shown, strict=True)]}

    question = partial(Question, "score", texts=tuple(texts), prompt=fields.prefix)
    return await asked.answer(fields.model, await asked.photos(), question, scores)


@router.post("/v1/explain", response_model=ExplainResponse, openapi_extra=takes(ExplainRequest))
async def explain(request: Request) -> Response:
    """Caption one image, and give for each word a map of where the model looked."""
    asked = await read(request, ExplainRequest)
    fields, service = asked.fields, asked.service
    options = service.options(fields.options())
    question = Question("explain", await asked.photo(), options, prompt=fields.prefix, method=fields.method)
    found = await service.ask_one(request, fields.model, question)
    said = found["caption"]
    return JSONResponse(
        {
            "request_id": request_id(request),
            "model": service.engine.pool(fields.model).spec.name,
            "caption": said["text"],
            "confidence": said["confidence"],
            "score": said["score"],
            "words": found["words"],
            "view": found["view"],
            "frames": [f"data:image/jpeg;base64,{frame}" for frame in found["frames"]],
        }
    )


@_file_route("/v1/preview", PreviewRequest, "image/jpeg", "The preview.")
async def preview(request: Request) -> Response:
    """Any photo that the server reads, HEIC too, as a small upright JPEG without metadata; of a video a frame."""
    asked = await read(request, PreviewRequest)
    _, content = await asked.service.look(request, "preview", await asked.photo(), side=asked.fields.side)
    return Response(content, media_type="image/jpeg")


@router.post("/v1/metadata", response_model=MetadataResponse, openapi_extra=takes(MetadataRequest))
async def metadata(request: Request) -> Response:
    """The texts that a photo's metadata already holds: alternative text, description, title."""
    asked = await read(request, MetadataRequest)
    found, _ = await asked.service.look(request, "texts", await asked.photo())
    names = ("format", "width", "height")
    return JSONResponse(found["texts"] | {name: found[name] for name in names if name in found})


@_file_route("/v1/metadata/sidecar", DescriptionRequest, "application/rdf+xml", "An XMP sidecar.")
async def sidecar(request: Request) -> Response:
    """An XMP sidecar file with alternative text, description and title."""
    asked = await read(request, DescriptionRequest)
    return Response(descriptions.sidecar(_described(asked.fields)), media_type="application/rdf+xml")


@_file_route("/v1/metadata/write", WriteRequest, "application/octet-stream", "The photo, its pixels untouched.")
async def write(request: Request) -> Response:
    """The same photo with alternative text, description and title written into its metadata, by ExifTool."""
    asked = await read(request, WriteRequest)
    limits = asked.service.settings.limits
    content = await descriptions.write_into(await asked.photo(), _described(asked.fields), limits)
    return Response(content, media_type="application/octet-stream")


@router.get("/v1/limits", response_model=LimitsResponse)
async def limits(request: Request) -> Response:
    """What one request may hold, and what this server can do."""
    service = Service.of(request)
    names = (
        "body_bytes",
        "image_bytes",
        "image_pixels",
        "images",
        "texts",
        "labels",
        "beams",
        "captions",
        "new_tokens",
    )
    allowed = {name: getattr(service.settings.limits, name) for name in (*names, "deadline")}
    able = {
        "needs_key": bool(service.settings.key_hashes),
        "fetches_urls": bool(service.settings.fetching.hosts),
        "writes_metadata": descriptions.exiftool() is not None,
        "heic": _is_installed("pillow_heif"),
        "videos": _is_installed("av"),
    }
    return JSONResponse(allowed | able)


async def _caption_in_pieces(
    asked: Asked[CaptionRequest], photos: Sequence[Photo | ServingError], options: dict[str, Any]
) -> Response:
    if len(photos) > 1 or not isinstance(photos[0], Photo):
        raise BadRequest("only one image can be streamed: send one image", code="invalid_value", param="stream")
    question = Question("words", photos[0], options, prompt=asked.fields.prefix)
    pieces = await asked.service.words(asked.request, asked.fields.model, question)

    async def lines() -> AsyncIterator[bytes]:
        said = ""
        try:
            async for piece in pieces:
                said += piece
                yield sse({"chunk": piece, "completed": False})
            yield sse({"chunk": "", "completed": True, "caption": said, "request_id": request_id(asked.request)})
        except BaseException as error:
            yield sse({"error": {"message": str(error_in_stream(error))}, "completed": True})

    return events(lines())


def _video(fields: Images) -> dict[str, Any]:
    video = {name: getattr(fields, name) for name in ("frames", "start", "end")}
    if video["end"] is not None and video["end"] <= (video["start"] or 0):
        raise BadRequest("end must come after start", code="invalid_value", param="end")
    return video


def _caption_of(said: dict[str, Any], raw: bool) -> dict[str, Any]:
    names = ("confidence", "score", "tokens", *(("raw",) if raw else ()))
    alternatives = [{"caption": one["text"], **{name: one[name] for name in names}} for one in said["alternatives"]]
    return {"caption": said["text"]} | {name: said[name] for name in names} | {"alternatives": alternatives}


def _answer_of(question: str, said: dict[str, Any], raw: bool) -> dict[str, Any]:
    if "error" in said:
        return {"question": question, "error": {"code": "invalid_input", "message": said["error"]}}
    found = _caption_of(said, raw)
    names = ("confidence", "score", "alternatives", *(("raw",) if raw else ()))
    return {"question": question, "answer": found["caption"]} | {name: found[name] for name in names}


def _questions(fields: AskRequest) -> list[str]:
    if fields.question is not None:
        return [fields.question, *(fields.questions or [])]
    if fields.questions:
        return fields.questions
    for message in reversed(fields.messages or []):
        if message.get("role") == "user" and isinstance(message.get("content"), str) and message["content"].strip():
            return [message["content"]]
    raise BadRequest("the request has no question: set question", code="invalid_value", param="question")


def _lines(texts: list[str] | str) -> list[str]:
    """Texts as a list, or of a form one a line."""
    return texts if isinstance(texts, list) else [line.strip() for line in split_lines(texts) if line.strip()]


def _lengths(fields: CaptionRequest) -> dict[str, Any]:
    return LENGTHS[fields.length or "normal"]


def _of_settings(settings: dict[str, Any] | None) -> dict[str, Any]:
    """Moondream's settings as options."""
    names = {"temperature": "temperature", "top_p": "top_p", "max_tokens": "max_new_tokens"}
    found = {names[name]: value for name, value in (settings or {}).items() if name in names}
    if not found.get("temperature"):
        found.pop("top_p", None)
    return found


def _described(fields: DescriptionRequest) -> dict[str, str]:
    texts = {name: getattr(fields, name) for name in ("alt_text", "description", "title", "language")}
    found = {name: text.strip() for name, text in texts.items() if text and text.strip()}
    if not found.keys() - {"language"}:
        raise BadRequest("give alt_text, description or title", code="invalid_value", param="alt_text")
    return found


def _is_installed(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None
