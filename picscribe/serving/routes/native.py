"""The service's own routes under /v1: caption, ask, classify, score, explain, and what a page about photos needs."""

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

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

LENGTHS: dict[str, dict[str, Any]] = {"short": {"max_new_tokens": 8}, "normal": {}, "long": {"min_new_tokens": 12}}
"""Moondream's words for how long a caption is to be, in tokens."""


@router.post("/v1/caption", response_model=CaptionResponse, openapi_extra=takes(CaptionRequest))
async def caption(request: Request) -> Response:
    """Describe images in words.

    Send JSON, a multipart form with files, or an image as the body. With `stream` the caption comes word by word, as
    events `{"chunk": "…", "completed": false}`; it is then searched greedily unless `beams` is given.
    """
    service = Service.of(request)
    payload = await service.payload(request)
    fields = payload.checked(CaptionRequest)
    options = service.options(_lengths(fields) | _of_settings(fields.settings) | fields.options())
    if fields.prefix is not None:
        service.check_texts("prefix", [fields.prefix])
    photos = await _photos(service, payload, fields)
    if fields.stream:
        return await _caption_in_pieces(service, request, fields, photos, options)
    question = partial(Question, "caption", options=options, prompt=fields.prefix)
    found, notes = await _ask_each(service, request, fields.model, photos, question)
    return _each(service, request, fields.model, found, notes, partial(_caption_of, raw=fields.raw))


@router.post("/v1/ask", response_model=AskResponse, openapi_extra=takes(AskRequest))
async def ask(request: Request) -> Response:
    """Ask one question or several about images; each image is encoded once for all of them.

    Every question is answered by itself: models of this kind do not remember a conversation.
    """
    service = Service.of(request)
    payload = await service.payload(request)
    fields = payload.checked(AskRequest)
    texts = _questions(fields)
    service.check_texts("questions", texts)
    options = service.options(fields.options())
    photos = await _photos(service, payload, fields)
    question = partial(Question, "ask", options=options, texts=tuple(texts))
    found, notes = await _ask_each(service, request, fields.model, photos, question)

    def answers(said: list[dict[str, Any]]) -> dict[str, Any]:
        rows = [_answer_of(text, one, fields.raw) for text, one in zip(texts, said, strict=True)]
        return {name: rows[0][name] for name in ("answer", "confidence", "error") if name in rows[0]} | {
            "answers": rows
        }

    return _each(service, request, fields.model, found, notes, answers)


@router.post("/v1/classify", response_model=ClassifyResponse, openapi_extra=takes(ClassifyRequest))
async def classify(request: Request) -> Response:
    """The likeliest of given labels, with the probability of each among all of them."""
    service = Service.of(request)
    payload = await service.payload(request)
    fields = payload.checked(ClassifyRequest)
    labels = _lines(fields.labels)
    service.check_texts("labels", labels, service.settings.limits.labels)
    photos = await _photos(service, payload, fields)
    question = partial(Question, "classify", texts=tuple(labels), prompt=fields.prefix, top_k=fields.top_k)
    found, notes = await _ask_each(service, request, fields.model, photos, question)

    def ranked(said: list[dict[str, Any]]) -> dict[str, Any]:
        return {"label": said[0]["label"], "probability": said[0]["probability"], "labels": said}

    return _each(service, request, fields.model, found, notes, ranked)


@router.post("/v1/score", response_model=ScoreResponse, openapi_extra=takes(ScoreRequest))
async def score(request: Request) -> Response:
    """How likely given texts are for an image, in the order of the texts."""
    service = Service.of(request)
    payload = await service.payload(request)
    fields = payload.checked(ScoreRequest)
    texts = _lines(fields.texts)
    service.check_texts("texts", texts)
    photos = await _photos(service, payload, fields)
    question = partial(Question, "score", texts=tuple(texts), prompt=fields.prefix)
    found, notes = await _ask_each(service, request, fields.model, photos, question)

    def scores(said: list[dict[str, Any]]) -> dict[str, Any]:
        shown = [one if fields.raw else {k: v for k, v in one.items() if k != "raw"} for one in said]
        return {"scores": [{"text": text} | one for text, one in zip(texts, shown, strict=True)]}

    return _each(service, request, fields.model, found, notes, scores)


@router.post("/v1/explain", response_model=ExplainResponse, openapi_extra=takes(ExplainRequest))
async def explain(request: Request) -> Response:
    """Caption one image, and give for each word a map of where the model looked."""
    service = Service.of(request)
    payload = await service.payload(request)
    fields = payload.checked(ExplainRequest)
    options = service.options(fields.options())
    photo = await _only_photo(service, payload, fields)
    question = Question("explain", photo, options, prompt=fields.prefix, method=fields.method)
    found = await service.ask_one(request, fields.model, question)
    said = found["caption"]
    return JSONResponse(
        {
            "request_id": request_id(request),
            "model": _name(service, fields.model),
            "caption": said["text"],
            "confidence": said["confidence"],
            "score": said["score"],
            "words": found["words"],
            "view": found["view"],
            "frames": [f"data:image/jpeg;base64,{frame}" for frame in found["frames"]],
        }
    )


