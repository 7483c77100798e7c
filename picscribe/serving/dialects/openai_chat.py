"""OpenAI's chat completions and models: `POST /v1/chat/completions`, `GET /v1/models`."""

import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ConfigDict, Field

from picscribe.serving.dialects.openai_errors import error_body
from picscribe.serving.engine.model_pool import ModelPool
from picscribe.serving.errors import BadRequest
from picscribe.serving.routes.fields import Model, ModelList, Plain
from picscribe.serving.routes.instructions import Asked, understand
from picscribe.serving.routes.openapi import takes
from picscribe.serving.routes.payloads import Payload
from picscribe.serving.routes.replies import sse
from picscribe.serving.routes.service import HIGHEST_SEED, Service, error_in_stream, events
from picscribe.serving.tasks import Photo, Question

router = APIRouter(tags=["OpenAI"])

NO_FILES = Payload({})
LONGEST_PROMPT = 40
"""Tokens of a question, [CLS] included, at most."""
IMAGE_PARTS = ("image_url", "input_image", "image")


class StreamOptions(Plain):
    """What a stream holds besides words."""

    include_usage: bool | None = None


class ChatRequest(Plain):
    """Messages, the latest image of which is described, or asked about by the last message's question."""

    model: str | None = Field(None, max_length=200)
    messages: list[dict[str, Any]] = Field(min_length=1, max_length=1000)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    n: int | None = Field(None, ge=1, le=128)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    prefix: str | None = Field(None, description="Words that the caption continues from; a field of this server's own.")
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "nano",
                    "messages": [
                        {
                            "role": "user",
                            "content": [
                                {"type": "text", "text": "Describe this photo."},
                                {"type": "image_url", "image_url": {"url": "data:image/png;base64,{photo}"}},
                            ],
                        }
                    ],
                }
            ]
        }
    )


@router.post("/v1/chat/completions", openapi_extra=takes(ChatRequest))
async def chat_completions(request: Request) -> Response:
    """A caption of the latest image, or the answer to a question about it, as a chat model's message."""
    service = Service.of(request)
    payload = await service.payload(request)
    fields = payload.checked(ChatRequest)
    pool = service.engine.pool(fields.model)
    count = fields.n or 1
    if count > service.settings.limits.captions:
        most = service.settings.limits.captions
        raise BadRequest(f"n must be at most {most}, not {count}", code="invalid_value", param="n")
    photo = await latest_photo(service, fields.messages)
    asked = understand(service, fields.model, last_text(fields.messages), system_text(fields.messages))
    tokens = fields.max_completion_tokens or fields.max_tokens
    options = sampled(service, asked.pool, fields.temperature, fields.top_p, fields.seed, tokens, count)
    head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": fields.model or pool.spec.name}
    if fields.stream:
        if count > 1:
            raise BadRequest("only one text can be streamed: set n to 1", code="invalid_value", param="n")
        usage = bool(fields.stream_options and fields.stream_options.include_usage)
        return await _in_pieces(request, service, asked, photo, options, head, fields.prefix, usage)
    said = await answer(request, service, asked, photo, options, fields.prefix)
    texts = said["alternatives"] or [said]
    choices = [
        {
            "index": place,
            "message": {"role": "assistant", "content": one["text"], "refusal": None},
            "finish_reason": "stop" if one["ended"] else "length",
            "logprobs": None,
        }
        for place, one in enumerate(texts[:count])
    ]
    written = sum(len(one["tokens"]) for one in texts[:count])
    body = head | {"object": "chat.completion", "choices": choices, "usage": usage_of(asked, written)}
    return JSONResponse(body, headers=asked.headers)


@router.get("/v1/models", response_model=ModelList)
async def models(request: Request) -> Response:
    """The models that are served, their aliases among them."""
    return JSONResponse({"object": "list", "data": [model.model_dump() for model in served(Service.of(request))]})


@router.get("/v1/models/{model:path}", response_model=Model)
async def one_model(request: Request, model: str) -> Response:
    """One model, by its name or an alias."""
    service = Service.of(request)
    service.engine.pool(model)
    (found,) = [one for one in served(service) if one.id == model]
    return JSONResponse(found.model_dump())


def served(service: Service) -> list[Model]:
    """Every model and alias."""
    named = [(name, pool, None) for name, pool in service.engine.pools.items()]
    aliased = [(alias, service.engine.pool(name), name) for alias, name in service.engine.aliases.items()]
    return [_model(*one) for one in [*named, *aliased]]


def capabilities(pool: ModelPool) -> list[str]:
    """What can be asked of a model."""
    found = ["caption", "classify", "score", "stream"]
    if pool.facts["asks"] is not False:
        found.append("ask")
    if pool.facts["loading"]["quantize"] is None:
        found.append("explain")
    if pool.facts["frames"]:
        found.append("video")
    return found


