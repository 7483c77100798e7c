"""The engine under load and loss: batches, limits, deadlines, goodbyes, deaths, models that come and go."""

import asyncio
import base64
import concurrent.futures
import gc
import io
import itertools
import os
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import picscribe
from picscribe.errors import CheckpointError, PicscribeError
from picscribe.serving.engine.engine import ServingEngine
from picscribe.serving.engine.image_cache import ByteCache, EncoderCache
from picscribe.serving.errors import Busy, Overdue
from picscribe.serving.settings import ModelSpec
from picscribe.serving.tasks import Photo, Question

from .conftest import PATIENCE, UNHURRIED


def noise(seed: int, size: int = 48) -> bytes:
    """A photo that no other is like."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (4, 4, 3), generator=generator, dtype=torch.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels.numpy()).resize((size, size)).save(buffer, "PNG")
    return buffer.getvalue()


def question(seed: int, kind: Any = "caption", **fields: Any) -> Question:
    return Question(kind, Photo(noise(seed), f"photo {seed}"), **fields)


@pytest.fixture(scope="module")
def busy(serve: Callable[..., Any]) -> Any:
    """A service of one worker, whose queue is short."""
    return serve(batch_images=4, limits=replace(UNHURRIED, queue_images=24, images=8))


def batches(service: Any) -> dict[str, float]:
    found: dict[str, float] = {}
    for line in service.service.metrics.page().decode().splitlines():
        if line.startswith("picscribe_batches_total{"):
            found[line.partition('reason="')[2].partition('"')[0]] = float(line.split()[-1])
    return found


def test_mixed_questions_are_gathered_while_the_model_is_busy_and_answered_as_alone(
    busy: Any, tiny_model: Path
) -> None:
    scribe = picscribe.load(tiny_model)
    engine: ServingEngine = busy.service.engine
    busy.wait_until(lambda: engine.pool(None).idle)
    before = batches(busy)

    async def ask() -> list[Any]:
        asked = []
        for seed in range(20):
            kind, fields = (
                ("caption", {}),
                ("ask", {"texts": ("the dog", "a cat")}),
                ("classify", {"texts": ("a dog", "a cat", "red grass")}),
                ("score", {"texts": ("a dog",)}),
                ("caption", {"options": {"beams": 2, "num_captions": 2}}),
            )[seed % 5]
            asked.append(engine.ask(None, [question(seed, kind, **fields)]))
        return await asyncio.gather(*asked)

    with busy.held():
        asking = asyncio.run_coroutine_threadsafe(ask(), busy.loop)
        busy.wait_until(lambda: len(engine.pool(None).queue) == 19)  # the first is with the worker
    found = asking.result(PATIENCE)
    for seed, (said,) in enumerate(found):
        photo = noise(seed)
        if seed % 5 == 0:
            assert said["text"] == scribe.caption(photo).text
        elif seed % 5 == 1:
            assert [one["text"] for one in said] == [one.text for one in scribe.ask(photo, ["the dog", "a cat"])]
        elif seed % 5 == 2:
            assert said[0]["label"] == scribe.classify(photo, ["a dog", "a cat", "red grass"]).label
        elif seed % 5 == 3:
            expected = scribe.score(photo, ["a dog"])[0].log_likelihood
            assert said[0]["log_likelihood"] == pytest.approx(expected, rel=1e-4)
        else:
            alternatives = scribe.caption(photo, beams=2, num_captions=2).alternatives
            assert [one["text"] for one in said["alternatives"]] == [one.text for one in alternatives]
    after = batches(busy)
    gathered = {reason: after[reason] - before.get(reason, 0) for reason in after}
    assert gathered == {"idle": 2, "full": 4}, "one, then four times four, then three"
    busy.wait_until(busy.is_at_rest)


def test_an_idle_model_waits_for_nobody(busy: Any) -> None:
    before = batches(busy).get("idle", 0)
    busy.call(busy.service.engine.ask(None, [question(1000)]))
    assert batches(busy)["idle"] == before + 1


def test_what_does_not_fit_the_queue_is_refused_at_once_and_the_rest_is_answered(busy: Any) -> None:
    engine: ServingEngine = busy.service.engine

    async def flood() -> list[Any]:
        asked = [engine.ask(None, [question(2000 + n), question(3000 + n)]) for n in range(40)]
        return await asyncio.gather(*asked, return_exceptions=True)

    found = busy.call(flood())
    refused = [one for one in found if isinstance(one, Busy)]
    answered = [one for one in found if isinstance(one, list)]
    assert len(refused) + len(answered) == 40
    assert len(answered) >= 12 and refused  # 24 images, two a request
    assert all(one.retry_after is not None and 1 <= one.retry_after <= 60 for one in refused)
    assert all(isinstance(said, dict) and said["text"] for one in answered for said in one)
    busy.wait_until(busy.is_at_rest)


def test_a_full_queue_is_429_with_a_time_to_wait(serve: Callable[..., Any], photo: bytes) -> None:
    full = serve(limits=replace(UNHURRIED, queue_images=2, images=2))
    body = {"images": [base64.b64encode(photo).decode()] * 2}
    with full.client() as client, concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert client.post("/v1/caption", json=body).status_code == 200
        with full.held():
            asked = [pool.submit(client.post, "/v1/caption", json=body) for _ in range(16)]
            full.wait_until(lambda: sum(one.done() for one in asked) == 15)  # refused at once: nothing is computed
        answers = [one.result() for one in asked]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) == 15 and {answer.status_code for answer in answers} == {200, 429}
    for answer in refused:
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert answer.headers["x-should-retry"] == "true"
        assert answer.json()["error"]["code"] == "queue_full"
    full.stop()


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not tell the memory of processes")
def test_overload_leaves_memory_as_it_was(serve: Callable[..., Any]) -> None:
    """Four times as many photos are refused as accepted, of 480 kB each: what is kept of them would show."""
    accepted, refused = 16, 64
    limits = replace(UNHURRIED, queue_images=accepted - 1, images=1, cache_bytes=2**20)
    service = serve(batch_images=4, limits=limits)
    engine: ServingEngine = service.service.engine
    queue = engine.pool(None).queue
    pixels = torch.randint(0, 256, (400, 400, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(buffer, "PNG")
    numbers = itertools.count()
    pids = [os.getpid(), *engine.decoders.pids, engine.pool(None).workers[0].child.pid]

    def ask() -> int:
        with service.client() as client:
            content = buffer.getvalue() + next(numbers).to_bytes(8, "big")  # after its end: another file, equal pixels
            return client.post("/v1/caption", content=content).status_code

    def overload() -> None:
        service.wait_until(lambda: engine.pool(None).idle)
        with concurrent.futures.ThreadPoolExecutor(accepted) as threads:
            with service.held():
                asked = [threads.submit(ask)]
                service.wait_until(lambda: engine.running() == 1)
                asked += [threads.submit(ask) for _ in range(accepted - 1)]
                service.wait_until(lambda: len(queue) == accepted - 1)
                assert [ask() for _ in range(refused)] == [429] * refused
            assert [one.result() for one in asked] == [200] * accepted
        service.wait_until(service.is_at_rest)
        gc.collect()

    overload()
    overload()
    before = {pid: resident(pid) for pid in pids}
    for _ in range(4):
        overload()
    grown = {pid: (resident(pid) - before[pid]) // 2**20 for pid in pids}
    assert all(megabytes < 24 for megabytes in grown.values()), grown
    service.stop()


def test_overdue_questions_are_dropped_before_they_are_decoded(busy: Any) -> None:
    engine: ServingEngine = busy.service.engine
    asked: list[str] = []
    decode = engine.decoders.run

    async def counted(do: str, content: bytes, **arguments: Any) -> Any:
        asked.append(arguments["name"])
        return await decode(do, content, **arguments)

    async def overdue() -> None:
        children = [await engine.decoders._take() for _ in range(engine.decoders.count)]  # all are at work
        try:
            with pytest.raises(Overdue):
                found = await engine.ask(None, [question(4000)], deadline=0.05)
                raise found[0]
            for _ in range(10):
                await asyncio.sleep(0)
            assert engine.waiting() == engine.decoders.waiting == 0
        finally:
            for child in children:
                engine.decoders._offer(child)

    before = busy.service.metrics.encoded.labels("tiny")._value.get()
    engine.decoders.run = counted  # type: ignore[method-assign]
    try:
        busy.call(overdue())
    finally:
        engine.decoders.run = decode  # type: ignore[method-assign]
    assert asked == ["photo 4000"]
    assert busy.service.metrics.encoded.labels("tiny")._value.get() == before


def test_a_deadline_is_the_clients_to_shorten(busy: Any, photo: bytes) -> None:
    with busy.client() as client:
        answer = client.post("/v1/caption", content=photo, headers={"x-deadline": "0.000001"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
        for wrong in ("soon", "-1", "nan", "inf", "0"):
            answer = client.post("/v1/caption", content=photo, headers={"x-deadline": wrong})
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, "X-Deadline"), wrong
    busy.wait_until(busy.is_at_rest)


def test_one_who_is_cancelled_gives_the_place_back(busy: Any) -> None:
    engine: ServingEngine = busy.service.engine

    async def cancel() -> None:
        tasks = [asyncio.ensure_future(engine.ask(None, [question(5000 + n)])) for n in range(20)]
        while not engine.pool(None).queue:
            await asyncio.sleep(0.001)
        assert engine.running() + engine.waiting() == 20  # some of them are not even decoded yet
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert engine.waiting() == engine.running() == 0

    with busy.held():
        busy.call(cancel())
    (said,) = busy.call(engine.ask(None, [question(1)]))
    assert said["text"]
    busy.wait_until(busy.is_at_rest)


def test_clients_that_hang_up_leave_nothing_behind(busy: Any, caplog: pytest.LogCaptureFixture) -> None:
    head = "POST /v1/caption HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: {}\r\n\r\n"
    for number in range(300):
        body = noise(6000 + number)
        connection = socket.create_connection(("127.0.0.1", busy.port))
        connection.sendall(head.format(len(body)).encode() + (body if number % 3 else body[: len(body) // 2]))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, not a goodbye
        connection.close()
    with busy.client() as client:  # which comes in after all of those
        answer = client.post("/v1/caption", content=noise(1))
        while answer.status_code == 429:  # they may still be in the queue
            answer = client.post("/v1/caption", content=noise(1))
        assert answer.status_code == 200
    busy.wait_until(busy.is_at_rest)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_worker_that_is_killed_loses_nothing(serve: Callable[..., Any], tiny_model: Path) -> None:
    service = serve(workers=2, batch_images=4)
    expected = [picscribe.load(tiny_model).caption(noise(seed)).text for seed in range(40)]
    engine: ServingEngine = service.service.engine
    pool = engine.pool(None)

    def ask(seed: int) -> Any:
        if seed == 10:  # once each: a photo on which decoders die twice is refused, and rightly
            os.kill(pool.workers[0].child.pid, signal.SIGKILL)
            os.kill(engine.decoders.pids[0], signal.SIGKILL)
        return client.post("/v1/caption", content=noise(seed))

    with service.client() as client, concurrent.futures.ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(40)))
        assert [answer.status_code for answer in answers] == [200] * 40
        assert [answer.json()["caption"] for answer in answers] == expected
    service.wait_until(lambda: len(pool.workers) == 2 and engine.decoders.up == 2)
    assert pool.restarts >= 1 and engine.decoders.restarts >= 1
    service.wait_until(service.is_at_rest)
    service.stop()


def test_the_question_that_kills_workers_takes_no_other_along(serve: Callable[..., Any]) -> None:
    service = serve(batch_images=8)
    engine: ServingEngine = service.service.engine
    pool = engine.pool(None)
    send = pool._send

    def deadly(worker: Any, batch: Any) -> None:
        kills = any(ticket.question.photo.name == "photo 13" for ticket in batch)
        if kills:  # before it can answer, which takes it a millisecond
            os.kill(worker.child.pid, signal.SIGSTOP)
        send(worker, batch)
        if kills:
            worker.child.kill()

    pool._send = deadly  # type: ignore[method-assign]

    async def ask() -> list[Any]:
        return await asyncio.gather(*(engine.ask(None, [question(seed)]) for seed in range(10, 18)))

    found = [one for (one,) in service.call(ask())]
    wrong = [seed for seed, one in zip(range(10, 18), found, strict=True) if isinstance(one, PicscribeError)]
    assert wrong == [13]
    assert found[3].code == "worker_died"
    service.wait_until(service.is_at_rest)
    service.stop()


def test_an_exception_in_the_model_harms_only_its_question(busy: Any) -> None:
    engine: ServingEngine = busy.service.engine
    bad = question(7001, "explain", method="no such method")

    async def ask() -> list[Any]:
        return await asyncio.gather(*(engine.ask(None, [one]) for one in (question(7000), bad, question(7002))))

    (first,), (second,), (third,) = busy.call(ask())
    assert isinstance(second, PicscribeError)
    assert first["text"] and third["text"]


def test_a_model_is_replaced_without_losing_a_request(
    serve: Callable[..., Any], tiny_model: Path, photo: bytes
) -> None:
    service = serve()
    engine: ServingEngine = service.service.engine
    old = engine.pool("tiny")
    stop = threading.Event()
    statuses: list[int] = []

    def ask() -> None:
        with service.client() as client:
            while not stop.is_set():
                statuses.append(client.post("/v1/caption?model=tiny", content=photo).status_code)

    def some_more() -> None:
        """Wait until so many more are answered that the latest were asked after now."""
        answered = len(statuses)
        service.wait_until(lambda: len(statuses) > answered + 3)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        some_more()
        service.call(engine.load(ModelSpec("tiny", str(tiny_model))))
        assert engine.pool("tiny") is not old
        service.wait_until(lambda: not engine._retiring)
        some_more()
        with pytest.raises(CheckpointError):
            service.call(engine.load(ModelSpec("tiny", str(tiny_model / "missing"))))
        some_more()
        service.call(engine.load(ModelSpec("second", str(tiny_model))))
        with service.client() as client:
            assert client.post("/v1/caption?model=second", content=photo).status_code == 200
            service.call(engine.unload("second"))
            assert client.post("/v1/caption?model=second", content=photo).status_code == 404
        some_more()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert set(statuses) == {200}
    assert not old.workers or all(worker.child.process.returncode is not None for worker in old.workers)
    service.stop()


def test_stopping_answers_what_was_accepted(serve: Callable[..., Any]) -> None:
    service = serve(batch_images=1)
    engine: ServingEngine = service.service.engine

    def ask(seed: int) -> int:
        with service.client() as client:
            return client.post("/v1/caption", content=noise(seed)).status_code

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        with service.held():
            asked = [threads.submit(ask, 8000 + n) for n in range(8)]
            service.wait_until(lambda: len(engine._tickets) == 8)
            service.server.should_exit = True
            service.wait_until(lambda: not service.server.servers[0].is_serving())
        assert [one.result() for one in asked] == [200] * 8
    service.stop()


def test_counters_of_two_workers_never_fall_and_add_up(serve: Callable[..., Any], photo: bytes) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    service = serve(workers=2)
    last: dict[tuple[str, str], float] = {}
    with service.client() as client, concurrent.futures.ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(client.post, "/v1/caption", content=noise(n)) for n in range(60)]
        for number in range(100):
            if number == 30:
                os.kill(service.service.engine.pool(None).workers[0].child.pid, signal.SIGKILL)
            page = client.get("/metrics").text
            for family in text_string_to_metric_families(page):
                for sample in family.samples:
                    key = (sample.name, str(sorted(sample.labels.items())))
                    if sample.name.endswith(("_total", "_count", "_sum", "_bucket")):
                        assert sample.value >= last.get(key, 0), key
                        last[key] = sample.value
        assert {one.result().status_code for one in asked} == {200}
        page = client.get("/metrics").text
    values = {
        (sample.name, sample.labels.get("route") or sample.labels.get("kind")): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    assert values["picscribe_requests_total", "/v1/caption"] == 60
    assert values["picscribe_images_total", "caption"] == 60
    for name in ("tgi_queue_size", "vllm:num_requests_running", "picscribe_queue_oldest_seconds", "picscribe_workers"):
        assert (name, None) in values
    service.stop()


def test_a_byte_cache_keeps_to_its_bytes_and_to_what_was_used_last() -> None:
    cache: ByteCache[str] = ByteCache(10)
    for name in "abc":
        cache.put(name.encode(), name, 3)
    assert cache.get(b"a") == "a" and cache.bytes == 9
    cache.put(b"d", "d", 4)
    assert (cache.get(b"a"), cache.get(b"b"), cache.get(b"c"), cache.get(b"d")) == ("a", None, "c", "d")
    cache.put(b"e", "e", 11)
    assert cache.get(b"e") is None and cache.bytes == 10


def test_an_encoder_cache_gives_what_the_encoder_gives() -> None:
    seen: list[int] = []

    def encode(pixels: torch.Tensor) -> torch.Tensor:
        seen.append(len(pixels))
        return pixels.flatten(1)[:, None] * 2

    cached = EncoderCache(encode, 10_000)
    images = torch.rand(4, 3, 2, 2)
    batch = images[[0, 1, 0, 2]]
    with torch.inference_mode():
        assert torch.equal(cached(batch), encode(batch))
        assert torch.equal(cached(images), encode(images))
    assert seen == [3, 4, 1, 4]
    small = EncoderCache(encode, 0)
    with torch.inference_mode(), small.holding():
        small(images)
        assert torch.equal(small(batch), encode(batch)) and small.encoded == 4
    with torch.inference_mode():
        small(images)
    assert small.encoded == 8
    weights = torch.ones(1, requires_grad=True)
    assert cached(images * weights).requires_grad  # what is learned through is computed


def test_one_worker_chooses_the_precision_for_all(serve: Callable[..., Any], tiny_model: Path, photo: bytes) -> None:
    spec = ModelSpec("tiny", str(tiny_model), precision="fast")
    service = serve(models=(spec,), workers=2)
    first, second = service.service.engine.pool(None).workers
    assert ": " in first.facts["precision"] and second.facts["precision"] == first.facts["loading"]["dtype"]
    assert first.facts["loading"] == second.facts["loading"]
    with service.client() as client:
        assert client.post("/v1/caption", content=photo).status_code == 200
    service.stop()