@router.post(
    "/v1/preview",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}, "description": "The preview."}},
    openapi_extra=takes(PreviewRequest),
)
async def preview(request: Request) -> Response:
    """Any photo that the server reads, HEIC too, as a small upright JPEG without metadata; of a video a frame."""
    service = Service.of(request)
    payload = await service.payload(request)
    fields = payload.checked(PreviewRequest)
    photo = await _only_photo(service, payload, fields)
    _, content = await service.look(request, "preview", photo, side=fields.side)
    return Response(content, media_type="image/jpeg")


@router.post("/v1/metadata", response_model=MetadataResponse, openapi_extra=takes(MetadataRequest))
async def metadata(request: Request) -> Response:
    """The texts that a photo's metadata already holds: alternative text, description, title."""
    service = Service.of(request)
    payload = await service.payload(request)
    photo = await _only_photo(service, payload, payload.checked(MetadataRequest))
    found, _ = await service.look(request, "texts", photo)
    names = ("format", "width", "height")
    return JSONResponse(found["texts"] | {name: found[name] for name in names if name in found})


@router.post(
    "/v1/metadata/sidecar",
    response_class=Response,
    responses={200: {"content": {"application/rdf+xml": {}}, "description": "An XMP sidecar."}},
    openapi_extra=takes(DescriptionRequest),
)
async def sidecar(request: Request) -> Response:
    """An XMP sidecar file with alternative text, description and title."""
    fields = (await Service.of(request).payload(request)).checked(DescriptionRequest)
    return Response(descriptions.sidecar(_described(fields)), media_type="application/rdf+xml")


@router.post(
    "/v1/metadata/write",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}, "description": "The photo, its pixels untouched."}},
    openapi_extra=takes(WriteRequest),
)
async def write(request: Request) -> Response:
    """The same photo with alternative text, description and title written into its metadata, by ExifTool."""
    service = Service.of(request)
    payload = await service.payload(request)
    fields = payload.checked(WriteRequest)
    photo = await _only_photo(service, payload, fields)
    content = await descriptions.write_into(photo, _described(fields), service.settings.limits)
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
    service: Service,
    request: Request,
    fields: CaptionRequest,
    photos: Sequence[Photo | ServingError],
    options: dict[str, Any],
) -> Response:
    if len(photos) > 1 or not isinstance(photos[0], Photo):
        raise BadRequest("one image at a time can be streamed", code="invalid_value", param="stream")
    question = Question("words", photos[0], options, prompt=fields.prefix)
    pieces = await service.words(request, fields.model, question)

    async def lines() -> AsyncIterator[bytes]:
        said = ""
        try:
            async for piece in pieces:
                said += piece
                yield sse({"chunk": piece, "completed": False})
            yield sse({"chunk": "", "completed": True, "caption": said, "request_id": request_id(request)})
        except BaseException as error:
            yield sse({"error": {"message": str(error_in_stream(error))}, "completed": True})

    return events(lines())


async def _ask_each(
    service: Service,
    request: Request,
    model: str | None,
    photos: Sequence[Photo | ServingError],
    question: Callable[[Photo], Question],
) -> tuple[list[Any], list[str]]:
    """The answer to a question about each photo, errors in their places; and what its texts' notes are."""
    asked = [question(photo) for photo in photos if isinstance(photo, Photo)]
    found = iter(await service.ask(request, model, asked) if asked else ())
    answers = [next(found) if isinstance(photo, Photo) else photo for photo in photos]
    return answers, list(dict.fromkeys(note for one in asked for note in one.notes))


async def _photos(service: Service, payload: Payload, fields: Images) -> list[Photo | ServingError]:
    return await service.photos(payload, sources_in(payload.fields), _video(fields))


def _video(fields: Images) -> dict[str, Any]:
    video = {name: getattr(fields, name) for name in ("frames", "start", "end")}
    if video["end"] is not None and video["end"] <= (video["start"] or 0):
        raise BadRequest("end must come after start", code="invalid_value", param="end")
    return video


async def _only_photo(service: Service, payload: Payload, fields: Images) -> Photo:
    return await service.photo(payload, sources_in(payload.fields), _video(fields))


def _each(
    service: Service,
    request: Request,
    model: str | None,
    found: Sequence[Any],
    notes: Sequence[str],
    shown: Callable[[Any], dict[str, Any]],
) -> Response:
    """Of one image its result at the top, or its error as the answer; of several a list, errors in their places."""
    pool = service.engine.pool(model)
    head: dict[str, Any] = {"request_id": request_id(request), "model": pool.spec.name}
    head |= {"fingerprint": pool.facts["fingerprint"], **({"notes": list(notes)} if notes else {})}
    if len(found) == 1:
        if isinstance(found[0], PicscribeError):
            raise as_serving_error(found[0])
        return JSONResponse(head | shown(found[0]))
    results = []
    for one in found:
        if isinstance(one, PicscribeError):
            error = as_serving_error(one)
            results.append({"error": {"code": error.code, "message": str(error)}})
        else:
            results.append(shown(one))
    return JSONResponse(head | {"results": results})


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
    raise BadRequest("the request holds no question", code="invalid_value", param="question")


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


def _name(service: Service, model: str | None) -> str:
    return service.engine.pool(model).spec.name


def _is_installed(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None
