"""OpenAI's Responses: `POST /v1/responses`, which PhotoPrism's OpenAI engine calls too."""

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ConfigDict, Field

from picscribe.serving.dialects.openai_chat import (
    answer,
    last_text,
    latest_photo,
    pieces_of,
    sampled,
    system_text,
)
from picscribe.serving.dialects.openai_errors import error_body
from picscribe.serving.errors import BadRequest
from picscribe.serving.routes.fields import Plain
from picscribe.serving.routes.instructions import Asked, understand
from picscribe.serving.routes.openapi import takes
from picscribe.serving.routes.replies import named_sse
from picscribe.serving.routes.service import Service, error_in_stream, events
from picscribe.serving.tasks import Photo

router = APIRouter(tags=["OpenAI"])


class ResponsesRequest(Plain):
    """Messages with an image, the latest of which is described or asked about."""

    model: str | None = Field(None, max_length=200)
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    max_output_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    stream: bool | None = None
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "nano",
                    "input": [
                        {
                            "role": "user",
                            "content": [
                                {"type": "input_text", "text": "Describe this photo."},
                                {"type": "input_image", "image_url": "data:image/png;base64,{photo}"},
                            ],
                        }
                    ],
                }
            ]
        }
    )


@router.post("/v1/responses", openapi_extra=takes(ResponsesRequest))
async def responses(request: Request) -> Response:
    """A caption of the latest image, or the answer to a question about it, as a response."""
    service = Service.of(request)
    payload = await service.payload(request)
    fields = payload.checked(ResponsesRequest)
    pool = service.engine.pool(fields.model)
    if isinstance(fields.input, str):
        raise BadRequest(
            "this model needs an image, but the input has none: add an input_image",
            code="image_required",
            param="input",
        )
    photo = await latest_photo(service, fields.input)
    system = "\n".join([fields.instructions or "", system_text(fields.input)])
    asked = understand(service, fields.model, last_text(fields.input), system)
    options = sampled(service, asked.pool, fields.temperature, fields.top_p, None, fields.max_output_tokens)
    made = _Response(fields.model or pool.spec.name)
    if fields.stream:
        return await _in_pieces(request, service, asked, photo, options, made)
    said = await answer(request, service, asked, photo, options)
    read = int(asked.pool.facts["image_tokens"])
    return JSONResponse(made.body("completed", said["text"], read, len(said["tokens"])), headers=asked.headers)


class _Response:
    """One response at some moment."""

    def __init__(self, model: str) -> None:
        self.model, self.created = model, int(time.time())
        self.id, self.message = f"resp_{uuid.uuid4().hex}", f"msg_{uuid.uuid4().hex}"

    def part(self, text: str) -> dict[str, Any]:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}

    def item(self, status: str, text: str | None) -> dict[str, Any]:
        content = [] if text is None else [self.part(text)]
        return {"id": self.message, "type": "message", "status": status, "role": "assistant", "content": content}

    def body(self, status: str, text: str | None, read: int, written: int) -> dict[str, Any]:
        usage = {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": read + written,
        }
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "model": self.model,
            "output": [] if text is None else [self.item(status, text)],
            "parallel_tool_calls": False,
            "temperature": None,
            "tool_choice": "none",
            "tools": [],
            "top_p": None,
            "usage": usage if text is not None else None,
        }


async def _in_pieces(
    request: Request, service: Service, asked: Asked, photo: Photo, options: dict[str, Any], made: _Response
) -> Response:
    pieces = await pieces_of(request, service, asked, photo, options)
    place = {"item_id": made.message, "output_index": 0, "content_index": 0}

    async def lines() -> AsyncIterator[bytes]:
        number = -1

        def event(kind: str, **fields: Any) -> bytes:
            nonlocal number
            number += 1
            return named_sse(kind, {"type": kind, "sequence_number": number, **fields})

        said, count = "", 0
        try:
            yield event("response.created", response=made.body("in_progress", None, 0, 0))
            yield event("response.in_progress", response=made.body("in_progress", None, 0, 0))
            yield event("response.output_item.added", output_index=0, item=made.item("in_progress", None))
            yield event("response.content_part.added", **place, part=made.part(""))
            async for piece in pieces:
                said, count = said + piece, count + 1
                yield event("response.output_text.delta", **place, delta=piece, logprobs=[])
            yield event("response.output_text.done", **place, text=said, logprobs=[])
            yield event("response.content_part.done", **place, part=made.part(said))
            yield event("response.output_item.done", output_index=0, item=made.item("completed", said))
            read = int(asked.pool.facts["image_tokens"])
            yield event("response.completed", response=made.body("completed", said, read, count))
        except BaseException as error:
            yield event("error", **error_body(error_in_stream(error))["error"])

    return events(lines(), **asked.headers)
