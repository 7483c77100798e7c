"""The service under load: what it serves, what it refuses, how long it takes, on this machine and over loopback only.

    python -m benchmarks.serving --seconds 60
    python -m benchmarks.serving --only batching --seconds 20

Every part starts `picscribe serve` with one worker of one thread and sends photos that no cache knows:

- cost: processor time of a worker for a photo, in batches of 1, 16 and 32. On a machine that does other work too, this
  is what can be compared: where the processor is the limit, requests a second are cores by cost.
- low: one request after the other, in turn with the library, which opens and captions the same JPEG files: in a process
  with the environment of a worker, and in one with the environment as it is. The sides take turns of a few photos, so
  that other work on the machine slows all of them alike. `over_library_ms`: how much higher the service's p50 and p95
  are, for all photos, and the median, least and most of the turns. `batching_window_ms`: the mean time that a photo
  waited for a batch. `cpu_ms`: processor time per photo of all processes of a side.
- batching: 32 clients at once with batches of up to 16 images, and with batches of one.
- overload: requests arrive at 4 times the rate that it served; what is accepted, refused, lost; memory.
- abort: clients that hang up midway. slow: connections that send a byte now and then while others are served.

Output: one JSON object a part. At most 10,000 requests and 1,000 connections a part, to 127.0.0.1.
"""

import argparse
import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

MOST = 10_000
BATCH = 16
THREADS = 1
"""Of the library, and of the service's worker."""
PHOTO = Path(__file__).resolve().parents[1] / "examples" / "camera.jpg"


def photos(count: int, seed: int) -> list[bytes]:
    """JPEG files of a photo with a little noise, each of its own."""
    generator = np.random.default_rng(seed)
    plain = np.asarray(Image.open(PHOTO).convert("RGB").resize((384, 384)), np.int16)
    found = []
    for _ in range(count):
        noisy = np.clip(plain + generator.integers(-20, 21, plain.shape, np.int16), 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noisy).save(buffer, "JPEG", quality=80)
        found.append(buffer.getvalue())
    return found


class Running:
    """A `picscribe serve` of its own."""

    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        self.process, self.port = process, port

    def memory(self) -> dict[str, int]:
        """MiB that its processes hold, by their proportional share of pages; `server` answers, `worker` computes."""
        found: dict[str, int] = {}
        for pid in [self.process.pid, *self.children()]:
            try:
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
                command = Path(f"/proc/{pid}/cmdline").read_text()
            except OSError:
                continue
            kind = next(
                (kind for kind in ("decoder", "worker") if f"_{kind} " in command or f".{kind} " in command), "server"
            )
            size = int(re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)[1])  # type: ignore[index]
            found[kind] = found.get(kind, 0) + round(size / 1024)
        return found | {"all": sum(found.values())}

    def processor(self) -> float:
        """Processor seconds of all its processes so far."""
        stats = [Path(f"/proc/{pid}/stat").read_text() for pid in [self.process.pid, *self.children()]]
        ticks = (int(number) for stat in stats for number in stat.rpartition(")")[2].split()[11:13])
        return sum(ticks) / os.sysconf("SC_CLK_TCK")

    def children(self) -> list[int]:
        text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in text.split()]