async def latest_photo(service: Service, messages: Sequence[dict[str, Any]]) -> Photo:
    """The last image of the messages. Raises BadRequest where there is none."""
    for message in reversed(messages):
        for part in reversed(_parts(message)):
            source = image_in(part)
            if source is not None:
                return await service.photo(NO_FILES, [("messages", source)])
    raise BadRequest(
        "this model needs an image, but the messages have none: add an image_url",
        code="image_required",
        param="messages",
    )


def image_in(part: dict[str, Any]) -> object | None:
    """What a part of a message holds of an image, in any of the forms that clients send; its `type` may be missing."""
    for name in ("image_url", "image", "input_image"):
        value = part.get(name)
        if value is not None:
            return value.get("url") if isinstance(value, dict) else value
    if part.get("type") in IMAGE_PARTS:
        raise BadRequest(
            "an image part of the messages has no image: set its url", code="invalid_image", param="messages"
        )
    return None


def last_text(messages: Sequence[dict[str, Any]]) -> str:
    """The text of the last message of a user."""
    for message in reversed(messages):
        if message.get("role", "user") == "user":
            return _text(message)
    return ""


def system_text(messages: Sequence[dict[str, Any]]) -> str:
    """What a system or developer message says."""
    return "\n".join(_text(one) for one in messages if one.get("role") in ("system", "developer"))


def sampled(
    service: Service,
    pool: ModelPool,
    temperature: float | None,
    top_p: float | None,
    seed: int | None,
    most: int | None,
    count: int = 1,
) -> dict[str, Any]:
    """Options from what chat clients send; such clients ask for thousands of tokens, of which the limit allows some."""
    options: dict[str, Any] = {}
    if temperature:
        options |= {
            "temperature": float(temperature),
            "top_p": top_p,
            "seed": None if seed is None else seed & HIGHEST_SEED,
        }
    if most is not None:
        room = max(1, pool.facts["positions"] - LONGEST_PROMPT)
        options["max_new_tokens"] = min(most, service.settings.limits.new_tokens, room)
    if count > 1:
        options["num_captions"] = count
    return service.options(options)


async def answer(
    request: Request, service: Service, asked: Asked, photo: Photo, options: dict[str, Any], prefix: str | None = None
) -> dict[str, Any]:
    """What a model says about a photo: the answer to the question, or otherwise a caption."""
    name = asked.pool.spec.name
    if asked.question is None:
        found: dict[str, Any] = await service.ask_one(request, name, Question("caption", photo, options, prompt=prefix))
        return found
    service.check_texts("question", [asked.question])
    (found,) = await service.ask_one(request, name, Question("ask", photo, options, (asked.question,)))
    if "error" in found:
        raise BadRequest(found["error"], code="invalid_input", param="messages")
    return found


async def pieces_of(
    request: Request, service: Service, asked: Asked, photo: Photo, options: dict[str, Any], prefix: str | None = None
) -> AsyncIterator[str]:
    """The same, word by word."""
    question = Question("words", photo, options, prompt=asked.question or prefix)
    return await service.words(request, asked.pool.spec.name, question)


def usage_of(asked: Asked, tokens: int) -> dict[str, int]:
    """Tokens read, those of the image, and tokens written."""
    read = int(asked.pool.facts["image_tokens"])
    return {"prompt_tokens": read, "completion_tokens": tokens, "total_tokens": read + tokens}


async def _in_pieces(
    request: Request,
    service: Service,
    asked: Asked,
    photo: Photo,
    options: dict[str, Any],
    head: dict[str, Any],
    prefix: str | None,
    with_usage: bool,
) -> Response:
    pieces = await pieces_of(request, service, asked, photo, options, prefix)

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return sse(head | {"object": "chat.completion.chunk", "choices": [choice]})

    async def lines() -> AsyncIterator[bytes]:
        count = 0
        try:
            yield chunk({"role": "assistant", "content": ""})
            async for piece in pieces:
                count += 1
                yield chunk({"content": piece})
            yield chunk({}, "stop")
            if with_usage:
                yield sse(head | {"object": "chat.completion.chunk", "choices": [], "usage": usage_of(asked, count)})
            yield sse("[DONE]")
        except BaseException as error:
            yield sse(error_body(error_in_stream(error)))

    return events(lines(), **asked.headers)


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    texts = [part.get("text") for part in _parts(message)]
    return "\n".join(text for text in texts if isinstance(text, str))


def _model(name: str, pool: ModelPool, alias_of: str | None) -> Model:
    facts = pool.facts
    return Model(
        id=name,
        created=pool.loaded,
        capabilities=capabilities(pool),
        alias_of=alias_of,
        fingerprint=facts["fingerprint"],
        parameters=facts["parameters"],
        frames=facts["frames"],
        max_model_len=facts["positions"],
        architecture={"input_modalities": ["text", "image"], "output_modalities": ["text"]},
    )
