"""A service that runs in a thread, with its processes, for tests to talk to over a socket."""

import asyncio
import contextlib
import io
import os
import random
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from PIL import Image

uvicorn = pytest.importorskip("uvicorn", reason="needs the extra serve")

from picscribe.serving.app import create_app  # noqa: E402
from picscribe.serving.routes.service import Service  # noqa: E402
from picscribe.serving.safety.fetching import Fetcher  # noqa: E402
from picscribe.serving.server import configuration  # noqa: E402
from picscribe.serving.settings import ModelSpec, ServiceLimits, Settings  # noqa: E402

Found = TypeVar("Found")
PATIENCE = 300
"""Seconds: nothing here takes a tenth of them, but the machine may do other things too."""
UNHURRIED = ServiceLimits(deadline=PATIENCE, body_time=PATIENCE, header_time=PATIENCE, decode_time=PATIENCE)
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


class RunningService:
    """A service on a port of its own."""

    def __init__(self, settings: Settings, fetcher: Fetcher | None = None) -> None:
        self.settings = settings
        self.app = create_app(settings, fetcher=fetcher)
        self.service: Service = self.app.state.service
        self.loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._started.wait(PATIENCE)
        if self._failed is not None:
            raise self._failed

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._serve())
        except BaseException as error:
            self._failed = error
            self._started.set()

    async def _serve(self) -> None:
        async with self.app.router.lifespan_context(self.app):
            self.server = uvicorn.Server(configuration(self.app, self.settings))
            serving = asyncio.ensure_future(self.server.serve())
            while not self.server.started:
                await asyncio.sleep(0.01)
            self.port = self.server.servers[0].sockets[0].getsockname()[1]
            self._started.set()
            await serving

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(self, work: Coroutine[Any, Any, Found]) -> Found:
        """Run a coroutine on the service's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    def client(self, **settings: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=PATIENCE, **settings)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Meanwhile the processes that compute stand still: what is asked waits, as long as a test likes."""
        pids = [worker.child.pid for pool in self.service.engine.pools.values() for worker in pool.workers]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def gauges(self) -> dict[str, float]:
        lines = self.service.metrics.page().decode().splitlines()
        return {line.split()[0]: float(line.split()[1]) for line in lines if line[:1] != "#" and "{" not in line}

    def wait_until(self, true: Callable[[], bool]) -> None:
        done = threading.Event()
        for _ in range(int(PATIENCE / 0.05)):
            if true():
                return
            done.wait(0.05)
        raise AssertionError("it never came to that")

    def is_at_rest(self) -> bool:
        """Whether every gauge of work is 0 again."""

        async def look() -> bool:
            gauges = self.gauges()
            names = ("queue_images", "running_images", "queue_oldest_seconds", "held_bytes", "connections")
            return all(gauges[f"picscribe_{name}"] == 0 for name in names)

        return self.call(look())

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), f"the service does not stop: {asyncio.all_tasks(self.loop)}"


Serve = Callable[..., RunningService]


@pytest.fixture(scope="session")
def serve(tiny_model: Path) -> Iterator[Serve]:
    """Starts services of a tiny model called `tiny`; they end with the session."""
    running: list[RunningService] = []

    def start(
        *, limits: ServiceLimits | None = None, fetcher: Fetcher | None = None, **settings: Any
    ) -> RunningService:
        settings = {"models": (ModelSpec("tiny", str(tiny_model)),), "port": 0, "threads": 1} | settings
        service = RunningService(Settings(limits=limits or UNHURRIED, **settings), fetcher)
        running.append(service)
        return service

    yield start
    for service in running:
        if service._thread.is_alive():
            service.stop()


@pytest.fixture(scope="session")
def service(serve: Serve) -> RunningService:
    """One service that tests share, without a key."""
    return serve(aliases=(("gpt-4o-mini", "tiny"),))


@pytest.fixture
def free_port() -> int:
    """A port for a service that comes back: none of those that the system gives to whoever connects to elsewhere.

    One of those, a client that tries to reach the service while it is away may get itself, and so connect to itself.
    """
    for port in random.SystemRandom().sample(range(15_000, 30_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


@pytest.fixture
def client(service: RunningService) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


@pytest.fixture(scope="session")
def photo(photos: Path) -> bytes:
    """A photo as a PNG file."""
    return (photos / "photo1.png").read_bytes()


@pytest.fixture(scope="session")
def png() -> Callable[..., bytes]:
    """Makes pictures of one colour, as PNG files."""

    def make(colour: tuple[int, int, int], size: tuple[int, int] = (40, 40)) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", size, colour).save(buffer, "PNG")
        return buffer.getvalue()

    return make