@contextmanager
def service(*arguments: str) -> Iterator[Running]:
    """One that runs until the block ends."""
    command = [sys.executable, "-m", "picscribe", "serve", "--port", "0", "--threads", str(THREADS), *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    port = 0
    for line in process.stderr:
        if found := re.search(r"at http://127\.0\.0\.1:(\d+);", line):
            port = int(found[1])
            break
    stderr = process.stderr
    import threading

    threading.Thread(target=lambda: [None for _ in stderr], daemon=True).start()  # so that its log never blocks it
    if not port:
        raise SystemExit("picscribe serve did not start")
    try:
        yield Running(process, port)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(90)


async def ask(port: int, photo: bytes) -> tuple[int, float, int | None]:
    """Status, seconds, and the seconds of Retry-After, of one caption; -1 where the connection broke."""
    started = time.perf_counter()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = "POST /v1/caption HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nConnection: close\r\n"
        writer.write(f"{head}Content-Length: {len(photo)}\r\n\r\n".encode() + photo)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: (\d+)", answer)
        assert length is not None, answer
        await reader.readexactly(int(length[1]))
        spent = time.perf_counter() - started
        writer.close()
    except (OSError, EOFError):
        return -1, time.perf_counter() - started, None
    retry = re.search(rb"\r\nretry-after: (\d+)", answer)
    return int(answer.split(b" ", 2)[1]), spent, int(retry[1]) if retry else None


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99 in milliseconds."""
    if not seconds:
        return {}
    return {f"p{q}_ms": round(1000 * float(np.percentile(seconds, q)), 1) for q in (50, 95, 99)}


COST = """
import json, sys, time, torch
torch.set_num_threads(1)
import picscribe
from benchmarks.serving import photos
scribe = picscribe.load("nano")
pixels = [scribe.pixels(photo) for photo in photos(64, 3)]
for size in (1, 16, 32):
    scribe.caption(pixels[:size], batch_size=size)
    started = time.process_time()
    scribe.caption(pixels, batch_size=size)
    print(json.dumps({"part": "cost", "batch_images": size,
                      "cpu_ms": round(1000 * (time.process_time() - started) / len(pixels), 1)}))
"""


def cost() -> list[dict[str, Any]]:
    """Processor time of a photo, in a process with a worker's environment."""
    from picscribe.serving.engine.model_pool import TUNED

    done = subprocess.run(
        [sys.executable, "-c", COST], env=os.environ | TUNED, capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


LIBRARY = """
import json, sys, time, torch
torch.set_num_threads(1)
import picscribe
from benchmarks.serving import photos
scribe = picscribe.load("nano")
given = photos(int(sys.argv[1]), 1)
scribe.caption(photos(1, 99)[0])
print("ready", flush=True)
for line in sys.stdin:
    first, last = map(int, line.split())
    spent, took = time.process_time(), []
    for photo in given[first:last]:
        started = time.perf_counter()
        scribe.caption(photo)
        took.append(time.perf_counter() - started)
    print(json.dumps([took, time.process_time() - spent]), flush=True)
"""


class Side:
    """One way to caption photos: seconds and processor seconds of each turn."""

    def __init__(self) -> None:
        self.turns: list[list[float]] = []
        self.processor = 0.0

    def summary(self) -> dict[str, float]:
        took = [spent for turn in self.turns for spent in turn]
        return quantiles(took) | {"cpu_ms": round(1000 * self.processor / len(took), 1)}

    def over(self, other: "Side") -> dict[str, Any]:
        """Milliseconds of p50 and p95 above another's: of all photos, then median, least and most of the turns."""
        found: dict[str, Any] = {}
        for q in (50, 95):
            mine, theirs = (np.concatenate(side.turns) for side in (self, other))
            turns = [np.percentile(a, q) - np.percentile(b, q) for a, b in zip(self.turns, other.turns, strict=True)]
            spread = [np.median(turns), min(turns), max(turns)]
            found[f"p{q}"] = round(1000 * float(np.percentile(mine, q) - np.percentile(theirs, q)), 1)
            found[f"p{q}_of_turns"] = [round(1000 * float(value), 1) for value in spread]
        return found


class LibrarySide(Side):
    """The library in a process of its own, one photo after the other, decoding included."""

    def __init__(self, count: int, environment: Mapping[str, str]) -> None:
        super().__init__()
        command = [sys.executable, "-c", LIBRARY, str(count)]
        self.process = subprocess.Popen(
            command, env=os.environ | environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self._to, self._answers = self.process.stdin, self.process.stdout
        assert self._answers.readline() == "ready\n", "the library does not start"

    def turn(self, first: int, last: int) -> None:
        print(first, last, file=self._to, flush=True)
        took, spent = json.loads(self._answers.readline())
        self.turns.append(took)
        self.processor += spent

    def close(self) -> None:
        self._to.close()
        self.process.wait(60)


class ServiceSide(Side):
    """A service, asked by one client."""

    def __init__(self, running: Running, given: Sequence[bytes]) -> None:
        super().__init__()
        self.running, self.given = running, given
        asyncio.run(ask(running.port, photos(1, 99)[0]))

    def turn(self, first: int, last: int) -> None:
        spent = self.running.processor()
        self.turns.append(asyncio.run(self._ask(self.given[first:last])))
        self.processor += self.running.processor() - spent

    async def _ask(self, given: Sequence[bytes]) -> list[float]:
        took = []
        for photo in given:
            status, spent, _ = await ask(self.running.port, photo)
            assert status == 200, status
            took.append(spent)
        return took


def low(count: int, turn: int = 10) -> dict[str, Any]:
    """One request after the other, in turn with the library."""
    from picscribe.serving.engine.model_pool import TUNED

    library, plain = LibrarySide(count, TUNED), LibrarySide(count, {})
    with service() as running:
        served = ServiceSide(running, photos(count, 1))
        for first in range(0, count, turn):
            for side in (served, library, plain):
                side.turn(first, min(count, first + turn))
        page = asyncio.run(metrics_of(running.port))
    for side in (library, plain):
        side.close()
    stages = {
        stage: round(1000 * value(page, "stage_seconds_sum", stage) / value(page, "stage_seconds_count", stage), 2)
        for stage in ("decode", "queue", "compute")
    }
    return {
        "part": "low", "requests": count, "service": served.summary(), "library": library.summary(),
        "library_as_it_is": plain.summary(), "over_library_ms": served.over(library),
        "over_library_as_it_is_ms": served.over(plain), "batching_window_ms": stages.pop("queue"), "stages_ms": stages,
    }  # fmt: skip


async def saturate(port: int, seconds: float, clients: int) -> tuple[int, list[float]]:
    """Clients that ask again as soon as they have an answer."""
    given = photos(min(MOST, 64 * clients), 3)
    until = time.perf_counter() + seconds
    took: list[float] = []
    place = iter(range(MOST))

    async def client() -> None:
        for number in place:
            if time.perf_counter() > until:
                return
            status, spent, retry = await ask(port, given[number % len(given)])
            assert status in (200, 429, 504), status
            if status == 200:
                took.append(spent)
            else:
                await asyncio.sleep(retry or 1)

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return len(took), [time.perf_counter() - started, *took]


def batching(seconds: float, clients: int = 32) -> list[dict[str, Any]]:
    """Requests a second with batches, and with batches of one image."""
    found = []
    for size in (16, 1):
        with service("--batch-size", str(size), "--cache-megabytes", "0", "--deadline", "300") as running:
            count, (spent, *took) = asyncio.run(saturate(running.port, seconds, clients))
        rate = round(count / spent, 1)
        found.append(
            {"part": "batching", "batch_images": size, "clients": clients, "per_second": rate, **quantiles(took)}
        )
    return found


def overload(seconds: float, rate: float, deadline: float = 10.0) -> dict[str, Any]:
    """Requests that arrive at 4 times the rate."""
    given = photos(256, 4)
    count = min(MOST, int(4 * rate * seconds))
    most = 2 * BATCH

    async def run(port: int) -> list[tuple[int, float, int | None]]:
        tasks = []
        started = time.perf_counter()
        for number in range(count):
            if number % (count // 4) == 0:
                memory.append(running.memory())
            await asyncio.sleep(max(0.0, started + number / (4 * rate) - time.perf_counter()))
            tasks.append(asyncio.ensure_future(ask(port, given[number % len(given)])))
        return await asyncio.gather(*tasks)

    with service("--deadline", str(deadline), "--cache-megabytes", "0") as running:
        asyncio.run(saturate(running.port, 5, most))  # full batches: what they take once is kept
        memory: list[dict[str, int]] = []
        answers = asyncio.run(run(running.port))
        memory.append(running.memory())
        gauges = asyncio.run(gauges_of(running.port))
    statuses = Counter(status for status, _, _ in answers)
    refused = [(spent, retry) for status, spent, retry in answers if status in (429, 503)]
    retries = [retry for _, retry in refused if retry is not None]
    return {
        "part": "overload", "seconds": seconds, "sent": count, "statuses": dict(statuses), "deadline": deadline,
        "answered": quantiles([spent for status, spent, _ in answers if status == 200]),
        "refused": quantiles([spent for spent, _ in refused]),
        "retry_after": [min(retries, default=None), max(retries, default=None)],
        "memory_mib": memory, "gauges": gauges,
    }  # fmt: skip


async def gauges_of(port: int) -> dict[str, float]:
    """The gauges of work, once all is answered."""
    await asyncio.sleep(1)
    page = await metrics_of(port)
    return {name: value(page, name) for name in ("queue_images", "running_images", "held_bytes")}


async def metrics_of(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    page = (await reader.read()).decode()
    writer.close()
    return page


def value(page: str, name: str, stage: str | None = None) -> float:
    """A number of the page of metrics."""
    label = "" if stage is None else re.escape(f'{{stage="{stage}"}}')
    return float(re.search(rf"^picscribe_{name}{label} (\S+)", page, re.MULTILINE)[1])  # type: ignore[index]


def abort(count: int) -> dict[str, Any]:
    """Clients that hang up after half a request, or before the answer."""
    given = photos(64, 5)

    async def leave(port: int, number: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        photo = given[number % len(given)]
        head = f"POST /v1/caption HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(photo)}\r\n\r\n".encode()
        writer.write(head + (photo if number % 2 else photo[: len(photo) // 2]))
        await asyncio.sleep(0.01)
        writer.transport.abort()

    async def run(port: int) -> tuple[float, dict[str, float]]:
        for first in range(0, count, 100):
            await asyncio.gather(*(leave(port, number) for number in range(first, min(count, first + 100))))
        left = time.perf_counter()
        while (await ask(port, given[0]))[0] != 200:
            await asyncio.sleep(0.1)
            assert time.perf_counter() - left < 60, "the service does not answer"
        return round(time.perf_counter() - left, 2), await gauges_of(port)

    with service() as running:
        before = running.memory()
        seconds, gauges = asyncio.run(run(running.port))
        after = running.memory()
    memory = [before, after]
    return {"part": "abort", "clients": count, "answers_after_seconds": seconds, "gauges": gauges, "memory_mib": memory}


def slow(count: int, seconds: float) -> dict[str, Any]:
    """Connections that send a byte a second, while a client is served."""

    async def drip(port: int, until: float) -> int:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            for letter in b"POST /v1/caption HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"y" * 1000:
                if time.perf_counter() > until:
                    break
                writer.write(bytes([letter]))
                await writer.drain()
                await asyncio.sleep(1)
            writer.close()
            return 0
        except OSError:
            return 1

    async def run(port: int) -> tuple[list[float], int, dict[str, float]]:
        until = time.perf_counter() + seconds
        drips = [asyncio.ensure_future(drip(port, until)) for _ in range(count)]
        took = []
        for photo in photos(40, 6):
            status, spent, _ = await ask(port, photo)
            assert status == 200, status
            took.append(spent)
        cut = sum(await asyncio.gather(*drips))
        return took, cut, await gauges_of(port)

    with service() as running:
        took, cut, gauges = asyncio.run(run(running.port))
    return {"part": "slow", "connections": count, "cut": cut, "others": quantiles(took), "gauges": gauges}


def main() -> None:
    """Run the parts, or one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="of each part that is timed")
    parser.add_argument("--only", choices=["cost", "low", "batching", "overload", "abort", "slow"])
    parser.add_argument("--rate", type=float, help="requests a second that it can serve, where batching is not run")
    parser.add_argument("--requests", type=int, default=150, help="of the part low")
    parser.add_argument("--aborts", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=1000)
    given = parser.parse_args()
    wanted = [given.only] if given.only else ["cost", "low", "batching", "overload", "abort", "slow"]
    rate = given.rate
    print(json.dumps({"cores": os.cpu_count(), "load": os.getloadavg()[0]}), flush=True)
    for part in wanted:
        if part == "cost":
            found = cost()
        elif part == "low":
            found = [low(given.requests)]
        elif part == "batching":
            found = batching(given.seconds)
            rate = rate or found[0]["per_second"]
        elif part == "overload":
            found = [overload(given.seconds, rate or 20.0)]
        elif part == "abort":
            found = [abort(min(MOST, given.aborts))]
        else:
            found = [slow(min(1000, given.connections), min(given.seconds, 20))]
        for one in found:
            print(json.dumps(one), flush=True)


if __name__ == "__main__":
    main()
