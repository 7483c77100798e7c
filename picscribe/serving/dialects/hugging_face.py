"""Hugging Face's InferenceClient, pointed at `http://host/models/NAME`: image_to_text and visual_question_answering."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from picscribe.serving.errors import BadRequest
from picscribe.serving.routes.fields import Plain
from picscribe.serving.routes.openapi import takes
from picscribe.serving.routes.payloads import Payload
from picscribe.serving.routes.service import Service
from picscribe.serving.tasks import Question

router = APIRouter(tags=["Hugging Face"])

OPTIONS = {"max_new_tokens": "max_new_tokens", "num_beams": "beams", "temperature": "temperature", "top_k": "top_k"}


class InferenceRequest(Plain):
    """`inputs` is an image in base64, or `{image, question}`; the question may be next to it too."""

    inputs: str | dict[str, Any] | None = None
    parameters: dict[str, Any] | None = None
    question: str | None = None


@router.post("/models/{model:path}", openapi_extra=takes(InferenceRequest, files=False))
async def infer(request: Request, model: str) -> Response:
    """Caption an image, or answer a question about it where the request holds one."""
    service = Service.of(request)
    service.engine.pool(model)
    payload = await service.payload(request)
    fields = payload.checked(InferenceRequest)
    image: object = fields.inputs
    question = fields.question
    if isinstance(fields.inputs, dict):
        image, question = fields.inputs.get("image"), fields.inputs.get("question", question)
    if question is not None and not (isinstance(question, str) and question.strip()):
        raise BadRequest("question must be a text", code="invalid_value", param="question")
    sources = [] if image is None else [("inputs", image)]
    photo = await service.photo(payload if payload.files else Payload({}), sources)
    if question is None:
        options = service.options(_options(fields.parameters))
        said = await service.ask_one(request, model, Question("caption", photo, options))
        return JSONResponse([{"generated_text": said["text"]}])
    return await _answered(request, service, model, Question("ask", photo, {}, (question,)), fields.parameters)


async def _answered(
    request: Request, service: Service, model: str, question: Question, parameters: dict[str, Any] | None
) -> Response:
    service.check_texts("question", question.texts)
    count = (parameters or {}).get("top_k") or 1
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise BadRequest("top_k must be a whole number of at least 1", code="invalid_value", param="parameters.top_k")
    options = service.options({"num_captions": count}) if count > 1 else {}
    pool = service.answering_pool(model) or service.engine.pool(model)
    asked = Question("ask", question.photo, options, question.texts)
    (said,) = await service.ask_one(request, pool.spec.name, asked)
    if "error" in said:
        raise BadRequest(said["error"], code="invalid_input", param="question")
    found = said["alternatives"] or [said]
    return JSONResponse([{"answer": one["text"], "score": one["confidence"]} for one in found])


def _options(parameters: dict[str, Any] | None) -> dict[str, Any]:
    given = dict(parameters or {})
    nested = given.get("generation_parameters") or given.get("generate_kwargs")
    if isinstance(nested, dict):
        given |= nested
    found = {ours: given[theirs] for theirs, ours in OPTIONS.items() if given.get(theirs) is not None}
    if not found.get("temperature"):
        found.pop("temperature", None)
        found.pop("top_k", None)
    return found
