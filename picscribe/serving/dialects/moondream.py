"""Moondream's client: its `/v1/caption` is our own, `/v1/query` is here; a key comes in X-Moondream-Auth."""

from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ConfigDict, Field

from picscribe.serving.dialects.openai_chat import sampled
from picscribe.serving.errors import BadRequest
from picscribe.serving.routes.fields import Images, Text
from picscribe.serving.routes.openapi import takes
from picscribe.serving.routes.payloads import sources_in
from picscribe.serving.routes.replies import request_id, sse
from picscribe.serving.routes.service import Service, error_in_stream, events
from picscribe.serving.tasks import Question

router = APIRouter(tags=["Moondream"])


class QueryRequest(Images):
    """A question about an image."""

    question: Text
    stream: bool = False
    settings: dict[str, Any] | None = Field(None, description="temperature, top_p, max_tokens")
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"image_url": "data:image/png;base64,{photo}", "question": "what color is the shirt?"}]
        }
    )


@router.post("/v1/query", openapi_extra=takes(QueryRequest))
async def query(request: Request) -> Response:
    """The answer to a question about an image, word by word with `stream`."""
    service = Service.of(request)
    payload = await service.payload(request)
    fields = payload.checked(QueryRequest)
    service.check_texts("question", [fields.question])
    photo = await service.photo(payload, sources_in(payload.fields))
    pool = service.answering_pool(fields.model) or service.engine.pool(fields.model)
    options = sampled(service, pool, *_settings(fields.settings))
    if fields.stream:
        question = Question("words", photo, options, prompt=fields.question)
        pieces = await service.words(request, pool.spec.name, question)
        return events(_lines(pieces, request_id(request)))
    asked = Question("ask", photo, options, (fields.question,))
    (said,) = await service.ask_one(request, pool.spec.name, asked)
    if "error" in said:
        raise BadRequest(said["error"], code="invalid_input", param="question")
    return JSONResponse({"answer": said["text"], "confidence": said["confidence"], "request_id": request_id(request)})


def _settings(settings: dict[str, Any] | None) -> tuple[float | None, float | None, int | None, int | None]:
    """temperature, top_p, no seed, and the most tokens. Raises BadRequest for anything that is not a number."""
    found: list[Any] = []
    for name, kinds in (("temperature", (int, float)), ("top_p", (int, float)), ("max_tokens", (int,))):
        value = (settings or {}).get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, kinds) or value < 0):
            raise BadRequest(
                f"settings.{name} must be a number from 0 on", code="invalid_value", param=f"settings.{name}"
            )
        found.append(value)
    return found[0], found[1], None, found[2] or None


async def _lines(pieces: AsyncIterator[str], identity: str) -> AsyncIterator[bytes]:
    said = ""
    try:
        async for piece in pieces:
            said += piece
            yield sse({"chunk": piece, "completed": False})
        yield sse({"chunk": "", "completed": True, "answer": said, "request_id": identity})
    except BaseException as error:
        yield sse({"error": {"message": str(error_in_stream(error))}, "completed": True})
