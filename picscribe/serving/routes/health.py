"""Routes for operators: whether the service runs, whether it is ready, its metrics, its state as a page."""

import html
import time

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from picscribe import __version__
from picscribe.serving.routes import openapi
from picscribe.serving.routes.service import Service

router = APIRouter(tags=["operation"])

PLAIN_PAGE = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


@router.get("/health")
@router.get("/healthz")
async def health() -> Response:
    """The process lives."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz", responses={503: {"description": "A model has no worker, or the service is stopping."}})
async def ready(request: Request) -> Response:
    """Every model has a worker, and requests are taken."""
    service = Service.of(request)
    if service.engine.ready:
        return JSONResponse({"status": "ready"})
    state = "stopping" if service.engine.draining else "starting"
    return JSONResponse({"status": state}, status_code=503, headers={"retry-after": "5"})


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Counters, histograms and gauges in Prometheus's text form."""
    return Response(Service.of(request).metrics.page(), media_type="text/plain; version=0.0.4")


@router.get("/status", response_class=HTMLResponse)
async def status(request: Request) -> Response:
    """The service's state as a page."""
    service = Service.of(request)
    engine = service.engine
    rows = [
        ("version", __version__),
        ("up for", f"{time.time() - service.started:.0f} s"),
        ("state", "ready" if engine.ready else "stopping" if engine.draining else "starting"),
        ("images that wait", f"{engine.waiting()} of at most {service.settings.limits.queue_images}"),
        ("images being computed", str(engine.running())),
        ("the oldest waits for", f"{engine.oldest():.2f} s"),
        ("pixels kept", f"{engine.pixels.bytes / 2**20:.1f} MiB"),
        ("decoders", f"{engine.decoders.up} up, {engine.decoders.restarts} restarted"),
        ("API keys", str(len(service.settings.key_hashes)) if service.settings.key_hashes else "none: open"),
        *((f"decoders' {part}", what) for part, what in engine.decoders.confined.items()),
    ]
    for name, pool in engine.pools.items():
        state = f"{len(pool.workers)} of {pool.count} workers, {pool.restarts} restarted, batches of up to {pool.batch}"
        rows.append((f"model {name}", f"{pool.spec.source} on {pool.spec.device}: {state}, {pool.rate:.1f} images/s"))
    shown = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in rows)
    page = PAGE.format(rows=shown)
    return HTMLResponse(page, headers={"content-security-policy": PLAIN_PAGE, "refresh": "5"})


@router.get("/docs", response_class=HTMLResponse)
async def docs(request: Request) -> Response:
    """Every route with its fields and an example, as a page."""
    page = openapi.page(openapi.describe(request.app))
    return HTMLResponse(page, headers={"content-security-policy": PLAIN_PAGE})


@router.get("/openapi.json", response_class=JSONResponse)
async def description(request: Request) -> Response:
    """Every route for programs."""
    return JSONResponse(openapi.describe(request.app))


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>picscribe: status</title><link rel="stylesheet" href="/assets/plain.css"></head>
<body><main><h1>picscribe: status</h1><table>{rows}</table>
<p><a href="/docs">Routes</a> · <a href="/metrics">Metrics</a></p></main></body></html>
"""
