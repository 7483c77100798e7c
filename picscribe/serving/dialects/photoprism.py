"""PhotoPrism's vision service: `POST /api/v1/vision/caption` and `/api/v1/vision/labels`."""

import re
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from picscribe import __version__
from picscribe.serving.dialects.ollama import plain_name
from picscribe.serving.dialects.openai_chat import NO_FILES, answer
from picscribe.serving.engine.model_pool import ModelPool
from picscribe.serving.errors import NotFound, ServingError
from picscribe.serving.routes.fields import Plain
from picscribe.serving.routes.instructions import understand
from picscribe.serving.routes.openapi import takes
from picscribe.serving.routes.payloads import sources_in
from picscribe.serving.routes.replies import request_id
from picscribe.serving.routes.service import Service
from picscribe.serving.tasks import Photo, Question

router = APIRouter(tags=["PhotoPrism"])

PREFIX = "/api/v1/vision"
SOURCE = "picscribe"
# fmt: off
LABELS = (
    "animal", "architecture", "baby", "baseball", "basketball", "beach", "bicycle", "bird", "boat", "bridge",
    "building", "bus", "car", "cat", "child", "city", "climbing", "couple", "cow", "crowd", "dancing", "desert",
    "dog", "fire", "fish", "flower", "food", "football", "forest", "fountain", "garden", "girl", "grass",
    "hiking", "horse", "house", "kitchen", "lake", "man", "market", "motorcycle", "mountain", "music", "night",
    "ocean", "office", "park", "people", "plane", "playground", "portrait", "rain", "restaurant", "river",
    "road", "room", "running", "sheep", "skateboard", "skiing", "snow", "soccer", "street", "sunset", "surfing",
    "swimming", "table", "tennis", "toy", "train", "tree", "truck", "water", "wedding", "woman",
)
# fmt: on
"""What is looked for where a request names no labels: subjects that people file photos under."""
SHOWN = 5


class VisionRequest(Plain):
    """A photo as `images` or `url`; `labels` and `top_k` are this server's own."""

    id: str | None = Field(None, max_length=200)
    model: str | None = Field(None, max_length=200)
    prompt: str | None = None
    labels: list[str] | None = Field(None, min_length=1)
    top_k: int = Field(SHOWN, ge=1, le=100)


@router.post(PREFIX + "/caption", openapi_extra=takes(VisionRequest, files=False))
@router.post(PREFIX + "/caption/{model:path}", openapi_extra=takes(VisionRequest, files=False))
async def caption(request: Request, model: str | None = None) -> Response:
    """Caption a photo."""
    service = Service.of(request)
    fields, name, photo = await _asked(service, request, model)
    asked = understand(service, name, fields.prompt or "")
    said = await answer(request, service, asked, photo, {})
    found = {"caption": {"text": said["text"], "source": SOURCE, "confidence": said["confidence"]}}
    return _answered(request, fields, asked.pool, found, asked.headers)


@router.post(PREFIX + "/labels", openapi_extra=takes(VisionRequest, files=False))
@router.post(PREFIX + "/labels/{model:path}", openapi_extra=takes(VisionRequest, files=False))
async def labels(request: Request, model: str | None = None) -> Response:
    """The likeliest labels of a photo, among those in the request or otherwise among usual subjects."""
    service = Service.of(request)
    fields, name, photo = await _asked(service, request, model)
    names = tuple(fields.labels or LABELS)
    service.check_texts("labels", names, service.settings.limits.labels)
    found = await service.ask_one(request, name, Question("classify", photo, texts=names, top_k=fields.top_k))
    rows = [
        {"name": one["label"], "source": SOURCE, "confidence": one["probability"], "topicality": one["probability"]}
        for one in found
    ]
    return _answered(request, fields, service.engine.pool(name), {"labels": rows}, {})


def error_body(error: ServingError) -> dict[str, Any]:
    """`{"id", "code", "error"}`."""
    return {"id": "", "code": error.status, "error": str(error)}


async def _asked(service: Service, request: Request, model: str | None) -> tuple[VisionRequest, str | None, Photo]:
    payload = await service.payload(request)
    fields = payload.checked(VisionRequest)
    name = _served(service, model or fields.model)
    sources = sources_in(payload.fields, ("images", "url"))
    return fields, name, await service.photo(NO_FILES if sources else payload, sources[:1])


def _served(service: Service, model: str | None) -> str | None:
    """The model of that name; the default for a name of PhotoPrism's own models, which it sends unasked."""
    if not model:
        return None
    name = plain_name(re.sub(r"/+$", "", model))
    try:
        service.engine.pool(name)
    except NotFound:
        if name.partition("/")[0].lower() in ("photoprism", "caption", "labels", "default"):
            return None
        raise
    return name


def _answered(
    request: Request, fields: VisionRequest, pool: ModelPool, found: dict[str, Any], headers: dict[str, str]
) -> Response:
    size = pool.facts["preprocessing"]["size"]
    model = {"type": next(iter(found)), "name": pool.spec.name, "version": __version__, "resolution": size}
    body = {"id": fields.id or request_id(request), "code": 200, "model": model, "result": found}
    return JSONResponse(body, headers=headers)
