"""Ollama's routes under /api, as PhotoPrism, Frigate, Home Assistant's LLM Vision and Open WebUI call them."""

import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timezone
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from picscribe.serving.dialects.openai_chat import NO_FILES, answer, capabilities, pieces_of, sampled, usage_of
from picscribe.serving.engine.model_pool import ModelPool
from picscribe.serving.errors import BadRequest, ServingError
from picscribe.serving.routes.fields import Plain
from picscribe.serving.routes.instructions import Asked, understand
from picscribe.serving.routes.openapi import takes
from picscribe.serving.routes.service import Service, error_in_stream, events
from picscribe.serving.tasks import Photo

router = APIRouter(tags=["Ollama"])

VERSION = "0.12.0"
"""The version of Ollama whose routes these are."""
LATEST = ":latest"


class Options(Plain):
    """What Ollama's clients set; other options are ignored."""

    temperature: float | None = Field(None, ge=0, le=100)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = None
    num_predict: int | None = None


class OllamaGenerateRequest(Plain):
    """An image and a text about it."""

    model: str = Field(min_length=1, max_length=200)
    prompt: str | None = None
    system: str | None = None
    images: list[str] | None = None
    stream: bool | None = None
    options: Options | None = None


class OllamaMessage(Plain):
    """One message of a conversation."""

    role: str = "user"
    content: str | None = None
    images: list[str] | None = None


class OllamaChatRequest(Plain):
    """A conversation about an image."""

    model: str = Field(min_length=1, max_length=200)
    messages: list[OllamaMessage] = Field(max_length=1000)
    stream: bool | None = None
    options: Options | None = None


class OllamaShowRequest(Plain):
    """A model's name."""

    model: str | None = Field(None, max_length=200)
    name: str | None = Field(None, max_length=200)


@router.post("/api/generate", openapi_extra=takes(OllamaGenerateRequest, files=False))
async def generate(request: Request) -> Response:
    """A caption of the last image, or the answer to a question about it; line by line unless `stream` is false."""
    service = Service.of(request)
    fields = (await service.payload(request)).checked(OllamaGenerateRequest)
    if not fields.images and not fields.prompt:
        # How clients ask for a model to be loaded; it is.
        service.engine.pool(plain_name(fields.model))
        return JSONResponse(_head(fields.model) | {"response": "", "done": True, "done_reason": "load"})
    return await _said(
        request, service, fields.model, fields.images, fields.prompt or "", fields.system or "", fields.options,
        fields.stream, lambda text: {"response": text},
    )  # fmt: skip


@router.post("/api/chat", openapi_extra=takes(OllamaChatRequest, files=False))
async def chat(request: Request) -> Response:
    """The same for a conversation, the latest image of which counts."""
    service = Service.of(request)
    fields = (await service.payload(request)).checked(OllamaChatRequest)
    images = next((one.images for one in reversed(fields.messages) if one.images), None)
    text = next((one.content for one in reversed(fields.messages) if one.role == "user"), None)
    system = "\n".join(one.content or "" for one in fields.messages if one.role == "system")
    return await _said(
        request, service, fields.model, images, text or "", system, fields.options, fields.stream,
        lambda text: {"message": {"role": "assistant", "content": text}},
    )  # fmt: skip


@router.post("/api/show", openapi_extra=takes(OllamaShowRequest, files=False))
async def show(request: Request) -> Response:
    """What a model is and can do."""
    service = Service.of(request)
    fields = (await service.payload(request)).checked(OllamaShowRequest)
    pool = service.engine.pool(plain_name(fields.model or fields.name or ""))
    info = {
        "general.architecture": "git",
        "general.parameter_count": pool.facts["parameters"],
        "git.context_length": pool.facts["positions"],
    }
    able = ["completion", "vision"]
    return JSONResponse(
        {
            "license": "",
            "modelfile": "",
            "parameters": "",
            "template": "",
            "details": _details(pool),
            "model_info": info,
            "capabilities": able,
            "modified_at": _when(pool.loaded),
            "picscribe": {"capabilities": capabilities(pool)},
        }
    )


@router.get("/api/tags")
async def tags(request: Request) -> Response:
    """The models that are served, aliases among them."""
    return JSONResponse({"models": [_listed(name, pool) for name, pool in _named(Service.of(request))]})


