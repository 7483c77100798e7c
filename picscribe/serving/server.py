"""Running the service: a web server with limits of its own, signals, logs, and an orderly end."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from picscribe.errors import PicscribeError
from picscribe.serving.app import create_app
from picscribe.serving.routes.service import Service
from picscribe.serving.settings import Settings

log = logging.getLogger("picscribe.serving")

IDLE = 30
"""Seconds that a connection may be idle."""
BACKLOG = 2048


def serve(settings: Settings, *, started: Callable[[str], None] | None = None) -> None:
    """Serve until the process is asked to stop (SIGINT, SIGTERM); accepted requests are answered first.

    SIGHUP loads all models again, without losing a request. `started` is called with the address once requests are
    taken. Raises CheckpointError and the like where a model cannot be loaded.
    """
    asyncio.run(_serve(settings, started))


async def _serve(settings: Settings, started: Callable[[str], None] | None) -> None:
    app = create_app(settings)
    service: Service = app.state.service
    _start_log()
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        log.warning("running as root, which is not needed: docs/serving.md has a unit that runs as another user")
    async with app.router.lifespan_context(app):
        for part, state in service.engine.decoders.confined.items():
            if state.startswith("open"):
                log.warning("decoders are not confined (%s: %s)", part, state)
        server = OrderlyServer(configuration(app, settings))
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        loading = asyncio.ensure_future(_load_again(service, told))
        with contextlib.suppress(NotImplementedError, AttributeError):
            loop.add_signal_handler(signal.SIGHUP, told.set)
        telling = asyncio.ensure_future(_tell(server, settings, started)) if started else None
        await server.serve()
        loading.cancel()
        if telling is not None:
            telling.cancel()
        if not server.started:
            raise PicscribeError(
                f"{settings.host}:{settings.port} cannot be opened: another program may use it; choose another --port"
            )


def configuration(app: Any, settings: Settings) -> uvicorn.Config:
    """The web server's settings."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=_protocol(settings),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=int(settings.grace) or 1,
        backlog=BACKLOG,
    )


class OrderlyServer(uvicorn.Server):
    """Ends on a signal without raising it again, which would end the process before the service has stopped."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM end serving; a second SIGINT does not wait for answers."""
        loop = asyncio.get_running_loop()
        try:
            for one in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(one, self.handle_exit, one, None)
        except (NotImplementedError, RuntimeError):  # Windows, or not the main thread
            with super().capture_signals():
                yield
            return
        try:
            yield
        finally:
            for one in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(one)


def _protocol(settings: Settings) -> type[H11Protocol]:
    """HTTP/1.1 where a request's header has so much time, and so many connections are taken."""
    limits = settings.limits

    class LimitedProtocol(H11Protocol):
        waiting: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                transport.close()
                return
            self._wait()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._wait_no_more()
            elif self.waiting is None:
                self._wait()

        def on_response_complete(self) -> None:
            self._wait_no_more()
            super().on_response_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._wait_no_more()
            super().connection_lost(exc)

        def _wait(self) -> None:
            self.waiting = self.loop.call_later(limits.header_time, self.transport.close)

        def _wait_no_more(self) -> None:
            if self.waiting is not None:
                self.waiting.cancel()
                self.waiting = None

    return LimitedProtocol


async def _load_again(service: Service, told: asyncio.Event) -> None:
    """Load all models again whenever it is told to, one after the other."""
    while True:
        await told.wait()
        told.clear()
        for spec in service.settings.models:
            try:
                await service.engine.load(spec)
                log.info("%s is loaded again", spec.name)
            except PicscribeError as error:
                log.error("%s stays as it is: %s", spec.name, error)


async def _tell(server: uvicorn.Server, settings: Settings, started: Callable[[str], None]) -> None:
    while not server.started:
        await asyncio.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1] if settings.port == 0 else settings.port
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    started(f"http://{host}:{port}")


class LineFormat(logging.Formatter):
    """A log record as one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record; one of the access log is an object already."""
        fields: dict[str, Any] = {"time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"), "level": record.levelname}
        text = record.getMessage()
        fields |= json.loads(text) if record.name.endswith(".access") else {"message": text}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def _start_log() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormat())
    root = logging.getLogger("picscribe.serving")
    root.handlers[:] = [handler]
    root.propagate = False
    root.setLevel(logging.INFO)
    errors = logging.getLogger("uvicorn.error")
    errors.handlers[:] = [handler]
    errors.propagate = False
    errors.setLevel(logging.WARNING)
