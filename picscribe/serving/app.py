"""The application: routes of every dialect on one engine, behind one protection."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from picscribe import __version__
from picscribe.errors import PicscribeError
from picscribe.serving.dialects import hugging_face, moondream, ollama, openai_chat, openai_responses, photoprism
from picscribe.serving.dialects.openai_errors import error_body, error_headers
from picscribe.serving.engine.engine import ServingEngine
from picscribe.serving.errors import BadRequest, Failed, MethodNotAllowed, NotFound, ServingError, as_serving_error
from picscribe.serving.routes import assets, health, native, openapi, sign_in
from picscribe.serving.routes.service import Service
from picscribe.serving.safety.fetching import Fetcher
from picscribe.serving.safety.protection import Protection
from picscribe.serving.settings import Settings


def create_app(settings: Settings, *, fetcher: Fetcher | None = None) -> FastAPI:
    """The service as an ASGI application, which starts its processes with its lifespan.

    fetcher: what gets images by URL, by default as the settings say.
    """
    engine = ServingEngine(settings)
    service = Service(settings, engine, fetcher or Fetcher(settings.fetching))

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(
        title="picscribe", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    app.state.service = service
    dialects = (openai_chat, openai_responses, ollama, photoprism, moondream, hugging_face)
    for module in (native, *dialects, health, assets, sign_in):
        app.include_router(module.router)
    for kind in (PicscribeError, HTTPException):
        app.add_exception_handler(kind, _answer_exception)
    app.openapi = lambda: openapi.describe(app)  # type: ignore[method-assign]
    app.add_middleware(Protection, settings=settings, metrics=engine.metrics, answer_error=answer_error)
    engine.metrics.watch(lambda: _gauges(service, app))
    return app


def answer_error(scope: Any, error: ServingError) -> Response:
    """An error as the clients of a route expect it."""
    path, headers = scope["path"], Headers(scope=scope)
    if error.status == 401 and sign_in.is_opened(scope["method"], headers):
        query = scope["query_string"].decode("latin-1")
        return sign_in.page(f"{path}?{query}" if query else path, headers)
    if path.startswith(photoprism.PREFIX):
        body = photoprism.error_body(error)
    elif path.startswith("/api/"):
        body = ollama.error_body(error)
    else:
        body = error_body(error)
    return JSONResponse(body, status_code=error.status, headers=error_headers(error))


async def _answer_exception(request: Request, error: Exception) -> Response:
    found = _of_framework(request, error) if isinstance(error, HTTPException) else as_serving_error(error)
    request.state.exchange.failure = found.code
    return answer_error(request.scope, found)


def _of_framework(request: Request, error: HTTPException) -> ServingError:
    """What the framework refuses by itself."""
    where = f"{request.method} {request.url.path[:200]}"
    if error.status_code == 404:
        return NotFound(f"there is no route {where}: /docs lists them")
    if error.status_code == 405:
        return MethodNotAllowed(f"there is no route {where}: /docs lists them")
    return BadRequest(str(error.detail)[:200]) if error.status_code < 500 else Failed("the server failed")


def _gauges(service: Service, app: FastAPI) -> dict[str, float]:
    engine = service.engine
    waiting, running = engine.waiting(), engine.running()
    protection = _protection(app)
    return {
        "picscribe_queue_images": waiting,
        "picscribe_running_images": running,
        "picscribe_queue_oldest_seconds": engine.oldest(),
        "picscribe_held_bytes": protection.held if protection else 0,
        "picscribe_connections": protection.open if protection else 0,
        "picscribe_cache_bytes": engine.pixels.bytes,
        "picscribe_workers": sum(len(pool.workers) for pool in engine.pools.values()),
        "picscribe_decoders": engine.decoders.up,
        "tgi_queue_size": waiting,
        "tgi_batch_current_size": running,
        "vllm:num_requests_running": running,
        "vllm:num_requests_waiting": waiting,
    }


def _protection(app: FastAPI) -> Protection | None:
    layer: Any = app.middleware_stack
    while layer is not None and not isinstance(layer, Protection):
        layer = getattr(layer, "app", None)
    return layer