@router.get("/api/ps")
async def running(request: Request) -> Response:
    """The models that are loaded: all that are served."""
    never = {"expires_at": "9999-12-31T23:59:59Z", "size_vram": 0}
    return JSONResponse({"models": [_listed(name, pool) | never for name, pool in _named(Service.of(request))]})


@router.get("/api/version")
async def version() -> Response:
    """The version of Ollama that this is like."""
    return JSONResponse({"version": VERSION})


def error_body(error: ServingError) -> dict[str, Any]:
    """`{"error": "text"}`."""
    return {"error": str(error)}


def plain_name(name: str) -> str:
    """A model's name without the tag that Ollama's clients add."""
    return name.removesuffix(LATEST)


async def _said(
    request: Request,
    service: Service,
    model: str,
    images: list[str] | None,
    text: str,
    system: str,
    options: Options | None,
    stream: bool | None,
    shown: Callable[[str], dict[str, Any]],
) -> Response:
    began = time.perf_counter_ns()
    name = plain_name(model)
    service.engine.pool(name)
    if not images:
        raise BadRequest(
            "this model needs an image, but the request has none: set images", code="image_required", param="images"
        )
    photo = await service.photo(NO_FILES, [("images", images[-1])])
    asked = understand(service, name, text, system)
    given = options or Options.model_validate({})
    most = given.num_predict if given.num_predict and given.num_predict > 0 else None
    search = sampled(service, asked.pool, given.temperature, given.top_p, given.seed, most)
    if stream is not False:
        return await _in_lines(request, service, asked, photo, search, model, shown, began)
    said = await answer(request, service, asked, photo, search)
    reason = "stop" if said["ended"] else "length"
    body = _head(model) | shown(said["text"]) | _end(asked, len(said["tokens"]), reason, began)
    return JSONResponse(body, headers=asked.headers)


async def _in_lines(
    request: Request,
    service: Service,
    asked: Asked,
    photo: Photo,
    options: dict[str, Any],
    model: str,
    shown: Callable[[str], dict[str, Any]],
    began: int,
) -> Response:
    pieces = await pieces_of(request, service, asked, photo, options)

    async def lines() -> AsyncIterator[bytes]:
        count = 0
        try:
            async for piece in pieces:
                count += 1
                yield _line(_head(model) | shown(piece) | {"done": False})
            yield _line(_head(model) | shown("") | _end(asked, count, "stop", began))
        except BaseException as error:
            yield _line(error_body(error_in_stream(error)))

    return events(lines(), "application/x-ndjson", **asked.headers)


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def _head(model: str) -> dict[str, Any]:
    return {"model": model, "created_at": _when(time.time())}


def _end(asked: Asked, tokens: int, reason: str, began: int) -> dict[str, Any]:
    took = time.perf_counter_ns() - began
    return {
        "done": True,
        "done_reason": reason,
        "total_duration": took,
        "load_duration": 0,
        "prompt_eval_count": usage_of(asked, tokens)["prompt_tokens"],
        "prompt_eval_duration": 0,
        "eval_count": tokens,
        "eval_duration": took,
    }


def _named(service: Service) -> list[tuple[str, ModelPool]]:
    aliases = [(alias, service.engine.pool(name)) for alias, name in service.engine.aliases.items()]
    return [*service.engine.pools.items(), *aliases]


def _listed(name: str, pool: ModelPool) -> dict[str, Any]:
    tagged = name if ":" in name else name + LATEST
    return {
        "name": tagged,
        "model": tagged,
        "modified_at": _when(pool.loaded),
        "size": pool.facts["bytes"],
        "digest": hashlib.sha256(f"{pool.spec.source}".encode()).hexdigest(),
        "details": _details(pool),
    }


def _details(pool: ModelPool) -> dict[str, Any]:
    millions = pool.facts["parameters"] / 1e6
    return {
        "parent_model": "",
        "format": "safetensors",
        "family": "git",
        "families": ["git", "clip"],
        "parameter_size": f"{millions:.1f}M",
        "quantization_level": pool.facts["loading"]["quantize"] or pool.facts["loading"]["dtype"],
    }


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace("+00:00", "Z")
