"""The service's batcher beside LitServe and Ray Serve on the same load: requests a second, and how long they take.

    pip install litserve "ray[serve]"
    python -m benchmarks.serving_peers --seconds 20
    python -m benchmarks.serving_peers --servers picscribe litserve --rounds 3 --seconds 8
    python -m benchmarks.serving_peers --servers picscribe litserve --together --rounds 3 --seconds 10

In every round each server is started, asked and ended in turn, so that what else the machine does falls on all. Each
server runs nano in one worker with one thread and batches of up to 16 images, and gets the same photos in JSON
from 32 clients at once, and from one. The peers gather for 10 ms, open images in the library's threads, unconfined, and
have no cache, queue limit or deadline. Output: one JSON object a server and round, with the processor time of all its
processes for a photo, then the medians.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.serving import MOST, photos, quantiles
from picscribe.serving.engine.model_pool import TUNED

BATCH, WAIT, CLIENTS = 16, 0.01, 32

OURS = """
from picscribe.serving.server import serve
from picscribe.serving.settings import ServiceLimits, Settings
serve(Settings(port={port}, threads=1, batch_images={batch}, limits=ServiceLimits(cache_bytes=0, deadline=300)))
"""

LITSERVE = """
import base64
import litserve, torch, picscribe

class Captions(litserve.LitAPI):
    def setup(self, device):
        torch.set_num_threads(1)
        self.scribe = picscribe.load("nano")
    def decode_request(self, request):
        return base64.b64decode(request["image"])
    def predict(self, images):
        return [one.text for one in self.scribe.caption(images, batch_size={batch})]
    def encode_response(self, text):
        return {{"caption": text}}

if __name__ == "__main__":  # its workers import this file
    api = Captions(max_batch_size={batch}, batch_timeout={wait}, api_path="/v1/caption")
    litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=300).run(
        host="127.0.0.1", port={port}, num_api_servers=1, generate_client_file=False, log_level="error")
"""

RAY = """
import base64, logging, time
import ray
from ray import serve

@serve.deployment(max_ongoing_requests=256, ray_actor_options={{"num_cpus": 1}})
class Captions:
    def __init__(self):
        import torch, picscribe
        torch.set_num_threads(1)
        self.scribe = picscribe.load("nano")
    @serve.batch(max_batch_size={batch}, batch_wait_timeout_s={wait})
    async def caption(self, images):
        return [one.text for one in self.scribe.caption(images, batch_size={batch})]
    async def __call__(self, request):
        fields = await request.json()
        return {{"caption": await self.caption(base64.b64decode(fields["image"]))}}

ray.init(num_cpus=2, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
serve.start(http_options={{"host": "127.0.0.1", "port": {port}}})
serve.run(Captions.bind(), route_prefix="/v1/caption")
while True:
    time.sleep(1)
"""

SERVERS = {"picscribe": OURS, "litserve": LITSERVE, "ray_serve": RAY}


@contextmanager
def running(code: str) -> Iterator[tuple[int, int]]:
    """The port and the process of a server that answers; it ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = code.format(port=port, batch=BATCH, wait=WAIT)
    environment = TUNED | os.environ  # what our workers get; it is the batching that is compared
    folder = tempfile.TemporaryDirectory()
    file = Path(folder.name) / "server.py"
    file.write_text(script)
    # A process group of its own, so that its workers end with it; a session would get a share of the cores of its own.
    process = subprocess.Popen(
        [sys.executable, str(file)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        preexec_fn=os.setpgrp,
    )
    body = json.dumps({"image": base64.b64encode(photos(1, 0)[0]).decode()}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/caption", body, {"Content-Type": "application/json"})
    try:
        until = time.monotonic() + 240
        while True:
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    assert json.loads(answer.read())["caption"]
                break
            except OSError:
                if time.monotonic() > until or process.poll() is not None:
                    raise SystemExit("the server did not start") from None
                time.sleep(0.5)
        yield port, process.pid
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        folder.cleanup()


def processor_seconds(pid: int) -> dict[int, float]:
    """Processor time of a process and of all below it, by number."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task").glob("*/children")
        below = [int(child) for one in children for child in one.read_text().split()]
    except OSError:
        return {}
    found = {pid: (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")}
    for child in below:
        found |= processor_seconds(child)
    return found


async def ask(port: int, body: bytes) -> tuple[int, float]:
    """Status and seconds of one caption."""
    started = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "POST /v1/caption HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = await reader.read()
    writer.close()
    return int(answer.split(b" ", 2)[1]), time.perf_counter() - started


async def load(port: int, pid: int, given: list[bytes], seconds: float, clients: int) -> dict[str, Any]:
    """Clients that ask again as soon as they have an answer."""
    began = time.perf_counter()
    before = processor_seconds(pid)
    took: list[float] = []
    place = iter(range(MOST))

    async def client() -> None:
        for number in place:
            if time.perf_counter() > began + seconds:
                return
            status, spent = await ask(port, given[number % len(given)])
            assert status == 200, status
            took.append(spent)

    await asyncio.gather(*(client() for _ in range(clients)))
    spent = time.perf_counter() - began
    used = sorted((now - before.get(number, 0) for number, now in processor_seconds(pid).items()), reverse=True)
    each = [round(1000 * one / len(took), 1) for one in used]
    return {"per_second": round(len(took) / spent, 1), **quantiles(took), "cpu_ms": each}


def together(servers: list[str], bodies: list[bytes], seconds: float, rounds: int) -> None:
    """Load all servers at the same time: on a machine that does other work too, that work slows all of them alike."""

    async def all_of(started: dict[str, tuple[int, int]]) -> list[dict[str, Any]]:
        return await asyncio.gather(*(load(*one, bodies, seconds, CLIENTS) for one in started.values()))

    with ExitStack() as stack:
        started = {name: stack.enter_context(running(SERVERS[name])) for name in servers}
        for number in range(rounds):
            found = asyncio.run(all_of(started))
            print(json.dumps({"round": number, "together": dict(zip(servers, found, strict=True))}), flush=True)


def main() -> None:
    """Measure all servers, or some."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="of each load")
    parser.add_argument("--servers", nargs="+", choices=list(SERVERS), default=list(SERVERS))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--together", action="store_true", help="all servers at the same time, which they then share")
    given = parser.parse_args()
    bodies = [json.dumps({"image": base64.b64encode(one).decode()}).encode() for one in photos(256, 3)]
    if given.together:
        together(given.servers, bodies, given.seconds, given.rounds)
        return
    rates: dict[str, list[float]] = {name: [] for name in given.servers}
    for number in range(given.rounds):
        for name in given.servers:
            with running(SERVERS[name]) as (port, pid):
                alone = asyncio.run(load(port, pid, bodies, given.seconds / 2, 1))
                many = asyncio.run(load(port, pid, bodies, given.seconds, CLIENTS))
            rates[name].append(many["per_second"])
            print(json.dumps({"round": number, "server": name, "clients": {1: alone, CLIENTS: many}}), flush=True)
    print(json.dumps({"median_per_second": {name: statistics.median(found) for name, found in rates.items()}}))


if __name__ == "__main__":
    main()
